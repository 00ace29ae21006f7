#include "todo/todo.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

enum {
	CURSOR_VERSION = 1,
	CURSOR_BYTES = 1 + 8 + UUID_BYTES,
	CURSOR_SPARE_BITS = TODO_CURSOR_TEXT_BYTES * 6 - CURSOR_BYTES * 8
};

static const char base64url[64] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* ---- content ---- */

/* The length of the UTF-8 sequence at p (RFC 3629 section 4: no surrogates, nothing longer than needed,
 * nothing above U+10FFFF), or 0. */
static size_t utf8_sequence(const unsigned char *p, size_t left)
{
	static const struct {
		unsigned char first_low, first_high, second_low, second_high, len;
	} forms[] = {
	    {0xc2, 0xdf, 0x80, 0xbf, 2},
            {0xe0, 0xe0, 0xa0, 0xbf, 3},
            {0xe1, 0xec, 0x80, 0xbf, 3},
	    {0xed, 0xed, 0x80, 0x9f, 3},
            {0xee, 0xef, 0x80, 0xbf, 3},
            {0xf0, 0xf0, 0x90, 0xbf, 4},
	    {0xf1, 0xf3, 0x80, 0xbf, 4},
            {0xf4, 0xf4, 0x80, 0x8f, 4},
	};
	if (p[0] < 0x80)
		return 1;
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		if (p[0] < forms[i].first_low || p[0] > forms[i].first_high)
			continue;
		if (left < forms[i].len || p[1] < forms[i].second_low || p[1] > forms[i].second_high)
			return 0;
		for (size_t k = 2; k < forms[i].len; k++)
			if ((p[k] & 0xc0) != 0x80)
				return 0;
		return forms[i].len;
	}
	return 0;
}

static bool is_white_space(unsigned char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

enum todo_content todo_check_content(struct slice content, size_t max_bytes)
{
	if (content.len == 0)
		return TODO_CONTENT_EMPTY;
	if (content.len > max_bytes)
		return TODO_CONTENT_TOO_LONG;
	if (memchr(content.data, '\0', content.len))
		return TODO_CONTENT_NUL;
	const unsigned char *p = (const unsigned char *)content.data;
	bool is_blank = true;
	for (size_t at = 0, step; at < content.len; at += step) {
		step = utf8_sequence(p + at, content.len - at);
		if (step == 0)
			return TODO_CONTENT_NOT_UTF8;
		is_blank = is_blank && is_white_space(p[at]);
	}
	return is_blank ? TODO_CONTENT_BLANK : TODO_CONTENT_OK;
}

/* ---- time ---- */

double todo_seconds(int64_t wall_us)
{
	return (double)wall_us / 1e6;
}

int64_t todo_microseconds(double seconds)
{
	/* A row edited by hand may hold anything, and only what fits may be converted. */
	double us = seconds * 1e6 + (seconds < 0 ? -0.5 : 0.5);
	return us > -9e18 && us < 9e18 ? (int64_t)us : 0;
}

/* ---- cursor ---- */

void todo_cursor_write(const struct todo_position *position, char text[TODO_CURSOR_TEXT_BYTES])
{
	uint8_t raw[CURSOR_BYTES + 1] = {CURSOR_VERSION}; /* one zero byte more: the spare bits */
	uint64_t bits;
	memcpy(&bits, &position->created_at, sizeof(bits));
	for (int i = 0; i < 8; i++)
		raw[1 + i] = (uint8_t)(bits >> (56 - 8 * i));
	memcpy(raw + 9, position->id.bytes, UUID_BYTES);
	for (size_t i = 0; i < TODO_CURSOR_TEXT_BYTES; i++) {
		size_t bit = i * 6;
		unsigned pair = (unsigned)raw[bit / 8] << 8 | raw[bit / 8 + 1];
		text[i] = base64url[pair >> (10 - bit % 8) & 63];
	}
}

int todo_cursor_read(struct todo_position *position, struct slice text)
{
	if (text.len != TODO_CURSOR_TEXT_BYTES)
		return -1;
	uint8_t raw[CURSOR_BYTES];
	unsigned waiting = 0;
	size_t waiting_bits = 0, len = 0;
	for (size_t i = 0; i < text.len; i++) {
		const char *found = memchr(base64url, text.data[i], sizeof(base64url));
		if (!found)
			return -1;
		waiting = (waiting << 6 | (unsigned)(found - base64url)) & 0xffff;
		waiting_bits += 6;
		if (waiting_bits >= 8) {
			waiting_bits -= 8;
			raw[len++] = (uint8_t)(waiting >> waiting_bits);
		}
	}
	/* Set spare bits would make several texts of one cursor (RFC 4648 section 3.5). */
	if ((waiting & ((1u << CURSOR_SPARE_BITS) - 1)) != 0 || raw[0] != CURSOR_VERSION)
		return -1;
	uint64_t bits = 0;
	for (int i = 0; i < 8; i++)
		bits = bits << 8 | raw[1 + i];
	double created_at;
	memcpy(&created_at, &bits, sizeof(created_at));
	if (!isfinite(created_at) || signbit(created_at))
		return -1;
	position->created_at = created_at;
	memcpy(position->id.bytes, raw + 9, UUID_BYTES);
	return 0;
}

/* ---- page ---- */

enum { PAGE_FIRST_CAP = 16 };

struct todo_page *todo_page_new(void)
{
	struct todo_page *page = alloc_zeroed(1, sizeof(*page));
	page->references = 1;
	return page;
}

void todo_page_keep(struct todo_page *page)
{
	assert(page->references > 0);
	page->references++;
}

void todo_page_drop(struct todo_page *page)
{
	if (!page)
		return;
	assert(page->references > 0);
	if (--page->references > 0)
		return;
	buf_release(&page->content);
	buf_release(&page->json);
	free(page->todos);
	free(page);
}

void todo_page_add(struct todo_page *page, const struct todo *todo)
{
	if (page->count == page->cap) {
		page->cap = page->cap ? 2 * page->cap : PAGE_FIRST_CAP;
		page->todos = alloc_resize(page->todos, page->cap, sizeof(*page->todos));
	}
	page->todos[page->count++] = *todo;
	buf_append_slice(&page->content, todo->content);
}

void todo_page_seal(struct todo_page *page)
{
	const char *next = page->content.data;
	for (size_t i = 0; i < page->count; i++) {
		struct slice *content = &page->todos[i].content;
		content->data = content->len ? next : NULL;
		next += content->len;
	}
}

struct todo_page *todo_page_slice(const struct todo_page *page, size_t first, size_t count)
{
	struct todo_page *slice = todo_page_new();
	size_t end = first + count;
	for (size_t i = first; i < end && i < page->count; i++)
		todo_page_add(slice, &page->todos[i]);
	slice->has_more = end < page->count || (end == page->count && page->has_more);
	todo_page_seal(slice);
	return slice;
}
