#include "store/executor.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "todo/todo_json.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum {
	EXECUTOR_LANE_THREADS_MAX = 8,
	EXECUTOR_STACK_BYTES = 512 * 1024,
	EXECUTOR_VAIN_BYTES = 64 * 1024,
	EXECUTOR_RETRY_MS = 50, /* before a store that refused at once is asked again */
	/* Clients that wait for their answer before they ask again are nearly always all there in time; of those that do not know of
	 * each other somebody is missing every other time. A wait that paid counts 1, one that did not this much. */
	EXECUTOR_GATHER_MISS = 8,
	EXECUTOR_GATHER_JOBS_MAX =
	    EXECUTOR_QUEUE_MAX / 2, /* more is enough, and others need room in the queue */
	EXECUTOR_GATHER_TRUST_MAX = 64,
};

static const char *const lane_names[LANES] = {"reading", "writing", "deleting"};

struct lane {
	struct executor *executor;
	enum lane_kind kind;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct job_list queue;
	size_t expected; /* writes: this many are about to wait together, */
	int64_t expected_until_ns;
	int gather_trust; /* above 0: they are waited for */
	size_t to_wake;   /* jobs submitted since executor_wake: the loop's alone */
	size_t row_bytes; /* of content, in pages read lately */
	bool is_away;     /* said in the log: the store cannot act */
	bool closing;
	size_t thread_count;
	size_t running; /* threads that have not left */
	struct lane_thread {
		struct lane *lane;
		pthread_t id;
		int64_t begin_since_ms; /* 0, or since when this thread has been waiting for the store to be
					   able to act */
	} threads[EXECUTOR_LANE_THREADS_MAX];
};

struct executor {
	struct executor_settings settings;
	int event_fd;
	pthread_mutex_t done_lock;
	struct job_list done;
	struct lane lanes[LANES];
};

/* ---- jobs and lists of them */

struct job *job_new(enum job_kind kind, uint64_t owner)
{
	struct job *job = alloc_zeroed(1, sizeof(*job));
	job->kind = kind;
	job->owner = owner;
	return job;
}

void job_free(struct job *job)
{
	if (!job)
		return;
	todo_page_drop(job->page);
	buf_release(&job->write.content);
	buf_release(&job->if_match);
	buf_release(&job->if_none_match);
	free(job);
}

void job_list_append(struct job_list *list, struct job *job)
{
	job->next = NULL;
	job->prev = list->tail;
	*(job->prev ? &job->prev->next : &list->head) = job;
	list->tail = job;
	list->count++;
}

void job_list_remove(struct job_list *list, struct job *job)
{
	*(job->prev ? &job->prev->next : &list->head) = job->next;
	*(job->next ? &job->next->prev : &list->tail) = job->prev;
	job->prev = job->next = NULL;
	list->count--;
}

static struct job *list_take(struct job_list *list)
{
	struct job *job = list->head;
	if (job)
		job_list_remove(list, job);
	return job;
}

/* ---- what is counted */

/* Under the lane's lock. */
static void tell_queue(const struct lane *lane)
{
	gauge_set(&metrics_own()->gauges.queued[lane->kind], lane->queue.count);
}

static uint64_t elapsed_ns(int64_t since_ns)
{
	int64_t ns = clock_monotonic_ns() - since_ns;
	return ns > 0 ? (uint64_t)ns : 0;
}

static enum store_call call_of(const struct lane *lane, const struct job *first)
{
	static const uint8_t reads[] = {
	    [JOB_PAGE] = STORE_CALL_PAGE,
	    [JOB_GET] = STORE_CALL_GET,
	    [JOB_PING] = STORE_CALL_PING,
	    [JOB_ID] = STORE_CALL_ID,
	};
	if (first->kind != JOB_WRITE)
		return (enum store_call)reads[first->kind];
	return lane->kind == LANE_DELETE ? STORE_CALL_DELETE : STORE_CALL_COMMIT;
}

