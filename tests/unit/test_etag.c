#include "http/etag.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

static void test_weak_comparison(void **state)
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
		if (etag_list_names((struct slice){copy, len}, SLICE("\"xyzzy\""), ETAG_WEAK) !=
		    rows[i].names)
			fail_msg("%s (%s): not %d", rows[i].value, rows[i].section, rows[i].names);
		free(copy);
	}
	assert_false(etag_list_names((struct slice){NULL, 0}, SLICE("\"xyzzy\""), ETAG_WEAK));
}

/* What a head may hold at most is gone through once. */
static void test_long_lists(void **state)
{
	(void)state;
	struct buf list = BUF_INIT;
	while (list.len < 8192)
		buf_append_str(&list, "\"a\"x,\"b,");
	assert_false(etag_list_names(buf_slice(&list), SLICE("\"xyzzy\""), ETAG_WEAK));
	buf_append_str(&list, "\", \"xyzzy\"");
	assert_true(etag_list_names(buf_slice(&list), SLICE("\"xyzzy\""), ETAG_WEAK));
	buf_release(&list);
}

static void test_strong_comparison(void **state)
{
	(void)state;
	/* clang-format off */
	static const struct {
		const char *value;
		bool names; /* "xyzzy" */
	} rows[] = {
		{"\"xyzzy\"", true},
		{"*", true},
		{"\"a\", \"xyzzy\"", true},
		{"W/\"xyzzy\", \"xyzzy\"", true},
		{"xyzzy, \"xyzzy\"", true},
		{"W/\"xyzzy\"", false},
		{"\"a\", W/\"xyzzy\"", false},
		{"\"a\"", false},
		{"", false},
		{",", false},
		{"\"*\"", false},
	};
	/* clang-format on */
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (etag_list_names(slice_of(rows[i].value), SLICE("\"xyzzy\""), ETAG_STRONG) !=
		    rows[i].names)
			fail_msg("%s: not %d", rows[i].value, rows[i].names);
}

/* RFC 9110 section 13.2.2. */
static void test_verdicts(void **state)
{
	(void)state;
	/* clang-format off */
	static const struct {
		const char *if_match, *if_none_match; /* NULL: absent */
		const char *etag;                     /* "": none */
		enum etag_verdict of_read, of_write;
	} rows[] = {
		{NULL, NULL, "\"a\"", ETAG_GO_ON, ETAG_GO_ON},
		{"\"a\"", NULL, "\"a\"", ETAG_GO_ON, ETAG_GO_ON},
		{"W/\"a\"", NULL, "\"a\"", ETAG_FAILED, ETAG_FAILED},
		{"\"b\"", NULL, "\"a\"", ETAG_FAILED, ETAG_FAILED},
		{"*", NULL, "\"a\"", ETAG_GO_ON, ETAG_GO_ON},
		{"", NULL, "\"a\"", ETAG_FAILED, ETAG_FAILED},
		{NULL, "\"a\"", "\"a\"", ETAG_NOT_MODIFIED, ETAG_FAILED},
		{NULL, "W/\"a\"", "\"a\"", ETAG_NOT_MODIFIED, ETAG_FAILED},
		{NULL, "\"b\"", "\"a\"", ETAG_GO_ON, ETAG_GO_ON},
		{NULL, "*", "\"a\"", ETAG_NOT_MODIFIED, ETAG_FAILED},
		{NULL, "", "\"a\"", ETAG_GO_ON, ETAG_GO_ON},
		{"\"a\"", "\"a\"", "\"a\"", ETAG_NOT_MODIFIED, ETAG_FAILED},
		{"\"b\"", "\"a\"", "\"a\"", ETAG_FAILED, ETAG_FAILED},
		{"*", "\"b\"", "\"a\"", ETAG_GO_ON, ETAG_GO_ON},
		/* What has no tag is named by the asterisk alone. */
		{NULL, NULL, "", ETAG_GO_ON, ETAG_GO_ON},
		{"*", NULL, "", ETAG_GO_ON, ETAG_GO_ON},
		{"\"a\"", NULL, "", ETAG_FAILED, ETAG_FAILED},
		{"\"\"", NULL, "", ETAG_FAILED, ETAG_FAILED},
		{"a", NULL, "", ETAG_FAILED, ETAG_FAILED},
		{NULL, "*", "", ETAG_NOT_MODIFIED, ETAG_FAILED},
		{NULL, "\"a\"", "", ETAG_GO_ON, ETAG_GO_ON},
		{NULL, "a, \"\", ,", "", ETAG_GO_ON, ETAG_GO_ON},
		{"*", "*", "", ETAG_NOT_MODIFIED, ETAG_FAILED},
	};
	/* clang-format on */
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct etag_conditions conditions = {
		    {NULL, 0},
                    {NULL, 0}
                };
		if (rows[i].if_match)
			conditions.if_match = slice_of(rows[i].if_match);
		if (rows[i].if_none_match)
			conditions.if_none_match = slice_of(rows[i].if_none_match);
		struct slice etag = slice_of(rows[i].etag);
		if (etag_evaluate(&conditions, etag, true) != rows[i].of_read ||
		    etag_evaluate(&conditions, etag, false) != rows[i].of_write)
			fail_msg("row %zu", i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_weak_comparison),
					   cmocka_unit_test(test_strong_comparison),
					   cmocka_unit_test(test_verdicts),
					   cmocka_unit_test(test_long_lists)};
	return cmocka_run_group_tests_name("etag", tests, NULL, NULL);
}
