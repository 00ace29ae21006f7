/*
 * The executor on a store of this file's own, whose threads can be held where a test wants them, and on a
 * real SQLite store.
 */
#include "store/executor.h"

#include "base/clock.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { TIMEOUT_MS = 200, DEADLINE_MS = 20000, HELD_TODOS = 2000, HELD_ROWS_PER_QUERY = 100 };

/* ---- a store that does as it is told */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool refuses;         /* begin answers STORE_UNAVAILABLE */
	bool holds_begin;     /* begin waits */
	bool holds_act;       /* reads and writes wait */
	int begun, acting;    /* threads that wait there now */
	int ended;            /* uses of a session that are over */
	int queries, batches; /* done so far */
	size_t largest_batch;
	size_t written;
	int write_begins, write_ends; /* calls of the hooks */
	size_t told;                  /* writes with the status that they end with, in write_ends */
} held = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static struct store_session *held_session_open(struct store *store, enum store_access access)
{
	struct store_session *session = alloc_zeroed(1, sizeof(*session));
	session->ops = store->ops;
	session->access = access;
	return session;
}

static void held_session_close(struct store_session *session)
{
	free(session);
}

static void wait_while(bool *condition, int *waiting)
{
	++*waiting;
	pthread_cond_broadcast(&held.changed);
	while (*condition)
		pthread_cond_wait(&held.changed, &held.lock);
	--*waiting;
}

static enum store_status held_begin(struct store_session *session)
{
	(void)session;
	pthread_mutex_lock(&held.lock);
	wait_while(&held.holds_begin, &held.begun);
	enum store_status status = held.refuses ? STORE_UNAVAILABLE : STORE_OK;
	pthread_mutex_unlock(&held.lock);
	return status;
}

static void held_end(struct store_session *session)
{
	(void)session;
	pthread_mutex_lock(&held.lock);
	held.ended++;
	pthread_cond_broadcast(&held.changed);
	pthread_mutex_unlock(&held.lock);
}

static enum store_status held_page(struct store_session *session, const struct store_page_query *query,
				   struct todo_page *page)
{
	(void)session;
	for (uint32_t i = 0; i < query->count && query->start + i < HELD_TODOS; i++) {
		struct todo todo = {.content = SLICE("x"), .created_at = query->start + i};
		todo_page_add(page, &todo);
	}
	page->has_more = query->start + query->count < HELD_TODOS;
	pthread_mutex_lock(&held.lock);
	wait_while(&held.holds_act, &held.acting);
	held.queries++;
	pthread_mutex_unlock(&held.lock);
	return STORE_OK;
}

static enum store_status held_ping(struct store_session *session)
{
	(void)session;
	return STORE_OK;
}

static enum store_status held_id(struct store_session *session, struct uuid *id)
{
	(void)session;
	*id = (struct uuid){
	    {1, 2, 3}
        };
	return STORE_OK;
}

static enum store_status held_status(const struct store_write *write)
{
	return write->kind == STORE_DELETE ? STORE_NOT_FOUND : STORE_OK;
}

static void held_write(struct store_session *session, struct store_write **writes, size_t count)
{
	(void)session;
	pthread_mutex_lock(&held.lock);
	wait_while(&held.holds_act, &held.acting);
	held.batches++;
	held.written += count;
	if (count > held.largest_batch)
		held.largest_batch = count;
	pthread_mutex_unlock(&held.lock);
	for (size_t i = 0; i < count; i++)
		writes[i]->status = held_status(writes[i]);
}

static const char *held_error(const struct store_session *session)
{
	(void)session;
	return "held by the test";
}

static const struct store_ops held_ops = {
    .name = "held",
    .delete_threads = 3,
    .rows_per_query = HELD_ROWS_PER_QUERY,
    .session_open = held_session_open,
    .session_close = held_session_close,
    .begin = held_begin,
    .end = held_end,
    .ping = held_ping,
    .id = held_id,
    .page = held_page,
    .write = held_write,
    .error = held_error,
};

static struct store held_store = {.ops = &held_ops};
static _Atomic uint32_t setup_done;