/* What one call of the driver has done. */
static void count_call(const struct lane *lane, const struct job_list *batch, uint64_t took_ns)
{
	struct metrics *m = metrics_own();
	histogram_add_shared(&m->calls[call_of(lane, batch->head)], &histogram_times, took_ns);
	if (lane->kind == LANE_WRITE)
		histogram_add_shared(&m->batches, &histogram_sizes, batch->count);
	for (const struct job *job = batch->head; job; job = job->next)
		counter_add_shared(&m->operations[store_operation_of(job)][job->status], 1);
}

/* ---- what a thread takes from its queue, and does */

/* Under the lane's lock. */
static void start(struct lane *lane, struct job *job, struct job_list *batch, int64_t now_ns)
{
	job_list_remove(&lane->queue, job);
	job->state = JOB_RUNNING;
	job_list_append(batch, job);
	uint64_t waited_ns = now_ns > job->submitted_ns ? (uint64_t)(now_ns - job->submitted_ns) : 0;
	histogram_add_shared(&metrics_own()->waits[lane->kind], &histogram_times, waited_ns);
}

static bool is_same_page(const struct store_page_query *a, const struct store_page_query *b)
{
	return a->start == b->start && a->count == b->count && a->has_after == b->has_after &&
	       (!a->has_after || (a->after.created_at == b->after.created_at &&
				  uuid_compare_to(&a->after.id, &b->after.id) == 0));
}

/* How far from the first page's start another may start to be read along with it. Rows that nobody asked for
 * are cheaper than another query only while they are small. */
static uint32_t reach_of(const struct lane *lane)
{
	uint32_t rows = store_rows_per_query(lane->executor->settings.store);
	size_t affordable = EXECUTOR_VAIN_BYTES / (lane->row_bytes + 1);
	return affordable < rows ? (uint32_t)affordable : rows;
}

/* May the query that answers `first` answer `job` as well? */
static bool is_along(const struct lane *lane, const struct job *first, const struct job *job)
{
	if (first->kind != JOB_PAGE || job->kind != JOB_PAGE)
		return false;
	if (is_same_page(&first->query, &job->query))
		return true;
	uint32_t a = first->query.start, b = job->query.start;
	return !first->query.has_after && !job->query.has_after && (a < b ? b - a : a - b) <= reach_of(lane);
}

/* One read, and the pages that the same query answers; every write; one delete. */
static struct job_list take_batch(struct lane *lane)
{
	struct job_list batch = {NULL, NULL, 0};
	pthread_mutex_lock(&lane->lock);
	struct job *first = lane->queue.head, *next;
	int64_t now_ns = clock_monotonic_ns();
	for (struct job *job = first; job; job = next) {
		next = job->next;
		if (job == first || lane->kind == LANE_WRITE ||
		    (lane->kind == LANE_READ && is_along(lane, batch.head, job)))
			start(lane, job, &batch, now_ns);
	}
	tell_queue(lane);
	pthread_mutex_unlock(&lane->lock);
	return batch;
}

/* A running mean of what a todo takes, for reach_of. */
static void note_row_bytes(struct lane *lane, const struct todo_page *page)
{
	if (page->count == 0)
		return;
	pthread_mutex_lock(&lane->lock);
	lane->row_bytes = (3 * lane->row_bytes + page->content.len / page->count) / 4;
	pthread_mutex_unlock(&lane->lock);
}

/* The query that covers all pages of the batch. */
static struct store_page_query cover(const struct job_list *batch)
{
	struct store_page_query whole = batch->head->query;
	for (const struct job *job = batch->head; job; job = job->next) {
		uint32_t end = job->query.start + job->query.count, whole_end = whole.start + whole.count;
		if (job->query.start < whole.start)
			whole.start = job->query.start;
		whole.count = (end > whole_end ? end : whole_end) - whole.start;
	}
	return whole;
}

/* Gives each job its part of the page; jobs that ask the same share it. */
static void deal(struct job_list *batch, const struct store_page_query *whole, struct todo_page *page)
{
	for (struct job *job = batch->head; job; job = job->next) {
		struct job *same = batch->head; /* itself, at the latest */
		while (same != job && !is_same_page(&same->query, &job->query))
			same = same->next;
		if (same != job || is_same_page(whole, &job->query)) {
			job->page = same != job ? same->page : page;
			todo_page_keep(job->page);
		} else {
			job->page = todo_page_slice(page, job->query.start - whole->start, job->query.count);
		}
		if (job->kind == JOB_PAGE)
			(void)todo_page_json(
			    job->page); /* here, where it delays nobody: it may be megabytes */
	}
}

