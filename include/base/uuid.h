/*
 * UUIDs (RFC 9562). New ones are version 7: they sort by the time they were made, so that a B-tree grows at
 * its right edge. The text form comes from libuuid.
 */
#ifndef BASE_UUID_H
#define BASE_UUID_H

#include "base/buf.h"

#include <stdint.h>

enum { UUID_BYTES = 16, UUID_TEXT_BYTES = 36 };

struct uuid {
	uint8_t bytes[UUID_BYTES]; /* in the order of the text form */
};

/* Version 7 with the milliseconds of `wall_us` in its first 48 bits and the microseconds within that
 * millisecond in rand_a (RFC 9562 section 6.2, method 3); the other 62 bits are random. */
void uuid_make(struct uuid *u, int64_t wall_us);

/* Version 5 (RFC 9562 section 5.5) of these bytes, in a name space of todod's own: equal bytes, equal UUID. */
void uuid_of_bytes(struct uuid *u, const void *bytes, size_t len);

/* Any version, either case; exactly 36 characters. Returns 0, or -1 and leaves *u untouched. */
int uuid_from_text(struct uuid *u, struct slice text);

/* 36 lower-case characters, not NUL-terminated. */
void uuid_to_text(const struct uuid *u, char text[UUID_TEXT_BYTES]);

/* <0, 0, >0 like memcmp(3). */
int uuid_compare_to(const struct uuid *a, const struct uuid *b);

#endif
