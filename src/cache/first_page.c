#include "cache/first_page.h"

#include "base/clock.h"
#include "base/log.h"

#include <assert.h>
#include <stdlib.h>

struct first_page {
	struct page_memory *memory;
	unsigned worker;
	bool has_redis;
	uint32_t hold_max_ms;
	struct executor *executor;

	struct page copy;   /* of the slot, as it was last read */
	struct page answer; /* of its own: whoever is answered may at once ask again, and the copy change */

	struct job_list parked; /* by `wanted`, ascending */
	bool has_news;          /* some of them came since first_page_wake */

	/* IDLE -> UP -> LANDED -> IDLE: start_flight, first_page_land, first_page_collect; or IDLE -> LANDED, refused. */
	enum { FLIGHT_IDLE, FLIGHT_UP, FLIGHT_LANDED } flight_state;
	struct job *flight; /* while UP: the executor's */
	struct page flown;  /* what it brings; wanted: whom it serves */
	bool needs_flight;  /* somebody parked can only be answered by the next one */

	struct job_list held;
	uint32_t released;        /* the number up to which writes of this worker are over */
	int64_t stalled_since_ms; /* 0, or since when none became so although some could */
};

/* ---- lists */

static void list_free(struct job_list *list)
{
	for (struct job *job; (job = list->head);) {
		job_list_remove(list, job);
		job_free(job);
	}
}

/* ---- hits */

static bool is_hit(const struct first_page *fp)
{
	return fp->copy.state == PAGE_OK && page_is_current(fp->memory, &fp->copy);
}

const struct page *first_page_hit(struct first_page *fp)
{
	const struct page_memory *m = fp->memory;
	if (is_hit(fp))
		return &fp->copy;
	if (page_is_writing(m) || page_slot_generation(m) != page_generation(m) || !page_read(m, &fp->copy))
		return NULL;
	return is_hit(fp) ? &fp->copy : NULL;
}

/* ---- flights */

static void start_flight(struct first_page *fp)
{
	fp->needs_flight = false;
	if (!fp->parked.head)
		return;
	struct job *job = job_new(JOB_PAGE, 0);
	job->query.count = FIRST_PAGE_COUNT;
	fp->flown.wanted = fp->parked.tail->wanted;
	fp->flown.asked_ns = clock_monotonic_ns();
	fp->flown.filled_us = clock_wall_us();
	if (executor_submit(fp->executor, job)) {
		fp->flight = job;
		fp->flight_state = FLIGHT_UP;
		executor_wake(fp->executor);
		return;
	}
	job_free(job);
	fp->flown.state = PAGE_FAILED;
	fp->flight_state = FLIGHT_LANDED;
	page_ring(first_page_fd(fp));
}

static void start_flight_if_due(struct first_page *fp)
{
	if (fp->needs_flight && fp->flight_state == FLIGHT_IDLE)
		start_flight(fp);
}

bool first_page_land(struct first_page *fp, struct job *job)
{
	if (fp->flight_state != FLIGHT_UP || job != fp->flight)
		return false;
	if (job->status == STORE_OK)
		page_fill(&fp->flown, job->page);
	else
		fp->flown.state = PAGE_FAILED;
	job_free(job);
	fp->flight = NULL;
	fp->flight_state = FLIGHT_LANDED;
	return true;
}

/* ---- parked requests */

void first_page_park(struct first_page *fp, struct job *job)
{
	if (!fp->parked.head)
		page_set_waiting(fp->memory, fp->worker, true);
	job->wanted = page_want(fp->memory);
	job->is_parked = true;
	job_list_append(&fp->parked, job);
	fp->has_news = true;
}

/* Nobody has written since the slot was found too small: the keeper would only find that again. */
static bool is_too_large(const struct first_page *fp)
{
	return fp->copy.state == PAGE_TOO_LARGE && fp->copy.generation == page_generation(fp->memory) &&
	       !page_is_writing(fp->memory);
}