/* Returns how long the driver took. */
static uint64_t do_read(struct lane *lane, struct store_session *session, struct job_list *batch)
{
	struct job *first = batch->head;
	int64_t since_ns = clock_monotonic_ns();
	if (first->kind == JOB_PING || first->kind == JOB_ID) {
		first->status = first->kind == JOB_PING ? store_ping(session) : store_id(session, &first->id);
		return elapsed_ns(since_ns);
	}
	struct store_page_query whole = first->query;
	if (first->kind == JOB_PAGE)
		whole = cover(batch);
	struct todo_page *page = todo_page_new();
	enum store_status status =
	    first->kind == JOB_GET ? store_get(session, &first->id, page) : store_page(session, &whole, page);
	uint64_t took_ns = elapsed_ns(since_ns);
	for (struct job *job = first; job; job = job->next)
		job->status = status;
	if (status == STORE_OK) {
		deal(batch, &whole, page);
		note_row_bytes(lane, page);
	}
	todo_page_drop(page);
	return took_ns;
}

/* Likewise. */
static uint64_t do_writes(struct lane *lane, struct store_session *session, struct job_list *batch)
{
	const struct executor_hooks *hooks = &lane->executor->settings.hooks;
	struct store_write *writes[EXECUTOR_QUEUE_MAX];
	size_t count = 0;
	for (struct job *job = batch->head; job; job = job->next)
		writes[count++] = &job->write;
	hooks->write_begins(hooks->arg);
	int64_t since_ns = clock_monotonic_ns();
	store_write(session, writes, count);
	uint64_t took_ns = elapsed_ns(since_ns);
	uint32_t commit = hooks->write_ends(hooks->arg, writes, count);
	for (struct job *job = batch->head; job; job = job->next) {
		job->status = job->write.status;
		job->commit = commit;
	}
	return took_ns;
}

static void log_failures(const struct lane *lane, const struct store_session *session,
			 const struct job_list *batch)
{
	size_t failed = 0;
	for (const struct job *job = batch->head; job; job = job->next)
		failed += job->status != STORE_OK && job->status != STORE_NOT_FOUND;
	if (failed > 0)
		log_warn("%s failed for %zu of %zu requests: %s", lane_names[lane->kind], failed,
			 batch->count, store_error(session));
}

/* Clients that were just answered are about to ask again, and those that came meanwhile are waiting: one trip for all of
 * them instead of two with half of them each. Under the lane's lock. */
static void expect_again(struct lane *lane, size_t answered)
{
	if (lane->kind != LANE_WRITE || answered < 2)
		return; /* a client alone never waits */
	size_t all = lane->queue.count + answered;
	if (all > EXECUTOR_GATHER_JOBS_MAX)
		return;
	if (lane->gather_trust <= 0) {
		lane->gather_trust++;
		return;
	}
	lane->expected = all;
	lane->expected_until_ns =
	    clock_monotonic_ns() + (int64_t)lane->executor->settings.gather_max_us * 1000;
}

static uint32_t us_between(int64_t from_ns, int64_t to_ns)
{
	int64_t us = (to_ns - from_ns) / 1000;
	return us < 0 ? 0 : us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
}

static void note_times(struct job_list *batch, int64_t begun_ns)
{
	int64_t now_ns = clock_monotonic_ns();
	for (struct job *job = batch->head; job; job = job->next) {
		job->queued_us = us_between(job->submitted_ns, begun_ns);
		job->took_us = us_between(begun_ns, now_ns);
		job->batch = (uint32_t)batch->count;
	}
}

