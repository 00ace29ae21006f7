#include "todo/todo_json.h"

#include <jansson.h>

enum { FIXED_BYTES = 192 }; /* more than a todo takes besides its content */

/* ---- out ---- */

/* What stands behind the backslash; 'u' for \u00XX; 0 where the byte stands for itself (RFC 8259 section 7:
 * only these have to be escaped). */
static const char escapes[256] = {
    'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'b', 't', 'n', 'u', 'f', 'r', 'u', 'u',         'u',
    'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', ['"'] = '"', ['\\'] = '\\',
};

/* Does one of the 8 bytes need an escape? ("Determine if a word has a byte less than n", applied three
 * times; carries only ever reach bytes above a hit.) */
static bool word_needs_escape(const char *p)
{
	const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones * 0x80;
	uint64_t word;
	memcpy(&word, p, sizeof(word));
	uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\';
	uint64_t hits = (word - ones * 0x20) & ~word;
	hits |= (quote - ones) & ~quote;
	hits |= (backslash - ones) & ~backslash;
	return (hits & tops) != 0;
}

/* How many bytes from p on stand for themselves. */
static size_t plain_run(const char *p, size_t len)
{
	size_t at = 0;
	while (len - at >= 8 && !word_needs_escape(p + at))
		at += 8;
	while (at < len && !escapes[(unsigned char)p[at]])
		at++;
	return at;
}

static void append_escape(struct buf *out, unsigned char byte)
{
	static const char hex[] = "0123456789abcdef";
	char text[6] = {'\\', escapes[byte], '0', '0', hex[byte >> 4], hex[byte & 15]};
	buf_append(out, text, text[1] == 'u' ? 6 : 2);
}

static void append_string(struct buf *out, struct slice s)
{
	buf_append(out, "\"", 1);
	for (size_t at = 0; at < s.len;) {
		size_t run = plain_run(s.data + at, s.len - at);
		buf_append(out, s.data + at, run);
		at += run;
		if (at < s.len)
			append_escape(out, (unsigned char)s.data[at++]);
	}
	buf_append(out, "\"", 1);
}

/* Exactly 6 decimals, in integers: the same digits whatever the locale. */
static void append_seconds(struct buf *out, double seconds)
{
	int64_t us = todo_microseconds(seconds);
	uint64_t magnitude = us < 0 ? -(uint64_t)us : (uint64_t)us;
	char text[24]; /* sign, 13 digits, point, 6 decimals */
	size_t at = sizeof(text);
	for (int decimals = 6; decimals > 0; decimals--, magnitude /= 10)
		text[--at] = (char)('0' + magnitude % 10);
	text[--at] = '.';
	do
		text[--at] = (char)('0' + magnitude % 10);
	while (magnitude /= 10);
	if (us < 0)
		text[--at] = '-';
	buf_append(out, text + at, sizeof(text) - at);
}

static void append_literal(struct buf *out, struct slice literal)
{
	buf_append_slice(out, literal);
}

void todo_json_append(struct buf *out, const struct todo *todo)
{
	char id[UUID_TEXT_BYTES];
	uuid_to_text(&todo->id, id);
	buf_reserve(out, todo->content.len + FIXED_BYTES);
	append_literal(out, SLICE("{\"id\": \""));
	buf_append(out, id, sizeof(id));
	append_literal(out, SLICE("\", \"content\": "));
	append_string(out, todo->content);
	append_literal(out, SLICE(", \"created_at\": "));
	append_seconds(out, todo->created_at);
	if (todo->is_finished) {
		append_literal(out, SLICE(", \"is_finished\": true, \"finished_at\": "));
		append_seconds(out, todo->finished_at);
		append_literal(out, SLICE("}"));
	} else {
		append_literal(out, SLICE(", \"is_finished\": false, \"finished_at\": null}"));
	}
}

struct slice todo_page_json(struct todo_page *page)
{
	struct buf *json = &page->json;
	if (json->len == 0) {
		buf_reserve(json, page->content.len + (page->count + 1) * FIXED_BYTES);
		append_literal(json, SLICE("{\"data\": ["));
		for (size_t i = 0; i < page->count; i++) {
			if (i > 0)
				append_literal(json, SLICE(", "));
			todo_json_append(json, &page->todos[i]);
		}
		append_literal(json, SLICE("]}"));
	}
	return buf_slice(json);
}

/* ---- in ---- */

/* jansson descends 2,048 levels by recursion; this bounds its stack before it starts. Text that is no JSON
 * may be counted wrongly, but what it counts is never less than what jansson would descend. */
static bool is_too_deep(struct slice text)
{
	size_t depth = 0;
	bool in_string = false;
	for (size_t i = 0; i < text.len; i++) {
		char c = text.data[i];
		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
		} else if (c == '"') {
			in_string = true;
		} else if (c == '[' || c == '{') {
			if (++depth > TODO_JSON_DEPTH_MAX)
				return true;
		} else if ((c == ']' || c == '}') && depth > 0) {
			depth--;
		}
	}
	return false;
}

enum todo_json todo_json_read_content(struct slice text, struct buf *content)
{
	if (text.len == 0 || is_too_deep(text))
		return TODO_JSON_MALFORMED;
	/* Integers as reals: a number of a member that is ignored must not fail for its size. */
	const size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL;
	json_error_t error;
	json_t *root = json_loadb(text.data, text.len, flags, &error);
	json_t *member = json_object_get(root, "content");

	enum todo_json result = TODO_JSON_OK;
	if (!root)
		result = TODO_JSON_MALFORMED;
	else if (!json_is_object(root))
		result = TODO_JSON_NO_OBJECT;
	else if (!member)
		result = TODO_JSON_NO_CONTENT;
	else if (!json_is_string(member))
		result = TODO_JSON_NOT_A_STRING;
	else
		buf_append(content, json_string_value(member), json_string_length(member));
	json_decref(root);
	return result;
}

const char *todo_json_library(void)
{
	return "jansson " JANSSON_VERSION;
}
