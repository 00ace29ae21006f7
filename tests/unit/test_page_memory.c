/*
 * The page memory: its rules one by one, the slot under a publisher that is killed, and a model of the whole that
 * looks for a page older than what anybody has seen.
 */
#include "cache/page_memory.h"

#include "base/clock.h"
#include "page_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WORKERS = 5, DEADLINE_MS = 20000, RUN_MS = 2000 };

static int64_t ms_from_now(int64_t ms)
{
	return clock_monotonic_ms() + ms;
}

static uint32_t random_below(uint32_t limit)
{
	uint32_t value = 0;
	if (getrandom(&value, sizeof(value), 0) != sizeof(value))
		abort();
	return value % limit;
}

static void pause_us(uint32_t us)
{
	struct timespec t = {.tv_nsec = (long)us * 1000};
	(void)nanosleep(&t, NULL);
}

static bool is_ringing(int bell)
{
	struct pollfd ready = {.fd = bell, .events = POLLIN};
	return poll(&ready, 1, 0) == 1;
}

/* It has rung since the last call. */
static bool has_rung(int bell)
{
	bool ringing = is_ringing(bell);
	page_bell_quiet(bell);
	return ringing;
}

static int open_memory_for(void **state, uint32_t doubt_ms)
{
	struct page_memory *m = alloc_zeroed(1, sizeof(*m));
	struct err err;
	if (page_memory_open(m, WORKERS, doubt_ms, &err) != 0)
		return -1;
	page_set_link_until(m, INT64_MAX);
	for (unsigned i = 0; i < WORKERS; i++)
		page_worker_begins(m, i);
	*state = m;
	return 0;
}

static int open_memory(void **state)
{
	return open_memory_for(state, 0);
}

static int open_doubting_memory(void **state)
{
	return open_memory_for(state, 30);
}

static int close_memory(void **state)
{
	page_memory_close(*state);
	free(*state);
	return 0;
}

/* A page that was asked for now. */
static struct page fresh_page(const struct page_memory *m)
{
	return (struct page){
	    .generation = page_generation(m),
	    .wanted = page_wanted(m),
	    .asked_ns = clock_monotonic_ns(),
	    .state = PAGE_OK,
	};
}

/* ---- bells */

static void test_bells(void **state)
{
	struct page_memory *m = *state;
	assert_int_equal(m->bell_count, 1 + WORKERS + 1); /* the keeper's, theirs, and that of the rivals */
	for (size_t i = 0; i < m->bell_count; i++) {
		assert_true(fcntl(m->bells[i], F_GETFD) & FD_CLOEXEC);
		assert_true(fcntl(m->bells[i], F_GETFL) & O_NONBLOCK);
		assert_false(is_ringing(m->bells[i]));
		page_bell_quiet(m->bells[i]);
	}
	page_ring(page_worker_bell(m, 1));
	page_ring(page_worker_bell(m, 1));
	assert_false(is_ringing(page_keeper_bell(m)));
	assert_false(is_ringing(page_worker_bell(m, 0)));
	assert_true(has_rung(page_worker_bell(m, 1)));
	assert_false(is_ringing(page_worker_bell(m, 1)));
	uint64_t full = UINT64_MAX - 1;
	assert_int_equal(write(page_keeper_bell(m), &full, sizeof(full)), sizeof(full));
	page_ring(page_keeper_bell(m)); /* neither blocks nor fails */
	assert_true(has_rung(page_keeper_bell(m)));
}

/* ---- what is current */

static void test_a_page_is_current_while_nobody_writes(void **state)
{
	struct page_memory *m = *state;
	struct page page = fresh_page(m);
	assert_int_equal(page.generation, 1);
	assert_true(page_is_current(m, &page));
	for (unsigned i = 0; i < WORKERS; i++) {
		page_write_begins(m, i);
		page_write_begins(m, i);
		assert_true(page_is_writing(m));
		assert_false(page_is_quiet(m));
		assert_false(page_is_current(m, &page));
		page_write_ends(m, i, 1, false);
		assert_false(page_is_current(m, &page));
		page_write_ends(m, i, 1, false);
		assert_false(page_is_writing(m));
		assert_true(page_is_quiet(m));
		assert_true(page_is_current(m, &page));
	}
	page_write_begins(m, 0);
	page_write_ends(m, 0, 1, true);
	assert_false(page_is_current(m, &page));
	page = fresh_page(m);
	assert_true(page_is_current(m, &page));
	page_move_generation(m);
	assert_false(page_is_current(m, &page));
	page.generation = 0;
	assert_false(page_is_current(m, &page));
}

