#include "http/form.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#define RAW(literal)                            \
	{                                       \
		"" literal, sizeof(literal) - 1 \
	}

static void test_pairs(void **state)
{
	(void)state;
	/* clang-format off */
	static const struct {
		const char *text;
		const char *pairs[4][2];
	} rows[] = {
		{"", {{NULL}}},
		{"&", {{NULL}}},
		{"&&&", {{NULL}}},
		{"a=1", {{"a", "1"}}},
		{"a=1&b=2", {{"a", "1"}, {"b", "2"}}},
		{"&a=1&&b=2&", {{"a", "1"}, {"b", "2"}}},
		{"a", {{"a", ""}}},
		{"a&b", {{"a", ""}, {"b", ""}}},
		{"a=", {{"a", ""}}},
		{"=1", {{"", "1"}}},
		{"=", {{"", ""}}},
		{"a==b=", {{"a", "=b="}}},
		{"a=1&a=2&a=3", {{"a", "1"}, {"a", "2"}, {"a", "3"}}},
		{"a%26b=%3d&c=;d", {{"a%26b", "%3d"}, {"c", ";d"}}},
	};
	/* clang-format on */
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct slice rest = slice_of(rows[i].text), name, value;
		size_t count = 0;
		while (form_next(&rest, &name, &value)) {
			assert_true(count < 4 && rows[i].pairs[count][0]);
			assert_true(slice_equal(name, slice_of(rows[i].pairs[count][0])));
			assert_true(slice_equal(value, slice_of(rows[i].pairs[count][1])));
			count++;
		}
		assert_null(rows[i].pairs[count][0]);
	}
	struct slice none = {NULL, 0}, name, value;
	assert_false(form_next(&none, &name, &value));
}

static void test_decode(void **state)
{
	(void)state;
	/* clang-format off */
	static const struct {
		struct slice text;
		struct form_rules rules;
		enum form_decode result;
		struct slice decoded;
	} rows[] = {
		{RAW(""), {false, false}, FORM_OK, RAW("")},
		{RAW("abc"), {false, false}, FORM_OK, RAW("abc")},
		{RAW("a+b"), {true, false}, FORM_OK, RAW("a b")},
		{RAW("a+b"), {false, false}, FORM_OK, RAW("a+b")},
		{RAW("a%2Bb%2b"), {true, false}, FORM_OK, RAW("a+b+")},
		{RAW("%41%62%7a"), {false, false}, FORM_OK, RAW("Abz")},
		{RAW("%2541"), {false, false}, FORM_OK, RAW("%41")},
		{RAW("\303\244%c3%A4%E2%82%ac%f0%9f%98%80"), {true, false}, FORM_OK, RAW("\303\244\303\244\342\202\254\360\237\230\200")},
		{RAW("\303%a4"), {true, false}, FORM_OK, RAW("\303\244")},
		{RAW("%00\0%01\n"), {true, false}, FORM_OK, RAW("\0\0\001\n")},
		{RAW("%20~%80"), {true, true}, FORM_NOT_UTF8, RAW("")},
		{RAW("%20~"), {true, true}, FORM_OK, RAW(" ~")},
		{RAW("%"), {true, false}, FORM_BROKEN_ESCAPE, RAW("")},
		{RAW("a%"), {true, false}, FORM_BROKEN_ESCAPE, RAW("")},
		{RAW("%4"), {true, false}, FORM_BROKEN_ESCAPE, RAW("")},
		{RAW("%g0"), {true, false}, FORM_BROKEN_ESCAPE, RAW("")},
		{RAW("%0g"), {true, false}, FORM_BROKEN_ESCAPE, RAW("")},
		{RAW("%%41"), {true, false}, FORM_BROKEN_ESCAPE, RAW("")},
		{RAW("% 1"), {true, false}, FORM_BROKEN_ESCAPE, RAW("")},
		{RAW("%+1"), {true, false}, FORM_BROKEN_ESCAPE, RAW("")},
		{RAW("%u0041"), {true, false}, FORM_BROKEN_ESCAPE, RAW("")},
		{RAW("%00"), {true, true}, FORM_CONTROL, RAW("")},
		{RAW("\0"), {true, true}, FORM_CONTROL, RAW("")},
		{RAW("%1f"), {true, true}, FORM_CONTROL, RAW("")},
		{RAW("\t"), {true, true}, FORM_CONTROL, RAW("")},
		{RAW("%7F"), {true, true}, FORM_CONTROL, RAW("")},
		{RAW("%ff"), {true, false}, FORM_NOT_UTF8, RAW("")},
		{RAW("%c3"), {true, false}, FORM_NOT_UTF8, RAW("")},
		{RAW("%c0%80"), {true, false}, FORM_NOT_UTF8, RAW("")},
	};
	/* clang-format on */
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		/* Into other memory, and in place; both of exactly the size that has to suffice. */
		for (int in_place = 0; in_place < 2; in_place++) {
			struct slice text = rows[i].text, decoded = {NULL, 0};
			char *out = malloc(text.len ? text.len : 1);
			assert_non_null(out);
			if (in_place) {
				memcpy(out, text.data, text.len);
				text.data = out;
			}
			enum form_decode result = form_decode(text, rows[i].rules, out, &decoded);
			if (result != rows[i].result)
				fail_msg("row %zu: result %d", i, result);
			if (result == FORM_OK)
				assert_true(slice_equal(decoded, rows[i].decoded));
			free(out);
		}
	}
}