/* Hands the batch to the loop, but for the jobs that the loop has given up. */
static void finish(struct lane *lane, struct job_list *batch)
{
	struct executor *ex = lane->executor;
	struct job_list done = {NULL, NULL, 0};
	struct job *job;
	pthread_mutex_lock(&lane->lock);
	while ((job = list_take(batch))) {
		if (job->state == JOB_ABANDONED) {
			/* A page may be shared with jobs that the loop gets: its count must not change any
			 * more after the hand-over, so it changes here, before. */
			job_free(job);
			continue;
		}
		job->state = JOB_DONE;
		job_list_append(&done, job);
	}
	expect_again(lane, done.count);
	if (done.count > 0) {
		pthread_mutex_lock(&ex->done_lock);
		bool was_empty = ex->done.count == 0;
		while ((job = list_take(&done)))
			job_list_append(&ex->done, job);
		pthread_mutex_unlock(&ex->done_lock);
		uint64_t one = 1;
		if (was_empty && write(ex->event_fd, &one, sizeof(one)) != sizeof(one))
			assert(errno == EAGAIN); /* the counter is far from 0 then: the loop wakes anyway */
	}
	pthread_mutex_unlock(&lane->lock);
}

/* ---- a store thread */

static struct timespec timespec_of(int64_t ns)
{
	return (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
}

static struct timespec monotonic_in_ms(uint32_t ms)
{
	return timespec_of(clock_monotonic_ns() + (int64_t)ms * 1000000);
}

/* Under the lane's lock. */
static void await_expected(struct lane *lane)
{
	if (lane->expected == 0)
		return;
	struct timespec until = timespec_of(lane->expected_until_ns);
	while (lane->queue.count < lane->expected && !lane->closing &&
	       pthread_cond_timedwait(&lane->wake, &lane->lock, &until) == 0)
		;
	if (lane->queue.count < lane->expected)
		lane->gather_trust -= EXECUTOR_GATHER_MISS;
	else if (lane->gather_trust < EXECUTOR_GATHER_TRUST_MAX)
		lane->gather_trust++;
	lane->expected = 0;
}

/* Waits for a job, or, while the store is away, a moment. False: leave. */
static bool wait_for_work(struct lane *lane, struct lane_thread *self)
{
	pthread_mutex_lock(&lane->lock);
	if (self->begin_since_ms != 0 && !lane->closing) {
		struct timespec until = monotonic_in_ms(EXECUTOR_RETRY_MS);
		(void)pthread_cond_timedwait(&lane->wake, &lane->lock, &until);
	}
	await_expected(lane);
	while (self->begin_since_ms == 0 && !lane->queue.head && !lane->closing)
		pthread_cond_wait(&lane->wake, &lane->lock);
	if (self->begin_since_ms == 0)
		self->begin_since_ms = clock_monotonic_ms();
	bool go_on = !lane->closing;
	pthread_mutex_unlock(&lane->lock);
	return go_on;
}

/* Waits until the store can act; says in the log when that changes. */
static bool begin(struct lane *lane, struct lane_thread *self, struct store_session *session)
{
	if (!atomic_load(lane->executor->settings.setup_done))
		return false;
	bool has_begun = store_begin(session) == STORE_OK;
	pthread_mutex_lock(&lane->lock);
	bool was_away = lane->is_away;
	lane->is_away = !has_begun;
	if (has_begun)
		self->begin_since_ms = 0;
	pthread_mutex_unlock(&lane->lock);
	if (!has_begun && !was_away)
		log_warn("the store is away for %s: %s", lane_names[lane->kind], store_error(session));
	else if (has_begun && was_away)
		log_info("the store is back for %s", lane_names[lane->kind]);
	return has_begun;
}

static void *run_thread(void *arg)
{
	struct lane_thread *self = arg;
	struct lane *lane = self->lane;
	struct store_session *session =
	    store_session_open(lane->executor->settings.store,
			       lane->kind == LANE_READ ? STORE_READ : STORE_WRITE);
	while (wait_for_work(lane, self)) {
		if (!begin(lane, self, session))
			continue;
		struct job_list batch = take_batch(lane);
		int64_t begun_ns = clock_monotonic_ns();
		if (batch.count > 0) { /* else another thread was faster, or the loop gave them up */
			uint64_t took_ns = lane->kind == LANE_READ ? do_read(lane, session, &batch)
								   : do_writes(lane, session, &batch);
			count_call(lane, &batch, took_ns);
			log_failures(lane, session, &batch);
		}
		store_end(session);
		note_times(&batch, begun_ns);
		finish(lane, &batch);
	}
	store_session_close(session);
	pthread_mutex_lock(&lane->lock);
	lane->running--;
	pthread_cond_broadcast(&lane->wake);
	pthread_mutex_unlock(&lane->lock);
	return NULL;
}

/* ---- the loop's side */

static struct lane *lane_of(struct executor *ex, const struct job *job)
{
	if (job->kind != JOB_WRITE)
		return &ex->lanes[LANE_READ];
	if (job->write.kind == STORE_DELETE && ex->lanes[LANE_DELETE].thread_count > 0)
		return &ex->lanes[LANE_DELETE];
	return &ex->lanes[LANE_WRITE];
}

/* Under the lane's lock. Every thread has waited for the store longer than a job may: a new one would only
 * wait in vain. */
static bool is_stuck(const struct lane *lane, int64_t now_ms)
{
	for (size_t i = 0; i < lane->thread_count; i++) {
		int64_t since_ms = lane->threads[i].begin_since_ms;
		if (since_ms == 0 || now_ms - since_ms <= lane->executor->settings.timeout_ms)
			return false;
	}
	return true;
}

bool executor_submit(struct executor *ex, struct job *job)
{
	struct lane *lane = lane_of(ex, job);
	if (lane->thread_count == 0)
		return false;
	int64_t now_ns = clock_monotonic_ns();
	pthread_mutex_lock(&lane->lock);
	bool stuck = is_stuck(lane, now_ns / 1000000);
	bool taken = lane->queue.count < EXECUTOR_QUEUE_MAX && !lane->closing && !stuck;
	if (stuck && !lane->is_away) {
		lane->is_away = true;
		log_warn("the store is away for %s: no answer, or no lock, for %u ms", lane_names[lane->kind],
			 ex->settings.timeout_ms);
	}
	if (taken) {
		job->state = JOB_QUEUED;
		job->submitted_ns = now_ns;
		job_list_append(&lane->queue, job);
		lane->to_wake++;
		tell_queue(lane);
	}
	pthread_mutex_unlock(&lane->lock);
	if (!taken)
		counter_add_shared(&metrics_own()->store_refused, 1);
	return taken;
}

void executor_wake(struct executor *ex)
{
	for (int kind = 0; kind < LANES; kind++) {
		struct lane *lane = &ex->lanes[kind];
		if (lane->to_wake == 0)
			continue;
		pthread_mutex_lock(&lane->lock);
		if (lane->queue.count < lane->expected)
			; /* it looks by itself */
		else if (lane->to_wake == 1)
			pthread_cond_signal(&lane->wake);
		else
			pthread_cond_broadcast(&lane->wake);
		pthread_mutex_unlock(&lane->lock);
		lane->to_wake = 0;
	}
}

enum job_fate executor_abandon(struct executor *ex, struct job *job)
{
	struct lane *lane = lane_of(ex, job);
	enum job_fate fate = JOB_COLLECTABLE;
	pthread_mutex_lock(&lane->lock);
	if (job->state == JOB_QUEUED) {
		job_list_remove(&lane->queue, job);
		tell_queue(lane);
		fate = JOB_NOT_BEGUN;
	} else if (job->state == JOB_RUNNING) {
		job->state = JOB_ABANDONED;
		fate = JOB_BEGUN;
	}
	pthread_mutex_unlock(&lane->lock);
	if (fate == JOB_NOT_BEGUN)
		job_free(job);
	return fate;
}

enum job_fate executor_expire(struct executor *ex, struct job *job)
{
	enum job_fate fate = executor_abandon(ex, job);
	if (fate == JOB_NOT_BEGUN)
		counter_add_shared(&metrics_own()->store_refused, 1);
	return fate;
}

int executor_fd(const struct executor *ex)
{
	return ex->event_fd;
}

struct job *executor_collect(struct executor *ex)
{
	uint64_t count;
	if (read(ex->event_fd, &count, sizeof(count)) != sizeof(count))
		return NULL;
	pthread_mutex_lock(&ex->done_lock);
	struct job *jobs = ex->done.head;
	ex->done = (struct job_list){NULL, NULL, 0};
	pthread_mutex_unlock(&ex->done_lock);
	return jobs;
}

/* ---- life */

static void init_lane(struct executor *ex, enum lane_kind kind)
{
	struct lane *lane = &ex->lanes[kind];
	pthread_condattr_t attributes;
	lane->executor = ex;
	lane->kind = kind;
	lane->gather_trust = 1;
	pthread_mutex_init(&lane->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&lane->wake, &attributes);
	pthread_condattr_destroy(&attributes);
}

/* Signals are the loop's: no store thread may take one. */
static int start_threads(struct lane *lane, size_t count)
{
	sigset_t all, before;
	pthread_attr_t attributes;
	int error = 0;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, EXECUTOR_STACK_BYTES);
	for (; count > 0 && !error; count--) {
		struct lane_thread *thread = &lane->threads[lane->thread_count];
		thread->lane = lane;
		error = pthread_create(&thread->id, &attributes, run_thread, thread);
		lane->thread_count += !error;
		lane->running += !error;
	}
	pthread_attr_destroy(&attributes);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return error;
}

