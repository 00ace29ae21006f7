/*
 * The session with Redis: the connection that carries the keeper's commands, and what makes it fit for use.
 *
 *     AWAY -> CONNECTING    the next try is due; at once after a session that was open
 *     CONNECTING -> OPENING the connection is open: who is it (INFO), scripts are loaded, everything is invalidated, a write is tried
 *     OPENING -> OPEN       all of it went well
 *     (any) -> AWAY         a session that was open is opened anew at once, and only what ends it again soon after waits; a try that
 *                           failed waits ever longer. What lasts is logged
 *
 * A Redis that was away may hold a page that should have been deleted: whoever opens a session invalidates first, so whatever
 * could not be invalidated is paid for with the next opening. Open, the session writes twice a second (a server that answers
 * reads and refuses writes keeps a page that nobody can delete), and looks whether it is still the same server (a
 * failover behind a proxy).
 */
#ifndef CACHE_SESSION_H
#define CACHE_SESSION_H

#include "cache/identity.h"
#include "cache/lease.h"
#include "cache/redis.h"

enum {
	SESSION_CONNECT_MS = 350,
	SESSION_COMMAND_MS = 350, /* an answer later than that is none */
	SESSION_PROBE_MS = 500,
	SESSION_RETRY_MS = 10, /* the first pause; each further one is twice as long, up to half a second */
};

struct session_events {
	void (*on_opening)(
	    void *arg); /* everything is about to be invalidated: what is committed by now counts */
	void (*on_open)(void *arg, bool others); /* it has been; `others`: there are further machines */
	void (*on_lost)(void *arg);              /* it was open */
	void *arg;
};

struct session;

/* Returns owned. All but *events is borrowed. */
struct session *session_new(struct loop *loop, const struct redis_address *address, const struct lease *lease,
			    const struct session_events *events);
void session_free(struct session *s);

bool session_is_open(const struct session *s);
/* Not open for SESSION_COMMAND_MS already: no use to wait for it. */
bool session_is_away(const struct session *s);
/* Open, but it refuses to store anything: it is out of memory. */
bool session_is_full(const struct session *s);

/* Sends a script when open. `done` gets NULL when there is no answer, or an error (which the session deals with). `words`:
 * what lease_*_args made. */
void session_call(struct session *s, enum lease_script script, const struct slice *words, size_t count,
		  redis_done_fn *done, void *arg);

/* Something came that cannot be: begin anew. */
void session_reset(struct session *s, const char *reason);

/* The machine goes, and says so as far as that can be done without waiting: others need not wait for it any more. */
void session_leave(struct session *s);

/* Does what is due, sends what is queued. Returns in how many ms it has to be called again. */
int session_tend(struct session *s);

/* Whom it is with, when open. */
const struct identity *session_identity(const struct session *s);

/* Are there other machines? `reply`: of invalidate or open, {receivers, machines}; own_receivers: 1 where the link hears, too. */
bool session_has_others(const struct redisReply *reply, unsigned own_receivers);

#endif
