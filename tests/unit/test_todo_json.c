#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "todo/todo_json.h"

#include <math.h>
#include <stdlib.h>

/* ---- out ---- */

static struct todo make_todo(struct slice content)
{
	struct todo todo = {.content = content, .created_at = 1795415696.788076};
	assert_int_equal(uuid_from_text(&todo.id, SLICE("01a2071d-6594-7a52-9f0e-3c2f1b6d8a47")), 0);
	return todo;
}

static void assert_json(const struct todo *todo, const char *expected)
{
	struct buf out = BUF_INIT;
	todo_json_append(&out, todo);
	buf_append(&out, "", 1);
	assert_string_equal(out.data, expected);
	buf_release(&out);
}

static void a_todo(void **state)
{
	(void)state;
	struct todo todo = make_todo(SLICE("buy milk"));
	assert_json(&todo,
		    "{\"id\": \"01a2071d-6594-7a52-9f0e-3c2f1b6d8a47\", \"content\": \"buy milk\", "
		    "\"created_at\": 1795415696.788076, \"is_finished\": false, \"finished_at\": null}");
	todo.is_finished = true;
	todo.finished_at = 1795415697;
	assert_json(
	    &todo,
	    "{\"id\": \"01a2071d-6594-7a52-9f0e-3c2f1b6d8a47\", \"content\": \"buy milk\", "
	    "\"created_at\": 1795415696.788076, \"is_finished\": true, \"finished_at\": 1795415697.000000}");
}

static void assert_seconds(double seconds, const char *expected)
{
	struct todo todo = make_todo(SLICE("x"));
	todo.created_at = seconds;
	struct buf out = BUF_INIT;
	todo_json_append(&out, &todo);
	buf_append(&out, "", 1);
	const char *found = strstr(out.data, "\"created_at\": ");
	assert_non_null(found);
	found += strlen("\"created_at\": ");
	assert_memory_equal(found, expected, strlen(expected));
	assert_int_equal(found[strlen(expected)], ',');
	buf_release(&out);
}

static void times_have_six_decimals(void **state)
{
	(void)state;
	assert_seconds(0, "0.000000");
	assert_seconds(0.000001, "0.000001");
	assert_seconds(1795415696.1, "1795415696.100000");
	assert_seconds(1795415696.999999, "1795415696.999999");
	/* Only a row edited by hand holds these: still JSON. */
	assert_seconds(-1.25, "-1.250000");
	assert_seconds((double)NAN, "0.000000");
	assert_seconds(8e12, "8000000000000.000000");
}

static void assert_string(struct slice content, const char *expected)
{
	struct todo todo = make_todo(content);
	struct buf out = BUF_INIT, all = BUF_INIT;
	todo_json_append(&out, &todo);
	buf_append(&out, "", 1);
	buf_printf(&all, "\"content\": \"%s\", \"created_at\"", expected);
	assert_non_null(strstr(out.data, all.data));
	buf_release(&out);
	buf_release(&all);
}

static void only_the_necessary_escapes(void **state)
{
	(void)state;
	assert_string(SLICE("\"\\/"), "\\\"\\\\/");
	assert_string(SLICE("\b\f\n\r\t"), "\\b\\f\\n\\r\\t");
	assert_string(SLICE("\x00\x01\x1f"), "\\u0000\\u0001\\u001f");
	assert_string(SLICE("\x20\x7f"), "\x20\x7f");
	assert_string(SLICE("\xc2\x80 \xe2\x82\xac \xe2\x80\xa8 \xf0\x9f\x8d\x8b"),
		      "\xc2\x80 \xe2\x82\xac \xe2\x80\xa8 \xf0\x9f\x8d\x8b");
}

/* Every byte in every place of a word, between every kind of neighbour: compared with the plain rule. */
static void escapes_wherever_they_stand(void **state)
{
	(void)state;
	static const char neighbours[] = {'x', '!',        '#',        '[',        ']',
					  ' ', (char)0x80, (char)0xa2, (char)0xdc, (char)0xff};
	static const char shorts[] = "btn\0fr";
	for (size_t n = 0; n < sizeof(neighbours); n++) {
		for (int byte = 0; byte < 256; byte++) {
			for (size_t at = 0; at < 19; at++) {
				char content[19];
				memset(content, neighbours[n], sizeof(content));
				content[at] = (char)byte;
				struct buf expected = BUF_INIT;
				buf_append(&expected, content, at);
				if (byte == '"' || byte == '\\')
					buf_printf(&expected, "\\%c", byte);
				else if (byte >= '\b' && byte <= '\r' && byte != '\v')
					buf_printf(&expected, "\\%c", shorts[byte - '\b']);
				else if (byte < 0x20)
					buf_printf(&expected, "\\u%04x", (unsigned)byte);
				else
					buf_append(&expected, content + at, 1);
				buf_append(&expected, content + at + 1, sizeof(content) - at - 1);
				buf_append(&expected, "", 1);
				assert_string((struct slice){content, sizeof(content)}, expected.data);
				buf_release(&expected);
			}
		}
	}
}

