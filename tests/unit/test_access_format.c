/*
 * Lines of the access log, byte for byte, and that no byte of a client's breaks one.
 */
#include "worker/access_format.h"

#include "config/config.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct ip localhost = {
    {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1}
};
static const struct ip six = {
    {0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}
};
static const struct ip none;

/* 2026-11-27T12:10:22.000123Z */
static const int64_t WHEN_US = INT64_C(1795781422000123);

static struct access_entry plain_entry(void)
{
	return (struct access_entry){
	    .wall_us = WHEN_US,
	    .client = &localhost,
	    .method = SLICE("GET"),
	    .target = SLICE("/todo?start=10"),
	    .minor = 1,
	    .status = 200,
	    .body_bytes = 1234,
	    .latency_us = 1000042,
	    .referer = SLICE("http://a.test/"),
	    .user_agent = SLICE("curl/8"),
	    .id = SLICE("00ff"),
	    .route = "list",
	    .store = "ok",
	    .cache = "bypass",
	};
}

/* As it is for what could not be read as a request. */
static struct access_entry bare_entry(void)
{
	return (struct access_entry){
	    .wall_us = WHEN_US, .client = &none, .status = 400, .route = "-", .store = "-", .cache = "-"};
}

static void expect_line(uint32_t style, const struct access_entry *e, const char *line)
{
	struct access_format format;
	struct buf out = BUF_INIT;
	access_format_init(&format, style);
	access_format_append(&format, e, &out);
	buf_append(&out, "", 1);
	assert_string_equal(out.data, line);
	buf_release(&out);
}

static void test_combined(void **state)
{
	(void)state;
	struct access_entry e = plain_entry(), bare = bare_entry();
	expect_line(CONFIG_ACCESS_LOG_COMBINED, &e,
		    "127.0.0.1 - - [27/Nov/2026:12:10:22 +0000] \"GET /todo?start=10 HTTP/1.1\" 200 1234 "
		    "\"http://a.test/\" \"curl/8\" 1.000042 00ff list ok bypass\n");
	e.client = &six;
	e.minor = 0;
	e.referer = e.user_agent = SLICE("");
	e.latency_us = 7;
	expect_line(CONFIG_ACCESS_LOG_COMBINED, &e,
		    "2001:db8::1 - - [27/Nov/2026:12:10:22 +0000] \"GET /todo?start=10 HTTP/1.0\" 200 1234 "
		    "\"-\" \"-\" 0.000007 00ff list ok bypass\n");
	expect_line(CONFIG_ACCESS_LOG_COMBINED, &bare,
		    "unix - - [27/Nov/2026:12:10:22 +0000] \"-\" 400 0 \"-\" \"-\" 0.000000 - - - -\n");
}

static void test_json(void **state)
{
	(void)state;
	struct access_entry e = plain_entry(), bare = bare_entry();
	expect_line(CONFIG_ACCESS_LOG_JSON, &e,
		    "{\"time\":\"2026-11-27T12:10:22.000123Z\",\"client\":\"127.0.0.1\",\"method\":\"GET\","
		    "\"target\":\"/todo?start=10\",\"version\":\"1.1\",\"status\":200,\"bytes\":1234,"
		    "\"referer\":\"http://a.test/\",\"user_agent\":\"curl/8\",\"latency_us\":1000042,"
		    "\"id\":\"00ff\",\"route\":\"list\",\"store\":\"ok\",\"cache\":\"bypass\"}\n");
	expect_line(CONFIG_ACCESS_LOG_JSON, &bare,
		    "{\"time\":\"2026-11-27T12:10:22.000123Z\",\"client\":\"unix\",\"method\":null,"
		    "\"target\":null,\"version\":null,\"status\":400,\"bytes\":0,\"referer\":null,"
		    "\"user_agent\":null,\"latency_us\":0,\"id\":null,\"route\":null,\"store\":null,"
		    "\"cache\":null}\n");
}

static void test_seconds(void **state)
{
	(void)state;
	static const struct {
		int64_t wall_us;
		const char *combined, *json;
	} rows[] = {
	    {0,			 "[01/Jan/1970:00:00:00 +0000]", "\"1970-01-01T00:00:00.000000Z\""},
	    {INT64_C(1709210096999999), "[29/Feb/2024:12:34:56 +0000]", "\"2024-02-29T12:34:56.999999Z\""},
	    {INT64_C(1709210097000000), "[29/Feb/2024:12:34:57 +0000]", "\"2024-02-29T12:34:57.000000Z\""},
	    {INT64_C(1709210096000001), "[29/Feb/2024:12:34:56 +0000]", "\"2024-02-29T12:34:56.000001Z\""},
	    {INT64_C(1798761599000000), "[31/Dec/2026:23:59:59 +0000]", "\"2026-12-31T23:59:59.000000Z\""},
	    {INT64_C(1798761600000000), "[01/Jan/2027:00:00:00 +0000]", "\"2027-01-01T00:00:00.000000Z\""},
	};
	struct access_format formats[2];
	access_format_init(&formats[0], CONFIG_ACCESS_LOG_COMBINED);
	access_format_init(&formats[1], CONFIG_ACCESS_LOG_JSON);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (size_t k = 0; k < 2; k++) {
			struct access_entry e = plain_entry();
			struct buf out = BUF_INIT;
			e.wall_us = rows[i].wall_us;
			access_format_append(&formats[k], &e, &out);
			buf_append(&out, "", 1);
			assert_non_null(strstr(out.data, k ? rows[i].json : rows[i].combined));
			buf_release(&out);
		}
}

