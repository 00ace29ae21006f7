/*
 * Reading a field's value from left to right, by the small rules that all of them share. Nothing is taken where
 * a function returns false.
 */
#ifndef HTTP_CURSOR_H
#define HTTP_CURSOR_H

#include "http/chars.h"

#include "base/buf.h"

struct cursor {
	const char *at, *end;
};

static inline struct cursor cursor_of(struct slice value)
{
	return (struct cursor){value.data, value.len ? value.data + value.len : value.data};
}

static inline bool take_char(struct cursor *c, char wanted)
{
	if (c->at == c->end || *c->at != wanted)
		return false;
	c->at++;
	return true;
}

static inline void skip_space(struct cursor *c)
{
	while (c->at < c->end && char_is_space(*c->at))
		c->at++;
}

static inline bool take_token(struct cursor *c, struct slice *token)
{
	const char *begin = c->at;
	while (c->at < c->end && char_is(*c->at, CHAR_TOKEN))
		c->at++;
	*token = (struct slice){begin, (size_t)(c->at - begin)};
	return token->len > 0;
}

/* To the next member of a list, over empty ones (RFC 9110 section 5.6.1.2). False when there is none. */
static inline bool next_member(struct cursor *c)
{
	do
		skip_space(c);
	while (take_char(c, ','));
	return c->at < c->end;
}

/* Behind a member: is it over? */
static inline bool member_ends(struct cursor *c)
{
	skip_space(c);
	return c->at == c->end || *c->at == ',';
}

#endif