static void held_write_begins(void *arg)
{
	assert_ptr_equal(arg, &held);
	pthread_mutex_lock(&held.lock);
	held.write_begins++;
	pthread_mutex_unlock(&held.lock);
}

enum { COMMIT = 4711 }; /* of the first batch; one more for each */

static uint32_t held_write_ends(void *arg, struct store_write *const *writes, size_t count)
{
	assert_ptr_equal(arg, &held);
	pthread_mutex_lock(&held.lock);
	for (size_t i = 0; i < count; i++)
		held.told += writes[i]->status == held_status(writes[i]);
	uint32_t commit = COMMIT + (uint32_t)held.write_ends++;
	pthread_cond_broadcast(&held.changed);
	pthread_mutex_unlock(&held.lock);
	return commit;
}

static struct executor *open_gathering(struct store *store, uint32_t timeout_ms, unsigned writers,
				       uint32_t gather_max_us)
{
	const struct executor_settings settings = {
	    .store = store,
	    .timeout_ms = timeout_ms,
	    .setup_done = &setup_done,
	    .readers = EXECUTOR_READERS,
	    .writers = writers,
	    .gather_max_us = gather_max_us,
	    .hooks = {held_write_begins, held_write_ends, &held},
	};
	struct err err;
	return executor_open(&settings, &err);
}

static struct executor *open_executor(struct store *store, uint32_t timeout_ms, unsigned writers)
{
	return open_gathering(store, timeout_ms, writers, 0);
}

static void set(bool *flag, bool value)
{
	pthread_mutex_lock(&held.lock);
	*flag = value;
	pthread_cond_broadcast(&held.changed);
	pthread_mutex_unlock(&held.lock);
}

static void await(const int *counter, int at_least)
{
	pthread_mutex_lock(&held.lock);
	while (*counter < at_least)
		pthread_cond_wait(&held.changed, &held.lock);
	pthread_mutex_unlock(&held.lock);
}

static int read_counter(const int *counter)
{
	pthread_mutex_lock(&held.lock);
	int value = *counter;
	pthread_mutex_unlock(&held.lock);
	return value;
}

static int reset(void **state)
{
	(void)state;
	held.refuses = held.holds_begin = held.holds_act = false;
	held.queries = held.batches = held.ended = held.write_begins = held.write_ends = 0;
	held.largest_batch = held.written = held.told = 0;
	atomic_store(&setup_done, 1);
	return 0;
}

static int set_up(void **state)
{
	(void)reset(state);
	*state = open_executor(&held_store, TIMEOUT_MS, EXECUTOR_WRITERS);
	return *state ? 0 : -1;
}

static int tear_down(void **state)
{
	set(&held.holds_begin, false);
	set(&held.holds_act, false);
	return executor_close(*state, DEADLINE_MS) ? 0 : -1;
}

/* ---- helpers */

static struct job *new_write(enum store_write_kind kind)
{
	struct job *job = job_new(JOB_WRITE, 0);
	job->write.kind = kind;
	return job;
}

static struct job *new_page(uint32_t start)
{
	struct job *job = job_new(JOB_PAGE, 0);
	job->query = (struct store_page_query){.start = start, .count = 10};
	return job;
}

static void submit(struct executor *ex, struct job *job)
{
	assert_true(executor_submit(ex, job));
	executor_wake(ex);
}

/* Collects `count` jobs, frees them, and returns how many had `status`. */
static int collect(struct executor *ex, int count, enum store_status status)
{
	int matching = 0;
	int64_t deadline_ms = clock_monotonic_ms() + DEADLINE_MS;
	while (count > 0) {
		struct pollfd ready = {.fd = executor_fd(ex), .events = POLLIN};
		assert_true(clock_monotonic_ms() < deadline_ms);
		(void)poll(&ready, 1, 100);
		for (struct job *job = executor_collect(ex), *next; job; job = next, count--) {
			next = job->next;
			matching += job->status == status;
			job_free(job);
		}
	}
	assert_int_equal(count, 0);
	return matching;
}

/* ---- cases */