static void test_a_page_is_current_as_long_as_others_are_vouched_for(void **state)
{
	struct page_memory *m = *state;
	struct page page = fresh_page(m);
	page_set_link_until(m, 0);
	assert_false(page_is_current(m, &page));
	page_set_link_until(m, clock_monotonic_ns() + INT64_C(1000000) * DEADLINE_MS);
	assert_true(page_is_current(m, &page));
	page_set_link_until(m, clock_monotonic_ns());
	assert_false(page_is_current(m, &page));
}

static void test_doubt(void **state)
{
	struct page_memory *m = *state;
	struct page page = fresh_page(m);
	page_write_begins(m, 0);
	int64_t before_ns = clock_monotonic_ns();
	page_write_in_doubt(m);
	int64_t until_ns = page_doubt_until_ns(m);
	assert_true(until_ns >= before_ns + 30 * INT64_C(1000000));
	page_write_ends(m, 0, 1, true);
	page = fresh_page(m);
	page.asked_ns = until_ns;
	assert_false(
	    page_is_current(m, &page)); /* asked for before the write can have landed for the last time */
	int64_t deadline_ms = ms_from_now(DEADLINE_MS);
	while (!page_is_quiet(m))
		assert_true(clock_monotonic_ms() < deadline_ms);
	assert_true(clock_monotonic_ns() > until_ns);
	assert_false(page_is_current(m, &page));
	page = fresh_page(m);
	assert_true(page_is_current(m, &page));
	page_write_in_doubt(m);
	assert_true(page_doubt_until_ns(m) > until_ns);
}

/* ---- numbers */

static void test_commit_numbers(void **state)
{
	struct page_memory *m = *state;
	page_bell_quiet(page_keeper_bell(m));
	assert_int_equal(page_committed(m, 2), 0);
	assert_int_equal(page_write_committed(m, 2), 1);
	assert_true(has_rung(page_keeper_bell(m)));
	assert_int_equal(page_write_committed(m, 2), 2);
	assert_int_equal(page_committed(m, 2), 2);
	assert_int_equal(page_committed(m, 1), 0);
	assert_int_equal(page_invalidated(m, 2), 0);
	page_set_invalidated(m, 2, 2);
	assert_int_equal(page_invalidated(m, 2), 2);
	assert_true(has_rung(page_worker_bell(m, 2)));
	page_set_invalidated(m, 2, 2);
	assert_false(is_ringing(page_worker_bell(m, 2)));
	poke_committed(m, 2, UINT32_MAX - 1);
	assert_int_equal(page_write_committed(m, 2), UINT32_MAX);
	assert_int_equal(page_write_committed(m, 2), 1); /* 0 is no number */
}

/* ---- the death of a worker */

static void test_reaping_a_worker_that_wrote(void **state)
{
	struct page_memory *m = *state;
	struct page page = fresh_page(m);
	page_write_begins(m, 3);
	page_write_begins(m, 3);
	uint32_t number = page_write_committed(m, 3);
	page_set_waiting(m, 3, true);
	page_bell_quiet(page_keeper_bell(m));
	page_reap_worker(m, 3);
	assert_true(is_ringing(page_keeper_bell(m)));
	assert_false(page_is_writing(m));
	assert_false(page_is_quiet(m)); /* it may still land */
	assert_int_equal(page_generation(m), page.generation + 1);
	assert_int_equal(page_committed(m, 3), number + 1);
	assert_int_not_equal(page_invalidated(m, 3), page_committed(m, 3)); /* the keeper owes it */
	page = fresh_page(m);
	assert_false(page_is_current(m, &page));
	page_publish(m, &page);
	assert_false(is_ringing(page_worker_bell(m, 3)));
}

