/*
 * A worker's side of the first page: on a real executor and a SQLite file, with the test as the keeper; at the end several
 * workers at once, with a keeper's thread.
 */
#include "cache/first_page.h"

#include "page_fixture.h"
#include "store_fixture.h"
#include "todo/todo_json.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/random.h>
#include <time.h>

enum { WORKERS = 4, DEADLINE_MS = 20000, HOLD_MAX_MS = 60, TIMEOUT_MS = 300, RUN_MS = 1500 };

struct bench {
	struct fixture_dir dir;
	struct store *store;
	struct page_memory memory;
	_Atomic uint32_t setup_done; /* 0 keeps the store threads from beginning anything */
	struct first_page *fp;       /* worker 0's */
	struct executor *executor;
};

static struct first_page *new_first_page(struct bench *b, unsigned worker, bool has_redis)
{
	const struct first_page_settings settings = {&b->memory, worker, has_redis, HOLD_MAX_MS};
	return first_page_new(&settings);
}

static struct executor *open_executor(struct bench *b, struct first_page *fp)
{
	const struct executor_settings settings = {
	    .store = b->store,
	    .timeout_ms = TIMEOUT_MS,
	    .setup_done = &b->setup_done,
	    .readers = EXECUTOR_READERS,
	    .writers = EXECUTOR_WRITERS,
	    .hooks = first_page_hooks(fp),
	};
	struct err err;
	struct executor *ex = executor_open(&settings, &err);
	assert_non_null(ex);
	first_page_use(fp, ex);
	return ex;
}

static void open_bench(struct bench *b, bool has_redis)
{
	struct err err;
	fixture_dir_make(&b->dir, "todo.db");
	const struct store_settings settings = fixture_settings(b->dir.uri);
	b->store = fixture_open(&settings);
	assert_int_equal(page_memory_open(&b->memory, WORKERS, 0, &err), 0);
	for (unsigned i = 0; i < WORKERS; i++)
		page_worker_begins(&b->memory, i); /* the others write by hand */
	page_keeper_begins(&b->memory);
	page_bell_quiet(page_keeper_bell(&b->memory));
	page_keeper_beat(&b->memory);
	page_set_link_until(&b->memory, INT64_MAX);
	atomic_store(&b->setup_done, 1);
	b->fp = new_first_page(b, 0, has_redis);
	b->executor = open_executor(b, b->fp);
}

static int set_up(void **state)
{
	*state = alloc_zeroed(1, sizeof(struct bench));
	open_bench(*state, false);
	return 0;
}

static int set_up_with_redis(void **state)
{
	*state = alloc_zeroed(1, sizeof(struct bench));
	open_bench(*state, true);
	return 0;
}

static int tear_down(void **state)
{
	struct bench *b = *state;
	atomic_store(&b->setup_done, 1);
	assert_true(executor_close(b->executor, DEADLINE_MS));
	first_page_free(b->fp);
	page_memory_close(&b->memory);
	store_close(b->store);
	fixture_dir_remove(&b->dir);
	free(b);
	return 0;
}

/* ---- helpers */

static bool is_ringing(int bell)
{
	struct pollfd ready = {.fd = bell, .events = POLLIN};
	return poll(&ready, 1, 0) == 1;
}

static bool has_rung(int bell)
{
	bool ringing = is_ringing(bell);
	page_bell_quiet(bell);
	return ringing;
}

static bool keeper_has_rung(struct bench *b)
{
	return has_rung(page_keeper_bell(&b->memory));
}

/* What a keeper publishes that looks now. */
static void publish(struct bench *b, enum page_state state, const char *json)
{
	struct page page = {
	    .generation = page_generation(&b->memory),
	    .wanted = page_wanted(&b->memory),
	    .asked_ns = clock_monotonic_ns(),
	    .state = state,
	};
	buf_append_str(&page.json, json);
	page_publish(&b->memory, &page);
	page_release(&page);
}

static struct job *park(struct bench *b)
{
	struct job *job = job_new(JOB_PAGE, 4711);
	job->query.count = FIRST_PAGE_COUNT;
	first_page_park(b->fp, job);
	assert_true(job->is_parked);
	return job;
}

/* Exactly these come, in this order, with this status; they are freed. */
static void collect_these(struct bench *b, enum store_status status, size_t count, struct job *const *jobs)
{
	struct job *job = first_page_collect(b->fp);
	for (size_t i = 0; i < count; i++) {
		assert_ptr_equal(job, jobs[i]);
		assert_false(job->is_parked);
		assert_int_equal(job->status, status);
		struct job *next = job->next;
		job_free(job);
		job = next;
	}
	assert_null(job);
}

