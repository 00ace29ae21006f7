#include "http/parser.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

/* RFC 9110 section 5.3: the lines of a field in order, with commas between. */
static void test_field(void **state)
{
	(void)state;
	/* clang-format off */
	static const struct {
		const char *head;
		const char *value;
	} rows[] = {
		{"", NULL},
		{"Other: a\r\n", NULL},
		{"Wanted: a\r\n", "a"},
		{"Wanted:\r\n", ""},
		{"WANTED: a, b\r\nOther: c\r\n", "a, b"},
		{"X-Wanted: a\r\nWanteds: b\r\nWante: c\r\n", NULL},
		{"Wanted: a\r\nwanted: b\r\n", "a, b"},
		{"Wanted: a, b\r\nOther: x\r\nwAnTeD:c \r\nWanted: d\r\n", "a, b, c, d"},
		{"Wanted:\r\nWanted: a\r\n", ", a"},
		{"Wanted: a\r\nWanted:\r\nWanted: b\r\n", "a, , b"},
	};
	/* clang-format on */
	struct buf lines = BUF_INIT, msg = BUF_INIT;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		buf_clear(&msg);
		buf_printf(&msg, "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", rows[i].head);
		struct parser p;
		parser_init(&p, 0);
		assert_int_equal(parser_feed(&p, msg.data, &msg.len), PARSE_DONE);
		struct slice value = request_field(&p.req, SLICE("Wanted"), &lines);
		bool is_right =
		    rows[i].value ? value.data && slice_equal(value, slice_of(rows[i].value)) : !value.data;
		if (!is_right)
			fail_msg("%s: %.*s", rows[i].head, (int)value.len, value.data);
	}
	buf_release(&msg);
	buf_release(&lines);
}

/* Nothing is copied where nothing has to be joined. */
static void test_field_of_one_line(void **state)
{
	(void)state;
	char msg[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
	size_t len = sizeof(msg) - 1;
	struct parser p;
	struct buf lines = BUF_INIT;
	parser_init(&p, 0);
	assert_int_equal(parser_feed(&p, msg, &len), PARSE_DONE);
	assert_ptr_equal(request_field(&p.req, SLICE("host"), &lines).data, msg + 22);
	assert_null(lines.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_field),
					   cmocka_unit_test(test_field_of_one_line)};
	return cmocka_run_group_tests_name("request", tests, NULL, NULL);
}
