/*
 * One connection to a Redis, on a loop: commands out, replies in order, time-outs, and a reason when it ends.
 * Never blocks, never reconnects by itself, knows nothing of what the commands mean. hiredis reads the replies.
 *
 *     CLOSED -> CONNECTING   redis_connect (a host name is looked up in a thread of its own)
 *     CONNECTING -> OPEN     the socket is connected, AUTH and SELECT have been answered
 *     (any) -> CLOSED        redis_close, or on_closed: refused, reset, time-out, protocol error
 */
#ifndef CACHE_REDIS_H
#define CACHE_REDIS_H

#include "base/buf.h"
#include "base/err.h"
#include "net/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct redis_address {
	bool is_unix;
	char host[256]; /* or the path of the unix socket */
	char port[6];
	unsigned database;
	struct buf user, password; /* decoded; user empty: "default". NUL-terminated is not promised */
};

/* "redis://[[user]:password@]host[:port][/db]", "redis+unix://[[user]:password@]/path[?db=N]", already
 * checked by config_check_cache_uri. Returns 0, or -1 and *err. Release with redis_address_release. */
int redis_address_parse(struct redis_address *a, const char *uri, struct err *err);
void redis_address_release(struct redis_address *a);

/* A reply, hiredis's, seen through these. Valid only within the callback. */
struct redisReply;
enum redis_type { REDIS_NIL, REDIS_STATUS, REDIS_ERROR, REDIS_INTEGER, REDIS_TEXT, REDIS_ARRAY };
enum redis_type redis_type(const struct redisReply *reply);
struct slice redis_text(const struct redisReply *reply); /* empty unless STATUS, ERROR, TEXT */
int64_t redis_integer(const struct redisReply *reply);   /* 0 unless INTEGER */
size_t redis_count(const struct redisReply *reply);      /* 0 unless ARRAY */
const struct redisReply *redis_at(const struct redisReply *reply, size_t i); /* NULL beyond the end */

struct redis;

struct redis_events {
	void (*on_open)(void *arg);
	/* Every command without a reply has been told (NULL) before. `reason` is for the log, without a password. */
	void (*on_closed)(void *arg, const char *reason);
	/* A reply that no command waits for: what was sent with `done` NULL is answered here. */
	void (*on_push)(void *arg, const struct redisReply *reply);
	void *arg;
};

/* Returns owned. Loop and address are borrowed. */
struct redis *redis_new(struct loop *loop, const struct redis_address *address,
			const struct redis_events *events);
/* Closes in silence: neither commands nor on_closed are told. Not from within a callback of this
 * connection, nor before the loop's after_events (see struct watch). */
void redis_free(struct redis *r);

/* Begins to connect; connect_ms bounds it all, AUTH, SELECT and a first PING included. Only when closed
 * (on_closed may do it). The outcome is on_open or on_closed, never before this returns; that it cannot
 * even begin is told by redis_check_time. */
void redis_connect(struct redis *r, uint32_t connect_ms);
bool redis_is_open(const struct redis *r);

/* `reply` NULL: the connection ended, and nobody knows whether the command was done. */
typedef void redis_done_fn(void *arg, const struct redisReply *reply);

/* Queues a command when open (else `done` gets NULL before this returns); redis_flush sends what is queued
 * and calls nobody back. No reply within timeout_ms ends the connection. `done` NULL makes it a
 * subscriber's (SUBSCRIBE, and PING once subscribed): all that comes after the replies to earlier commands
 * is on_push's, with no order known and so with no deadline, and no command with a `done` may follow on
 * this connection. */
void redis_send(struct redis *r, const struct slice *words, size_t count, uint32_t timeout_ms,
		redis_done_fn *done, void *arg);
void redis_flush(struct redis *r);

/* Closes and tells on_closed; from within any callback, too. Nothing when closed. */
void redis_close(struct redis *r, const char *reason);

/* Ends the connection when something is late, at the loop's time; returns in how many ms to call again at
 * the latest, -1 when nothing waits. For after_events: what has arrived goes first. */
int redis_check_time(struct redis *r);

const char *redis_library(void); /* "hiredis 0.14.1" */

#endif
