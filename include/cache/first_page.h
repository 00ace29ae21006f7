/*
 * The first page as one worker has it: its copy of what the keeper published, the requests that wait for a newer one, and the
 * answered writes that wait until Redis is invalidated. Used by the worker's loop alone, but for the two hooks that its store
 * threads call. Nothing here blocks. Knows neither HTTP nor Redis.
 *
 *   hit       first_page_hit: a few shared words are compared, nothing is locked, nothing copied
 *   parked    first_page_park: the keeper looks; first_page_collect brings the job back once a page is there
 *             that is current, or was begun after the job came
 *   flight    the keeper is stuck (page_keeper_is_stuck), or the page is too large for the slot: the worker asks its own
 *             store threads, one such query at a time; each serves those who were parked before it was submitted
 *   held      first_page_hold: a write that is done, until the keeper says that Redis knows. The keeper answers for Redis
 *             within a second; hold_max_ms bounds the wait for a keeper that is being replaced.
 */
#ifndef CACHE_FIRST_PAGE_H
#define CACHE_FIRST_PAGE_H

#include "cache/page_memory.h"
#include "store/executor.h"

struct first_page;

struct first_page_settings {
	struct page_memory *memory; /* borrowed */
	unsigned worker;            /* 0, 1, … */
	bool has_redis;             /* writes are held until the keeper has invalidated */
	uint32_t hold_max_ms;
};

enum { FIRST_PAGE_COUNT = 10 }; /* todos */

/* Returns owned. */
struct first_page *first_page_new(const struct first_page_settings *settings);
void first_page_free(struct first_page *fp);

/* What the executor has to call around writes: in its threads. `fp` outlives the executor. */
struct executor_hooks first_page_hooks(struct first_page *fp);

/* The store threads that a flight uses: set once, before the first request. Borrowed. */
void first_page_use(struct first_page *fp, struct executor *executor);

/* Readable when first_page_collect may have something. */
int first_page_fd(const struct first_page *fp);

/* The page when it is current, valid until the next call of anything here; else NULL: park. */
const struct page *first_page_hit(struct first_page *fp);

/* Takes the job (JOB_PAGE, of the first page), which comes back from first_page_collect. job->is_parked is true until then. */
void first_page_park(struct first_page *fp, struct job *job);

/* A write that executor_collect returned. True: it is held, and comes back from first_page_collect. False: it may be
 * answered now. */
bool first_page_hold(struct first_page *fp, struct job *job);

/* The client of a parked or held job has gone, or its time is over: the job is the caller's again. */
void first_page_unpark(struct first_page *fp, struct job *job);

/* A job that executor_collect returned: is it a flight's? Then it is taken (and freed), and first_page_collect brings
 * those it answers. */
bool first_page_land(struct first_page *fp, struct job *job);

/* Jobs that can be answered, oldest first, through `next`: the caller's now. Parked ones have their status; with
 * STORE_OK first_page_answer is what they are answered with, until the next first_page_collect. */
struct job *first_page_collect(struct first_page *fp);
const struct page *first_page_answer(const struct first_page *fp);

/* Once per batch of events: wakes the keeper for those who were parked in it, or starts a flight. */
void first_page_wake(struct first_page *fp);

/* Every LOOP_TICK_MS: notices a keeper that is stuck and writes that were held too long. Call first_page_collect after. */
void first_page_tick(struct first_page *fp);

/* Does the keeper look after the page? Else the workers ask the store themselves. */
bool first_page_has_keeper(const struct first_page *fp);

/* For counters: are pages served from memory now? */
bool first_page_is_vouched_for(const struct first_page *fp);

/* For /readyz: what the keeper says of Redis, which a keeper that is stuck cannot. */
enum page_cache first_page_cache(const struct first_page *fp);

#endif