static void test_writes_that_wait_go_together(void **state)
{
	struct executor *ex = *state;
	set(&held.holds_begin, true);
	submit(ex, new_write(STORE_INSERT));
	await(&held.begun, 1);
	for (int i = 0; i < 49; i++)
		submit(ex, new_write(i % 2 ? STORE_INSERT : STORE_FINISH));
	set(&held.holds_begin, false);
	assert_int_equal(collect(ex, 50, STORE_OK), 50);
	assert_int_equal(held.batches, 1);
	assert_int_equal(held.largest_batch, 50);
}

/* From what was waited for, and from what was done, alone. */
static void test_jobs_know_where_their_time_went(void **state)
{
	struct executor *ex = *state;
	enum { WAIT_MS = 30, WAIT_US = WAIT_MS * 1000 };
	const struct timespec wait = {.tv_nsec = WAIT_MS * 1000000L};
	set(&held.holds_begin, true);
	set(&held.holds_act, true);
	int64_t before_ns = clock_monotonic_ns();
	for (int i = 0; i < 3; i++)
		submit(ex, new_write(STORE_INSERT));
	await(&held.begun, 1);
	nanosleep(&wait, NULL);
	int64_t begun_ns = clock_monotonic_ns();
	set(&held.holds_begin, false);
	await(&held.acting, 1);
	nanosleep(&wait, NULL);
	set(&held.holds_act, false);
	struct pollfd ready = {.fd = executor_fd(ex), .events = POLLIN};
	assert_int_equal(poll(&ready, 1, DEADLINE_MS), 1);
	int64_t whole_us = (clock_monotonic_ns() - before_ns) / 1000;
	int count = 0;
	for (struct job *job = executor_collect(ex), *next; job; job = next, count++) {
		next = job->next;
		assert_int_equal(job->batch, 3);
		assert_in_range(job->queued_us, WAIT_US / 2, whole_us - WAIT_US / 2);
		assert_in_range(job->took_us, WAIT_US, whole_us - (begun_ns - before_ns) / 1000 + 1);
		job_free(job);
	}
	assert_int_equal(count, 3);
}

static void test_deletes_go_singly_and_beside_the_writes(void **state)
{
	struct executor *ex = *state;
	set(&held.holds_act, true);
	submit(ex, new_write(STORE_INSERT));
	for (int i = 0; i < 3; i++)
		submit(ex, new_write(STORE_DELETE));
	await(&held.acting, 4); /* all at once, or this never returns */
	set(&held.holds_act, false);
	assert_int_equal(collect(ex, 4, STORE_NOT_FOUND), 3);
	assert_int_equal(held.write_begins, 4);
	assert_int_equal(held.write_ends, 4);
	assert_int_equal(held.largest_batch, 1);
}

static void test_same_pages_share_one_query(void **state)
{
	struct executor *ex = *state;
	set(&held.holds_begin, true);
	submit(ex, new_page(0));
	await(&held.begun, 1);
	for (int i = 0; i < 9; i++)
		submit(ex, new_page(0));
	submit(ex, new_page(HELD_ROWS_PER_QUERY + 1));
	set(&held.holds_begin, false);
	assert_int_equal(collect(ex, 11, STORE_OK), 11);
	assert_int_equal(held.queries, 2);
}

/* Each gets its own todos of what one query brought, and knows whether more follow. */
static void test_near_pages_share_one_query(void **state)
{
	struct executor *ex = *state;
	static const uint32_t starts[] = {1950, 1900, 1995, 1990, 1950, 2050};
	enum { STARTS = sizeof(starts) / sizeof(starts[0]) };
	set(&held.holds_begin, true);
	submit(ex, new_page(starts[0]));
	await(&held.begun, 1);
	for (int i = 1; i < STARTS; i++)
		submit(ex, new_page(starts[i]));
	set(&held.holds_begin, false);
	int left = STARTS;
	while (left > 0) {
		struct pollfd ready = {.fd = executor_fd(ex), .events = POLLIN};
		assert_int_equal(poll(&ready, 1, DEADLINE_MS), 1);
		for (struct job *job = executor_collect(ex), *next; job; job = next, left--) {
			next = job->next;
			uint32_t start = job->query.start, end = start + job->query.count;
			size_t count = start >= HELD_TODOS ? 0
				       : end > HELD_TODOS  ? HELD_TODOS - start
							   : job->query.count;
			assert_int_equal(job->page->count, count);
			for (size_t i = 0; i < count; i++)
				assert_true(job->page->todos[i].created_at == (double)(start + i));
			assert_int_equal(job->page->has_more, end < HELD_TODOS);
			job_free(job);
		}
	}
	assert_int_equal(held.queries, 1);
}