static void a_page(void **state)
{
	(void)state;
	struct todo_page *page = todo_page_new();
	todo_page_seal(page);
	struct slice json = todo_page_json(page);
	assert_true(slice_equal(json, SLICE("{\"data\": []}")));
	todo_page_drop(page);

	page = todo_page_new();
	struct todo one = make_todo(SLICE("one")), two = make_todo(SLICE("two"));
	todo_page_add(page, &one);
	todo_page_add(page, &two);
	todo_page_seal(page);
	json = todo_page_json(page);
	struct buf expected = BUF_INIT;
	buf_append_str(&expected, "{\"data\": [");
	todo_json_append(&expected, &one);
	buf_append_str(&expected, ", ");
	todo_json_append(&expected, &two);
	buf_append_str(&expected, "]}");
	assert_true(slice_equal(json, buf_slice(&expected)));
	assert_ptr_equal(todo_page_json(page).data, json.data); /* made once */
	assert_int_equal(todo_page_json(page).len, json.len);
	buf_release(&expected);
	todo_page_drop(page);
}

/* ---- in ---- */

/* Copied to the end of its own memory, so that a sanitizer sees a byte read behind it. */
static enum todo_json read_content(struct slice text, struct buf *content)
{
	char *copy = alloc_zeroed(text.len, 1);
	if (text.len)
		memcpy(copy, text.data, text.len);
	enum todo_json result = todo_json_read_content((struct slice){copy, text.len}, content);
	free(copy);
	return result;
}

static void assert_content(struct slice text, struct slice expected)
{
	struct buf content = BUF_INIT;
	buf_append_str(&content, "<");
	assert_int_equal(read_content(text, &content), TODO_JSON_OK);
	assert_int_equal(content.len, expected.len + 1);
	assert_memory_equal(content.data + 1, expected.data, expected.len);
	buf_release(&content);
}

static void assert_result(struct slice text, enum todo_json expected)
{
	struct buf content = BUF_INIT;
	enum todo_json result = read_content(text, &content);
	if (result != expected)
		fail_msg("%d instead of %d: %.*s", result, expected, (int)text.len, text.data);
	assert_int_equal(content.len, 0);
	buf_release(&content);
}

static void content_is_found(void **state)
{
	(void)state;
	assert_content(SLICE("{\"content\": \"buy milk\"}"), SLICE("buy milk"));
	assert_content(SLICE(" \t\r\n{\"content\":\"\"}\n"), SLICE(""));
	assert_content(SLICE("{\"a\": [1, {\"content\": 7}], \"content\": \"x\", \"z\": null}"), SLICE("x"));
	assert_content(SLICE("{\"c\\u006fntent\": \"\\u0041\\ud83c\\udf4b\\n\\/\"}"),
		       SLICE("A\xf0\x9f\x8d\x8b\n/"));
	assert_content(SLICE("{\"content\": \"\x7f\xc3\xa9\"}"), SLICE("\x7f\xc3\xa9"));
	/* Numbers of members that nobody asked for may be of any size. */
	assert_content(SLICE("{\"n\": 123456789012345678901234567890, \"m\": -9223372036854775809, "
			     "\"e\": 1e-999, \"content\": \"x\"}"),
		       SLICE("x"));
}