static void test_reaping_a_worker_that_owed(void **state)
{
	struct page_memory *m = *state;
	page_write_begins(m, 3);
	(void)page_write_committed(m, 3);
	page_write_ends(m, 3, 1, true);
	uint64_t generation = page_generation(m);
	page_reap_worker(m, 3);
	assert_true(page_generation(m) > generation);
	assert_true(page_is_quiet(m));
	assert_int_not_equal(page_invalidated(m, 3), page_committed(m, 3));
}

static void test_reaping_an_idle_worker(void **state)
{
	struct page_memory *m = *state;
	struct page page = fresh_page(m);
	page_write_begins(m, 3);
	page_set_invalidated(m, 3, page_write_committed(m, 3));
	page_write_ends(m, 3, 1, false);
	page_reap_worker(m, 3);
	assert_true(page_is_current(m, &page));
	assert_true(page_is_quiet(m));
	assert_int_equal(page_committed(m, 3), 1);
}

static void test_workers_come_and_go(void **state)
{
	struct page_memory *m = *state;
	struct page page = fresh_page(m);
	for (unsigned i = WORKERS; i-- > 0;)
		page_reap_worker(m, i);
	page_write_begins(m, 3); /* nobody is there: it is not looked at */
	assert_false(page_is_writing(m));
	page_worker_begins(m, 3);
	assert_true(page_is_writing(m));
	page_worker_begins(m, 1);
	assert_false(page_is_current(m, &page));
	page_reap_worker(m, 3);
	assert_false(page_is_writing(m));
	page_write_begins(m, 1);
	assert_true(page_is_writing(m));
	page_rivals_begin(m);
	page_reap_worker(m, 1);
	assert_true(page_is_writing(m));
	page_rivals_end(m);
	assert_false(page_is_writing(m));
}

/* Rounds that two threads begin together. */
struct rounds {
	struct page_memory *memory;
	_Atomic unsigned begun, done;
	_Atomic bool is_over;
};

static void *begin_again(void *arg)
{
	struct rounds *r = arg;
	for (unsigned i = 1; !atomic_load(&r->is_over);) {
		if (atomic_load(&r->begun) != i)
			continue;
		page_worker_begins(r->memory, 3);
		atomic_store(&r->done, i++);
	}
	return NULL;
}

static void test_a_worker_that_begins_while_another_is_reaped_is_looked_at(void **state)
{
	struct rounds r = {.memory = *state};
	struct page_memory *m = r.memory;
	pthread_t thread;
	unsigned missed = 0;
	int64_t end_ms = ms_from_now(RUN_MS / 2);
	assert_int_equal(pthread_create(&thread, NULL, begin_again, &r), 0);
	for (unsigned i = 1; clock_monotonic_ms() < end_ms; i++) {
		page_worker_begins(m, 4);
		page_reap_worker(m, 3);
		atomic_store(&r.begun, i);
		page_reap_worker(m, 4);
		while (atomic_load(&r.done) != i)
			continue;
		page_write_begins(m, 3);
		missed += !page_is_writing(m);
		page_write_ends(m, 3, 1, false);
	}
	atomic_store(&r.is_over, true);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(missed, 0);
}

/* ---- rivals, and another program */

static void test_nothing_is_current_beside_a_rival(void **state)
{
	struct page_memory *m = *state;
	struct page page = fresh_page(m);
	page_rivals_end(m); /* of none */
	assert_true(page_is_current(m, &page));
	page_rivals_begin(m);
	page_rivals_begin(m);
	assert_true(page_is_writing(m));
	assert_false(page_is_storing(m)); /* nothing that this Redis has to hear of */
	assert_false(page_is_quiet(m));
	assert_false(page_is_current(m, &page));
	page = fresh_page(m);
	assert_false(page_is_current(m, &page));
	page_bell_quiet(page_keeper_bell(m));
	page_rivals_end(m);
	assert_true(has_rung(page_keeper_bell(m)));
	assert_int_not_equal(page_invalidated(m, WORKERS),
			     page_committed(m, WORKERS)); /* the keeper owes it */
	assert_false(page_is_writing(m));
	assert_false(page_is_quiet(m)); /* what they were writing may still land */
	assert_false(page_is_current(m, &page));
	page_rivals_begin(m);
	page_rivals_cancel(m);
	assert_false(page_is_writing(m));
}

