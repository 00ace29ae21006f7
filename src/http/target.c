#include "http/target.h"

#include "http/chars.h"
#include "http/form.h"

#include <arpa/inet.h>

enum { PORT_MAX = 65535 };

static struct slice slice_from(struct slice s, size_t from)
{
	return (struct slice){s.data + from, s.len - from};
}

/* Cuts s in front of the first `c`: returns what comes before, and leaves in *rest what follows from `c` on.
 */
static struct slice cut_before(struct slice s, char c, struct slice *rest)
{
	const char *found = s.len ? memchr(s.data, c, s.len) : NULL;
	size_t len = found ? (size_t)(found - s.data) : s.len;
	*rest = slice_from(s, len);
	return (struct slice){s.data, len};
}

/* IPvFuture = "v" 1*HEXDIG "." 1*( unreserved / sub-delims / ":" ) */
static bool is_ip_future(struct slice s)
{
	size_t i = 1;
	while (i < s.len && char_hex_value(s.data[i]) >= 0)
		i++;
	if (i == 1 || i + 1 >= s.len || s.data[i] != '.')
		return false;
	while (++i < s.len)
		if (!char_is(s.data[i], CHAR_HOST) && s.data[i] != ':')
			return false;
	return true;
}

static bool is_ip_literal(struct slice s)
{
	if (s.len > 0 && (s.data[0] == 'v' || s.data[0] == 'V'))
		return is_ip_future(s);
	char text[INET6_ADDRSTRLEN] = "";
	struct in6_addr address;
	if (s.len >= sizeof(text) || memchr(s.data, 0, s.len))
		return false;
	memcpy(text, s.data, s.len);
	return inet_pton(AF_INET6, text, &address) == 1;
}

/* A comma is refused though RFC 3986 has it among the sub-delims: it would be two Host fields that somebody
 * on the way joined. */
static bool is_reg_name(struct slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (char_is(s.data[i], CHAR_HOST))
			continue;
		if (s.data[i] != '%' || s.len - i < 3 || char_hex_value(s.data[i + 1]) < 0 ||
		    char_hex_value(s.data[i + 2]) < 0)
			return false;
		i += 2;
	}
	return s.len > 0;
}

/* Nothing, or ":" with a number or nothing behind. */
static bool is_port(struct slice s)
{
	if (s.len > 0 && s.data[0] != ':')
		return false;
	unsigned port = 0;
	for (size_t i = 1; i < s.len; i++) {
		if (!char_is_digit(s.data[i]))
			return false;
		port = port * 10 + (unsigned)(s.data[i] - '0');
		if (port > PORT_MAX)
			return false;
	}
	return true;
}

/* *port is what follows the host: nothing, or ':' with digits or nothing behind. */
static bool parse_authority(struct slice authority, struct slice *port)
{
	if (authority.len == 0)
		return false;
	if (authority.data[0] != '[') {
		struct slice name = cut_before(authority, ':', port);
		return is_reg_name(name) && is_port(*port);
	}
	struct slice address = cut_before(slice_from(authority, 1), ']', port);
	if (port->len == 0 || !is_ip_literal(address))
		return false;
	*port = slice_from(*port, 1);
	return is_port(*port);
}

bool target_authority_is_valid(struct slice authority)
{
	struct slice port;
	return parse_authority(authority, &port);
}

static void cut_query(struct target *t, struct slice path_and_query)
{
	struct slice rest;
	t->path = cut_before(path_and_query, '?', &rest);
	if (rest.len > 0)
		t->query = slice_from(rest, 1);
}

static int fail(const char **detail, const char *text)
{
	*detail = text;
	return -1;
}

/* Whether the target begins with `http://` or `https://`; *len is the length of that. */
static bool has_http_scheme(struct slice raw, size_t *len)
{
	static const struct slice schemes[] = {
	    {"http://",  7},
            {"https://", 8}
        };
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		*len = schemes[i].len;
		if (raw.len >= *len && slice_equal_nocase((struct slice){raw.data, *len}, schemes[i]))
			return true;
	}
	return false;
}

int target_parse(struct target *t, enum http_method method, struct slice raw, const char **detail)
{
	size_t scheme_len;
	*t = (struct target){.form = TARGET_ORIGIN};

	if (method == HTTP_CONNECT) {
		struct slice port;
		if (!parse_authority(raw, &port) || port.len < 2)
			return fail(detail, "the target of CONNECT has to be a host and a port");
		t->form = TARGET_AUTHORITY;
		t->authority = raw;
		return 0;
	}
	if (raw.len > 0 && raw.data[0] == '/') {
		cut_query(t, raw);
		return 0;
	}
	if (slice_equal(raw, SLICE("*"))) {
		if (method != HTTP_OPTIONS)
			return fail(detail, "the target * is for OPTIONS alone");
		t->form = TARGET_ASTERISK;
		return 0;
	}
	if (!has_http_scheme(raw, &scheme_len))
		return fail(detail, "the request target has to be a path or an http URI");

	struct slice rest = slice_from(raw, scheme_len), authority = rest;
	size_t len = 0;
	while (len < rest.len && rest.data[len] != '/' && rest.data[len] != '?')
		len++;
	authority.len = len;
	if (!target_authority_is_valid(authority))
		return fail(detail,
			    "the URI has to name a host, with a port where needed and without a user");
	t->form = TARGET_ABSOLUTE;
	t->authority = authority;
	cut_query(t, slice_from(rest, len));
	if (t->path.len > 0)
		return 0;
	if (method == HTTP_OPTIONS && len == rest.len)
		t->form = TARGET_ASTERISK; /* of the server as a whole (RFC 9110 section 4.2.3) */
	else
		t->path = SLICE("/");
	return 0;
}

int target_segments(struct slice path, char *scratch, struct slice segments[TARGET_SEGMENTS_MAX])
{
	int count = 0;
	struct slice rest = path;
	while (rest.len > 0) {
		struct slice decoded, raw = cut_before(slice_from(rest, 1), '/', &rest);
		struct form_rules rules = {.plus_is_space = false, .refuse_control = true};
		if (form_decode(raw, rules, scratch, &decoded) != FORM_OK)
			return -1;
		scratch += decoded.len;
		if (count < TARGET_SEGMENTS_MAX)
			segments[count] = decoded;
		if (count <= TARGET_SEGMENTS_MAX)
			count++;
	}
	return count;
}
