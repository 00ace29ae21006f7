/*
 * Media types (RFC 9110 section 8.3.1): which of those that todod takes is it?
 */
#ifndef HTTP_MEDIA_H
#define HTTP_MEDIA_H

#include "base/buf.h"

enum media_type {
	MEDIA_FORM,        /* application/x-www-form-urlencoded */
	MEDIA_JSON,        /* application/json */
	MEDIA_OTHER,       /* well-formed, another type */
	MEDIA_BAD_CHARSET, /* one of the two, with a charset that is not UTF-8 */
	MEDIA_MALFORMED,   /* no media type by its syntax, or a parameter given twice */
};

/* `value` is the value of a Content-Type field. Parameters other than charset are accepted and ignored;
 * values may be quoted. */
enum media_type media_parse(struct slice value);

#endif