static void test_another_program_takes_over(void **state)
{
	struct page_memory *m = *state, other;
	struct err err;
	struct page page = fresh_page(m);
	int fd = dup(m->shm.fd), bells[WORKERS + 2];
	for (size_t i = 0; i < m->bell_count; i++)
		bells[i] = dup(m->bells[i]);
	assert_int_equal(page_memory_adopt(&other, fd, m->shm.size - 1, bells, m->worker_count, &m->machine,
					   &err),
			 -1);
	assert_int_equal(page_memory_adopt(&other, fd, m->shm.size, bells, 0, &m->machine, &err), -1);
	assert_int_equal(page_memory_adopt(&other, m->bells[0], m->shm.size, bells, m->worker_count,
					   &m->machine, &err),
			 -1);
	assert_int_equal(page_memory_adopt(&other, fd, m->shm.size, bells, m->worker_count, &m->machine,
					   &err),
			 0);
	assert_true(page_is_current(&other, &page));
	page_write_begins(&other, 4);
	assert_true(page_is_writing(m));
	page_write_ends(&other, 4, 1, true);
	assert_false(page_is_current(m, &page));
	page_ring(page_worker_bell(&other, 4));
	assert_true(has_rung(page_worker_bell(m, 4)));
	assert_int_equal(uuid_compare_to(&other.machine, &m->machine), 0);
	page_memory_close(&other);
}

/* ---- the slot */

static void fill_json(struct page *page, size_t len, char byte)
{
	buf_clear(&page->json);
	buf_reserve(&page->json, len + 1);
	memset(page->json.data, byte, len);
	page->json.len = len;
}

static void test_a_page_travels_whole(void **state)
{
	struct page_memory *m = *state;
	struct page sent = {
	    .generation = 11,
	    .wanted = 12,
	    .asked_ns = 13,
	    .filled_us = 14,
	    .state = PAGE_OK,
	    .source = PAGE_FROM_REDIS,
	    .is_stale = true,
	    .tag = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}},
	    .has_more = true,
	    .last = { 1795415696.788076,					     {{16, 15}}},
	};
	struct page got = {0};
	static const size_t lengths[] = {0, 1, 7, 8, 9, 1500, PAGE_JSON_MAX_BYTES - 1, PAGE_JSON_MAX_BYTES,
					 3};
	assert_true(page_read(m, &got));
	assert_int_equal(got.state, PAGE_NONE);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		fill_json(&sent, lengths[i], (char)('a' + i));
		page_publish(m, &sent);
		assert_int_equal(page_slot_generation(m), 11);
		assert_true(page_read(m, &got));
		assert_true(slice_equal(buf_slice(&sent.json), buf_slice(&got.json)));
	}
	assert_int_equal(got.generation, 11);
	assert_int_equal(got.wanted, 12);
	assert_int_equal(got.asked_ns, 13);
	assert_int_equal(got.filled_us, 14);
	assert_int_equal(got.state, PAGE_OK);
	assert_int_equal(got.source, PAGE_FROM_REDIS);
	assert_true(got.is_stale);
	assert_true(got.has_more);
	assert_memory_equal(&got.tag, &sent.tag, sizeof(sent.tag));
	assert_true(got.last.created_at == sent.last.created_at);
	assert_memory_equal(&got.last.id, &sent.last.id, sizeof(sent.last.id));

	fill_json(&sent, PAGE_JSON_MAX_BYTES + 1, 'z');
	page_publish(m, &sent);
	assert_true(page_read(m, &got));
	assert_int_equal(got.state, PAGE_TOO_LARGE);
	assert_int_equal(got.wanted, 12);
	assert_int_equal(got.json.len, 0);
	page_release(&sent);
	page_release(&got);
	assert_null(got.json.data);
}

