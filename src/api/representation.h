/*
 * The representations (RFC 9110 section 3.2) of the first page: identity and gzip, each with its fields and entity tag, made when
 * first wanted and kept for as long as the page is of the same bytes. From them comes every answer with it.
 */
#ifndef API_REPRESENTATION_H
#define API_REPRESENTATION_H

#include "cache/page_memory.h"
#include "http/etag.h"
#include "http/response.h"

struct representations;

/* Returns owned. */
struct representations *representations_new(void);
void representations_free(struct representations *reps); /* accepts NULL */

/* What decides about the answer besides the page. */
struct page_request {
	bool wants_gzip;
	bool has_waited; /* else it is a hit */
	struct etag_conditions conditions;
};

/* Answers with the page, 304 or 412, in *res, which has been reset and views `page` and `reps` then. */
void representations_answer(struct representations *reps, const struct page *page,
			    const struct page_request *request, struct response *res);

#endif
