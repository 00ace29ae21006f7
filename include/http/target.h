/*
 * The request target (RFC 9112 section 3.2): its four forms, the path cut into segments, the query into
 * pairs. Percent-encoding is decoded once, after cutting: an encoded slash is data. Dot segments are not
 * resolved.
 */
#ifndef HTTP_TARGET_H
#define HTTP_TARGET_H

#include "http/request.h"

enum { TARGET_SEGMENTS_MAX = 4 };

enum target_form { TARGET_ORIGIN, TARGET_ABSOLUTE, TARGET_AUTHORITY, TARGET_ASTERISK };

struct target {
	enum target_form form;
	struct slice path;  /* raw, "/" when an absolute form has none; empty for authority and asterisk */
	struct slice query; /* raw, without the '?'; empty when absent */
	struct slice authority; /* host[:port], checked, of an absolute or authority form; else empty */
};

/* Cuts a target whose bytes the parser has already accepted. Returns 0, or -1 with *detail (a literal) when
 * the form is none that this method may use: authority only with CONNECT, asterisk only with OPTIONS,
 * absolute http or https without userinfo. OPTIONS of an absolute target with neither path nor query has the asterisk form. */
int target_parse(struct target *t, enum http_method method, struct slice raw, const char **detail);

/* True for uri-host [ ":" port ] with a non-empty host (RFC 9110 section 7.2, RFC 3986 section 3.2.2). */
bool target_authority_is_valid(struct slice authority);

/* The segments of a path, decoded into `scratch` (at least path.len bytes). Returns their number,
 * TARGET_SEGMENTS_MAX + 1 when there are more, or -1 for a broken escape, a control character or invalid
 * UTF-8. "/" is one empty segment. */
int target_segments(struct slice path, char *scratch, struct slice segments[TARGET_SEGMENTS_MAX]);

#endif
