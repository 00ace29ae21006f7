/*
 * Entity tags (RFC 9110 section 8.8.3).
 */
#ifndef HTTP_ETAG_H
#define HTTP_ETAG_H

#include "base/buf.h"

#include <stdbool.h>

/* Does the value of If-None-Match, all of its lines, name `etag`, a strong one with its quotes? By weak comparison (RFC 9110 section
 * 13.1.2); "*" names every one. What is no entity tag is passed over: it names nothing. */
bool etag_list_names(struct slice if_none_match, struct slice etag);

#endif
