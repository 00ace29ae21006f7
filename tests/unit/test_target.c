#include "http/target.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

static void expect_slice(const char *raw, struct slice got, const char *wanted)
{
	if (!slice_equal(got, slice_of(wanted)))
		fail_msg("%s: \"%.*s\" instead of \"%s\"", raw, (int)got.len, got.len ? got.data : "",
			 wanted);
}

static void test_forms(void **state)
{
	(void)state;
	/* clang-format off */
	static const struct {
		enum http_method method;
		const char *raw;
		enum target_form form;
		const char *path, *query, *authority;
	} rows[] = {
		{HTTP_GET, "/", TARGET_ORIGIN, "/", "", ""},
		{HTTP_GET, "/todo", TARGET_ORIGIN, "/todo", "", ""},
		{HTTP_GET, "/todo?", TARGET_ORIGIN, "/todo", "", ""},
		{HTTP_GET, "/todo?start=1&b=2", TARGET_ORIGIN, "/todo", "start=1&b=2", ""},
		{HTTP_GET, "/a?b?c/d", TARGET_ORIGIN, "/a", "b?c/d", ""},
		{HTTP_GET, "//x/y", TARGET_ORIGIN, "//x/y", "", ""},
		{HTTP_GET, "/http://x", TARGET_ORIGIN, "/http://x", "", ""},
		{HTTP_METHOD_UNKNOWN, "/", TARGET_ORIGIN, "/", "", ""},
		{HTTP_OPTIONS, "*", TARGET_ASTERISK, "", "", ""},
		{HTTP_OPTIONS, "/a", TARGET_ORIGIN, "/a", "", ""},
		{HTTP_OPTIONS, "http://x", TARGET_ASTERISK, "", "", "x"},
		{HTTP_OPTIONS, "http://x/", TARGET_ABSOLUTE, "/", "", "x"},
		{HTTP_OPTIONS, "http://x?", TARGET_ABSOLUTE, "/", "", "x"},
		{HTTP_GET, "http://x", TARGET_ABSOLUTE, "/", "", "x"},
		{HTTP_GET, "HTTP://X/", TARGET_ABSOLUTE, "/", "", "X"},
		{HTTP_GET, "https://x:443/a/b?c", TARGET_ABSOLUTE, "/a/b", "c", "x:443"},
		{HTTP_GET, "http://x?a/b", TARGET_ABSOLUTE, "/", "a/b", "x"},
		{HTTP_GET, "http://[::1]:80/a", TARGET_ABSOLUTE, "/a", "", "[::1]:80"},
		{HTTP_CONNECT, "x:80", TARGET_AUTHORITY, "", "", "x:80"},
		{HTTP_CONNECT, "[::1]:80", TARGET_AUTHORITY, "", "", "[::1]:80"},
	};
	/* clang-format on */
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct target t;
		const char *detail = NULL;
		if (target_parse(&t, rows[i].method, slice_of(rows[i].raw), &detail) != 0)
			fail_msg("%s: %s", rows[i].raw, detail);
		assert_int_equal(t.form, rows[i].form);
		expect_slice(rows[i].raw, t.path, rows[i].path);
		expect_slice(rows[i].raw, t.query, rows[i].query);
		expect_slice(rows[i].raw, t.authority, rows[i].authority);
	}
}

static void test_no_forms(void **state)
{
	(void)state;
	/* clang-format off */
	static const struct {
		enum http_method method;
		const char *raw;
	} rows[] = {
		{HTTP_GET, ""},
		{HTTP_GET, "*"},
		{HTTP_METHOD_UNKNOWN, "*"},
		{HTTP_OPTIONS, "**"},
		{HTTP_OPTIONS, "*/"},
		{HTTP_GET, "todo"},
		{HTTP_GET, "x:80"},
		{HTTP_GET, "?a=b"},
		{HTTP_GET, "ftp://x/"},
		{HTTP_GET, "http:/x"},
		{HTTP_GET, "http:x"},
		{HTTP_GET, "http://"},
		{HTTP_GET, "http:///a"},
		{HTTP_GET, "http://?a"},
		{HTTP_GET, "http://:80/"},
		{HTTP_GET, "http://u@x/"},
		{HTTP_GET, "http://u:p@x/"},
		{HTTP_GET, "http://x:y/"},
		{HTTP_GET, "httpx://x/"},
		{HTTP_CONNECT, "/"},
		{HTTP_CONNECT, "*"},
		{HTTP_CONNECT, "http://x/"},
		{HTTP_CONNECT, "u@x:80"},
		{HTTP_CONNECT, "x"},
		{HTTP_CONNECT, "x:"},
		{HTTP_CONNECT, "[::1]"},
	};
	/* clang-format on */
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct target t;
		const char *detail = NULL;
		if (target_parse(&t, rows[i].method, slice_of(rows[i].raw), &detail) != -1)
			fail_msg("%s: accepted", rows[i].raw);
		assert_non_null(detail);
	}
}