struct executor *executor_open(const struct executor_settings *settings, struct err *err)
{
	struct executor *ex = alloc_zeroed(1, sizeof(*ex));
	const size_t counts[LANES] = {settings->readers, settings->writers,
				      settings->writers > 0 ? store_delete_threads(settings->store) : 0};
	assert(settings->writers == 0 || (settings->hooks.write_begins && settings->hooks.write_ends));
	ex->settings = *settings;
	ex->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&ex->done_lock, NULL);
	int error = ex->event_fd < 0 ? errno : 0;
	for (int kind = 0; kind < LANES; kind++) {
		assert(counts[kind] <= EXECUTOR_LANE_THREADS_MAX);
		init_lane(ex, kind);
		if (!error)
			error = start_threads(&ex->lanes[kind], counts[kind]);
	}
	if (error) {
		err_set(err, EXIT_CODE_OS, "cannot start the store threads: %s", strerror(error));
		executor_close(ex, 1000);
		return NULL;
	}
	return ex;
}

/* False: one has not left by then. */
static bool await_threads(struct lane *lane, const struct timespec *until)
{
	pthread_mutex_lock(&lane->lock);
	int error = 0;
	while (lane->running > 0 && !error)
		error = pthread_cond_timedwait(&lane->wake, &lane->lock, until);
	bool all = lane->running == 0;
	pthread_mutex_unlock(&lane->lock);
	return all;
}

