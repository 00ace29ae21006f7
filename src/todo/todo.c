#include "todo/todo.h"

#include "base/utf8.h"

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
	if (!utf8_is_valid(content))
		return TODO_CONTENT_NOT_UTF8;
	bool is_blank = true;
	for (size_t i = 0; i < content.len && is_blank; i++)
		is_blank = is_white_space((unsigned char)content.data[i]);
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
	size_t at = 0;
	for (size_t i = 0; i < page->count; i++) {
		struct slice *content = &page->todos[i].content;
		content->data = content->len ? page->content.data + at : NULL;
		at += content->len;
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
