#include "http/etag.h"

#include "http/cursor.h"

/* etagc = %x21 / %x23-7E / obs-text: a comma and a backslash are like any other */
static bool is_etag_char(char c)
{
	uint8_t byte = (uint8_t)c;
	return byte > 0x20 && byte != '"' && byte != 0x7f;
}

/* entity-tag = [ "W/" ] DQUOTE *etagc DQUOTE; *opaque is what weak comparison looks at, with its quotes. */
static bool take_etag(struct cursor *c, struct slice *opaque, bool *is_weak)
{
	*is_weak = c->end - c->at >= 2 && c->at[0] == 'W' && c->at[1] == '/';
	if (*is_weak)
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

bool etag_list_names(struct slice list, struct slice etag, enum etag_comparison comparison)
{
	if (slice_equal(list, SLICE("*")))
		return true;
	struct cursor c = cursor_of(list);
	struct slice opaque;
	bool is_weak;
	while (next_member(&c)) {
		bool is_etag = take_etag(&c, &opaque, &is_weak);
		if (member_ends(&c) && is_etag && (comparison == ETAG_WEAK || !is_weak) &&
		    slice_equal(opaque, etag))
			return true;
		while (c.at < c.end && *c.at != ',')
			c.at++;
	}
	return false;
}

enum etag_verdict etag_evaluate(const struct etag_conditions *conditions, struct slice etag, bool is_read)
{
	if (conditions->if_match.data && !etag_list_names(conditions->if_match, etag, ETAG_STRONG))
		return ETAG_FAILED;
	if (conditions->if_none_match.data && etag_list_names(conditions->if_none_match, etag, ETAG_WEAK))
		return is_read ? ETAG_NOT_MODIFIED : ETAG_FAILED;
	return ETAG_GO_ON;
}
