/*
 * Telling the service manager: the protocol of sd_notify(3), a datagram for each message. Without $NOTIFY_SOCKET
 * nothing is told, and nothing costs. The socket is opened for each message: there is no descriptor that could be
 * lost.
 *
 * The master says each round how things are; what has not been told yet is told then. So a message that could not
 * be sent is sent the next time, and a new image of the master begins anew. The watchdog is fed from there, too: a
 * master that no longer gets around to its rounds is missed.
 */
#ifndef MASTER_NOTIFY_H
#define MASTER_NOTIFY_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

enum notify_state { NOTIFY_STARTING, NOTIFY_READY, NOTIFY_RELOADING, NOTIFY_STOPPING };

struct notify {
	struct sockaddr_un address;
	socklen_t address_bytes; /* 0: nobody is to be told */
	enum notify_state told;
	int64_t ping_ms;      /* between two; 0: no watchdog */
	int64_t next_ping_ms; /* CLOCK_MONOTONIC, as the next */
	int64_t next_status_ms;
	char status[256]; /* as it was told */
};

/* Reads $NOTIFY_SOCKET, and $WATCHDOG_USEC if $WATCHDOG_PID means this process. */
void notify_open(struct notify *n);

/* `status` is one line for people. It is told with every change of the state, and else every ten seconds if it has
 * changed. Never blocks. */
void notify_tell(struct notify *n, enum notify_state state, const char *status, int64_t now_ms);

/* When the watchdog has to be fed next; INT64_MAX without one. */
int64_t notify_wake_ms(const struct notify *n);

/* In a forked process: what the service manager has said concerns the master alone. */
void notify_forget(void);

#endif
