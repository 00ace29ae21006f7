#include "http/etag.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

static void test_if_none_match(void **state)
{
	(void)state;
	/* clang-format off */
	static const struct {
		const char *section; /* of RFC 9110 */
		const char *value;
		bool names; /* "xyzzy" */
	} rows[] = {
		{"13.1.2, examples", "\"xyzzy\"", true},
		{"13.1.2, examples", "W/\"xyzzy\"", true},
		{"13.1.2, examples", "\"xyzzy\", \"r2d2xxxx\", \"c3piozzzz\"", true},
		{"13.1.2, examples", "W/\"xyzzy\", W/\"r2d2xxxx\", W/\"c3piozzzz\"", true},
		{"13.1.2, examples", "*", true},
		{"13.1.2", "\"r2d2xxxx\", \"xyzzy\"", true},
		{"13.1.2", "\"r2d2xxxx\", \"c3piozzzz\"", false},
		{"8.8.3.2: weak comparison is of the opaque tag", "W/\"xyzz\"", false},
		{"8.8.3.2: character by character", "\"XYZZY\"", false},
		{"8.8.3.2", "\"xyzzy-gzip\"", false},
		{"8.8.3.2", "\"xyzz\"", false},
		{"8.8.3.2", "\" xyzzy\"", false},
		{"8.8.3: empty, and still a tag", "\"\"", false},
		{"8.8.3: a comma is part of it", "\"a,b\", \"xyzzy\"", true},
		{"8.8.3: a comma is part of it", "\"a,\", \"xyzzy\"", true},
		{"8.8.3: no escapes", "\"a\\\", \"xyzzy\"", true},
		{"8.8.3: obs-text", "\"\xc3\xa9\", \"xyzzy\"", true},
		{"5.6.1.2: empty members", ",, \"xyzzy\" ,", true},
		{"5.6.1.2", " \t,\"xyzzy\"", true},
		{"5.6.1.2", ",", false},
		{"absent", "", false},
		{"8.8.3: case-sensitive", "w/\"xyzzy\"", false},
		{"malformed", "xyzzy", false},
		{"malformed", "\"xyzzy", false},
		{"malformed", "xyzzy\"", false},
		{"malformed", "'xyzzy'", false},
		{"malformed", "W/xyzzy", false},
		{"malformed", "W/ \"xyzzy\"", false},
		{"malformed", "W\"xyzzy\"", false},
		{"malformed", "W/W/\"xyzzy\"", false},
		{"malformed", "\"xyzzy\"x", false},
		{"malformed", "\"xyzzy\" \"a\"", false},
		{"malformed", "\"xyzzy\";q=1", false},
		{"malformed", "x\"xyzzy\"", false},
		{"malformed", "\"", false},
		{"malformed", "W/", false},
		{"malformed", "W", false},
		{"malformed: the others count", "xyzzy, \"xyzzy\"", true},
		{"malformed: the others count", "\"a b\", \"xyzzy\"", true},
		{"malformed: the others count", "\"a\"b, W/\"xyzzy\"", true},
		{"malformed: the others count", "\"a\" \"b\", \"xyzzy\"", true},
		{"malformed: the others count", "\"a\177\", \"xyzzy\"", true},
		{"malformed: the others count", "\"xyzzy\", \"", true},
		{"13.1.2: * stands alone", "*, \"a\"", false},
		{"13.1.2: * stands alone", "\"a\", *", false},
		{"13.1.2: * stands alone", "**", false},
		{"13.1.2: \"*\" is a tag", "\"*\"", false},
	};
	/* clang-format on */
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		/* In memory of exactly that size. */
		size_t len = strlen(rows[i].value);
		char *copy = malloc(len ? len : 1);
		assert_non_null(copy);
		memcpy(copy, rows[i].value, len);
		if (etag_list_names((struct slice){copy, len}, SLICE("\"xyzzy\"")) != rows[i].names)
			fail_msg("%s (%s): not %d", rows[i].value, rows[i].section, rows[i].names);
		free(copy);
	}
	assert_false(etag_list_names((struct slice){NULL, 0}, SLICE("\"xyzzy\"")));
}

/* What a head may hold at most is gone through once. */
static void test_long_lists(void **state)
{
	(void)state;
	struct buf list = BUF_INIT;
	while (list.len < 8192)
		buf_append_str(&list, "\"a\"x,\"b,");
	assert_false(etag_list_names(buf_slice(&list), SLICE("\"xyzzy\"")));
	buf_append_str(&list, "\", \"xyzzy\"");
	assert_true(etag_list_names(buf_slice(&list), SLICE("\"xyzzy\"")));
	buf_release(&list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_if_none_match),
					   cmocka_unit_test(test_long_lists)};
	return cmocka_run_group_tests_name("etag", tests, NULL, NULL);
}