static void test_a_query_that_runs_is_not_shared(void **state)
{
	struct executor *ex = *state;
	set(&held.holds_act, true);
	submit(ex, new_page(0));
	await(&held.acting, 1);
	submit(ex, new_page(0)); /* a todo may have been written since the first one began */
	await(&held.acting, 2);
	set(&held.holds_act, false);
	assert_int_equal(collect(ex, 2, STORE_OK), 2);
	assert_int_equal(held.queries, 2);
}

static void test_abandon_before_it_begins(void **state)
{
	struct executor *ex = *state;
	set(&held.holds_begin, true);
	struct job *job = new_write(STORE_INSERT);
	submit(ex, job);
	await(&held.begun, 1);
	assert_int_equal(executor_abandon(ex, job), JOB_NOT_BEGUN);
	set(&held.holds_begin, false);
	submit(ex, new_write(STORE_INSERT));
	assert_int_equal(collect(ex, 1, STORE_OK), 1);
	assert_int_equal(held.written, 1);
}

static void test_abandon_while_it_runs(void **state)
{
	struct executor *ex = *state;
	set(&held.holds_act, true);
	struct job *job = new_write(STORE_INSERT);
	submit(ex, job);
	await(&held.acting, 1);
	assert_int_equal(executor_abandon(ex, job), JOB_BEGUN);
	set(&held.holds_act, false);
	submit(ex, new_write(STORE_INSERT));
	assert_int_equal(collect(ex, 1, STORE_OK), 1); /* the abandoned one never comes */
	assert_int_equal(held.written, 2);
}

static void test_abandon_when_it_is_done(void **state)
{
	struct executor *ex = *state;
	struct job *job = new_write(STORE_INSERT);
	submit(ex, job);
	struct pollfd ready = {.fd = executor_fd(ex), .events = POLLIN};
	assert_int_equal(poll(&ready, 1, DEADLINE_MS), 1);
	assert_int_equal(executor_abandon(ex, job), JOB_COLLECTABLE);
	assert_int_equal(collect(ex, 1, STORE_OK), 1);
}

static void test_shared_page_outlives_an_abandoned_sharer(void **state)
{
	struct executor *ex = *state;
	set(&held.holds_begin, true);
	struct job *given_up = new_page(0), *awaited = new_page(0);
	submit(ex, given_up);
	await(&held.begun, 1);
	submit(ex, awaited);
	set(&held.holds_act, true);
	set(&held.holds_begin, false);
	await(&held.acting, 1);
	assert_int_equal(executor_abandon(ex, given_up), JOB_BEGUN);
	set(&held.holds_act, false);
	struct pollfd ready = {.fd = executor_fd(ex), .events = POLLIN};
	assert_int_equal(poll(&ready, 1, DEADLINE_MS), 1);
	struct job *job = executor_collect(ex);
	assert_ptr_equal(job, awaited);
	assert_null(job->next);
	assert_int_equal(job->page->references, 1);
	assert_int_equal(job->page->count, job->query.count);
	job_free(job);
}