static void test_who_waits_is_woken(void **state)
{
	struct page_memory *m = *state;
	uint64_t first = page_want(m);
	assert_int_equal(first, 1);
	assert_int_equal(page_want(m), 2);
	assert_int_equal(page_wanted(m), 2);
	struct page page = fresh_page(m);
	page_set_waiting(m, 1, true);
	page_set_waiting(m, 4, true);
	page_publish(m, &page);
	for (unsigned i = 0; i < WORKERS; i++)
		assert_int_equal(has_rung(page_worker_bell(m, i)), i == 1 || i == 4);
	page_set_waiting(m, 4, false);
	page_publish(m, &page);
	assert_true(has_rung(page_worker_bell(m, 1)));
	assert_false(has_rung(page_worker_bell(m, 4)));
}

/* Half a page is no page; the next keeper gets over it. */
static void test_a_slot_left_half_written(void **state)
{
	struct page_memory *m = *state;
	struct page got = {.generation = 77};
	fill_json(&got, 100, 'x');
	memset(m->shm.addr, 0xff, m->shm.size);
	assert_false(page_read(m, &got));
	assert_int_equal(got.generation, 77);
	assert_int_equal(got.json.len, 100);
	assert_int_equal(page_slot_generation(m), 0);
	uint64_t generation = page_generation(m);
	page_bell_quiet(page_keeper_bell(m));
	page_keeper_begins(m);
	assert_int_equal(page_generation(m), generation + 1);
	assert_true(is_ringing(page_keeper_bell(m))); /* what its predecessor heard is its own now */
	assert_true(page_read(m, &got));
	assert_int_equal(got.state, PAGE_NONE);
	assert_int_equal(got.wanted, 0);
	assert_int_equal(got.json.len, 0);
	page_release(&got);
}

static void test_a_new_keeper_vouches_for_nothing(void **state)
{
	struct page_memory *m = *state;
	struct page page = fresh_page(m);
	page_publish(m, &page);
	page_keeper_begins(m);
	assert_false(page_is_current(m, &page));
	page = fresh_page(m);
	assert_false(page_is_current(m, &page));
	page_set_link_until(m, INT64_MAX);
	assert_true(page_is_current(m, &page));
}

static void test_garbage_is_clamped(void **state)
{
	struct page_memory *m = *state;
	struct page got = {0};
	memset(m->shm.addr, 0xfe, m->shm.size);
	assert_true(page_read(m, &got));
	assert_int_equal(got.json.len, PAGE_JSON_MAX_BYTES);
	assert_int_equal(got.state, PAGE_NONE);
	assert_int_equal(got.source, PAGE_FROM_STORE);
	assert_int_equal(page_cache_state(m), PAGE_CACHE_AWAY);
	page_release(&got);
}

static void test_a_silent_keeper(void **state)
{
	struct page_memory *m = *state;
	assert_true(page_keeper_is_stuck(m));
	page_keeper_beat(m);
	int64_t beat_ns = clock_monotonic_ns(), deadline_ms = ms_from_now(DEADLINE_MS);
	while (!page_keeper_is_stuck(m))
		assert_true(clock_monotonic_ms() < deadline_ms);
	assert_true(clock_monotonic_ns() - beat_ns >= INT64_C(1000000) * (PAGE_KEEPER_SILENT_MS - 50));
	page_keeper_beat(m);
	assert_false(page_keeper_is_stuck(m));
	for (int i = PAGE_CACHE_OFF; i <= PAGE_CACHE_AWAY; i++) {
		page_set_cache_state(m, (enum page_cache)i);
		assert_int_equal(page_cache_state(m), i);
	}
}

/* ---- no torn page
 *
 * Every part of the page says its number. */

static void number_page(struct page *page, uint64_t number)
{
	page->generation = page->wanted = number;
	page->asked_ns = page->filled_us = (int64_t)number;
	page->state = PAGE_OK;
	page->last.created_at = (double)number;
	memset(page->tag.bytes, (int)(number % 251), sizeof(page->tag.bytes));
	/* Few long ones and many short ones; all have to be whole. */
	size_t len = number % 4 == 0 ? number * 7919 % PAGE_JSON_MAX_BYTES : number * 31 % 3000;
	fill_json(page, len, (char)(number % 251));
}

