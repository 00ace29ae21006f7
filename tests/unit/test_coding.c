#include "http/coding.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <zlib.h>
#include <cmocka.h>

static void test_accept_encoding(void **state)
{
	(void)state;
	/* clang-format off */
	static const struct {
		const char *section; /* of RFC 9110 */
		const char *value;
		bool gzip;
	} rows[] = {
		{"12.5.3, examples", "compress, gzip", true},
		{"12.5.3, examples", "", false},
		{"12.5.3, examples", "*", true},
		{"12.5.3, examples", "compress;q=0.5, gzip;q=1.0", true},
		{"12.5.3, examples", "gzip;q=1.0, identity; q=0.5, *;q=0", true},
		{"12.5.3, of browsers", "gzip, deflate, br, zstd", true},
		{"8.4.1: case-insensitive", "GZip", true},
		{"8.4.1.3", "x-gzip", true},
		{"8.4.1.3", "X-GZIP;q=0.1", true},
		{"12.5.3: not listed", "br", false},
		{"12.5.3: not listed", "gzipp, xgzip, gzi", false},
		{"12.5.3: not listed", "identity", false},
		{"12.4.2: 0 is not acceptable", "gzip;q=0", false},
		{"12.4.2", "gzip;q=0.0", false},
		{"12.4.2", "gzip;q=0.000", false},
		{"12.4.2", "gzip;q=0.", false},
		{"12.4.2", "gzip;q=0.001", true},
		{"12.4.2", "gzip;q=1.", true},
		{"12.4.2", "gzip;q=1.000", true},
		{"12.4.2", "gzip;Q=0.5", true},
		{"12.4.2", "gzip \t;\t q=0.5", true},
		{"12.4.2: preferred is what weighs more", "gzip;q=0.5, identity;q=0.6", false},
		{"12.4.2", "identity;q=0.6, gzip;q=0.601", true},
		{"12.4.2", "gzip;q=0.5, identity", false},
		{"12.4.2: as it likes", "identity, gzip", true},
		{"12.5.3: identity refused", "identity;q=0, gzip;q=0.1", true},
		{"12.5.3: identity refused, and gzip not listed", "identity;q=0", false},
		{"12.5.3: both refused", "identity;q=0, gzip;q=0", false},
		{"12.5.3: both refused", "*;q=0", false},
		{"12.5.3: * is what is not listed", "*;q=0, gzip", true},
		{"12.5.3", "gzip;q=0, *", false},
		{"12.5.3", "x-gzip;q=0, *;q=1", false},
		{"12.5.3", "br, *;q=0.1", true},
		{"12.5.3", "identity, *;q=0.1", false},
		{"12.5.3: * is identity, too", "gzip;q=0.5, *;q=1", false},
		{"12.5.3", "gzip;q=0.5, *;q=0", true},
		{"5.6.1.2: empty members", " , ,gzip,, ", true},
		{"5.6.1.2", ",", false},
		{"silent: the first counts", "gzip, gzip;q=0", true},
		{"silent: the first counts", "x-gzip;q=0, gzip", false},
		{"malformed", "gzip;", false},
		{"malformed", "gzip;q", false},
		{"malformed", "gzip;q=", false},
		{"malformed", "gzip;q=2", false},
		{"malformed", "gzip;q=1.001", false},
		{"malformed", "gzip;q=0.0001", false},
		{"malformed", "gzip;q=0.5x", false},
		{"malformed", "gzip;q=.5", false},
		{"malformed", "gzip;q=-1", false},
		{"malformed", "gzip;q =1", false},
		{"malformed", "gzip;q= 1", false},
		{"malformed", "gzip;q=\"1\"", false},
		{"malformed", "gzip;level=9", false},
		{"malformed", "gzip;q=1;x=y", false},
		{"malformed", "gzip deflate", false},
		{"malformed", "gzip;q=1 deflate", false},
		{"malformed", "\"gzip\"", false},
		{"malformed: all of it", "gzip, (", false},
		{"malformed: all of it", "(, gzip", false},
		{"malformed", "gzip/1", false},
		{"malformed", ";q=1", false},
		{"malformed", "=", false},
		{"malformed", "gzip\200", false},
	};
	/* clang-format on */
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		/* In memory of exactly that size. */
		size_t len = strlen(rows[i].value);
		char *copy = malloc(len ? len : 1);
		assert_non_null(copy);
		memcpy(copy, rows[i].value, len);
		if (coding_gzip_is_wanted((struct slice){copy, len}) != rows[i].gzip)
			fail_msg("%s (%s): not %d", rows[i].value, rows[i].section, rows[i].gzip);
		free(copy);
	}
	assert_false(coding_gzip_is_wanted((struct slice){NULL, 0}));
}

static void expect_round_trip(struct slice text)
{
	struct buf out = BUF_INIT, again = BUF_INIT;
	buf_append_str(&out, "before|");
	coding_append_gzip(&out, text);
	coding_append_gzip(&again, text);
	assert_memory_equal(out.data, "before|", 7);
	assert_int_equal(out.len - 7, again.len);
	assert_memory_equal(out.data + 7, again.data, again.len);

	char *plain = malloc(text.len + 1);
	assert_non_null(plain);
	z_stream stream = {.next_in = (Bytef *)again.data, .avail_in = (uInt)again.len};
	assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK); /* 16: nothing but gzip */
	stream.next_out = (Bytef *)plain;
	stream.avail_out = (uInt)text.len + 1;
	assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
	assert_int_equal(stream.avail_in, 0);
	assert_int_equal(stream.total_out, text.len);
	if (text.len > 0)
		assert_memory_equal(plain, text.data, text.len);
	assert_int_equal(inflateEnd(&stream), Z_OK);
	free(plain);
	buf_release(&out);
	buf_release(&again);
}

static void test_gzip(void **state)
{
	(void)state;
	expect_round_trip(SLICE("{\"data\": []}"));
	expect_round_trip((struct slice){NULL, 0});
	struct buf text = BUF_INIT;
	for (unsigned i = 0; i < 20000; i++) /* longer than the window */
		buf_append_u64(&text, i * 2654435761u);
	expect_round_trip(buf_slice(&text));

	struct buf coded = BUF_INIT;
	coding_append_gzip(&coded, buf_slice(&text));
	assert_true(coded.len < text.len / 2 + text.len / 10);
	buf_release(&coded);

	buf_clear(&text);
	uint32_t random = 1;
	for (int i = 0; i < 100000; i++) { /* does not become smaller */
		random = random * 1664525 + 1013904223;
		char byte = (char)(random >> 24);
		buf_append(&text, &byte, 1);
	}
	expect_round_trip(buf_slice(&text));
	buf_release(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_accept_encoding),
					   cmocka_unit_test(test_gzip)};
	return cmocka_run_group_tests_name("coding", tests, NULL, NULL);
}