void first_page_wake(struct first_page *fp)
{
	if (!fp->has_news)
		return;
	fp->has_news = false;
	if (is_too_large(fp) || page_keeper_is_stuck(fp->memory))
		fp->needs_flight = true;
	else
		page_ring(page_keeper_bell(fp->memory));
	start_flight_if_due(fp);
}

/* Up to which numbers those who wait can be answered: with a page, or that there is none. */
struct outcome {
	const struct page *page;
	uint64_t served_to, failed_to;
};

/* The page was begun after everybody up to its `wanted` had come. */
static void consider(struct outcome *o, const struct page *page)
{
	if (page->state == PAGE_OK && page->wanted > o->served_to) {
		o->page = page;
		o->served_to = page->wanted;
	} else if (page->state == PAGE_FAILED && page->wanted > o->failed_to) {
		o->failed_to = page->wanted;
	}
}

static struct outcome find_outcome(struct first_page *fp)
{
	const struct page *hit = first_page_hit(fp);
	if (hit)
		return (struct outcome){hit, UINT64_MAX, 0};
	struct outcome o = {NULL, 0, 0};
	(void)page_read(fp->memory, &fp->copy); /* else the bell rings again */
	consider(&o, &fp->copy);
	if (fp->flight_state == FLIGHT_LANDED)
		consider(&o, &fp->flown);
	return o;
}

static void collect_parked(struct first_page *fp, struct job_list *done)
{
	struct job_list *parked = &fp->parked;
	if (parked->head) {
		struct outcome o = find_outcome(fp);
		uint64_t to = o.served_to > o.failed_to ? o.served_to : o.failed_to;
		for (struct job *job; (job = parked->head) && job->wanted <= to;) {
			first_page_unpark(fp, job);
			job->status = job->wanted <= o.served_to ? STORE_OK : STORE_UNAVAILABLE;
			job_list_append(done, job);
		}
		if (o.page)
			page_copy(&fp->answer, o.page);
	}
	if (fp->flight_state == FLIGHT_LANDED)
		fp->flight_state = FLIGHT_IDLE;
	if (fp->flight_state == FLIGHT_IDLE && parked->head && fp->copy.state == PAGE_TOO_LARGE &&
	    parked->head->wanted <= fp->copy.wanted)
		fp->needs_flight = true;
	start_flight_if_due(fp);
}

const struct page *first_page_answer(const struct first_page *fp)
{
	return &fp->answer;
}

/* ---- writes, in the store's threads */

static void write_begins(void *arg)
{
	struct first_page *fp = arg;
	page_write_begins(fp->memory, fp->worker);
	if (fp->has_redis)
		page_ring(page_keeper_bell(fp->memory));
}

static uint32_t write_ends(void *arg, struct store_write *const *writes, size_t count)
{
	struct first_page *fp = arg;
	bool changed = false, in_doubt = false;
	for (size_t i = 0; i < count; i++) {
		changed |= writes[i]->status == STORE_OK;
		in_doubt |= writes[i]->status == STORE_UNKNOWN;
	}
	if (in_doubt)
		page_write_in_doubt(fp->memory);
	changed |= in_doubt;
	if (changed && fp->has_redis)
		return page_write_committed(fp->memory, fp->worker);
	page_write_ends(fp->memory, fp->worker, 1, changed);
	return 0;
}

struct executor_hooks first_page_hooks(struct first_page *fp)
{
	return (struct executor_hooks){write_begins, write_ends, fp};
}

/* ---- held writes */

/* Is `number` at or before `last`, in the order in which they were given out? */
static bool is_up_to(uint32_t number, uint32_t last)
{
	return (int32_t)(last - number) >= 0;
}

/* Ends the writes up to `number`: one for each number, whether its clients are still there or not. */
static void end_writes(struct first_page *fp, uint32_t number)
{
	uint32_t committed = page_committed(fp->memory, fp->worker);
	if (!is_up_to(number, committed))
		number = committed;
	if (is_up_to(number, fp->released))
		return;
	uint32_t count = number - fp->released - (number < fp->released); /* 0 is no number */
	page_write_ends(fp->memory, fp->worker, count, true);
	fp->released = number;
	fp->stalled_since_ms = 0;
}