static bool is_whole(const struct page *page, struct page *expected)
{
	if (page->state == PAGE_NONE)
		return page->generation == 0 && page->json.len == 0;
	number_page(expected, page->generation);
	return page->wanted == expected->wanted && page->asked_ns == expected->asked_ns &&
	       page->filled_us == expected->filled_us && page->last.created_at == expected->last.created_at &&
	       uuid_compare_to(&page->tag, &expected->tag) == 0 &&
	       slice_equal(buf_slice(&page->json), buf_slice(&expected->json));
}

struct tally {
	_Atomic bool stops;
	_Atomic uint64_t number; /* of the last page */
	_Atomic uint64_t read, torn, refused;
};

struct reading {
	struct page_memory *memory;
	struct tally *tally;
};

static void *read_pages(void *arg)
{
	struct reading *r = arg;
	struct page page = {0}, expected = {0};
	while (!atomic_load(&r->tally->stops)) {
		if (!page_read(r->memory, &page))
			atomic_fetch_add(&r->tally->refused, 1);
		else if (is_whole(&page, &expected))
			atomic_fetch_add(&r->tally->read, 1);
		else
			atomic_fetch_add(&r->tally->torn, 1);
	}
	page_release(&page);
	page_release(&expected);
	return NULL;
}

static void *publish_pages(void *arg)
{
	struct reading *r = arg;
	struct page page = {0};
	page_keeper_begins(r->memory);
	while (!atomic_load(&r->tally->stops)) {
		number_page(&page, atomic_fetch_add(&r->tally->number, 1) + 1);
		page_publish(r->memory, &page);
	}
	page_release(&page);
	return NULL;
}

static void test_no_torn_page_between_threads(void **state)
{
	struct tally tally = {0};
	struct reading reading = {*state, &tally};
	pthread_t threads[3];
	assert_int_equal(pthread_create(&threads[0], NULL, publish_pages, &reading), 0);
	for (int i = 1; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, read_pages, &reading), 0);
	int64_t deadline_ms = ms_from_now(DEADLINE_MS);
	while ((atomic_load(&tally.read) < 5000 || atomic_load(&tally.number) < 5000) &&
	       clock_monotonic_ms() < deadline_ms)
		pause_us(1000);
	atomic_store(&tally.stops, true);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&tally.torn), 0);
	assert_true(atomic_load(&tally.read) >= 5000);
}

static pid_t fork_to(void *(*run)(void *), struct reading *reading)
{
	pid_t pid = fork();
	if (pid == 0) {
		(void)run(reading);
		_exit(0);
	}
	assert_true(pid > 0);
	return pid;
}

static void test_no_torn_page_from_a_killed_keeper(void **state)
{
	struct page_memory *m = *state;
	struct tally *tally =
	    mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(tally != MAP_FAILED);
	struct reading reading = {m, tally};
	pid_t readers[2];
	for (int i = 0; i < 2; i++)
		readers[i] = fork_to(read_pages, &reading);
	int killed = 0, half_written = 0, status;
	int64_t end_ms = ms_from_now(RUN_MS), deadline_ms = ms_from_now(DEADLINE_MS);
	while (clock_monotonic_ms() < end_ms || (half_written == 0 && clock_monotonic_ms() < deadline_ms)) {
		uint64_t before = atomic_load(&tally->number);
		pid_t keeper = fork_to(publish_pages, &reading);
		while (atomic_load(&tally->number) == before && clock_monotonic_ms() < deadline_ms)
			pause_us(50);
		pause_us(random_below(2000));
		assert_int_equal(kill(keeper, SIGKILL), 0);
		assert_int_equal(waitpid(keeper, &status, 0), keeper);
		assert_true(WIFSIGNALED(status));
		killed++;
		half_written += page_slot_generation(m) == 0;
	}
	atomic_store(&tally->stops, true);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(waitpid(readers[i], &status, 0), readers[i]);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	page_keeper_begins(m);
	struct page page = {0};
	assert_true(page_read(m, &page));
	page_release(&page);
	uint64_t torn = atomic_load(&tally->torn), read = atomic_load(&tally->read);
	munmap(tally, sizeof(*tally));
	print_message("%llu pages read, %d keepers killed, %d of them over a page\n",
		      (unsigned long long)read, killed, half_written);
	assert_int_equal(torn, 0);
	assert_true(read > 0);
	assert_true(killed > 10);
	assert_true(half_written > 0);
}

