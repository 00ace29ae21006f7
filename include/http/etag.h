/*
 * Entity tags (RFC 9110 section 8.8.3), and the conditions that are made of them (section 13).
 *
 * Nothing here has a Last-Modified, so If-Modified-Since, If-Unmodified-Since and If-Range are ignored, as sections 13.1.3 to
 * 13.1.5 ask for.
 */
#ifndef HTTP_ETAG_H
#define HTTP_ETAG_H

#include "base/buf.h"

#include <stdbool.h>

enum etag_comparison {
	ETAG_STRONG, /* a weak tag names nothing */
	ETAG_WEAK,
};

/* Does `list`, the value of If-Match or If-None-Match, all of its lines, name the representation whose tag is `etag`, a strong one with
 * its quotes, or empty where it has none? "*" names every one. What is no entity tag is passed over: it names nothing. */
bool etag_list_names(struct slice list, struct slice etag, enum etag_comparison comparison);

/* The values of the fields, all of their lines; data NULL when absent. */
struct etag_conditions {
	struct slice if_match, if_none_match;
};

enum etag_verdict {
	ETAG_GO_ON,
	ETAG_NOT_MODIFIED, /* 304, of GET and HEAD */
	ETAG_FAILED,       /* 412 */
};

/* Of a request to a resource that is there, and that has the tag `etag`, or none (RFC 9110 section 13.2.2). The caller sees to
 * when it counts: a request that would not have succeeded has no conditions (section 13.2.1). */
enum etag_verdict etag_evaluate(const struct etag_conditions *conditions, struct slice etag, bool is_read);

#endif
