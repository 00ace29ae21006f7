/*
 * What the keeper does for the page: it looks for it, publishes it, and reads it anew before it is old. A look, one at a time:
 *
 *     IDLE -> ASKING       ask: Redis is fit to be asked, and nobody here is writing
 *     IDLE -> QUERYING     ask: it is not
 *     ASKING -> IDLE       on_acquired: Redis has a page
 *     ASKING -> QUERYING   on_acquired: the lease is ours and there is no page; or Redis fails, or is late
 *     ASKING -> WAITING    on_acquired: somebody else holds the lease
 *     WAITING -> ASKING    a message of the holder, or a moment later
 *     WAITING -> QUERYING  it takes too long
 *     QUERYING -> IDLE     look_take: published, and given to Redis if the lease is ours
 *
 * Beside it a refresh may run: a page that is no longer fresh is read anew while it is served. Both use the one store thread.
 *
 * generation and wanted are read before anything is asked: a page is worth no more than what was known then.
 */
#ifndef CACHE_LOOK_H
#define CACHE_LOOK_H

#include "cache/invalidator.h"
#include "cache/lease.h"
#include "cache/link.h"
#include "cache/page_memory.h"
#include "cache/session.h"
#include "store/executor.h"

struct look;

struct look_settings {
	struct loop *loop; /* borrowed, as the next two */
	struct page_memory *memory;
	struct executor *executor; /* one reader */
	uint32_t store_timeout_ms;
	uint32_t ttl_s, fresh_s; /* cache_ttl_s, cache_fresh_s */
};

/* Returns owned. */
struct look *look_new(const struct look_settings *settings);
void look_free(struct look *l); /* after the session, which may still owe answers */

/* From here on Redis is asked first. Borrowed. */
void look_use(struct look *l, const struct lease *lease, struct session *session, struct link *link,
	      const struct invalidator *invalidator);

/* Does what is due: once per batch of events, behind what Redis has to know first. Returns in how many ms to call again, -1:
 * when something happens. */
int look_tend(struct look *l);

/* A job that executor_collect returned: is it the look's? It stays the caller's. */
bool look_take(struct look *l, struct job *job);

/* What another machine has done. */
void look_heard(struct look *l, enum link_message message);

#endif