/* Encodes as RFC 3629 section 3 does, valid or not, in a form of `len` bytes. */
static void encode(uint32_t code, int len, uint8_t *out)
{
	static const uint8_t first[] = {0, 0, 0xc0, 0xe0, 0xf0};
	for (int i = len - 1; i > 0; i--, code >>= 6)
		out[i] = (uint8_t)(0x80 | (code & 0x3f));
	out[0] = len == 1 ? (uint8_t)code : (uint8_t)(first[len] | code);
}

/* Every code point in each form it fits into: only the shortest one is valid, and surrogates are not. */
static void test_utf8_code_points(void **state)
{
	(void)state;
	static const uint32_t form_end[] = {0, 0x80, 0x800, 0x10000, 0x200000};
	for (uint32_t code = 0; code < 0x200000; code++) {
		for (int len = 1; len <= 4; len++) {
			if (code >= form_end[len])
				continue;
			uint8_t bytes[4];
			encode(code, len, bytes);
			bool shortest = code >= form_end[len - 1];
			bool valid = shortest && code < 0x110000 && (code < 0xd800 || code > 0xdfff);
			struct slice text = {(const char *)bytes, (size_t)len};
			if (utf8_is_valid(text) != valid)
				fail_msg("U+%04X in %d bytes", code, len);
			text.len--;
			if (len > 1 && utf8_is_valid(text))
				fail_msg("U+%04X in %d bytes, cut", code, len);
		}
	}
}

static void test_utf8_texts(void **state)
{
	(void)state;
	/* clang-format off */
	static const struct {
		struct slice text;
		bool valid;
	} rows[] = {
		{RAW(""), true},
		{RAW("\0"), true},
		{RAW("0123456701234567"), true},
		{RAW("01234567\303\24401234567"), true},
		{RAW("0123456\303\2440123456"), true},
		{RAW("0123456\303"), false},
		{RAW("01234567\303"), false},
		{RAW("\200"), false},
		{RAW("0123456701234567\277"), false},
		{RAW("\303\303\244"), false},
		{RAW("\342\202a"), false},
		{RAW("\360\237\230a"), false},
		{RAW("\376"), false},
		{RAW("\377"), false},
		{RAW("\370\210\200\200\200"), false},
	};
	/* clang-format on */
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		/* At the end of memory of exactly that size. */
		char *copy = malloc(rows[i].text.len ? rows[i].text.len : 1);
		assert_non_null(copy);
		memcpy(copy, rows[i].text.data, rows[i].text.len);
		if (utf8_is_valid((struct slice){copy, rows[i].text.len}) != rows[i].valid)
			fail_msg("row %zu", i);
		free(copy);
	}
	assert_true(utf8_is_valid((struct slice){NULL, 0}));
}

static void test_names(void **state)
{
	(void)state;
	/* clang-format off */
	static const struct {
		const char *raw, *name;
	} rows[] = {
		{"content", "content"},
		{"conten%74", "content"},
		{"a+b", "a b"},
		{"", ""},
		{"%zz", ""},
		{"%", ""},
		{"%ff", ""},
		{"12345678901234567890123456789012", "12345678901234567890123456789012"},
		{"123456789012345678901234567890123", ""},
	};
	/* clang-format on */
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char scratch[FORM_NAME_MAX_BYTES];
		struct slice name = form_decode_name(slice_of(rows[i].raw), scratch);
		if (!slice_equal(name, slice_of(rows[i].name)))
			fail_msg("%s: %.*s", rows[i].raw, (int)name.len, name.data);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_pairs),
	    cmocka_unit_test(test_decode),
	    cmocka_unit_test(test_utf8_code_points),
	    cmocka_unit_test(test_utf8_texts),
	    cmocka_unit_test(test_names),
	};
	return cmocka_run_group_tests_name("form", tests, NULL, NULL);
}