/* Raised when the store can act, and not before; lowered before any of the jobs gets out. */
static void test_hooks_stand_around_a_batch(void **state)
{
	struct executor *ex = *state;
	for (uint32_t batch = 0; batch < 2; batch++) {
		set(&held.holds_begin, true);
		submit(ex, new_write(STORE_INSERT));
		await(&held.begun, 1);
		submit(ex, new_write(STORE_FINISH));
		submit(ex, new_write(STORE_INSERT));
		assert_int_equal(read_counter(&held.write_begins), batch);
		set(&held.holds_act, true);
		set(&held.holds_begin, false);
		await(&held.acting, 1);
		assert_int_equal(read_counter(&held.write_begins), batch + 1);
		assert_int_equal(read_counter(&held.write_ends), batch);
		set(&held.holds_act, false);
		struct pollfd ready = {.fd = executor_fd(ex), .events = POLLIN};
		assert_int_equal(poll(&ready, 1, DEADLINE_MS), 1);
		assert_int_equal(read_counter(&held.write_ends), batch + 1);
		int count = 0;
		for (struct job *job = executor_collect(ex), *next; job; job = next, count++) {
			next = job->next;
			assert_int_equal(job->commit, COMMIT + batch);
			job_free(job);
		}
		assert_int_equal(count, 3);
		assert_int_equal(held.told, 3 * (batch + 1));
	}
}

static void test_no_write_no_hook(void **state)
{
	struct executor *ex = *state;
	submit(ex, new_page(0));
	assert_int_equal(collect(ex, 1, STORE_OK), 1);
	await(&held.ended, 1);
	set(&held.holds_begin, true);
	struct job *job = new_write(STORE_INSERT);
	submit(ex, job);
	await(&held.begun, 1);
	assert_int_equal(executor_abandon(ex, job), JOB_NOT_BEGUN);
	set(&held.holds_begin, false);
	await(&held.ended, 2);
	assert_int_equal(read_counter(&held.write_begins), 0);
	assert_int_equal(read_counter(&held.write_ends), 0);
}

/* What was written is written, whether anybody waits for it or not. */
static void test_hooks_of_an_abandoned_batch(void **state)
{
	struct executor *ex = *state;
	set(&held.holds_act, true);
	struct job *job = new_write(STORE_INSERT);
	submit(ex, job);
	await(&held.acting, 1);
	assert_int_equal(executor_abandon(ex, job), JOB_BEGUN);
	set(&held.holds_act, false);
	await(&held.write_ends, 1);
	assert_int_equal(read_counter(&held.write_begins), 1);
	assert_int_equal(held.told, 1);
	assert_null(executor_collect(ex));
}

static void test_the_id_of_the_database(void **state)
{
	struct executor *ex = *state;
	submit(ex, job_new(JOB_ID, 0));
	struct pollfd ready = {.fd = executor_fd(ex), .events = POLLIN};
	assert_int_equal(poll(&ready, 1, DEADLINE_MS), 1);
	struct job *job = executor_collect(ex);
	assert_int_equal(job->status, STORE_OK);
	assert_int_equal(job->id.bytes[2], 3);
	assert_null(job->page);
	job_free(job);
}

/* Without writers nothing is written, whatever the store would want for deletes; and the log does not say that
 * the store is away. */
static void test_without_writers_writes_are_refused(void **state)
{
	(void)state;
	struct executor *ex = open_executor(&held_store, TIMEOUT_MS, 0);
	assert_non_null(ex);
	struct stat log;
	int kept = dup(STDERR_FILENO), fd = memfd_create("log", MFD_CLOEXEC);
	assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	for (enum store_write_kind kind = STORE_INSERT; kind <= STORE_DELETE; kind++) {
		struct job *job = new_write(kind);
		assert_false(executor_submit(ex, job));
		job_free(job);
	}
	assert_int_equal(dup2(kept, STDERR_FILENO), STDERR_FILENO);
	assert_int_equal(fstat(fd, &log), 0);
	assert_int_equal(log.st_size, 0);
	close(kept);
	close(fd);
	submit(ex, new_page(0));
	assert_int_equal(collect(ex, 1, STORE_OK), 1);
	assert_true(executor_close(ex, DEADLINE_MS));
}