#define COLLECT(b, status, ...)                                                                \
	collect_these(b, status, sizeof((struct job *[]){__VA_ARGS__}) / sizeof(struct job *), \
		      (struct job *[]){__VA_ARGS__})

static void collect_none(struct bench *b)
{
	assert_null(first_page_collect(b->fp));
}

static bool answer_is(const struct bench *b, const char *json)
{
	const struct page *page = first_page_answer(b->fp);
	return page && slice_equal(buf_slice(&page->json), slice_of(json));
}

static void await(int fd)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	assert_int_equal(poll(&ready, 1, DEADLINE_MS), 1);
}

/* The next job of the executor that is done. */
static struct job *await_job(struct bench *b)
{
	await(executor_fd(b->executor));
	struct job *job = executor_collect(b->executor);
	assert_non_null(job);
	assert_null(job->next);
	return job;
}

static void await_flight(struct bench *b)
{
	struct job *job = await_job(b);
	assert_int_equal(job->owner, 0);
	assert_true(first_page_land(b->fp, job));
}

static struct job *insert(struct bench *b, uint32_t number)
{
	struct job *job = job_new(JOB_WRITE, 1);
	struct store_write write = fixture_insert(number, number, "x");
	job->write.kind = write.kind;
	job->write.todo = write.todo;
	buf_append_str(&job->write.content, "x");
	job->write.todo.content = buf_slice(&job->write.content);
	assert_true(executor_submit(b->executor, job));
	executor_wake(b->executor);
	return job;
}

static struct job *await_write(struct bench *b, uint32_t number)
{
	struct job *job = insert(b, number);
	assert_ptr_equal(await_job(b), job);
	assert_int_equal(job->status, STORE_OK);
	return job;
}

/* Until the executor takes nothing more: its readers have waited for the store longer than a job may. */
static void jam_readers(struct bench *b)
{
	atomic_store(&b->setup_done, 0);
	int64_t deadline_ms = clock_monotonic_ms() + DEADLINE_MS;
	struct timespec moment = {.tv_nsec = 10000000};
	for (struct job *job;
	     executor_submit(b->executor, job = job_new(JOB_PING, 1)) || (job_free(job), false);) {
		executor_wake(b->executor);
		assert_true(clock_monotonic_ms() < deadline_ms);
		(void)nanosleep(&moment, NULL);
	}
}

/* The keeper stops beating; returns once that shows. */
static void silence_keeper(struct bench *b)
{
	int64_t deadline_ms = clock_monotonic_ms() + DEADLINE_MS;
	while (!page_keeper_is_stuck(&b->memory))
		assert_true(clock_monotonic_ms() < deadline_ms);
}

/* The end of a batch, while the keeper lives. Has it been woken? */
static bool wakes_keeper(struct bench *b)
{
	(void)keeper_has_rung(b);
	page_keeper_beat(&b->memory);
	first_page_wake(b->fp);
	return keeper_has_rung(b);
}

/* ---- hits */

static void test_hit(void **state)
{
	struct bench *b = *state;
	struct page_memory *m = &b->memory;
	assert_null(first_page_hit(b->fp));
	publish(b, PAGE_OK, "one");
	const struct page *page = first_page_hit(b->fp);
	assert_non_null(page);
	assert_true(slice_equal(buf_slice(&page->json), SLICE("one")));
	assert_ptr_equal(first_page_hit(b->fp), page);

	page_write_begins(m, 3);
	assert_null(first_page_hit(b->fp));
	page_write_ends(m, 3, 1, false);
	assert_non_null(first_page_hit(b->fp));
	page_move_generation(m);
	assert_null(first_page_hit(b->fp));
	publish(b, PAGE_OK, "two");
	page = first_page_hit(b->fp);
	assert_true(page && slice_equal(buf_slice(&page->json), SLICE("two")));
	page_set_link_until(m, 0);
	assert_null(first_page_hit(b->fp));
	page_set_link_until(m, INT64_MAX);
	page_move_generation(m);
	publish(b, PAGE_FAILED, "");
	assert_null(first_page_hit(b->fp));
	publish(b, PAGE_TOO_LARGE, "");
	assert_null(first_page_hit(b->fp));
}

/* ---- parked requests */