/* ---- the model
 *
 * The store is one number. Writers raise it between page_write_begins and page_write_ends, or die on the way; a keeper
 * publishes it; readers take it from the page, or, like a request for a single todo, from the store. No read may give less
 * than what was acknowledged, or read by anybody, before it began. */

enum { MODEL_WRITERS = 2, MODEL_READERS = 3 };

struct model {
	struct page_memory *memory;
	bool (*is_current)(const struct page_memory *m, const struct page *page);
	_Atomic bool stops;
	_Atomic bool keeper_stops;
	_Atomic uint64_t store;
	_Atomic uint64_t known; /* acknowledged, or read */
	_Atomic uint64_t hits, waits, violations;
};

struct model_thread {
	struct model *model;
	unsigned worker;
	pthread_t id;
};

static void know(struct model *model, uint64_t version)
{
	uint64_t known = atomic_load(&model->known);
	while (known < version && !atomic_compare_exchange_weak(&model->known, &known, version))
		continue;
}

static void *model_writer(void *arg)
{
	struct model_thread *self = arg;
	struct model *model = self->model;
	while (!atomic_load(&model->stops)) {
		page_write_begins(model->memory, self->worker);
		pause_us(random_below(20));
		uint64_t version = atomic_fetch_add(&model->store, 1) + 1;
		pause_us(random_below(100));
		if (random_below(8) == 0) {
			page_reap_worker(model->memory, self->worker);
		} else {
			page_write_ends(model->memory, self->worker, 1, true);
			know(model, version);
		}
		pause_us(random_below(2000));
	}
	return NULL;
}

static bool await_bell(int bell)
{
	struct pollfd ready = {.fd = bell, .events = POLLIN};
	bool rang = poll(&ready, 1, 100) == 1;
	page_bell_quiet(bell);
	return rang;
}

static void *model_keeper(void *arg)
{
	struct model_thread *self = arg;
	struct model *model = self->model;
	struct page page = {0};
	page_keeper_begins(model->memory);
	page_set_link_until(model->memory, INT64_MAX);
	while (!atomic_load(&model->keeper_stops)) {
		if (!await_bell(page_keeper_bell(model->memory)))
			continue;
		page.generation = page_generation(model->memory);
		page.wanted = page_wanted(model->memory);
		page.asked_ns = clock_monotonic_ns();
		page.state = PAGE_OK;
		pause_us(random_below(50));
		uint64_t version = atomic_load(&model->store);
		buf_clear(&page.json);
		buf_append(&page.json, &version, sizeof(version));
		pause_us(random_below(200));
		page_publish(model->memory, &page);
	}
	page_release(&page);
	return NULL;
}

static uint64_t version_of(const struct page *page)
{
	uint64_t version = 0;
	if (page->json.len == sizeof(version))
		memcpy(&version, page->json.data, sizeof(version));
	return version;
}

/* False: nothing came in time. */
static bool await_page(struct model_thread *self, struct page *page)
{
	struct page_memory *m = self->model->memory;
	int64_t deadline_ms = ms_from_now(DEADLINE_MS);
	page_set_waiting(m, self->worker, true);
	uint64_t number = page_want(m);
	page_ring(page_keeper_bell(m));
	do
		(void)await_bell(page_worker_bell(m, self->worker));
	while ((!page_read(m, page) || page->wanted < number) && clock_monotonic_ms() < deadline_ms);
	page_set_waiting(m, self->worker, false);
	atomic_fetch_add(&self->model->waits, 1);
	return page->wanted >= number;
}

static void *model_reader(void *arg)
{
	struct model_thread *self = arg;
	struct model *model = self->model;
	struct page page = {0};
	while (!atomic_load(&model->stops)) {
		uint64_t floor = atomic_load(&model->known), version;
		if (random_below(4) == 0) {
			version = atomic_load(&model->store);
		} else {
			if (model->is_current(model->memory, &page))
				atomic_fetch_add(&model->hits, 1);
			else if (!await_page(self, &page))
				break;
			version = version_of(&page);
		}
		if (version < floor)
			atomic_fetch_add(&model->violations, 1);
		know(model, version);
	}
	page_release(&page);
	return NULL;
}