static void test_full_queue_refuses(void **state)
{
	struct executor *ex = *state;
	set(&held.holds_begin, true);
	submit(ex, new_write(STORE_INSERT));
	await(&held.begun, 1);
	for (int i = 1; i < EXECUTOR_QUEUE_MAX; i++)
		submit(ex, new_write(STORE_INSERT));
	struct job *refused = new_write(STORE_INSERT);
	assert_false(executor_submit(ex, refused));
	job_free(refused);
	struct job *read = new_page(0); /* another lane has room */
	submit(ex, read);
	set(&held.holds_begin, false);
	assert_int_equal(collect(ex, EXECUTOR_QUEUE_MAX + 1, STORE_OK), EXECUTOR_QUEUE_MAX + 1);
	assert_int_equal(held.written, EXECUTOR_QUEUE_MAX);
}

/* A store that has been away for longer than a job may wait is not waited for; it is found again without
 * being asked. */
static void test_store_away_refuses_at_once_and_comes_back(void **state)
{
	struct executor *ex = *state;
	set(&held.refuses, true);
	struct job *first = new_write(STORE_INSERT);
	submit(ex, first);
	int64_t deadline_ms = clock_monotonic_ms() + DEADLINE_MS;
	struct job *job = new_write(STORE_INSERT);
	while (executor_submit(ex, job)) {
		assert_int_equal(executor_abandon(ex, job), JOB_NOT_BEGUN);
		assert_true(clock_monotonic_ms() < deadline_ms);
		(void)poll(NULL, 0, 5);
		job = new_write(STORE_INSERT);
	}
	assert_int_equal(executor_abandon(ex, first), JOB_NOT_BEGUN);
	set(&held.refuses, false);
	while (!executor_submit(ex, job)) {
		assert_true(clock_monotonic_ms() < deadline_ms);
		(void)poll(NULL, 0, 5);
	}
	executor_wake(ex);
	assert_int_equal(collect(ex, 1, STORE_OK), 1);
	assert_int_equal(held.written, 1);
}

static void test_nothing_begins_before_the_set_up(void **state)
{
	struct executor *ex = *state;
	atomic_store(&setup_done, 0);
	submit(ex, new_page(0));
	submit(ex, new_write(STORE_INSERT));
	struct pollfd ready = {.fd = executor_fd(ex), .events = POLLIN};
	assert_int_equal(poll(&ready, 1, 100), 0);
	assert_int_equal(read_counter(&held.queries) + read_counter(&held.batches), 0);
	atomic_store(&setup_done, 1);
	assert_int_equal(collect(ex, 2, STORE_OK), 2);
}

static void test_close_frees_what_waits(void **state)
{
	(void)state;
	struct executor *ex = open_executor(&held_store, TIMEOUT_MS, EXECUTOR_WRITERS);
	assert_non_null(ex);
	set(&held.holds_begin, true);
	for (int i = 0; i < 10; i++) {
		submit(ex, new_write(STORE_INSERT));
		submit(ex, new_page((uint32_t)i));
	}
	await(&held.begun, 3);
	assert_false(executor_close(ex, 1)); /* its threads hang in the store */
	set(&held.holds_begin, false);
	assert_true(executor_close(ex, DEADLINE_MS));
}

/* ---- on SQLite: what is answered is what is stored */

