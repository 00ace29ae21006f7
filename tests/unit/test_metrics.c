/*
 * What is counted, from one word to the page of a whole service.
 */
#include "api/metrics.h"

#include "base/clock.h"
#include "master/scoreboard.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { SLOTS = 4 };

/* ---- histograms */

static uint64_t count_of(const struct histogram *h)
{
	uint64_t count = 0;
	for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
		count += h->buckets[i];
	return count;
}

static void test_buckets(void **state)
{
	(void)state;
	static const struct {
		uint64_t value;
		unsigned bucket;
	} cases[] = {
	    {0,              0 },
	    {100000,         0 },
	    {100001,         1 },
	    {1000000,        3 },
	    {2500000000ULL,  13},
	    {2500000001ULL,  14},
	    {UINT64_MAX / 2, 14},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct histogram own = {0}, shared = {0};
		histogram_add(&own, &histogram_times, cases[i].value);
		histogram_add_shared(&shared, &histogram_times, cases[i].value);
		assert_int_equal(own.buckets[cases[i].bucket], 1);
		assert_int_equal(own.sum, cases[i].value);
		assert_memory_equal(&own, &shared, sizeof(own));
	}
	struct histogram sizes = {0};
	for (uint64_t n = 1; n <= 512; n++)
		histogram_add(&sizes, &histogram_sizes, n);
	static const uint64_t expected[] = {1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 0};
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
		assert_int_equal(sizes.buckets[i], expected[i]);
	assert_int_equal(sizes.sum, 512 * 513 / 2);
}

static void test_scales_ascend(void **state)
{
	(void)state;
	const struct histogram_scale *scales[] = {&histogram_times, &histogram_sizes};
	for (size_t i = 0; i < 2; i++) {
		assert_in_range(scales[i]->count, 1, HISTOGRAM_BUCKETS - 1);
		for (unsigned j = 1; j < scales[i]->count; j++)
			assert_true(scales[i]->bounds[j] > scales[i]->bounds[j - 1]);
	}
}

static void *add_many(void *arg)
{
	for (int i = 0; i < 100000; i++)
		histogram_add_shared(arg, &histogram_times, (uint64_t)i * 1000);
	return NULL;
}

static void test_threads_lose_nothing(void **state)
{
	(void)state;
	static struct histogram h;
	pthread_t threads[4];
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, add_many, &h), 0);
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(count_of(&h), 400000);
	assert_int_equal(h.sum, 4 * 1000ULL * (99999ULL * 100000 / 2));
}

/* ---- slots */

static struct process take_process(struct scoreboard *sb)
{
	struct err err;
	assert_int_equal(scoreboard_open(sb, &err), 0);
	atomic_store(&sb->board->slots_end, SLOTS);
	return (struct process){.slot = sb->slots,
				.slots = sb->slots,
				.slots_max = SCOREBOARD_SLOTS,
				.board = sb->board};
}

/* Neighbours in memory that many processes write. */
static void test_slots_share_no_line(void **state)
{
	(void)state;
	assert_int_equal(sizeof(struct process_slot) % METRICS_LINE_BYTES, 0);
	assert_int_equal(sizeof(struct process_board) % METRICS_LINE_BYTES, 0);
	assert_int_equal(offsetof(struct process_slot, metrics) % METRICS_LINE_BYTES, 0);
}

/* Counts in a process of its own, which then dies as a killed worker does. */
static void count_and_die(struct process_slot *slot, unsigned requests)
{
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct response res = {.status = 200, .route = API_ROUTE_LIST, .cache = API_CACHE_HIT};
		metrics_begin(&slot->metrics);
		for (unsigned i = 0; i < requests; i++)
			api_count(&res, 50000);
		gauge_set(&slot->metrics.gauges.queued[0], 7);
		(void)kill(getpid(), SIGKILL);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
}

