/*
 * GET /todo. The first page comes from the cache, every other one straight from the store.
 */
#include "api/api_private.h"
#include "api/representation.h"

#include "cache/first_page.h"
#include "http/coding.h"
#include "http/form.h"
#include "todo/todo_json.h"

/* ---- the query */

struct list {
	struct store_page_query query;
	bool has_limit;
};

/* The values of the keys that a list knows, still encoded; data NULL when absent. A key given twice: the
 * first counts. */
struct list_query {
	struct slice start, limit, after;
};

static struct list_query read_list_query(struct slice rest)
{
	struct list_query found = {
	    .start = {NULL, 0}
        };
	const struct {
		struct slice name;
		struct slice *value;
	} known[] = {
	    {SLICE("start"), &found.start},
            {SLICE("limit"), &found.limit},
            {SLICE("after"), &found.after}
        };
	struct slice raw_name, value;
	char scratch[FORM_NAME_MAX_BYTES];
	while (form_next(&rest, &raw_name, &value)) {
		struct slice name = form_decode_name(raw_name, scratch);
		for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
			if (slice_equal(name, known[i].name) && !known[i].value->data)
				*known[i].value = value.data ? value : SLICE("");
	}
	return found;
}

enum number { NUMBER_OK, NUMBER_NONE, NUMBER_TOO_LARGE };

/* ASCII digits and nothing else, after percent-decoding in place. */
static enum number read_number(struct slice raw, char *scratch, uint64_t *number)
{
	struct slice text;
	*number = 0;
	if (form_decode(raw, (struct form_rules){.plus_is_space = true, .refuse_control = true}, scratch,
			&text) != FORM_OK ||
	    text.len == 0)
		return NUMBER_NONE;
	bool too_large = false;
	for (size_t i = 0; i < text.len; i++) {
		unsigned digit = (unsigned)(unsigned char)text.data[i] - '0';
		if (digit > 9)
			return NUMBER_NONE;
		too_large |= __builtin_mul_overflow(*number, 10, number) ||
			     __builtin_add_overflow(*number, digit, number);
	}
	return too_large ? NUMBER_TOO_LARGE : NUMBER_OK;
}

/* Makes *list of the client's query, or *res of what is wrong with it and returns -1. */
static int read_list(struct call *call, struct list *list)
{
	struct list_query given = read_list_query(call->query);
	struct store_page_query *query = &list->query;
	char scratch[HTTP_TARGET_MAX_BYTES];
	uint64_t number;
	*list = (struct list){.query.count = FIRST_PAGE_COUNT};
	if (given.start.data && given.after.data) {
		response_problem(call->res, 400,
				 "start and after exclude each other: after is a place in the list already");
		return -1;
	}
	if (given.start.data) {
		enum number result = read_number(given.start, scratch, &number);
		if (result == NUMBER_TOO_LARGE ||
		    (result == NUMBER_OK && number > call->api->config->start_max)) {
			response_problem_format(
			    call->res, 400,
			    "start may be at most %u; to go further, follow the field Link with after=",
			    call->api->config->start_max);
			return -1;
		}
		query->start = result == NUMBER_OK ? (uint32_t)number : 0;
	}
	if (given.limit.data) {
		if (read_number(given.limit, scratch, &number) != NUMBER_OK || number < 1 ||
		    number > TODO_PAGE_MAX) {
			response_problem_format(call->res, 400, "limit has to be a whole number from 1 to %d",
						TODO_PAGE_MAX);
			return -1;
		}
		query->count = (uint32_t)number;
		list->has_limit = true;
	}
	if (given.after.data) {
		struct slice cursor;
		if (form_decode(given.after,
				(struct form_rules){.plus_is_space = true, .refuse_control = true}, scratch,
				&cursor) != FORM_OK ||
		    todo_cursor_read(&query->after, cursor) != 0) {
			response_problem(call->res, 400,
					 "after has to be a cursor as the field Link gave it");
			return -1;
		}
		query->has_after = true;
	}
	return 0;
}

/* ---- the first page */

/* Any other list has a position, or a number of todos of its own. */
static bool is_first_page(const struct store_page_query *query, bool has_limit)
{
	return query->start == 0 && !query->has_after && !has_limit;
}

/* buf_slice of it has data NULL when there is nothing to keep, and only then. */
static void keep_field(struct buf *kept, struct slice value)
{
	if (!value.data)
		return;
	buf_reserve(kept, value.len + 1);
	buf_append_slice(kept, value);
}

static struct job *list_first_page(struct call *call)
{
	struct api *api = call->api;
	struct page_request request = {
	    .wants_gzip =
		coding_gzip_is_wanted(request_field(call->req, SLICE("Accept-Encoding"), &api->lines)),
	    .conditions = call->conditions,
	};
	call->verdict = ETAG_GO_ON; /* this page has a tag: the verdict is up to representations_answer */
	const struct page *page = first_page_hit(api->first_page);
	if (page) {
		representations_answer(api->representations, page, &request, call->res);
		return NULL;
	}
	struct job *job = call_job(call, JOB_PAGE);
	job->query.count = FIRST_PAGE_COUNT;
	job->wants_gzip = request.wants_gzip;
	keep_field(&job->if_match, request.conditions.if_match);
	keep_field(&job->if_none_match, request.conditions.if_none_match);
	first_page_park(api->first_page, job);
	return job;
}

static void answer_first_page(struct api *api, const struct job *job, struct response *res)
{
	struct page_request request = {
	    .wants_gzip = job->wants_gzip,
	    .has_waited = true,
	    .conditions = {buf_slice(&job->if_match), buf_slice(&job->if_none_match)},
	};
	representations_answer(api->representations, first_page_answer(api->first_page), &request, res);
}

/* ---- every page */

struct job *list_todos(struct call *call)
{
	if (call->query.len == 0)
		return list_first_page(call);
	struct list list;
	if (read_list(call, &list) != 0)
		return NULL;
	if (is_first_page(&list.query, list.has_limit))
		return list_first_page(call);
	struct job *job = call_job(call, JOB_PAGE);
	job->query = list.query;
	job->has_limit = list.has_limit;
	return call_submit(call, job);
}

void list_append_next(struct buf *out, const struct todo_position *last, uint32_t limit)
{
	char cursor[TODO_CURSOR_TEXT_BYTES];
	todo_cursor_write(last, cursor);
	buf_append_str(out, "</todo?");
	if (limit > 0)
		buf_printf(out, "limit=%u&", limit);
	buf_append_str(out, "after=");
	buf_append(out, cursor, sizeof(cursor));
	buf_append_str(out, ">; rel=\"next\"");
}

void list_answer(struct api *api, struct job *job, struct response *res)
{
	if (is_first_page(&job->query, job->has_limit)) {
		answer_first_page(api, job, res);
		return;
	}
	struct todo_page *page = job->page;
	res->status = 200;
	res->type = RESPONSE_JSON;
	res->fields = SLICE("Cache-Control: no-cache\r\n");
	res->cache = API_CACHE_BYPASS;
	res->cache_status = SLICE("todod; fwd=bypass");
	res->shared_body = todo_page_json(page);
	if (!page->has_more || page->count == 0)
		return;
	const struct todo *last = &page->todos[page->count - 1];
	struct todo_position position = {.created_at = last->created_at, .id = last->id};
	list_append_next(&res->link, &position, job->has_limit ? job->query.count : 0);
}
