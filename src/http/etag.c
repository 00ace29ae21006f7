#include "http/etag.h"

#include "http/cursor.h"

/* etagc = %x21 / %x23-7E / obs-text: a comma and a backslash are like any other */
static bool is_etag_char(char c)
{
	uint8_t byte = (uint8_t)c;
	return byte > 0x20 && byte != '"' && byte != 0x7f;
}

/* entity-tag = [ "W/" ] DQUOTE *etagc DQUOTE; *opaque is what weak comparison looks at, with its quotes. */
static bool take_etag(struct cursor *c, struct slice *opaque)
{
	if (c->end - c->at >= 2 && c->at[0] == 'W' && c->at[1] == '/')
		c->at += 2;
	const char *begin = c->at;
	if (!take_char(c, '"'))
		return false;
	while (c->at < c->end && is_etag_char(*c->at))
		c->at++;
	if (!take_char(c, '"'))
		return false;
	*opaque = (struct slice){begin, (size_t)(c->at - begin)};
	return true;
}

bool etag_list_names(struct slice if_none_match, struct slice etag)
{
	if (slice_equal(if_none_match, SLICE("*")))
		return true;
	struct cursor c = cursor_of(if_none_match);
	struct slice opaque;
	while (next_member(&c)) {
		bool is_etag = take_etag(&c, &opaque);
		if (member_ends(&c) && is_etag && slice_equal(opaque, etag))
			return true;
		while (c.at < c.end && *c.at != ',')
			c.at++;
	}
	return false;
}