static void test_sqlite_every_job_gets_its_own_answer(void **state)
{
	(void)state;
	enum { TODOS = 400 };
	char directory[] = "/tmp/todod-executor-XXXXXX", uri[64], command[64];
	struct err err;
	assert_non_null(mkdtemp(directory));
	snprintf(uri, sizeof(uri), "sqlite:%s/t.db", directory);
	struct store_settings settings = {.uri = uri, .timeout_ms = 2000, .process = "test"};
	assert_int_equal(store_setup(&settings, &err), 0);
	struct store *store = store_open(&settings, &err);
	assert_non_null(store);
	struct executor *ex = open_executor(store, DEADLINE_MS, EXECUTOR_WRITERS);
	assert_non_null(ex);
	struct uuid ids[TODOS];
	for (int i = 0; i < TODOS; i++) {
		struct job *job = new_write(STORE_INSERT);
		buf_append_str(&job->write.content, "x");
		uuid_make(&job->write.todo.id, clock_wall_us());
		job->write.todo.content = buf_slice(&job->write.content);
		job->write.todo.created_at = i;
		ids[i] = job->write.todo.id;
		submit(ex, job);
	}
	assert_int_equal(collect(ex, TODOS, STORE_OK), TODOS);
	for (int i = 0; i < TODOS; i++) { /* each is deleted once and missed once, in whatever batches */
		struct job *job = new_write(STORE_DELETE);
		job->write.todo.id = ids[i / 2];
		submit(ex, job);
	}
	assert_int_equal(collect(ex, TODOS, STORE_NOT_FOUND), TODOS / 2);
	for (int i = 0; i < TODOS; i++) {
		struct job *job = job_new(JOB_GET, 0);
		job->id = ids[i];
		submit(ex, job);
	}
	assert_int_equal(collect(ex, TODOS, STORE_OK), TODOS / 2);
	assert_true(executor_close(ex, DEADLINE_MS));
	store_close(store);
	snprintf(command, sizeof(command), "%s/t.db", directory);
	static const char *const files[] = {"t.db", "t.db-wal", "t.db-shm", "t.db.lock", "t.db.owner"};
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(command, sizeof(command), "%s/%s", directory, files[i]);
		(void)unlink(command);
	}
	assert_int_equal(rmdir(directory), 0);
}

/* ---- gathering */

enum { FOR_EVER_US = 1000 * DEADLINE_MS, MOMENT_US = 20 * 1000, LONG_MOMENT_US = 2000 * 1000, QUIET_MS = 50 };

/* Two writes in one batch, done and collected. */
static void write_two(struct executor *ex)
{
	int begun = held.begun, batches = read_counter(&held.batches);
	set(&held.holds_begin, true);
	submit(ex, new_write(STORE_INSERT));
	submit(ex, new_write(STORE_INSERT));
	await(&held.begun, begun + 1);
	set(&held.holds_begin, false);
	assert_int_equal(collect(ex, 2, STORE_OK), 2);
	assert_int_equal(read_counter(&held.batches), batches + 1);
}

static bool is_quiet(struct executor *ex)
{
	struct pollfd done = {.fd = executor_fd(ex), .events = POLLIN};
	return poll(&done, 1, QUIET_MS) == 0;
}

static void test_those_answered_together_are_awaited(void **state)
{
	(void)reset(state);
	struct executor *ex = open_gathering(&held_store, DEADLINE_MS, 1, FOR_EVER_US);
	write_two(ex);
	submit(ex, new_write(STORE_INSERT));
	assert_true(is_quiet(ex));
	submit(ex, new_write(STORE_FINISH));
	assert_int_equal(collect(ex, 2, STORE_OK), 2);
	assert_int_equal(read_counter(&held.batches), 2);
	assert_true(executor_close(ex, DEADLINE_MS));
}

static void test_who_does_not_come_is_not_awaited_for_ever(void **state)
{
	(void)reset(state);
	struct executor *ex = open_gathering(&held_store, DEADLINE_MS, 1, MOMENT_US);
	write_two(ex);
	submit(ex, new_write(STORE_INSERT));
	assert_int_equal(collect(ex, 1, STORE_OK), 1);
	assert_true(executor_close(ex, DEADLINE_MS));
}

/* They would not all have room in the queue. */
static void test_more_than_enough_are_not_awaited(void **state)
{
	enum { MANY = 200 };
	(void)reset(state);
	struct executor *ex = open_gathering(&held_store, DEADLINE_MS, 1, FOR_EVER_US);
	set(&held.holds_begin, true);
	set(&held.holds_act, true);
	for (int i = 0; i < MANY; i++)
		submit(ex, new_write(STORE_INSERT));
	await(&held.begun, 1);
	set(&held.holds_begin, false);
	await(&held.acting, 1);
	for (int i = 0; i < MANY; i++)
		submit(ex, new_write(STORE_INSERT));
	int64_t began_ms = clock_monotonic_ms();
	set(&held.holds_act, false);
	assert_int_equal(collect(ex, 2 * MANY, STORE_OK), 2 * MANY);
	assert_int_equal(read_counter(&held.batches), 2);
	assert_true(clock_monotonic_ms() - began_ms < DEADLINE_MS / 2);
	assert_true(executor_close(ex, DEADLINE_MS));
}