static void test_parked_requests_get_a_page_begun_after_they_came(void **state)
{
	struct bench *b = *state;
	page_set_link_until(&b->memory, 0); /* no hits */
	struct job *first = park(b), *second = park(b);
	assert_false(keeper_has_rung(b));
	assert_true(wakes_keeper(b));
	assert_false(wakes_keeper(b)); /* once per batch */
	collect_none(b);

	struct page page = {.generation = 1, .wanted = first->wanted, .asked_ns = 1, .state = PAGE_OK};
	buf_append_str(&page.json, "early");
	page_publish(&b->memory, &page);
	page_release(&page);
	assert_true(is_ringing(first_page_fd(b->fp)));
	COLLECT(b, STORE_OK, first);
	assert_true(answer_is(b, "early"));
	assert_false(is_ringing(first_page_fd(b->fp)));
	collect_none(b);

	struct job *third = park(b);
	publish(b, PAGE_OK, "late");
	assert_true(is_ringing(first_page_fd(b->fp)));
	COLLECT(b, STORE_OK, second, third);
	assert_true(answer_is(b, "late"));
	publish(b, PAGE_OK, "nobody waits");
	assert_false(is_ringing(first_page_fd(b->fp)));
}

static void test_a_hit_serves_all_who_wait(void **state)
{
	struct bench *b = *state;
	publish(b, PAGE_OK, "current");
	struct job *first = park(b), *second = park(b);
	COLLECT(b, STORE_OK, first, second);
	assert_true(answer_is(b, "current"));
}

/* A page that is not current is for those alone who came before it was begun. */
static void test_an_old_page_serves_nobody(void **state)
{
	struct bench *b = *state;
	publish(b, PAGE_OK, "old");
	page_write_begins(&b->memory, 2);
	struct job *job = park(b);
	collect_none(b);
	page_write_ends(&b->memory, 2, 1, true);
	collect_none(b);
	publish(b, PAGE_OK, "new");
	COLLECT(b, STORE_OK, job);
	assert_true(answer_is(b, "new"));
}

static void test_a_store_that_failed(void **state)
{
	struct bench *b = *state;
	struct job *first = park(b);
	publish(b, PAGE_FAILED, "");
	struct job *second = park(b);
	COLLECT(b, STORE_UNAVAILABLE, first);
	page_keeper_begins(&b->memory); /* nothing published yet */
	collect_none(b);
	page_set_link_until(&b->memory, INT64_MAX);
	publish(b, PAGE_OK, "page");
	COLLECT(b, STORE_OK, second);
}

static void test_a_client_that_goes(void **state)
{
	struct bench *b = *state;
	struct job *gone = park(b), *stays = park(b), *last = park(b);
	first_page_unpark(b->fp, gone);
	assert_false(gone->is_parked);
	job_free(gone);
	first_page_unpark(b->fp, last);
	job_free(last);
	publish(b, PAGE_OK, "page");
	assert_true(is_ringing(first_page_fd(b->fp)));
	COLLECT(b, STORE_OK, stays);
	gone = park(b);
	first_page_unpark(b->fp, gone);
	job_free(gone);
	publish(b, PAGE_OK, "page");
	assert_false(is_ringing(first_page_fd(b->fp)));
}

/* ---- flights */

static void test_without_a_keeper_the_worker_asks(void **state)
{
	struct bench *b = *state;
	for (uint32_t i = 0; i < FIRST_PAGE_COUNT + 1; i++)
		job_free(await_write(b, i));
	silence_keeper(b);
	(void)keeper_has_rung(b);
	struct job *first = park(b), *second = park(b);
	first_page_wake(b->fp);
	assert_false(keeper_has_rung(b));
	await_flight(b);
	int64_t now_us = clock_wall_us();
	COLLECT(b, STORE_OK, first, second);

	const struct page *page = first_page_answer(b->fp);
	struct store_session *session = store_session_open(b->store, STORE_READ);
	struct todo_page *todos = fixture_page(session, (struct store_page_query){.count = FIRST_PAGE_COUNT});
	struct slice json = todo_page_json(todos);
	struct uuid tag;
	uuid_of_bytes(&tag, json.data, json.len);
	assert_true(slice_equal(buf_slice(&page->json), json));
	assert_memory_equal(&page->tag, &tag, sizeof(tag));
	assert_int_equal(page->generation, 0);
	assert_int_equal(page->state, PAGE_OK);
	assert_int_equal(page->source, PAGE_FROM_STORE);
	assert_true(page->filled_us <= now_us && page->filled_us > now_us - DEADLINE_MS * INT64_C(1000));
	assert_true(page->has_more);
	const struct todo *last = &todos->todos[todos->count - 1];
	assert_true(page->last.created_at == last->created_at);
	assert_memory_equal(&page->last.id, &last->id, sizeof(last->id));
	todo_page_drop(todos);
	store_session_close(session);
	assert_null(first_page_hit(b->fp));
}

static void test_a_short_page_has_no_more(void **state)
{
	struct bench *b = *state;
	silence_keeper(b);
	struct job *job = park(b);
	first_page_wake(b->fp);
	await_flight(b);
	COLLECT(b, STORE_OK, job);
	assert_true(answer_is(b, "{\"data\": []}"));
	assert_false(first_page_answer(b->fp)->has_more);
}

