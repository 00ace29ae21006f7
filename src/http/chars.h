/*
 * What a byte may be part of: one table for the whole room, so that no two files disagree.
 */
#ifndef HTTP_CHARS_H
#define HTTP_CHARS_H

#include <stdbool.h>
#include <stdint.h>

enum {
	CHAR_TOKEN = 1, /* tchar (RFC 9110 section 5.6.2) */
	CHAR_TARGET =
	    2, /* printable ASCII without '#' and backslash; more than RFC 3986 has: clients send it */
	CHAR_VALUE = 4,  /* field-vchar, SP and HTAB (RFC 9110 section 5.5) */
	CHAR_QUOTED = 8, /* qdtext (RFC 9110 section 5.6.4) */
	CHAR_HOST = 16,  /* unreserved and sub-delims (RFC 3986 section 2), without the comma: see target.c */
};

extern const uint8_t http_chars[256];

static inline bool char_is(char c, uint8_t class)
{
	return (http_chars[(uint8_t)c] & class) != 0;
}

static inline bool char_is_space(char c) /* OWS and BWS (RFC 9110 section 5.6.3) */
{
	return c == ' ' || c == '\t';
}

static inline bool char_is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* The value of a hexadecimal digit, or -1. */
static inline int char_hex_value(char c)
{
	if (char_is_digit(c))
		return c - '0';
	char lower = (char)(c | 0x20);
	return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

#endif
