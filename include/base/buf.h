/*
 * Bytes: a borrowed view (struct slice), a growing buffer (struct buf), and the allocations of the whole
 * program. Out of memory ends the process: the master replaces a worker, and half a request is worth
 * nothing. So nothing here returns an error.
 *
 * Invariants of struct buf: len <= cap, and `data` is NULL only while cap is 0. The bytes are not
 * NUL-terminated.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* A view: whoever made it says how long it stays valid. `data` may be NULL only when `len` is 0. */
struct slice {
	const char *data;
	size_t len; /* bytes */
};

/* A view of a string literal. */
#define SLICE(literal) ((struct slice){"" literal, sizeof(literal) - 1})

static inline struct slice slice_of(const char *text)
{
	return (struct slice){text, strlen(text)};
}

/* Byte for byte. */
bool slice_equal(struct slice a, struct slice b);

/* ASCII letters of both cases are the same, whatever the locale (RFC 9110 section 5.1). */
bool slice_equal_nocase(struct slice a, struct slice b);

/* Without the spaces and tabs around it. */
struct slice slice_trim(struct slice s);

struct buf {
	char *data;
	size_t len, cap; /* bytes */
};

#define BUF_INIT           \
	{                  \
		NULL, 0, 0 \
	}

/* Frees the bytes; the buf is empty and usable afterwards. */
void buf_release(struct buf *b);

/* Makes room for `extra` more bytes, so that data + len may be written to directly. */
void buf_reserve(struct buf *b, size_t extra);

void buf_append(struct buf *b, const void *data, size_t len);
void buf_append_slice(struct buf *b, struct slice s);
void buf_append_str(struct buf *b, const char *text);
void buf_append_u64(struct buf *b, unsigned long long value); /* decimal */
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

static inline void buf_clear(struct buf *b)
{
	b->len = 0;
}

static inline struct slice buf_slice(const struct buf *b)
{
	return (struct slice){b->data, b->len};
}

/* Heap memory, owned by the caller, freed with free(3). Never NULL: out of memory aborts. `count` and `size`
 * are multiplied with an overflow check. */
void *alloc_zeroed(size_t count, size_t size);
void *alloc_resize(void *old, size_t count, size_t size);
char *alloc_string(struct slice s); /* a NUL-terminated copy */

/* Gives freed memory back to the kernel. Takes milliseconds after much was freed: see malloc_trim(3). */
void alloc_trim(void);

#endif