static void test_one_flight_at_a_time(void **state)
{
	struct bench *b = *state;
	silence_keeper(b);
	atomic_store(&b->setup_done, 0); /* the flight does not get off the ground */
	struct job *first = park(b);
	first_page_wake(b->fp);
	struct job *second = park(b), *third = park(b);
	first_page_wake(b->fp);
	first_page_tick(b->fp);
	collect_none(b);
	atomic_store(&b->setup_done, 1);
	await_flight(b); /* one job, or this fails */
	COLLECT(b, STORE_OK, first);
	await_flight(b);
	COLLECT(b, STORE_OK, second, third);
	first_page_tick(b->fp);
	struct job *write = await_write(b, 1); /* a third flight would come along */
	assert_false(first_page_land(b->fp, write));
	job_free(write);
}

/* Two that come at once: the later one is as good for all. */
static void test_a_page_and_a_flight_meet(void **state)
{
	struct bench *b = *state;
	page_set_link_until(&b->memory, 0);
	silence_keeper(b);
	struct job *first = park(b);
	first_page_wake(b->fp);
	struct job *second = park(b);
	publish(b, PAGE_OK, "from the keeper");
	struct job *third = park(b);
	await_flight(b);
	COLLECT(b, STORE_OK, first, second);
	assert_true(answer_is(b, "from the keeper"));

	first_page_wake(b->fp); /* for the third */
	await_flight(b);
	COLLECT(b, STORE_OK, third);
	assert_true(answer_is(b, "{\"data\": []}"));
}

static void test_a_keeper_that_falls_silent(void **state)
{
	struct bench *b = *state;
	struct job *job = park(b);
	assert_true(wakes_keeper(b));
	first_page_tick(b->fp);
	collect_none(b);
	silence_keeper(b);
	first_page_tick(b->fp);
	await_flight(b);
	COLLECT(b, STORE_OK, job);
}

static void test_a_page_too_large_for_the_slot(void **state)
{
	struct bench *b = *state;
	struct job *job = park(b);
	assert_true(wakes_keeper(b));
	publish(b, PAGE_TOO_LARGE, "");
	struct job *after = park(b);
	collect_none(b);
	await_flight(b);
	COLLECT(b, STORE_OK, job, after);

	assert_false(wakes_keeper(b)); /* it would only find the same */
	assert_null(first_page_hit(b->fp));
	job = park(b);
	assert_false(wakes_keeper(b));
	await_flight(b);
	COLLECT(b, STORE_OK, job);

	page_move_generation(&b->memory);
	assert_null(first_page_hit(b->fp));
	job = park(b);
	assert_true(wakes_keeper(b));
	publish(b, PAGE_OK, "small again");
	COLLECT(b, STORE_OK, job);
	assert_true(answer_is(b, "small again"));
}

static void test_a_flight_that_is_refused(void **state)
{
	struct bench *b = *state;
	silence_keeper(b);
	jam_readers(b);
	struct job *first = park(b), *second = park(b);
	first_page_wake(b->fp);
	assert_true(is_ringing(first_page_fd(b->fp)));
	struct job *third = park(b);
	COLLECT(b, STORE_UNAVAILABLE, first, second);
	first_page_wake(b->fp);
	COLLECT(b, STORE_UNAVAILABLE, third);
	collect_none(b);
}

static void test_a_flight_whose_passengers_have_gone(void **state)
{
	struct bench *b = *state;
	silence_keeper(b);
	struct job *gone = park(b);
	first_page_wake(b->fp);
	first_page_unpark(b->fp, gone);
	job_free(gone);
	await_flight(b);
	collect_none(b);
	struct job *job = park(b);
	first_page_wake(b->fp);
	await_flight(b);
	COLLECT(b, STORE_OK, job);
}

/* ---- writes */

static uint32_t tell(struct first_page *fp, enum store_status first, enum store_status second)
{
	struct executor_hooks hooks = first_page_hooks(fp);
	struct store_write a = {.status = first}, *writes[] = {&a, &(struct store_write){.status = second}};
	hooks.write_begins(hooks.arg);
	return hooks.write_ends(hooks.arg, writes, 2);
}

