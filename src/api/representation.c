#include "api/representation.h"

#include "api/api_private.h"
#include "base/clock.h"
#include "http/coding.h"

#include <stdlib.h>

/* A longer page would hold up the loop for milliseconds: it goes out as it is. */
enum { GZIP_MAX_BYTES = PAGE_JSON_MAX_BYTES };

struct representation {
	bool is_made;
	struct buf etag;      /* with its quotes */
	struct buf fields;    /* whole lines */
	size_t validator_len; /* of the fields: those that a 304 has as well */
	struct buf coded;     /* the body, where it is not the page's own bytes */
	struct buf ready;     /* the answer to a hit; empty until there was one */
};

struct representations {
	/* Of what page: equal bytes have equal tags, but whether more follow does not stand in them. */
	struct uuid tag;
	bool has_more;
	struct todo_position last;

	struct representation identity, gzip;
};

struct representations *representations_new(void)
{
	return alloc_zeroed(1, sizeof(struct representations));
}

static void release(struct representation *rep)
{
	buf_release(&rep->etag);
	buf_release(&rep->fields);
	buf_release(&rep->coded);
	buf_release(&rep->ready);
}

void representations_free(struct representations *reps)
{
	if (!reps)
		return;
	release(&reps->identity);
	release(&reps->gzip);
	free(reps);
}

/* Keeps the memory. */
static void clear(struct representation *rep)
{
	buf_clear(&rep->etag);
	buf_clear(&rep->fields);
	buf_clear(&rep->coded);
	buf_clear(&rep->ready);
	rep->is_made = false;
}

static bool is_of(const struct representations *reps, const struct page *page)
{
	return uuid_compare_to(&reps->tag, &page->tag) == 0 && reps->has_more == page->has_more &&
	       (!page->has_more || (reps->last.created_at == page->last.created_at &&
				    uuid_compare_to(&reps->last.id, &page->last.id) == 0));
}

static void begin(struct representations *reps, const struct page *page)
{
	reps->tag = page->tag;
	reps->has_more = page->has_more;
	reps->last = page->last;
	clear(&reps->identity);
	clear(&reps->gzip);
}

/* `suffix` tells the entity tags of the representations apart: they are strong. */
static void make(struct representation *rep, const struct page *page, const char *suffix)
{
	char tag[UUID_TEXT_BYTES];
	uuid_to_text(&page->tag, tag);
	buf_append_str(&rep->etag, "\"");
	buf_append(&rep->etag, tag, sizeof(tag));
	buf_append_str(&rep->etag, suffix);
	buf_append_str(&rep->etag, "\"");

	buf_append_str(&rep->fields, "ETag: ");
	buf_append_slice(&rep->fields, buf_slice(&rep->etag));
	buf_append_str(&rep->fields, "\r\nVary: Accept-Encoding\r\nCache-Control: no-cache\r\n");
	if (page->has_more) {
		buf_append_str(&rep->fields, "Link: ");
		list_append_next(&rep->fields, &page->last, 0);
		buf_append_str(&rep->fields, "\r\n");
	}
	rep->validator_len = rep->fields.len;
	rep->is_made = true;
}

static struct representation *identity_of(struct representations *reps, const struct page *page)
{
	if (!reps->identity.is_made)
		make(&reps->identity, page, "");
	return &reps->identity;
}

/* Returns NULL where it is not worth it. */
static struct representation *gzip_of(struct representations *reps, const struct page *page)
{
	struct representation *rep = &reps->gzip;
	if (!rep->is_made) {
		make(rep, page, "-gzip");
		buf_append_str(&rep->fields, "Content-Encoding: gzip\r\n");
		if (page->json.len <= GZIP_MAX_BYTES)
			coding_append_gzip(&rep->coded, buf_slice(&page->json));
	}
	return rep->coded.len > 0 && rep->coded.len < page->json.len ? rep : NULL;
}

/* RFC 9211. */
static const char *const cache_status[API_CACHES] = {
    [API_CACHE_HIT] = "todod; hit",
    [API_CACHE_MISS] = "todod; fwd=miss",
    [API_CACHE_REDIS] = "todod; hit; detail=redis",
    [API_CACHE_STALE] = "todod; hit; detail=stale",
};

static enum api_cache cache_outcome(const struct page *page, bool has_waited)
{
	if (page->is_stale)
		return API_CACHE_STALE;
	if (!has_waited)
		return API_CACHE_HIT;
	return page->source == PAGE_FROM_REDIS ? API_CACHE_REDIS : API_CACHE_MISS;
}

static uint32_t age_s(const struct page *page)
{
	int64_t age_us = clock_wall_us() - page->filled_us;
	return age_us > 0 ? (uint32_t)(age_us / 1000000) : 0; /* the clock may have been set back */
}

void representations_answer(struct representations *reps, const struct page *page,
			    const struct page_request *request, struct response *res)
{
	if (!is_of(reps, page))
		begin(reps, page);
	struct representation *rep = request->wants_gzip ? gzip_of(reps, page) : NULL;
	if (!rep)
		rep = identity_of(reps, page);

	res->cache = (uint8_t)cache_outcome(page, request->has_waited);
	res->cache_status = slice_of(cache_status[res->cache]);
	res->has_age = page->is_stale;
	res->age_s = page->is_stale ? age_s(page) : 0;
	res->status = 200;
	res->type = RESPONSE_JSON;
	res->fields = buf_slice(&rep->fields);
	res->shared_body = rep->coded.len > 0 ? buf_slice(&rep->coded) : buf_slice(&page->json);
	enum etag_verdict verdict = etag_evaluate(&request->conditions, buf_slice(&rep->etag), true);
	if (verdict != ETAG_GO_ON) {
		res->fields.len = rep->validator_len;
		answer_verdict(res, verdict);
		return;
	}
	if (request->has_waited || page->is_stale)
		return;
	if (rep->ready.len == 0)
		response_prepare(res, &rep->ready);
	res->ready = buf_slice(&rep->ready);
}