static void no_json(void **state)
{
	(void)state;
	static const char *const texts[] = {
	    "",
	    " ",
	    "{",
	    "{\"content\": \"x\"",
	    "{\"content\": \"x\"}}",
	    "{\"content\": \"x\"} x",
	    "{\"content\": \"x\",}",
	    "{content: \"x\"}",
	    "{'content': 'x'}",
	    "{\"content\" \"x\"}",
	    "{\"content\": \"x\" \"y\": 1}",
	    "[1,]",
	    "nul",
	    "True",
	    "01",
	    "+1",
	    "1.",
	    ".5",
	    "0x10",
	    "NaN",
	    "Infinity",
	    "\"a\tb\"",
	    "\"\\x\"",
	    "\"\\ud800\"",
	    "\"\\u00g0\"",
	    "// {}\n{}",
	    "{\"content\": \"x\", \"content\": \"y\"}",
	    "{\"content\": \"x\", \"c\\u006fntent\": \"y\"}",
	    "{\"content\": \"x\", \"a\": {\"b\": 1, \"b\": 2}}",
	    "{\"content\": \"a\\u0000b\"}",
	    "{\"content\": \"x\", \"n\": 1e999}",
	    "\xef\xbb\xbf{\"content\": \"x\"}",
	    "{\"content\": \"\xff\"}",
	    "{\"content\": \"\xed\xa0\x80\"}",
	    "{\"content\": \"\xc0\x80\"}",
	    "\xfe\xff",
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_result(slice_of(texts[i]), TODO_JSON_MALFORMED);
	assert_result((struct slice){NULL, 0}, TODO_JSON_MALFORMED);
	assert_result(SLICE("{\"content\": \"a\0b\"}"), TODO_JSON_MALFORMED);
	assert_result(SLICE("{\"content\": \"x\"}\0"), TODO_JSON_MALFORMED);
}

static void json_without_content(void **state)
{
	(void)state;
	static const char *const no_objects[] = {"[]", "null",        "true",
						 "1",  "\"content\"", "[{\"content\": \"x\"}]"};
	for (size_t i = 0; i < sizeof(no_objects) / sizeof(no_objects[0]); i++)
		assert_result(slice_of(no_objects[i]), TODO_JSON_NO_OBJECT);
	assert_result(SLICE("{}"), TODO_JSON_NO_CONTENT);
	assert_result(SLICE("{\"Content\": \"x\", \"a\": {\"content\": \"y\"}}"), TODO_JSON_NO_CONTENT);
	static const char *const values[] = {"null", "1", "true", "[\"x\"]", "{}"};
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		struct buf text = BUF_INIT;
		buf_printf(&text, "{\"content\": %s}", values[i]);
		assert_result(buf_slice(&text), TODO_JSON_NOT_A_STRING);
		buf_release(&text);
	}
}

/* {"content": "x", "a": [[…]]} with `depth` levels in all. */
static struct buf nested(size_t depth, bool closed)
{
	struct buf text = BUF_INIT;
	buf_append_str(&text, "{\"content\": \"x\", \"a\": ");
	for (size_t i = 1; i < depth; i++)
		buf_append_str(&text, i % 2 ? "[" : "{\"b\": ");
	buf_append_str(&text, "0");
	for (size_t i = depth; closed && i-- > 1;)
		buf_append_str(&text, i % 2 ? "]" : "}");
	buf_append_str(&text, closed ? "}" : "");
	return text;
}

static void nesting(void **state)
{
	(void)state;
	struct buf text = nested(TODO_JSON_DEPTH_MAX, true);
	assert_content(buf_slice(&text), SLICE("x"));
	buf_release(&text);
	text = nested(TODO_JSON_DEPTH_MAX + 1, true);
	assert_result(buf_slice(&text), TODO_JSON_MALFORMED);
	buf_release(&text);
	text = nested(30000, false);
	assert_result(buf_slice(&text), TODO_JSON_MALFORMED);
	buf_release(&text);
	/* Brackets beside each other are not nested, and in strings they are text. */
	text = (struct buf)BUF_INIT;
	buf_append_str(&text, "{\"content\": \"\\\\\\\"");
	for (int i = 0; i < 100; i++)
		buf_append_str(&text, "[{");
	buf_append_str(&text, "\", \"a\": [");
	for (int i = 0; i < 100; i++)
		buf_append_str(&text, "[], {}, ");
	buf_append_str(&text, "0]}");
	struct buf content = BUF_INIT;
	assert_int_equal(read_content(buf_slice(&text), &content), TODO_JSON_OK);
	assert_int_equal(content.len, 202);
	buf_release(&content);
	buf_release(&text);
}

/* Cut anywhere, it is no JSON; and what we write, we read. */
static void round_trip(void **state)
{
	(void)state;
	char raw[255];
	struct buf text = BUF_INIT;
	for (size_t i = 0; i < sizeof(raw); i++)
		raw[i] = (char)(i % 127 + 1);
	struct todo todo = make_todo((struct slice){raw, sizeof(raw)});
	todo_json_append(&text, &todo);
	assert_content(buf_slice(&text), todo.content);
	for (size_t len = 0; len < text.len; len++)
		assert_result((struct slice){text.data, len}, TODO_JSON_MALFORMED);
	buf_release(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_todo),
	    cmocka_unit_test(times_have_six_decimals),
	    cmocka_unit_test(only_the_necessary_escapes),
	    cmocka_unit_test(escapes_wherever_they_stand),
	    cmocka_unit_test(a_page),
	    cmocka_unit_test(content_is_found),
	    cmocka_unit_test(no_json),
	    cmocka_unit_test(json_without_content),
	    cmocka_unit_test(nesting),
	    cmocka_unit_test(round_trip),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