static void free_jobs(struct job *job)
{
	for (struct job *next; job; job = next) {
		next = job->next;
		job_free(job);
	}
}

static void release_lane(struct lane *lane)
{
	for (size_t i = 0; i < lane->thread_count; i++)
		pthread_join(lane->threads[i].id, NULL);
	free_jobs(lane->queue.head);
	pthread_cond_destroy(&lane->wake);
	pthread_mutex_destroy(&lane->lock);
}

bool executor_close(struct executor *ex, uint32_t wait_ms)
{
	struct timespec until = monotonic_in_ms(wait_ms);
	for (int kind = 0; kind < LANES; kind++) {
		struct lane *lane = &ex->lanes[kind];
		pthread_mutex_lock(&lane->lock);
		lane->closing = true;
		pthread_cond_broadcast(&lane->wake);
		pthread_mutex_unlock(&lane->lock);
	}
	for (int kind = 0; kind < LANES; kind++)
		if (!await_threads(&ex->lanes[kind], &until))
			return false;
	for (int kind = 0; kind < LANES; kind++)
		release_lane(&ex->lanes[kind]);
	free_jobs(ex->done.head);
	pthread_mutex_destroy(&ex->done_lock);
	if (ex->event_fd >= 0)
		close(ex->event_fd);
	free(ex);
	return true;
}
