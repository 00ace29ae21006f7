/*
 * Listening sockets: bound by the master before any fork, shared by all workers. One queue for all, so
 * nothing in it is lost when a worker goes. Never shutdown(2) one: that would end it for every process.
 */
#ifndef NET_LISTENER_H
#define NET_LISTENER_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Whose a unix socket is and who may connect to it: that takes the right to write. */
struct listener_rights {
	mode_t mode;
	uid_t uid; /* -1: as the process creates it */
	gid_t gid; /* likewise */
};

enum { LISTENER_BACKLOG = 4096 }; /* the kernel clamps it to net.core.somaxconn */

struct listener {
	int fd;         /* non-blocking, CLOEXEC; -1 once closed */
	char name[280]; /* as it was bound, with the port that the kernel picked: for the log */
	char path[108]; /* of a unix socket that was made here; empty otherwise */
	dev_t device;   /* of the socket file that we made: nobody else's is unlinked */
	ino_t inode;
};

/*
 * Binds and listens. `path` given: a unix socket there, `host` and `port` ignored; nobody can connect before it has
 * its `rights`. A file left behind by a daemon that was killed is replaced (nobody answers a connect), any other
 * file is left alone; meanwhile the directory is locked, so that of two that start at once one wins, which may
 * block for a second. Otherwise a TCP socket on a numeric address or a name (getaddrinfo(3), the first address).
 * Returns 0, or -1 and *err: EXIT_CODE_UNAVAILABLE with the address, EXIT_CODE_NO_PERMISSION.
 */
int listener_open(struct listener *l, const char *host, const char *port, const char *path,
		  const struct listener_rights *rights, struct err *err);

/* The file of a unix socket that was made here gets other rights; -1 leaves the owner, or the group, as it is. Returns 0, or -1 and *err. */
int listener_set_rights(const struct listener *l, const struct listener_rights *rights, struct err *err);

/* Takes over a listening stream socket that somebody else has made, of any family; its file, where it has one,
 * stays theirs. Returns 0, or -1 and *err (EXIT_CODE_CONFIG): then the descriptor is as it was. */
int listener_adopt(struct listener *l, int fd, struct err *err);

/* How many connections wait in its queue, and how many may (tcp(7), TCP_INFO). False where the kernel does not say so: a unix
 * socket. */
bool listener_queue(int fd, uint32_t *length, uint32_t *limit);

/* "HOST:PORT", "[IPv6]:PORT" or "unix:PATH", as it is bound; *name stays as it is where that cannot be found out. */
void listener_name(int fd, char *name, size_t size);

/* Closes; with `unlink_file` it first removes the socket file, if that is still the one that was made. */
void listener_close(struct listener *l, bool unlink_file);

#endif