static void run_model(struct model *model, int64_t run_ms, bool until_violated)
{
	struct model_thread threads[1 + MODEL_WRITERS + MODEL_READERS];
	for (unsigned i = 0; i < 1 + MODEL_WRITERS + MODEL_READERS; i++) {
		struct model_thread *thread = &threads[i];
		*thread = (struct model_thread){.model = model, .worker = i == 0 ? 0 : i - 1};
		assert_int_equal(pthread_create(&thread->id, NULL,
						i == 0               ? model_keeper
						: i <= MODEL_WRITERS ? model_writer
								     : model_reader,
						thread),
				 0);
	}
	int64_t end_ms = ms_from_now(run_ms);
	while (clock_monotonic_ms() < end_ms && !(until_violated && atomic_load(&model->violations) > 0))
		pause_us(1000);
	atomic_store(&model->stops, true);
	for (unsigned i = 1; i < 1 + MODEL_WRITERS + MODEL_READERS; i++)
		pthread_join(threads[i].id, NULL);
	atomic_store(&model->keeper_stops, true);
	pthread_join(threads[0].id, NULL);
	print_message("%llu writes, %llu hits, %llu waits, %llu violations\n",
		      (unsigned long long)atomic_load(&model->store),
		      (unsigned long long)atomic_load(&model->hits),
		      (unsigned long long)atomic_load(&model->waits),
		      (unsigned long long)atomic_load(&model->violations));
}

static void test_no_read_takes_back_what_was_seen(void **state)
{
	struct model model = {.memory = *state, .is_current = page_is_current};
	run_model(&model, RUN_MS, false);
	assert_int_equal(atomic_load(&model.violations), 0);
	assert_true(atomic_load(&model.store) > 0);
	assert_true(atomic_load(&model.hits) > 0);
	assert_true(atomic_load(&model.waits) > 0);
}

/* What page_is_current would be without `writing`. */
static bool has_same_generation(const struct page_memory *m, const struct page *page)
{
	return page_generation(m) == page->generation;
}

static void test_the_model_finds_a_broken_rule(void **state)
{
	struct model model = {.memory = *state, .is_current = has_same_generation};
	run_model(&model, DEADLINE_MS, true);
	assert_true(atomic_load(&model.violations) > 0);
}

int main(void)
{
#define CASE(test)          cmocka_unit_test_setup_teardown(test, open_memory, close_memory)
#define DOUBTING_CASE(test) cmocka_unit_test_setup_teardown(test, open_doubting_memory, close_memory)
	const struct CMUnitTest tests[] = {
	    CASE(test_bells),
	    CASE(test_a_page_is_current_while_nobody_writes),
	    CASE(test_a_page_is_current_as_long_as_others_are_vouched_for),
	    DOUBTING_CASE(test_doubt),
	    CASE(test_commit_numbers),
	    DOUBTING_CASE(test_reaping_a_worker_that_wrote),
	    DOUBTING_CASE(test_reaping_a_worker_that_owed),
	    DOUBTING_CASE(test_reaping_an_idle_worker),
	    CASE(test_workers_come_and_go),
	    CASE(test_a_worker_that_begins_while_another_is_reaped_is_looked_at),
	    DOUBTING_CASE(test_nothing_is_current_beside_a_rival),
	    CASE(test_another_program_takes_over),
	    CASE(test_a_page_travels_whole),
	    CASE(test_who_waits_is_woken),
	    CASE(test_a_slot_left_half_written),
	    CASE(test_a_new_keeper_vouches_for_nothing),
	    CASE(test_garbage_is_clamped),
	    CASE(test_a_silent_keeper),
	    CASE(test_no_torn_page_between_threads),
	    CASE(test_no_torn_page_from_a_killed_keeper),
	    CASE(test_no_read_takes_back_what_was_seen),
	    CASE(test_the_model_finds_a_broken_rule),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
