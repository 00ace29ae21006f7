/*
 * A request as the parser leaves it: where things stand in the message, and what of it the framing rules
 * needed to understand. Nothing here owns memory: `base` is the first byte of the message in the connection's
 * input, and everything else is an offset from it (the input may move while a body arrives).
 */
#ifndef HTTP_REQUEST_H
#define HTTP_REQUEST_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

enum http_method {
	HTTP_METHOD_UNKNOWN, /* a token, but no method that RFC 9110 section 9 or RFC 5789 defines */
	HTTP_GET,
	HTTP_HEAD,
	HTTP_POST,
	HTTP_PUT,
	HTTP_DELETE,
	HTTP_OPTIONS,
	HTTP_PATCH,
	HTTP_TRACE,
	HTTP_CONNECT,
	HTTP_METHOD_COUNT,
};

enum {
	HTTP_HEAD_MAX_BYTES = 8192,            /* request line and fields with their line ends; more is 431 */
	HTTP_TARGET_MAX_BYTES = 4096,          /* more is 414 */
	HTTP_METHOD_MAX_BYTES = 32,            /* more is 501 */
	HTTP_FIELDS_MAX_COUNT = 64,            /* trailers included; more is 431 */
	HTTP_CHUNK_EXT_MAX_BYTES = 256,        /* per chunk */
	HTTP_CHUNK_EXT_TOTAL_MAX_BYTES = 4096, /* per message */
};

struct span {
	uint32_t off, len; /* bytes from the first byte of the message */
};

struct field {
	struct span name, value; /* value without the white space around it */
};

struct request {
	const char *base; /* set by the parser at each call */
	enum http_method method;
	uint8_t minor;       /* HTTP/1.minor: 0, or 1 for every other minor version (RFC 9110 section 2.5) */
	bool keep_alive;     /* what version and Connection say (RFC 9112 section 9.3) */
	bool wants_continue; /* Expect: 100-continue in a 1.1 request (RFC 9110 section 10.1.1) */
	bool chunked;
	bool has_content_type;
	bool
	    has_conditions; /* If-Match or If-None-Match: most requests have none, and nobody looks for them */
	bool has_body;      /* Content-Length above 0, or chunked */
	uint64_t content_length; /* 0 when absent or chunked */
	struct span method_text, target;
	struct span content_type; /* the field's value; empty unless has_content_type */
	struct span body;         /* decoded; complete once the parser says PARSE_DONE */
	uint32_t field_count;     /* trailers are checked and dropped: not in here */
	struct field fields[HTTP_FIELDS_MAX_COUNT];
};

static inline struct slice request_view(const struct request *r, struct span s)
{
	return (struct slice){r->base + s.off, s.len};
}

/* The value of a field that may come in several lines: a view of the message when it came in one, else of *joined, where the
 * lines stand with commas between (RFC 9110 section 5.3). Empty when absent, and data NULL then. */
struct slice request_field(const struct request *r, struct slice name, struct buf *joined);

/* The method's name, e.g. "GET"; "" for HTTP_METHOD_UNKNOWN. */
struct slice http_method_name(enum http_method method);

/* The method of that name; names are case-sensitive (RFC 9110 section 9.1). */
enum http_method http_method_of(struct slice name);

#endif