static void test_escapes(void **state)
{
	(void)state;
	struct access_entry e = plain_entry();
	e.target = SLICE("/a\"b\\c");
	e.referer = SLICE("\x01\t\x1f\x7f \xc3\xa9");
	e.user_agent = SLICE("\xff\n[x] \"-\" 200");
	expect_line(CONFIG_ACCESS_LOG_COMBINED, &e,
		    "127.0.0.1 - - [27/Nov/2026:12:10:22 +0000] \"GET /a\\x22b\\x5Cc HTTP/1.1\" 200 1234 "
		    "\"\\x01\\x09\\x1F\\x7F \\xC3\\xA9\" \"\\xFF\\x0A[x] \\x22-\\x22 200\" 1.000042 00ff "
		    "list ok bypass\n");
	expect_line(CONFIG_ACCESS_LOG_JSON, &e,
		    "{\"time\":\"2026-11-27T12:10:22.000123Z\",\"client\":\"127.0.0.1\",\"method\":\"GET\","
		    "\"target\":\"/a\\\"b\\\\c\",\"version\":\"1.1\",\"status\":200,\"bytes\":1234,"
		    "\"referer\":\"\\u0001\\u0009\\u001f\\u007f "
		    "\xc3\xa9\",\"user_agent\":\"\\u00ff\\u000a[x] \\\"-\\\" 200\","
		    "\"latency_us\":1000042,"
		    "\"id\":\"00ff\",\"route\":\"list\",\"store\":\"ok\",\"cache\":\"bypass\"}\n");
}

/* Every byte, alone and behind others, as long as a head may be: one line, printable, and JSON that says what was sent. */
static void test_every_byte(void **state)
{
	(void)state;
	enum { LONG_BYTES = 8000 };
	char *bytes = malloc(LONG_BYTES); /* no byte more, so that a reader past the end is found */
	assert_non_null(bytes);
	for (int byte = 0; byte < 256; byte++)
		for (size_t len = 1; len <= LONG_BYTES; len *= LONG_BYTES) {
			memset(bytes, byte, len);
			struct access_entry e = plain_entry();
			e.method = e.target = e.referer = e.user_agent = (struct slice){bytes, len};
			for (uint32_t style = 0; style < 2; style++) {
				struct access_format format;
				struct buf out = BUF_INIT;
				access_format_init(&format, style);
				access_format_append(&format, &e, &out);
				assert_ptr_equal(memchr(out.data, '\n', out.len), out.data + out.len - 1);
				for (size_t i = 0; i + 1 < out.len; i++)
					assert_in_range((unsigned char)out.data[i], 0x20, 0x7e);
				if (style == CONFIG_ACCESS_LOG_JSON) {
					json_t *line = json_loadb(out.data, out.len, JSON_ALLOW_NUL, NULL);
					assert_non_null(line);
					size_t wide = (byte < 0x80 ? 1 : 2) * len;
					assert_int_equal(json_string_length(json_object_get(line, "target")),
							 wide);
					json_decref(line);
				}
				buf_release(&out);
			}
		}
	free(bytes);
}

/* Wherever it stands among those that need none. */
static void test_one_escape(void **state)
{
	(void)state;
	enum { LONGEST = 50 };
	for (size_t len = 1; len <= LONGEST; len++)
		for (size_t at = 0; at < len; at++) {
			char *sent = malloc(len), wanted[2 * LONGEST + 8];
			assert_non_null(sent);
			memset(sent, 'a', len);
			sent[at] = '"';
			snprintf(wanted, sizeof(wanted), "\"%.*s\\x22%.*s\" ", (int)at,
				 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", (int)(len - at - 1),
				 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
			struct access_entry e = plain_entry();
			struct access_format format;
			struct buf out = BUF_INIT;
			e.user_agent = (struct slice){sent, len};
			access_format_init(&format, CONFIG_ACCESS_LOG_COMBINED);
			access_format_append(&format, &e, &out);
			buf_append(&out, "", 1);
			assert_non_null(strstr(out.data, wanted));
			buf_release(&out);
			free(sent);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_combined),   cmocka_unit_test(test_json),
	    cmocka_unit_test(test_seconds),    cmocka_unit_test(test_escapes),
	    cmocka_unit_test(test_every_byte), cmocka_unit_test(test_one_escape),
	};
	return cmocka_run_group_tests_name("access_format", tests, NULL, NULL);
}
