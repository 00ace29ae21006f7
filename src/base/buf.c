#include "base/buf.h"

#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { BUF_FIRST_BYTES = 256 };

static void out_of_memory(void)
{
	static const char line[] = "todod: out of memory\n";
	fwrite(line, 1, sizeof(line) - 1, stderr);
	abort();
}

void *alloc_zeroed(size_t count, size_t size)
{
	void *p = calloc(count ? count : 1, size ? size : 1);
	if (!p)
		out_of_memory();
	return p;
}

void *alloc_resize(void *old, size_t count, size_t size)
{
	void *p = reallocarray(old, count ? count : 1, size ? size : 1);
	if (!p)
		out_of_memory();
	return p;
}

char *alloc_string(struct slice s)
{
	char *p = alloc_zeroed(s.len + 1, 1);
	if (s.len)
		memcpy(p, s.data, s.len);
	return p;
}

void alloc_trim(void)
{
	(void)malloc_trim(0);
}

bool slice_equal(struct slice a, struct slice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static unsigned char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (unsigned char)(c + ('a' - 'A')) : (unsigned char)c;
}

bool slice_equal_nocase(struct slice a, struct slice b)
{
	if (a.len != b.len)
		return false;
	if (slice_equal(a, b)) /* as it is with names that are written as usual */
		return true;
	for (size_t i = 0; i < a.len; i++)
		if (lower(a.data[i]) != lower(b.data[i]))
			return false;
	return true;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

struct slice slice_trim(struct slice s)
{
	while (s.len && is_blank(s.data[0])) {
		s.data++;
		s.len--;
	}
	while (s.len && is_blank(s.data[s.len - 1]))
		s.len--;
	return s;
}

void buf_release(struct buf *b)
{
	free(b->data);
	*b = (struct buf)BUF_INIT;
}

void buf_reserve(struct buf *b, size_t extra)
{
	if (b->cap - b->len >= extra)
		return;
	if (extra > SIZE_MAX / 4 || b->len > SIZE_MAX / 4)
		out_of_memory();
	size_t cap = b->cap ? b->cap * 2 : BUF_FIRST_BYTES;
	while (cap - b->len < extra)
		cap *= 2;
	b->data = alloc_resize(b->data, cap, 1);
	b->cap = cap;
}

void buf_append(struct buf *b, const void *data, size_t len)
{
	if (len == 0)
		return;
	buf_reserve(b, len);
	memcpy(b->data + b->len, data, len);
	b->len += len;
}

void buf_append_slice(struct buf *b, struct slice s)
{
	buf_append(b, s.data, s.len);
}

void buf_append_str(struct buf *b, const char *text)
{
	buf_append(b, text, strlen(text));
}

void buf_append_u64(struct buf *b, unsigned long long value)
{
	char digits[20];
	size_t at = sizeof(digits);
	do
		digits[--at] = (char)('0' + value % 10);
	while (value /= 10);
	buf_append(b, digits + at, sizeof(digits) - at);
}

void buf_printf(struct buf *b, const char *format, ...)
{
	va_list args, again;
	va_start(args, format);
	va_copy(again, args);
	/* One byte more than the text for the NUL that vsnprintf writes; it is not counted in len. */
	buf_reserve(b, 1);
	int len = vsnprintf(b->data + b->len, b->cap - b->len, format, args);
	va_end(args);
	if (len > 0) {
		buf_reserve(b, (size_t)len + 1);
		if (vsnprintf(b->data + b->len, (size_t)len + 1, format, again) == len)
			b->len += (size_t)len;
	}
	va_end(again);
}
