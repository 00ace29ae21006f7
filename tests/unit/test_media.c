#include "http/media.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

static void test_media(void **state)
{
	(void)state;
	/* clang-format off */
	static const struct {
		const char *value;
		enum media_type type;
	} rows[] = {
		{"application/json", MEDIA_JSON},
		{"APPLICATION/Json", MEDIA_JSON},
		{"application/x-www-form-urlencoded", MEDIA_FORM},
		{"application/X-WWW-Form-urlencoded", MEDIA_FORM},
		{"application/json;charset=utf-8", MEDIA_JSON},
		{"application/json; charset=UTF-8", MEDIA_JSON},
		{"application/json \t;\t CHARSET=utf8", MEDIA_JSON},
		{"application/json; charset=\"utf-8\"", MEDIA_JSON},
		{"application/json; charset=\"UTF\\-8\"", MEDIA_JSON},
		{"application/json;", MEDIA_JSON},
		{"application/json ; ;; charset=utf-8 ; ", MEDIA_JSON},
		{"application/json; a=b; c=\"d;e=\\\"\"", MEDIA_JSON},
		{"application/json; a=\"\"", MEDIA_JSON},
		{"application/json; a=\"\200\"", MEDIA_JSON},
		{"application/x-www-form-urlencoded; charset=UTF-8", MEDIA_FORM},
		{"text/plain", MEDIA_OTHER},
		{"text/json", MEDIA_OTHER},
		{"application/jsonx", MEDIA_OTHER},
		{"application/jso", MEDIA_OTHER},
		{"application/problem+json", MEDIA_OTHER},
		{"multipart/form-data; boundary=x", MEDIA_OTHER},
		{"text/plain; charset=latin1", MEDIA_OTHER},
		{"*/*", MEDIA_OTHER},
		{"application/json; charset=latin1", MEDIA_BAD_CHARSET},
		{"application/json; charset=utf-16", MEDIA_BAD_CHARSET},
		{"application/json; charset=\"\"", MEDIA_BAD_CHARSET},
		{"application/json; charset=utf-80", MEDIA_BAD_CHARSET},
		{"application/json; charset=\"utf-8 \"", MEDIA_BAD_CHARSET},
		{"application/json; charset=iso-8859-1-very-long", MEDIA_BAD_CHARSET},
		{"application/x-www-form-urlencoded; charset=us-ascii", MEDIA_BAD_CHARSET},
		{"", MEDIA_MALFORMED},
		{"application", MEDIA_MALFORMED},
		{"application/", MEDIA_MALFORMED},
		{"/json", MEDIA_MALFORMED},
		{"application /json", MEDIA_MALFORMED},
		{"application/ json", MEDIA_MALFORMED},
		{" application/json", MEDIA_MALFORMED},
		{"application/json/x", MEDIA_MALFORMED},
		{"application/json, text/plain", MEDIA_MALFORMED},
		{"application/json text/plain", MEDIA_MALFORMED},
		{"application/json; charset", MEDIA_MALFORMED},
		{"application/json; charset=", MEDIA_MALFORMED},
		{"application/json; =utf-8", MEDIA_MALFORMED},
		{"application/json; charset =utf-8", MEDIA_MALFORMED},
		{"application/json; charset= utf-8", MEDIA_MALFORMED},
		{"application/json; charset=utf-8 utf-8", MEDIA_MALFORMED},
		{"application/json; charset=utf-8, x", MEDIA_MALFORMED},
		{"application/json; charset=\"utf-8", MEDIA_MALFORMED},
		{"application/json; charset=\"utf-8\\", MEDIA_MALFORMED},
		{"application/json; charset=\"utf-8\"x", MEDIA_MALFORMED},
		{"application/json; charset=\"\001\"", MEDIA_MALFORMED},
		{"application/json; charset=\"\\\001\"", MEDIA_MALFORMED},
		{"application/json; charset='utf 8'", MEDIA_MALFORMED},
		{"application/json; charset=utf-8; charset=utf-8", MEDIA_MALFORMED},
		{"application/json; charset=utf-8; Charset=latin1", MEDIA_MALFORMED},
		{"application/json; a=1; b=2; A=3", MEDIA_MALFORMED},
		{"text/plain; a=1; a=1", MEDIA_MALFORMED},
	};
	/* clang-format on */
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		/* In memory of exactly that size. */
		size_t len = strlen(rows[i].value);
		char *copy = malloc(len ? len : 1);
		assert_non_null(copy);
		memcpy(copy, rows[i].value, len);
		enum media_type type = media_parse((struct slice){copy, len});
		if (type != rows[i].type)
			fail_msg("%s: %d instead of %d", rows[i].value, type, rows[i].type);
		free(copy);
	}
}

/* Doubles are searched among 16 parameters; more are refused. */
static void test_many_parameters(void **state)
{
	(void)state;
	struct buf value = BUF_INIT;
	buf_append_str(&value, "application/json");
	for (int i = 0; i < 16; i++)
		buf_printf(&value, "; p%d=1", i);
	assert_int_equal(media_parse(buf_slice(&value)), MEDIA_JSON);
	buf_append_str(&value, "; p16=1");
	assert_int_equal(media_parse(buf_slice(&value)), MEDIA_MALFORMED);
	buf_release(&value);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_media),
					   cmocka_unit_test(test_many_parameters)};
	return cmocka_run_group_tests_name("media", tests, NULL, NULL);
}
