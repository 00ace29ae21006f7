/*
 * What plans share, as far as it needs no daemon around it.
 */
#include "service/shares.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static const char store[] = "mongodb://127.0.0.1/x";

static struct share *use_memory(struct shares *s, unsigned workers, uint32_t doubt_ms)
{
	struct err err;
	struct share *share = shares_memory(s, store, "off", workers, doubt_ms, &err);
	assert_non_null(share);
	return share;
}

static int64_t doubt_of(struct share *share)
{
	int64_t now_ns = clock_monotonic_ns();
	page_write_in_doubt(&share->pages);
	return (page_doubt_until_ns(&share->pages) - now_ns) / 1000000;
}

static void test_the_longest_doubt_holds(void **state)
{
	(void)state;
	struct shares s = {.list = NULL};
	struct share *first = use_memory(&s, 2, 5000);
	assert_in_range(doubt_of(first), 5000, 15000);
	assert_ptr_equal(use_memory(&s, 2, 40000), first);
	assert_in_range(doubt_of(first), 40000, 50000);
	shares_drop(&s, first);
	assert_ptr_equal(use_memory(&s, 2, 5000), first); /* those who were told the other still write */
	assert_in_range(doubt_of(first), 40000, 50000);
	shares_drop(&s, first);
	shares_drop(&s, first);
	assert_null(s.list);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_the_longest_doubt_holds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