static void test_authorities(void **state)
{
	(void)state;
	/* clang-format off */
	static const struct {
		const char *text;
		bool valid;
	} rows[] = {
		{"x", true},
		{"example.org", true},
		{"example.org.", true},
		{"a-b_c~d!$&'()*+;=", true},
		{"%41%c3%A4", true},
		{"127.0.0.1", true},
		{"999.999.999.999", true}, /* a reg-name */
		{"x:0", true},
		{"x:65535", true},
		{"x:00080", true},
		{"x:", true}, /* port = *DIGIT */
		{"[::1]", true},
		{"[::]:8080", true},
		{"[2001:db8::1]", true},
		{"[::ffff:127.0.0.1]", true},
		{"[v1.a:b]", true},
		{"[VF0.x]:1", true},
		{"", false},
		{":", false},
		{":80", false},
		{"x:65536", false},
		{"x:99999999999999999999999999", false},
		{"x:-1", false},
		{"x:8a", false},
		{"x: 80", false},
		{"x:80:80", false},
		{"x y", false},
		{"x,y", false},
		{"x/", false},
		{"x?", false},
		{"x#", false},
		{"x@y", false},
		{"@x", false},
		{"\"x\"", false},
		{"x<", false},
		{"x|", false},
		{"x\\", false},
		{"\303\244", false},
		{"x%", false},
		{"x%4", false},
		{"x%4g", false},
		{"::1", false},
		{"[", false},
		{"]", false},
		{"[]", false},
		{"[::1", false},
		{"[::1]x", false},
		{"[::1]80", false},
		{"[::1]:x", false},
		{"[:::1]", false},
		{"[1::2::3]", false},
		{"[127.0.0.1]", false},
		{"[x]", false},
		{"[fe80::1%25eth0]", false},
		{"[1:2:3:4:5:6:7:8:9]", false},
		{"[0000:0000:0000:0000:0000:ffff:255.255.255.255000000000]", false},
		{"[v.a]", false},
		{"[v1.]", false},
		{"[v1]", false},
		{"[vg.a]", false},
		{"[v1.a/]", false},
	};
	/* clang-format on */
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		/* In memory of exactly that size. */
		size_t len = strlen(rows[i].text);
		char *copy = malloc(len ? len : 1);
		assert_non_null(copy);
		memcpy(copy, rows[i].text, len);
		if (target_authority_is_valid((struct slice){copy, len}) != rows[i].valid)
			fail_msg("%s", rows[i].text);
		free(copy);
	}
	assert_false(target_authority_is_valid(SLICE("x\0y")));
	assert_false(target_authority_is_valid(SLICE("[::1\0]")));
}

static void test_segments(void **state)
{
	(void)state;
	enum { MANY = TARGET_SEGMENTS_MAX + 1 };
	/* clang-format off */
	static const struct {
		const char *path;
		int count;
		const char *segments[TARGET_SEGMENTS_MAX];
	} rows[] = {
		{"/", 1, {""}},
		{"/todo", 1, {"todo"}},
		{"/todo/", 2, {"todo", ""}},
		{"//", 2, {"", ""}},
		{"//todo", 2, {"", "todo"}},
		{"/todo/1/finish", 3, {"todo", "1", "finish"}},
		{"/a/b/c/d", 4, {"a", "b", "c", "d"}},
		{"/a/b/c/d/e", MANY, {"a", "b", "c", "d"}},
		{"/a/b/c/d/e/f/g/h", MANY, {"a", "b", "c", "d"}},
		{"/%74odo/a%2Fb", 2, {"todo", "a/b"}},
		{"/a%2fb%3f%23", 1, {"a/b?#"}},
		{"/%2574", 1, {"%74"}}, /* decoded once */
		{"/a+b", 1, {"a+b"}},
		{"/./..", 2, {".", ".."}},
		{"/%c3%a4", 1, {"\303\244"}},
		{"/%", -1, {NULL}},
		{"/%4", -1, {NULL}},
		{"/%4/1", -1, {NULL}}, /* the escape does not reach over the slash */
		{"/%zz", -1, {NULL}},
		{"/%00", -1, {NULL}},
		{"/%0a", -1, {NULL}},
		{"/%7f", -1, {NULL}},
		{"/%ff", -1, {NULL}},
		{"/%c3/%a4", -1, {NULL}},
		{"/%c0%af", -1, {NULL}}, /* an overlong slash */
		{"/a/b/c/d/e/f/%zz", -1, {NULL}},
	};
	/* clang-format on */
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct slice path = slice_of(rows[i].path), segments[TARGET_SEGMENTS_MAX];
		char *scratch = malloc(path.len);
		assert_non_null(scratch);
		assert_int_equal(target_segments(path, scratch, segments), rows[i].count);
		for (int k = 0; k < rows[i].count && k < TARGET_SEGMENTS_MAX; k++)
			expect_slice(rows[i].path, segments[k], rows[i].segments[k]);
		free(scratch);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_forms),
	    cmocka_unit_test(test_no_forms),
	    cmocka_unit_test(test_authorities),
	    cmocka_unit_test(test_segments),
	};
	return cmocka_run_group_tests_name("target", tests, NULL, NULL);
}
