/*
 * When a loop lets itself be scheduled as SCHED_BATCH: each line of a table is what a tenth of a second brought.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "net/pace.h"

#include <sched.h>
#include <unistd.h>

enum { LOOK_MS = 100, MS = 1000 * 1000 };

static struct pace new_pace(bool is_batch)
{
	return (struct pace){.schedstat_fd = -1, .pause_ms = 1000, .is_batch = is_batch};
}

static void look(struct pace *p, uint32_t wakes, uint32_t events, uint64_t waited_ns, int64_t now_ms)
{
	p->wakes = wakes;
	p->events = events;
	p->is_batch = pace_choose(p, waited_ns, now_ms);
}

static void test_each_condition(void **state)
{
	static const struct {
		const char *what;
		bool before;
		uint32_t wakes, events;
		uint64_t waited_ns;
		bool after;
	} rows[] = {
	    {"idle",			    false, 0,   0,    0,        false},
	    {"few events",                      false, 199, 199,  0,        false},
	    {"busy: it tries",                  false, 200, 200,  0,        true },
	    {"busy, whatever it waits by now",  false, 900, 2000, 950 * MS, true },
	    {"two at a time",                   true,  100, 200,  0,        true },
	    {"not quite two at a time",         true,  101, 201,  0,        false},
	    {"few events, however they come",   true,  2,   199,  0,        false},
	    {"idle again",                      true,  0,   0,    0,        false},
	    {"a millisecond each, and no more", true,  25,  400,  25 * MS,  true },
	    {"its turn comes late",             true,  25,  400,  26 * MS,  false},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct pace p = new_pace(rows[i].before);
		look(&p, rows[i].wakes, rows[i].events, rows[i].waited_ns, 0);
		if (p.is_batch != rows[i].after)
			fail_msg("%s", rows[i].what);
	}
}

/* What does not pay is tried ever less often, up to once a minute or so. */
static void test_tries_in_vain_get_rare(void **state)
{
	struct pace p = new_pace(false);
	int tries[10] = {0};
	(void)state;
	for (int64_t now_ms = 0; now_ms < 10 * 60 * 1000; now_ms += LOOK_MS) {
		look(&p, 500, 500, 0, now_ms);
		tries[now_ms / (60 * 1000)] += p.is_batch;
	}
	assert_in_range(tries[0], 5, 7);
	for (int minute = 2; minute < 10; minute++)
		assert_in_range(tries[minute], 0, 1);
}

static void test_one_that_paid_is_tried_again_soon(void **state)
{
	struct pace p = new_pace(false);
	int64_t now_ms = 0;
	(void)state;
	for (; now_ms < 60 * 1000; now_ms += LOOK_MS)
		look(&p, 500, 500, 0, now_ms);
	while (!p.is_batch)
		look(&p, 500, 500, 0, now_ms += LOOK_MS);
	look(&p, 100, 500, 0, now_ms += LOOK_MS);
	assert_true(p.is_batch);
	look(&p, 0, 0, 0, now_ms += LOOK_MS);
	assert_false(p.is_batch);
	look(&p, 500, 500, 0, now_ms + 900);
	assert_false(p.is_batch);
	look(&p, 500, 500, 0, now_ms + 1000);
	assert_true(p.is_batch);
}

/* The kernel's part: what it is told, and that nobody else's choice is changed. */
static void test_the_policy_of_the_thread(void **state)
{
	const struct sched_param none = {0};
	struct pace p;
	(void)state;
	pace_init(&p);
	assert_true(p.schedstat_fd >= 0);
	pace_count(&p, -1);
	for (int i = 0; i < 100; i++)
		pace_count(&p, 3);
	assert_int_equal(p.wakes, 100);
	assert_int_equal(p.events, 300);
	pace_look(&p, 0);
	assert_int_equal(sched_getscheduler(0), SCHED_BATCH);
	assert_int_equal(p.events, 0);
	pace_look(&p, LOOK_MS);
	assert_int_equal(sched_getscheduler(0), SCHED_OTHER);

	/* Somebody else's, while it runs. */
	for (int i = 0; i < 100; i++)
		pace_count(&p, 3);
	assert_int_equal(sched_setscheduler(0, SCHED_IDLE, &none), 0);
	pace_look(&p, 10 * 1000);
	assert_int_equal(sched_getscheduler(0), SCHED_IDLE);
	assert_int_equal(p.schedstat_fd, -1);
	assert_int_equal(sched_setscheduler(0, SCHED_OTHER, &none), 0);
	pace_release(&p);

	assert_int_equal(sched_setscheduler(0, SCHED_BATCH, &none), 0);
	pace_init(&p);
	assert_int_equal(p.schedstat_fd, -1);
	pace_look(&p, 0);
	assert_int_equal(sched_getscheduler(0), SCHED_BATCH);
	assert_int_equal(sched_setscheduler(0, SCHED_OTHER, &none), 0);
	pace_release(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_each_condition),
	    cmocka_unit_test(test_tries_in_vain_get_rare),
	    cmocka_unit_test(test_one_that_paid_is_tried_again_soon),
	    cmocka_unit_test(test_the_policy_of_the_thread),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