static void test_successor_counts_on(void **state)
{
	(void)state;
	struct scoreboard sb;
	struct process p = take_process(&sb);
	static struct snapshot shot;
	for (size_t i = 0; i < 2; i++) {
		scoreboard_reset(&sb.slots[i], PROCESS_WORKER);
		count_and_die(&sb.slots[i], 1000);
	}
	snapshot_take(&shot, &p);
	assert_int_equal(shot.sum.requests[API_ROUTE_LIST][1], 2000);
	assert_int_equal(shot.sum.gauges.queued[0], 14);
	assert_int_equal(shot.workers[PROCESS_BOOTING], 2);

	/* Nobody has the slot: what it counted stays, what it was doing does not. */
	atomic_store(&sb.slots[0].state, PROCESS_NONE);
	snapshot_take(&shot, &p);
	assert_int_equal(shot.sum.requests[API_ROUTE_LIST][1], 2000);
	assert_int_equal(shot.sum.gauges.queued[0], 7);
	assert_int_equal(shot.workers[PROCESS_BOOTING], 1);

	scoreboard_reset(&sb.slots[0], PROCESS_WORKER);
	count_and_die(&sb.slots[0], 500);
	scoreboard_reset(&sb.slots[0], PROCESS_WORKER);
	snapshot_take(&shot, &p);
	assert_int_equal(shot.sum.requests[API_ROUTE_LIST][1], 2500);
	assert_int_equal(shot.sum.statuses[1][0], 2500);
	assert_int_equal(shot.sum.caches[API_CACHE_HIT], 2500);
	assert_int_equal(shot.sum.latency[API_ROUTE_LIST].buckets[0], 2500);
	assert_int_equal(shot.sum.latency[API_ROUTE_LIST].sum, 2500ULL * 50000);
	assert_int_equal(shot.sum.gauges.queued[0], 7);
	scoreboard_close(&sb);
}

/* As after an upgrade: another mapping of the same memory. */
static void test_another_program_counts_on(void **state)
{
	(void)state;
	struct scoreboard sb, next;
	struct process p = take_process(&sb);
	static struct snapshot before, after;
	struct err err;
	count_and_die(&sb.slots[SLOTS - 1], 100);
	counter_add(&sb.board->counts.reloads, 3);
	snapshot_take(&before, &p);
	assert_int_equal(scoreboard_adopt(&next, dup(sb.memory.fd), &err), 0);
	scoreboard_close(&sb);
	p.slots = next.slots;
	p.board = next.board;
	snapshot_take(&after, &p);
	assert_memory_equal(&before, &after, sizeof(before));
	assert_int_equal(after.sum.requests[API_ROUTE_LIST][1], 100);
	assert_int_equal(after.counts.reloads, 3);
	scoreboard_close(&next);
}

static void test_slots_that_were_never_used_cost_nothing(void **state)
{
	(void)state;
	struct scoreboard sb;
	struct process p = take_process(&sb);
	static struct snapshot shot;
	struct stat st;
	snapshot_take(&shot, &p);
	assert_int_equal(fstat(sb.memory.fd, &st), 0);
	assert_in_range(st.st_blocks * 512, 0, 2 * (sizeof(*sb.board) + (SLOTS + 1) * sizeof(*sb.slots)));
	atomic_store(&sb.board->slots_end, UINT32_MAX); /* by a process that has gone mad */
	assert_int_equal(process_slot_count(&p), SCOREBOARD_SLOTS);
	scoreboard_close(&sb);
}

static void test_strange_slots(void **state)
{
	(void)state;
	struct scoreboard sb;
	struct process p = take_process(&sb);
	static struct snapshot shot;
	atomic_store(&sb.slots[0].state, 1000);
	atomic_store(&sb.slots[1].state, PROCESS_READY);
	atomic_store(&sb.slots[1].role, UINT32_MAX);
	sb.slots[1].metrics.accepted = 3;
	snapshot_take(&shot, &p);
	assert_int_equal(shot.sum.accepted, 3);
	assert_int_equal(shot.workers[PROCESS_READY], 0);
	scoreboard_close(&sb);
}

/* ---- what an answer counts as */

