/*
 * struct response to bytes. Only the fields that an answer needs are sent: Date, then what is set here.
 */
#ifndef HTTP_RESPONSE_H
#define HTTP_RESPONSE_H

#include "base/buf.h"
#include "http/request.h"

#include <stdbool.h>
#include <stdint.h>

enum { HTTP_DATE_BYTES = 29 }; /* "Sun, 06 Nov 1994 08:49:37 GMT" */

enum response_type {
	RESPONSE_NO_BODY,
	RESPONSE_JSON,
	RESPONSE_PROBLEM,
	RESPONSE_METRICS, /* Prometheus's text format, version 0.0.4 */
};

struct response {
	uint16_t status;
	enum response_type type; /* RESPONSE_NO_BODY: for 204 and 304; no Content-Length either */
	bool close;              /* "Connection: close", and the connection ends after this answer */
	uint32_t retry_after_s;  /* 0: none */
	bool has_age;            /* Age: age_s (RFC 9111 section 5.1) */
	uint32_t age_s;
	/* Views: valid until response_write returns; empty: absent. */
	struct slice allow;
	struct slice cache_status; /* RFC 9211 */
	struct slice fields;       /* further ones: whole lines, each with its CRLF */
	struct buf location, link; /* owned, kept for the next answer */
	struct buf body;           /* owned */
	struct slice shared_body;  /* sent instead of `body` when its data is not NULL */
	/* For logs and counters, not for the client: what it means only who sets it knows. */
	uint8_t route, store, cache;
	uint32_t queued_us, took_us,
	    batch; /* of its work elsewhere; batch 0: there was none, or it is not known */
	struct slice
	    ready; /* what response_prepare made of all the above, sent as it is where it suits; empty: none */
};

/* Clears everything, keeps the memory of the bufs. */
void response_reset(struct response *res);
void response_release(struct response *res);

/* Makes *res a problem+json (RFC 9457) with the standard title of `status`. `detail` is plain text without
 * quotes, backslashes and control characters: a literal, or made from numbers. */
void response_problem(struct response *res, uint16_t status, const char *detail);

/* Same, with a printf format for the detail. */
void response_problem_format(struct response *res, uint16_t status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

struct response_context {
	const char *date; /* HTTP_DATE_BYTES */
	bool head_only;   /* the request was HEAD: the same fields, no body (RFC 9110 section 9.3.2) */
	uint8_t minor;    /* of the request: a kept-alive 1.0 connection is told so */
	bool keep_alive;  /* what the request allows; `close` in the response overrides it */
};

/* Appends the bytes of the answer to out. Returns how many of them are its body. */
size_t response_write(const struct response *res, const struct response_context *context, struct buf *out);

/* Appends the whole answer as it is in the common case: to a GET in an HTTP/1.1 connection that lives on. As `ready` of the
 * same response it needs but the present Date. */
void response_prepare(const struct response *res, struct buf *out);

/* IMF-fixdate (RFC 9110 section 5.6.7), independent of the locale. */
void response_format_date(int64_t epoch_s, char date[HTTP_DATE_BYTES]);

/* The reason phrase, e.g. "Not Found"; "" for a status that todod never sends. */
struct slice response_reason(uint16_t status);

#endif