static void test_what_a_batch_changes(void **state)
{
	static const struct {
		enum store_status first, second;
		bool changed;
	} cases[] = {
	    {STORE_OK,          STORE_NOT_FOUND,   true },
            {STORE_UNAVAILABLE, STORE_OK,          true },
	    {STORE_UNKNOWN,     STORE_NOT_FOUND,   true },
            {STORE_NOT_FOUND,   STORE_UNAVAILABLE, false},
	    {STORE_FULL,        STORE_FULL,        false},
	};
	struct bench *b = *state;
	struct page_memory *m = &b->memory;
	struct first_page *with_redis = new_first_page(b, 1, true);
	uint32_t number = 0;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bool is_unknown = cases[i].first == STORE_UNKNOWN;
		uint64_t generation = page_generation(m);
		int64_t doubt_ns = page_doubt_until_ns(m);
		(void)keeper_has_rung(b);
		assert_int_equal(tell(b->fp, cases[i].first, cases[i].second), 0);
		assert_int_equal(page_generation(m), generation + cases[i].changed);
		assert_int_equal(page_doubt_until_ns(m) > doubt_ns, is_unknown);
		assert_false(page_is_writing(m));
		assert_false(keeper_has_rung(b));

		generation = page_generation(m);
		doubt_ns = page_doubt_until_ns(m);
		number += cases[i].changed;
		assert_int_equal(tell(with_redis, cases[i].first, cases[i].second),
				 cases[i].changed ? number : 0);
		assert_true(keeper_has_rung(b));
		assert_int_equal(page_generation(m), generation);
		assert_int_equal(page_doubt_until_ns(m) > doubt_ns, is_unknown);
		assert_int_equal(page_is_writing(m), cases[i].changed);
		page_set_invalidated(m, 1, number);
		assert_null(first_page_collect(with_redis));
		assert_false(page_is_writing(m));
	}
	first_page_free(with_redis);
}

static void test_without_redis_a_write_is_not_held(void **state)
{
	struct bench *b = *state;
	uint64_t generation = page_generation(&b->memory);
	struct job *job = await_write(b, 1);
	assert_int_equal(page_generation(&b->memory), generation + 1);
	assert_false(page_is_writing(&b->memory));
	assert_int_equal(job->commit, 0);
	assert_false(first_page_hold(b->fp, job));
	assert_false(job->is_parked);
	job_free(job);
}

static void test_with_redis_a_write_is_held(void **state)
{
	struct bench *b = *state;
	struct page_memory *m = &b->memory;
	uint64_t generation = page_generation(m);
	struct job *first = await_write(b, 1), *second = await_write(b, 2), *third = await_write(b, 3);
	assert_int_equal(third->commit, 3);
	assert_true(first_page_hold(b->fp, first));
	assert_true(first_page_hold(b->fp, second));
	assert_true(first->is_parked);
	collect_none(b);
	assert_true(page_is_writing(m));
	assert_int_equal(page_generation(m), generation);

	page_set_invalidated(m, 0, 1);
	assert_true(is_ringing(first_page_fd(b->fp)));
	COLLECT(b, STORE_OK, first);
	assert_true(page_is_writing(m));
	assert_int_equal(page_generation(m), generation + 1);

	page_set_invalidated(m, 0, 3);
	assert_false(first_page_hold(b->fp, third)); /* known already: nothing to wait for */
	assert_false(page_is_writing(m));
	assert_int_equal(page_generation(m), generation + 2);
	job_free(third);
	COLLECT(b, STORE_OK, second);
}

static void test_numbers_count_without_their_clients(void **state)
{
	struct bench *b = *state;
	struct page_memory *m = &b->memory;
	struct job *held = await_write(b, 1);
	assert_true(first_page_hold(b->fp, held));
	first_page_unpark(b->fp, held);
	assert_false(held->is_parked);
	job_free(held);
	job_free(await_write(b, 2)); /* never held at all */
	assert_true(page_is_writing(m));
	page_set_invalidated(m, 0, 2);
	collect_none(b);
	assert_false(page_is_writing(m));
	page_set_invalidated(m, 0, 1000); /* nobody has committed that */
	collect_none(b);
	assert_false(page_is_writing(m));
}

static void test_a_write_is_held_so_long_and_no_longer(void **state)
{
	struct bench *b = *state;
	struct page_memory *m = &b->memory;
	int64_t begin_ms = clock_monotonic_ms();
	struct job *job = await_write(b, 1), *got;
	assert_true(first_page_hold(b->fp, job));
	job_free(await_write(b, 2));
	do {
		assert_true(clock_monotonic_ms() - begin_ms < DEADLINE_MS);
		first_page_tick(b->fp);
		got = first_page_collect(b->fp);
	} while (!got);
	assert_true(clock_monotonic_ms() - begin_ms >= HOLD_MAX_MS);
	assert_ptr_equal(got, job);
	assert_null(job->next);
	job_free(job);
	assert_false(page_is_writing(m)); /* of the second, too */

	page_set_invalidated(m, 0, 1); /* late, and counted already */
	collect_none(b);
	assert_false(page_is_writing(m));
	job = await_write(b, 3);
	assert_true(first_page_hold(b->fp, job));
	page_set_invalidated(m, 0, 3);
	COLLECT(b, STORE_OK, job);
	assert_false(page_is_writing(m));
}