static void test_answers(void **state)
{
	(void)state;
	static struct metrics m;
	metrics_begin(&m);
	struct response res = {.status = 404, .route = API_ROUTES};
	api_count(&res, -1);
	assert_int_equal(m.requests[API_ROUTE_NONE][3], 1);
	assert_int_equal(m.statuses[3][4], 1);
	assert_int_equal(m.latency[API_ROUTE_NONE].buckets[0], 1);
	assert_int_equal(m.latency[API_ROUTE_NONE].sum, 0);
	res = (struct response){.status = 431, .route = API_ROUTE_GET, .cache = 255};
	api_count(&res, 3000000000);
	assert_int_equal(m.requests[API_ROUTE_GET][3], 1);
	assert_int_equal(m.statuses[3][31], 1);
	assert_int_equal(m.latency[API_ROUTE_GET].buckets[14], 1);
	res = (struct response){.status = 451, .route = API_ROUTE_GET};
	api_count(&res, 0);
	assert_int_equal(m.statuses[3][31], 1);
	assert_int_equal(m.statuses[3][32], 1);
	res = (struct response){.status = API_CLIENT_GONE, .route = API_ROUTE_GET};
	api_count(&res, 0);
	assert_int_equal(m.abandoned, 1);
	assert_int_equal(m.requests[API_ROUTE_GET][3], 2);
	res = (struct response){.status = 0};
	api_count(&res, 0);
	res.status = 999;
	api_count(&res, 0);
	uint64_t sum = 0;
	for (size_t i = 0; i < METRICS_CLASSES; i++)
		for (size_t j = 0; j < METRICS_STATUSES; j++)
			sum += m.statuses[i][j];
	assert_int_equal(sum, 3);
}

/* ---- the page */

static char *append(const struct snapshot *shot)
{
	struct buf out = BUF_INIT;
	snapshot_append(shot, &out);
	buf_append(&out, "", 1);
	return out.data;
}

static void expect_lines(const char *text, const char *lines)
{
	if (!strstr(text, lines))
		fail_msg("without:\n%s", lines);
}