bool first_page_hold(struct first_page *fp, struct job *job)
{
	if (job->commit == 0)
		return false;
	end_writes(fp, page_invalidated(fp->memory, fp->worker));
	if (is_up_to(job->commit, fp->released))
		return false;
	job->is_parked = true;
	job_list_append(&fp->held, job);
	return true;
}

static void collect_held(struct first_page *fp, struct job_list *done)
{
	end_writes(fp, page_invalidated(fp->memory, fp->worker));
	for (struct job *job = fp->held.head, *next; job; job = next) {
		next = job->next;
		if (!is_up_to(job->commit, fp->released))
			continue;
		first_page_unpark(fp, job);
		job_list_append(done, job);
	}
}

/* ---- the loop's side */

void first_page_unpark(struct first_page *fp, struct job *job)
{
	assert(job->is_parked);
	job_list_remove(job->kind == JOB_WRITE ? &fp->held : &fp->parked, job);
	job->is_parked = false;
	job->state = JOB_DONE;
	if (job->kind != JOB_WRITE && !fp->parked.head)
		page_set_waiting(fp->memory, fp->worker, false);
}

struct job *first_page_collect(struct first_page *fp)
{
	struct job_list done = {NULL, NULL, 0};
	page_bell_quiet(first_page_fd(fp));
	collect_held(fp, &done);
	collect_parked(fp, &done);
	return done.head;
}

/* A keeper that lives answers long before hold_max_ms: nobody tells Redis any more. This machine stays right without it. */
static void check_held(struct first_page *fp)
{
	int64_t now_ms = clock_monotonic_ms();
	end_writes(fp, page_invalidated(fp->memory, fp->worker));
	uint32_t committed = page_committed(fp->memory, fp->worker);
	if (committed == fp->released) {
		fp->stalled_since_ms = 0;
	} else if (fp->stalled_since_ms == 0) {
		fp->stalled_since_ms = now_ms;
	} else if (now_ms - fp->stalled_since_ms >= fp->hold_max_ms) {
		log_warn("writes are acknowledged without Redis: the keeper has said nothing for %u ms",
			 fp->hold_max_ms);
		end_writes(fp, committed);
	}
}

void first_page_tick(struct first_page *fp)
{
	check_held(fp);
	if (fp->parked.head && page_keeper_is_stuck(fp->memory))
		fp->needs_flight = true;
	start_flight_if_due(fp);
}

int first_page_fd(const struct first_page *fp)
{
	return page_worker_bell(fp->memory, fp->worker);
}

enum page_cache first_page_cache(const struct first_page *fp)
{
	return fp->has_redis && page_keeper_is_stuck(fp->memory) ? PAGE_CACHE_AWAY
								 : page_cache_state(fp->memory);
}

bool first_page_has_keeper(const struct first_page *fp)
{
	return !page_keeper_is_stuck(fp->memory);
}

bool first_page_is_vouched_for(const struct first_page *fp)
{
	return page_is_vouched_for(fp->memory);
}

/* ---- life */

struct first_page *first_page_new(const struct first_page_settings *settings)
{
	struct first_page *fp = alloc_zeroed(1, sizeof(*fp));
	fp->memory = settings->memory;
	fp->worker = settings->worker;
	fp->has_redis = settings->has_redis;
	fp->hold_max_ms = settings->hold_max_ms;
	page_worker_begins(fp->memory, fp->worker);
	/* What a predecessor left open has been ended by the master. */
	fp->released = page_committed(fp->memory, fp->worker);
	return fp;
}

void first_page_use(struct first_page *fp, struct executor *executor)
{
	fp->executor = executor;
}

void first_page_free(struct first_page *fp)
{
	end_writes(fp, page_invalidated(fp->memory, fp->worker));
	list_free(&fp->parked);
	list_free(&fp->held);
	page_release(&fp->copy);
	page_release(&fp->answer);
	page_release(&fp->flown);
	free(fp);
}
