/*
 * The link: the connection on which Redis tells what other machines do, and the proof that it does. A message that does not come
 * proves nothing; a PING that is answered does: whatever was published before Redis read it has arrived before the PONG. So
 * the page may be trusted until LINK_LEASE_MS after the *sending* of the last PING that was answered, and a writer on another
 * machine waits that long before he answers.
 *
 *     DOWN -> CONNECTING -> IDENTIFYING -> SUBSCRIBING -> UP    every arrow at most LINK_SILENCE_MS
 *     (any) -> DOWN                                             the connection ended, or an answer is that late
 *
 * A PONG later than LINK_LATE_MS means that Redis stood still. A writer may have stopped waiting for it meanwhile (after
 * SESSION_COMMAND_MS, which is longer), with his message still unread before Redis: it is read in the same turn as the pings that wait there,
 * so only a PING sent after this moment proves anything again.
 */
#ifndef CACHE_LINK_H
#define CACHE_LINK_H

#include "cache/identity.h"
#include "cache/lease.h"
#include "cache/redis.h"

enum {
	LINK_LEASE_MS = 50,
	LINK_PING_MS = 15,
	LINK_LATE_MS = 300,
	LINK_TRUST_MS =
	    150, /* Redis is asked for a page only when it has answered a PING that was sent so lately */
	LINK_SILENCE_MS = 450,
	LINK_SETTLE_MS =
	    1000, /* longer than it takes a machine to open a session with a Redis that is well */
	LINK_RETRY_MS = 100,
};

enum link_message { LINK_INVALIDATED, LINK_FILLED, LINK_RELEASED };

struct link_events {
	void (*on_break)(
	    void *arg); /* something may have been missed: it went down or came up, or a PONG was late */
	void (*on_message)(void *arg, enum link_message message); /* of another machine */
	void (*on_proof)(void *arg, int64_t sent_ns); /* a PING sent then was answered: CLOCK_MONOTONIC */
	void *arg;
};

struct link;

/* Returns owned. All but *events is borrowed. */
struct link *link_new(struct loop *loop, const struct redis_address *address, const struct lease *lease,
		      const struct link_events *events);
void link_free(struct link *l);

/* It hears what is published. */
bool link_is_up(const struct link *l);

/* Whom it is with, when up. */
const struct identity *link_identity(const struct link *l);

/* Begin anew. */
void link_reset(struct link *l, const char *reason);

/* Why it was last down; "" when it never was. */
const char *link_reason(const struct link *l);

/* After any trouble, and after a session has been opened, Redis is not trusted for LINK_SETTLE_MS: another machine may not yet have
 * found that it is well again, and answer its writers without it. */
void link_unsettle(struct link *l);
bool link_is_settled(const struct link *l);

/* When the last PING that was answered was sent: CLOCK_MONOTONIC; 0: nothing is proven. */
int64_t link_proven_ns(const struct link *l);

/* Does what is due, sends what is queued. Returns in how many ms it has to be called again. */
int link_tend(struct link *l);

#endif