static void test_page(void **state)
{
	(void)state;
	static struct snapshot shot;
	shot.sum.requests[API_ROUTE_LIST][1] = 18446744073709551615ULL;
	shot.sum.requests[API_ROUTE_NONE][3] = 2;
	shot.sum.statuses[3][29] = 5;
	shot.sum.latency[API_ROUTE_LIST] = (struct histogram){
	    {1, 2, 0, 0, 4, [14] = 8},
            12000000345
        };
	shot.sum.batches = (struct histogram){
	    {3, 1},
            5
        };
	shot.sum.gauges.queued[LANE_WRITE] = 9;
	shot.sum.scripts_failed[1] = 6;
	shot.counts.started_ns = 1795415696000001000;
	shot.counts.failed_reloads = 1;
	shot.counts.replaced[PROCESS_WORKER][PROCESS_STUCK] = 2;
	shot.counts.failed_forks[PROCESS_WORKER] = 4;
	shot.workers[PROCESS_READY] = 5;
	shot.resident_bytes[PROCESS_ROLES] = 4096;
	shot.caches[PAGE_CACHE_AWAY] = 1;
	shot.listener_count = 2;
	shot.listeners[0] = (struct api_listener){"127.0.0.1:80", 3, 4096};
	shot.listeners[1] = (struct api_listener){"[::1]:80", 0, 128};
	char *text = append(&shot);

	expect_lines(text, "# HELP todod_http_requests_total Requests that were answered.\n"
			   "# TYPE todod_http_requests_total counter\n"
			   "todod_http_requests_total{route=\"none\",class=\"2xx\"} 0\n"
			   "todod_http_requests_total{route=\"none\",class=\"3xx\"} 0\n"
			   "todod_http_requests_total{route=\"none\",class=\"4xx\"} 2\n");
	expect_lines(text,
		     "\ntodod_http_requests_total{route=\"list\",class=\"2xx\"} 18446744073709551615\n");
	expect_lines(text, "\ntodod_http_responses_total{code=\"429\"} 5\n");
	expect_lines(text, "\n# TYPE todod_http_request_duration_seconds histogram\n");
	expect_lines(text, "\ntodod_http_request_duration_seconds_bucket{route=\"list\",le=\"0.0001\"} 1\n"
			   "todod_http_request_duration_seconds_bucket{route=\"list\",le=\"0.00025\"} 3\n"
			   "todod_http_request_duration_seconds_bucket{route=\"list\",le=\"0.0005\"} 3\n"
			   "todod_http_request_duration_seconds_bucket{route=\"list\",le=\"0.001\"} 3\n"
			   "todod_http_request_duration_seconds_bucket{route=\"list\",le=\"0.0025\"} 7\n"
			   "todod_http_request_duration_seconds_bucket{route=\"list\",le=\"0.005\"} 7\n"
			   "todod_http_request_duration_seconds_bucket{route=\"list\",le=\"0.01\"} 7\n"
			   "todod_http_request_duration_seconds_bucket{route=\"list\",le=\"0.025\"} 7\n"
			   "todod_http_request_duration_seconds_bucket{route=\"list\",le=\"0.05\"} 7\n"
			   "todod_http_request_duration_seconds_bucket{route=\"list\",le=\"0.1\"} 7\n"
			   "todod_http_request_duration_seconds_bucket{route=\"list\",le=\"0.25\"} 7\n"
			   "todod_http_request_duration_seconds_bucket{route=\"list\",le=\"0.5\"} 7\n"
			   "todod_http_request_duration_seconds_bucket{route=\"list\",le=\"1\"} 7\n"
			   "todod_http_request_duration_seconds_bucket{route=\"list\",le=\"2.5\"} 7\n"
			   "todod_http_request_duration_seconds_bucket{route=\"list\",le=\"+Inf\"} 15\n"
			   "todod_http_request_duration_seconds_sum{route=\"list\"} 12.000000345\n"
			   "todod_http_request_duration_seconds_count{route=\"list\"} 15\n");
	expect_lines(text, "\ntodod_store_commit_writes_bucket{le=\"1\"} 3\n"
			   "todod_store_commit_writes_bucket{le=\"2\"} 4\n");
	expect_lines(text, "\ntodod_store_commit_writes_bucket{le=\"512\"} 4\n"
			   "todod_store_commit_writes_bucket{le=\"+Inf\"} 4\n"
			   "todod_store_commit_writes_sum 5\n"
			   "todod_store_commit_writes_count 4\n");
	expect_lines(text, "\n# TYPE todod_store_queue_length gauge\n"
			   "todod_store_queue_length{lane=\"read\"} 0\n"
			   "todod_store_queue_length{lane=\"write\"} 9\n"
			   "todod_store_queue_length{lane=\"delete\"} 0\n");
	expect_lines(text, "\ntodod_keeper_scripts_total{script=\"probe\",result=\"failed\"} 6\n");
	expect_lines(text, "\ntodod_accept_queue_length{listener=\"127.0.0.1:80\"} 3\n"
			   "todod_accept_queue_length{listener=\"[::1]:80\"} 0\n");
	expect_lines(text, "\ntodod_accept_queue_limit{listener=\"127.0.0.1:80\"} 4096\n");
	expect_lines(text, "\ntodod_cache_state{state=\"ok\"} 0\ntodod_cache_state{state=\"away\"} 1\n");
	expect_lines(text, "\ntodod_process_restarts_total{process=\"worker\",reason=\"stuck\"} 2\n");
	expect_lines(text, "\ntodod_process_forks_total{process=\"worker\",result=\"failed\"} 4\n");
	expect_lines(text,
		     "\ntodod_reloads_total{result=\"ok\"} 0\ntodod_reloads_total{result=\"failed\"} 1\n");
	expect_lines(text, "\ntodod_workers{state=\"ready\"} 5\n");
	expect_lines(text, "\ntodod_resident_memory_bytes{process=\"master\"} 4096\n");
	expect_lines(text, "\ntodod_start_time_seconds 1795415696.000001\n");
	expect_lines(text, "\ntodod_build_info{version=\"" TODOD_VERSION "\",sqlite=\"");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_buckets),
	    cmocka_unit_test(test_scales_ascend),
	    cmocka_unit_test(test_threads_lose_nothing),
	    cmocka_unit_test(test_slots_share_no_line),
	    cmocka_unit_test(test_successor_counts_on),
	    cmocka_unit_test(test_another_program_counts_on),
	    cmocka_unit_test(test_slots_that_were_never_used_cost_nothing),
	    cmocka_unit_test(test_strange_slots),
	    cmocka_unit_test(test_answers),
	    cmocka_unit_test(test_page),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