/* Time counts from the last progress. */
static void test_progress_keeps_writes_held(void **state)
{
	struct bench *b = *state;
	struct page_memory *m = &b->memory;
	int64_t end_ms = clock_monotonic_ms() + 3 * HOLD_MAX_MS;
	for (uint32_t i = 1; clock_monotonic_ms() < end_ms; i++) {
		/* The keeper is always one number behind. */
		assert_int_equal(tell(b->fp, STORE_OK, STORE_OK), i);
		page_set_invalidated(m, 0, i - 1);
		first_page_tick(b->fp);
		collect_none(b);
		assert_true(page_is_writing(m));
	}
	page_set_invalidated(m, 0, page_committed(m, 0));
	collect_none(b);
	assert_false(page_is_writing(m));
}

static void test_numbers_run_over(void **state)
{
	struct bench *b = *state;
	struct page_memory *m = &b->memory;
	poke_committed(m, 1, UINT32_MAX - 2);
	page_set_invalidated(m, 1, UINT32_MAX - 2);
	struct first_page *fp = new_first_page(b, 1, true);
	static const uint32_t numbers[] = {UINT32_MAX - 1, UINT32_MAX, 1, 2};
	struct job *jobs[4];
	for (int i = 0; i < 4; i++) {
		jobs[i] = job_new(JOB_WRITE, 1);
		jobs[i]->commit = tell(fp, STORE_OK, STORE_OK);
		assert_int_equal(jobs[i]->commit, numbers[i]);
		assert_true(first_page_hold(fp, jobs[i]));
	}
	page_set_invalidated(m, 1, UINT32_MAX);
	struct job *job = first_page_collect(fp);
	assert_ptr_equal(job, jobs[0]);
	assert_ptr_equal(job->next, jobs[1]);
	assert_null(jobs[1]->next);
	assert_true(page_is_writing(m));
	page_set_invalidated(m, 1, 2);
	job = first_page_collect(fp);
	assert_ptr_equal(job, jobs[2]);
	assert_ptr_equal(job->next, jobs[3]);
	assert_false(page_is_writing(m));
	for (int i = 0; i < 4; i++)
		job_free(jobs[i]);
	first_page_free(fp);
}

static void test_a_successor_waits_for_its_own_numbers(void **state)
{
	struct bench *b = *state;
	struct page_memory *m = &b->memory;
	struct first_page *dead = new_first_page(b, 1, true);
	assert_int_equal(tell(dead, STORE_OK, STORE_OK), 1);
	page_set_invalidated(m, 1, 1);
	assert_int_equal(tell(dead, STORE_OK, STORE_OK), 2);
	page_reap_worker(m, 1);
	uint32_t owed = page_committed(m, 1);
	assert_false(page_is_writing(m));

	struct first_page *fp = new_first_page(b, 1, true);
	assert_null(first_page_collect(fp));
	struct job *job = job_new(JOB_WRITE, 1);
	job->commit = tell(fp, STORE_OK, STORE_OK);
	assert_true(first_page_hold(fp, job));
	page_set_invalidated(m, 1, owed);
	assert_null(first_page_collect(fp));
	assert_true(page_is_writing(m));
	page_set_invalidated(m, 1, job->commit);
	assert_ptr_equal(first_page_collect(fp), job);
	assert_false(page_is_writing(m));
	job_free(job);
	first_page_free(fp);
	/* The dead one is freed last: what its memory says must not count either. */
	first_page_free(dead);
}

static void test_what_is_left_is_freed(void **state)
{
	struct bench *b = *state;
	(void)park(b);
	struct job *job = await_write(b, 1);
	assert_true(first_page_hold(b->fp, job));
	silence_keeper(b);
	first_page_tick(b->fp); /* and a flight */
}

/* ---- all of it
 *
 * Workers that read and write, each on a thread with its own executor, on one SQLite file, and a keeper. Versions are
 * todos: the newest one of a page is its version. No page may be older than what was acknowledged, or seen by anybody,
 * before it was asked for. */

struct everything {
	struct bench *bench;
	bool has_redis;
	_Atomic bool stops, keeper_stops;
	_Atomic uint32_t version; /* the last one given out */
	_Atomic uint32_t known;   /* acknowledged, or seen */
	_Atomic uint32_t writes, hits, waits, violations, refusals;
};

struct client {
	struct everything *all;
	unsigned worker;
	pthread_t id;
};

static uint32_t random_below(uint32_t limit)
{
	uint32_t value = 0;
	if (getrandom(&value, sizeof(value), 0) != sizeof(value))
		abort();
	return value % limit;
}

