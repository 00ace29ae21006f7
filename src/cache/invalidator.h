/*
 * Redis learns of the workers' writes: one intent for whoever is writing, one invalidation for all that was committed since the last,
 * and the word to the workers that they may answer.
 *
 *     begin        somebody writes and no intent is known: sent, not awaited. Should this machine die now, the page lives
 *                  no longer than LEASE_INTENT_MS.
 *     invalidate   something was committed: one on its way at a time, so that many share the next
 *     release      its answer is here, and, where another machine may vouch for its page (link.h), LINK_LEASE_MS later
 *
 * Without a session the writers are released as soon as it is plain that it will not be back at once: the next opening invalidates
 * before anything is read.
 */
#ifndef CACHE_INVALIDATOR_H
#define CACHE_INVALIDATOR_H

#include "cache/link.h"
#include "cache/page_memory.h"
#include "cache/session.h"

struct invalidator;

/* Returns owned; the rest is borrowed. */
struct invalidator *invalidator_new(struct loop *loop, struct page_memory *memory, const struct lease *lease,
				    const struct link *link);
void invalidator_free(struct invalidator *v);

/* Sends what is to be said, releases who may be. Before Redis is asked for a page, and once per batch of events. Returns in
 * how many ms to call again, -1: when a worker rings. */
int invalidator_tend(struct invalidator *v, struct session *session);

/* Has something been written that Redis was not told yet? */
bool invalidator_owes(const struct invalidator *v);

/* struct session_events. */
void invalidator_opening(struct invalidator *v);
void invalidator_opened(struct invalidator *v, bool others);

#endif
