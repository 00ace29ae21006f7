#include "http/forwarded.h"

#include "http/cursor.h"

enum { PORT_MAX_DIGITS = 5 };

/* ---- who: "192.0.2.1", "192.0.2.1:80", "[2001:db8::1]", "[2001:db8::1]:80" */

/* A number, or hidden: "_http" (RFC 7239 section 6). */
static bool is_port(struct slice text)
{
	bool hidden = text.len > 1 && text.data[0] == '_';
	for (size_t i = hidden; i < text.len; i++)
		if (hidden ? !char_is(text.data[i], CHAR_TOKEN) : !char_is_digit(text.data[i]))
			return false;
	return hidden || (text.len >= 1 && text.len <= PORT_MAX_DIGITS);
}

static bool parse_node(struct slice node, struct ip *ip)
{
	struct cursor c = cursor_of(node);
	bool bracketed = take_char(&c, '[');
	const char *begin = c.at;
	while (c.at < c.end && *c.at != (bracketed ? ']' : ':'))
		c.at++;
	struct slice host = {begin, (size_t)(c.at - begin)};
	/* Brackets are for IPv6 and needed for it: else its end could pass for a port. */
	if (bracketed && (!take_char(&c, ']') || !memchr(host.data, ':', host.len)))
		return false;
	bool is_named =
	    c.at == c.end || (take_char(&c, ':') && is_port((struct slice){c.at, (size_t)(c.end - c.at)}));
	return is_named && ip_parse(host, ip);
}

/* ---- an entry of X-Forwarded-For */

/* It has no grammar: IPv6 comes without brackets, too, and nginx writes "unix:" for what came by such a socket. */
static bool parse_entry(struct slice entry, const struct ip_set *trusted, struct ip *ip)
{
	if (trusted->has_none && slice_equal(entry, SLICE("unix:"))) {
		*ip = (struct ip){{0}};
		return true;
	}
	return parse_node(entry, ip) || ip_parse(entry, ip);
}

/* ---- an element of Forwarded (RFC 7239 section 4) */

/* A quoted value without its quotes. Where an escape is in it, it is no address, so that stays. */
static bool take_value(struct cursor *c, struct slice *value)
{
	if (!take_char(c, '"'))
		return take_token(c, value);
	const char *begin = c->at;
	while (c->at < c->end && *c->at != '"')
		c->at += *c->at == '\\' && c->end - c->at > 1 ? 2 : 1;
	*value = (struct slice){begin, (size_t)(c->at - begin)};
	return take_char(c, '"');
}

static bool parse_element(struct slice element, const struct ip_set *trusted, struct ip *ip)
{
	struct cursor c = cursor_of(element);
	struct slice name, value, node = {NULL, 0};
	(void)trusted;
	do {
		skip_space(&c);
		if (c.at == c.end || *c.at == ';')
			continue;
		if (!take_token(&c, &name) || !take_char(&c, '=') || !take_value(&c, &value))
			return false;
		skip_space(&c);
		if (!slice_equal_nocase(name, SLICE("for")))
			continue;
		if (node.data)
			return false;
		node = value;
	} while (take_char(&c, ';'));
	return c.at == c.end && parse_node(node, ip);
}

/* ---- from right to left */

/* Is the quote at `at` one within a quoted string: behind an odd number of backslashes? */
static bool is_escaped(const char *begin, const char *at)
{
	const char *first = at;
	while (first > begin && first[-1] == '\\')
		first--;
	return (at - first) % 2 != 0;
}

/* Takes what is behind the last comma off *rest. A comma between quotes is none, and quotes are told from the right as well: so what is
 * taken is what the last writer appended, whatever stands before. False when nothing is left. */
static bool take_last(struct slice *rest, bool has_quotes, struct slice *taken)
{
	if (!rest->data)
		return false;
	const char *at = rest->data + rest->len;
	for (bool quoted = false; at > rest->data && (quoted || at[-1] != ','); at--)
		if (has_quotes && at[-1] == '"' && !(quoted && is_escaped(rest->data, at - 1)))
			quoted = !quoted;
	*taken = slice_trim((struct slice){at, (size_t)(rest->data + rest->len - at)});
	*rest = at > rest->data ? (struct slice){rest->data, (size_t)(at - 1 - rest->data)}
				: (struct slice){NULL, 0};
	return true;
}

static const struct {
	const char *name;
	bool has_quotes;
	bool (*parse)(struct slice entry, const struct ip_set *trusted, struct ip *ip);
} fields[] = {
    [FORWARDED_X_FORWARDED_FOR] = {"x-forwarded-for", false, parse_entry  },
    [FORWARDED_FORWARDED] = {"forwarded",       true,  parse_element},
};

bool forwarded_client(const struct request *req, enum forwarded_field field, const struct ip_set *trusted,
		      struct ip *client)
{
	struct slice name = slice_of(fields[field].name);
	/* Several lines are one list (RFC 9110 section 5.3), so the last line comes first. */
	for (uint32_t i = req->field_count; i-- > 0;) {
		const struct field *line = &req->fields[i];
		if (line->name.len != name.len || !slice_equal_nocase(request_view(req, line->name), name))
			continue;
		struct slice rest = request_view(req, line->value), entry;
		while (take_last(&rest, fields[field].has_quotes, &entry)) {
			struct ip ip;
			if (!fields[field].parse(entry, trusted, &ip))
				return false;
			*client = ip;
			if (!ip_set_contains(trusted, &ip))
				return true;
		}
	}
	return false;
}