static void know(struct everything *all, uint32_t version)
{
	uint32_t known = atomic_load(&all->known);
	while (known < version && !atomic_compare_exchange_weak(&all->known, &known, version))
		continue;
}

/* In the JSON: the content of its first todo. */
static uint32_t version_of(const struct page *page)
{
	static const char name[] = "\"content\": \"";
	const char *at = memmem(page->json.data, page->json.len, name, sizeof(name) - 1);
	uint32_t version = 0;
	for (at = at ? at + sizeof(name) - 1 : NULL; at && *at != '"'; at++)
		version = version * 10 + (uint32_t)(*at - '0');
	return version;
}

static void see(struct everything *all, const struct page *page, uint32_t floor)
{
	uint32_t version = version_of(page);
	if (version < floor)
		atomic_fetch_add(&all->violations, 1);
	know(all, version);
}

static struct job *new_version(struct everything *all)
{
	uint32_t version = atomic_fetch_add(&all->version, 1) + 1;
	struct job *job = job_new(JOB_WRITE, version);
	buf_printf(&job->write.content, "%u", version);
	job->write.todo.id = fixture_id(version);
	job->write.todo.created_at = fixture_time(version);
	job->write.todo.content = buf_slice(&job->write.content);
	return job;
}

static void acknowledge(struct everything *all, struct job *job)
{
	if (job->status == STORE_OK)
		know(all, (uint32_t)job->owner);
	else
		atomic_fetch_add(&all->refusals, 1);
	job_free(job);
}

/* One turn of a worker's loop: what its descriptors say, until the one request is answered. False: not in time. */
static bool await_answer(struct client *c, struct first_page *fp, struct executor *ex, uint32_t floor)
{
	int64_t deadline_ms = clock_monotonic_ms() + DEADLINE_MS, tick_ms = 0;
	while (clock_monotonic_ms() < deadline_ms) {
		struct pollfd fds[] = {
		    {executor_fd(ex),   POLLIN, 0},
                    {first_page_fd(fp), POLLIN, 0}
                };
		first_page_wake(fp);
		executor_wake(ex);
		(void)poll(fds, 2, 20);
		if (clock_monotonic_ms() >= tick_ms) {
			first_page_tick(fp);
			tick_ms = clock_monotonic_ms() + 50;
		}
		for (struct job *job = executor_collect(ex), *next; job; job = next) {
			next = job->next;
			if (first_page_land(fp, job) || first_page_hold(fp, job))
				continue;
			acknowledge(c->all, job);
			return true;
		}
		struct job *job = first_page_collect(fp);
		if (!job)
			continue;
		if (job->kind == JOB_WRITE) {
			acknowledge(c->all, job);
			return true;
		}
		if (job->status == STORE_OK)
			see(c->all, first_page_answer(fp), floor);
		else
			atomic_fetch_add(&c->all->refusals, 1);
		job_free(job);
		return true;
	}
	return false;
}

static void *run_client(void *arg)
{
	struct client *c = arg;
	struct everything *all = c->all;
	struct first_page *fp = new_first_page(all->bench, c->worker, all->has_redis);
	struct executor *ex = open_executor(all->bench, fp);
	bool is_answered = true;
	while (is_answered && !atomic_load(&all->stops)) {
		uint32_t floor = atomic_load(&all->known);
		if (random_below(50) == 0) {
			if (executor_submit(ex, new_version(all)))
				is_answered = await_answer(c, fp, ex, floor);
			atomic_fetch_add(&all->writes, 1);
			continue;
		}
		const struct page *hit = first_page_hit(fp);
		if (hit) {
			see(all, hit, floor);
			atomic_fetch_add(&all->hits, 1);
			continue;
		}
		first_page_park(fp, job_new(JOB_PAGE, 1));
		is_answered = await_answer(c, fp, ex, floor);
		atomic_fetch_add(&all->waits, 1);
	}
	if (!is_answered || !executor_close(ex, DEADLINE_MS))
		atomic_fetch_add(&all->violations, 1);
	first_page_free(fp);
	return NULL;
}