/* A wait in vain is the last for some batches. */
static void test_those_who_did_not_come_are_not_awaited_again_soon(void **state)
{
	enum { UNAWAITED = 8 };
	(void)reset(state);
	struct executor *ex = open_gathering(&held_store, DEADLINE_MS, 1, LONG_MOMENT_US);
	write_two(ex);
	submit(ex, new_write(STORE_INSERT));
	assert_int_equal(collect(ex, 1, STORE_OK), 1);
	int64_t began_ms = clock_monotonic_ms();
	for (int i = 0; i < UNAWAITED; i++) {
		write_two(ex);
		submit(ex, new_write(STORE_INSERT));
		assert_int_equal(collect(ex, 1, STORE_OK), 1);
	}
	assert_true(clock_monotonic_ms() - began_ms < LONG_MOMENT_US / 1000);
	write_two(ex);
	submit(ex, new_write(STORE_INSERT));
	assert_true(is_quiet(ex));
	submit(ex, new_write(STORE_INSERT));
	assert_int_equal(collect(ex, 2, STORE_OK), 2);
	assert_true(executor_close(ex, DEADLINE_MS));
}

static void test_a_client_alone_never_waits(void **state)
{
	(void)reset(state);
	struct executor *ex = open_gathering(&held_store, DEADLINE_MS, 1, FOR_EVER_US);
	int64_t began_ms = clock_monotonic_ms();
	for (int i = 0; i < 3; i++) {
		submit(ex, new_write(STORE_INSERT));
		assert_int_equal(collect(ex, 1, STORE_OK), 1);
	}
	assert_true(clock_monotonic_ms() - began_ms < DEADLINE_MS / 2);
	assert_true(executor_close(ex, DEADLINE_MS));
}

static void test_close_while_gathering(void **state)
{
	(void)reset(state);
	struct executor *ex = open_gathering(&held_store, DEADLINE_MS, 1, FOR_EVER_US);
	write_two(ex);
	submit(ex, new_write(STORE_INSERT));
	assert_true(executor_close(ex, DEADLINE_MS / 2));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_writes_that_wait_go_together),
	    CASE(test_jobs_know_where_their_time_went),
	    CASE(test_deletes_go_singly_and_beside_the_writes),
	    CASE(test_same_pages_share_one_query),
	    CASE(test_near_pages_share_one_query),
	    CASE(test_a_query_that_runs_is_not_shared),
	    CASE(test_abandon_before_it_begins),
	    CASE(test_abandon_while_it_runs),
	    CASE(test_abandon_when_it_is_done),
	    CASE(test_shared_page_outlives_an_abandoned_sharer),
	    CASE(test_hooks_stand_around_a_batch),
	    CASE(test_no_write_no_hook),
	    CASE(test_hooks_of_an_abandoned_batch),
	    CASE(test_the_id_of_the_database),
	    cmocka_unit_test_setup(test_without_writers_writes_are_refused, reset),
	    CASE(test_full_queue_refuses),
	    CASE(test_store_away_refuses_at_once_and_comes_back),
	    CASE(test_nothing_begins_before_the_set_up),
	    cmocka_unit_test(test_those_answered_together_are_awaited),
	    cmocka_unit_test(test_who_does_not_come_is_not_awaited_for_ever),
	    cmocka_unit_test(test_a_client_alone_never_waits),
	    cmocka_unit_test(test_more_than_enough_are_not_awaited),
	    cmocka_unit_test(test_those_who_did_not_come_are_not_awaited_again_soon),
	    cmocka_unit_test(test_close_while_gathering),
	    cmocka_unit_test(test_close_frees_what_waits),
	    cmocka_unit_test(test_sqlite_every_job_gets_its_own_answer),
	};
	return cmocka_run_group_tests_name("executor", tests, NULL, NULL);
}