/* Silent now and then, so that there are flights. */
static void *run_keeper(void *arg)
{
	struct everything *all = arg;
	struct page_memory *m = &all->bench->memory;
	struct store_session *session = store_session_open(all->bench->store, STORE_READ);
	struct page page = {0};
	int64_t silent_until_ms = 0, speaks_until_ms = clock_monotonic_ms() + 300;
	while (!atomic_load(&all->keeper_stops)) {
		struct pollfd bell = {page_keeper_bell(m), POLLIN, 0};
		(void)poll(&bell, 1, 20);
		if (clock_monotonic_ms() < silent_until_ms)
			continue;
		if (clock_monotonic_ms() > speaks_until_ms) {
			silent_until_ms = clock_monotonic_ms() + PAGE_KEEPER_SILENT_MS + 50;
			speaks_until_ms = silent_until_ms + 300;
			continue;
		}
		page_keeper_beat(m);
		page_bell_quiet(page_keeper_bell(m));
		for (unsigned i = 0; i < WORKERS; i++)
			page_set_invalidated(m, i, page_committed(m, i));
		page.generation = page_generation(m);
		page.wanted = page_wanted(m);
		page.asked_ns = clock_monotonic_ns();
		page.state = PAGE_FAILED;
		struct todo_page *todos = todo_page_new();
		const struct store_page_query query = {.count = FIRST_PAGE_COUNT};
		buf_clear(&page.json);
		if (store_begin(session) == STORE_OK) {
			if (store_page(session, &query, todos) == STORE_OK) {
				page.state = PAGE_OK;
				buf_append_slice(&page.json, todo_page_json(todos));
			}
			store_end(session);
		}
		todo_page_drop(todos);
		page_publish(m, &page);
	}
	page_release(&page);
	store_session_close(session);
	return NULL;
}

static void run_everything(struct bench *b, bool has_redis)
{
	struct everything all = {.bench = b, .has_redis = has_redis};
	struct client clients[WORKERS - 1];
	struct timespec run = {.tv_sec = RUN_MS / 1000, .tv_nsec = RUN_MS % 1000 * 1000000L};
	pthread_t keeper;
	assert_int_equal(pthread_create(&keeper, NULL, run_keeper, &all), 0);
	for (unsigned i = 0; i < WORKERS - 1; i++) {
		clients[i] = (struct client){.all = &all, .worker = i + 1};
		assert_int_equal(pthread_create(&clients[i].id, NULL, run_client, &clients[i]), 0);
	}
	(void)nanosleep(&run, NULL);
	atomic_store(&all.stops, true);
	for (unsigned i = 0; i < WORKERS - 1; i++)
		pthread_join(clients[i].id, NULL);
	atomic_store(&all.keeper_stops, true);
	pthread_join(keeper, NULL);
	print_message("%u writes, %u hits, %u waits, %u refusals, %u violations\n", atomic_load(&all.writes),
		      atomic_load(&all.hits), atomic_load(&all.waits), atomic_load(&all.refusals),
		      atomic_load(&all.violations));
	assert_int_equal(atomic_load(&all.violations), 0);
	assert_int_equal(atomic_load(&all.refusals), 0);
	assert_true(atomic_load(&all.writes) > 0);
	assert_true(atomic_load(&all.hits) > 0);
	assert_true(atomic_load(&all.waits) > 0);
	assert_false(page_is_writing(&b->memory));
}

static void test_everything(void **state)
{
	run_everything(*state, false);
}

static void test_everything_with_redis(void **state)
{
	run_everything(*state, true);
}

int main(void)
{
#define CASE(test)       cmocka_unit_test_setup_teardown(test, set_up, tear_down)
#define REDIS_CASE(test) cmocka_unit_test_setup_teardown(test, set_up_with_redis, tear_down)
	const struct CMUnitTest tests[] = {
	    CASE(test_hit),
	    CASE(test_parked_requests_get_a_page_begun_after_they_came),
	    CASE(test_a_hit_serves_all_who_wait),
	    CASE(test_an_old_page_serves_nobody),
	    CASE(test_a_store_that_failed),
	    CASE(test_a_client_that_goes),
	    CASE(test_without_a_keeper_the_worker_asks),
	    CASE(test_a_short_page_has_no_more),
	    CASE(test_one_flight_at_a_time),
	    CASE(test_a_page_and_a_flight_meet),
	    CASE(test_a_keeper_that_falls_silent),
	    CASE(test_a_page_too_large_for_the_slot),
	    CASE(test_a_flight_that_is_refused),
	    CASE(test_a_flight_whose_passengers_have_gone),
	    CASE(test_what_a_batch_changes),
	    CASE(test_without_redis_a_write_is_not_held),
	    REDIS_CASE(test_with_redis_a_write_is_held),
	    REDIS_CASE(test_numbers_count_without_their_clients),
	    REDIS_CASE(test_a_write_is_held_so_long_and_no_longer),
	    REDIS_CASE(test_progress_keeps_writes_held),
	    REDIS_CASE(test_numbers_run_over),
	    REDIS_CASE(test_a_successor_waits_for_its_own_numbers),
	    REDIS_CASE(test_what_is_left_is_freed),
	    CASE(test_everything),
	    REDIS_CASE(test_everything_with_redis),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
