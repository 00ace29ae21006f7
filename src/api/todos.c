/*
 * The endpoints of /todo.
 */
#include "api/api_private.h"

#include "base/clock.h"
#include "http/form.h"
#include "todo/todo_json.h"

#include <stdlib.h>

enum { LIST_DEFAULT_COUNT = 10, FORM_NAME_MAX_BYTES = 32 };

/* ---- GET /todo */

/* The values of the keys that a list knows, still encoded; data NULL when absent. A key given twice: the
 * first counts. */
struct list_query {
	struct slice start, limit, after;
};

/* The name of a pair, decoded when it can be one of those we know: none is longer than FORM_NAME_MAX_BYTES in
 * any encoding. */
static struct slice decode_name(struct slice raw, char scratch[FORM_NAME_MAX_BYTES])
{
	struct slice name;
	if (raw.len > FORM_NAME_MAX_BYTES ||
	    form_decode(raw, (struct form_rules){.plus_is_space = true}, scratch, &name) != FORM_OK)
		return SLICE("");
	return name;
}

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
		struct slice name = decode_name(raw_name, scratch);
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

/* Fills the job's query from the client's, or *res with what is wrong and returns -1. */
static int read_page_query(struct call *call, struct job *job)
{
	struct list_query given = read_list_query(call->query);
	struct store_page_query *query = &job->query;
	char scratch[HTTP_TARGET_MAX_BYTES];
	uint64_t number;
	query->count = LIST_DEFAULT_COUNT;
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
		job->has_limit = true;
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

struct job *todos_list(struct call *call)
{
	struct job *job = job_new(JOB_PAGE, call->owner);
	if (read_page_query(call, job) != 0) {
		job_free(job);
		return NULL;
	}
	return call_submit(call, job);
}

static void answer_page(struct job *job, struct response *res)
{
	struct todo_page *page = job->page;
	res->status = 200;
	res->type = RESPONSE_JSON;
	res->shared_body = todo_page_json(page);
	if (!page->has_more || page->count == 0)
		return;
	const struct todo *last = &page->todos[page->count - 1];
	struct todo_position position = {.created_at = last->created_at, .id = last->id};
	char cursor[TODO_CURSOR_TEXT_BYTES];
	todo_cursor_write(&position, cursor);
	buf_append_str(&res->link, "</todo?");
	if (job->has_limit)
		buf_printf(&res->link, "limit=%u&", job->query.count);
	buf_append_str(&res->link, "after=");
	buf_append(&res->link, cursor, sizeof(cursor));
	buf_append_str(&res->link, ">; rel=\"next\"");
}

/* ---- POST /todo */

int todos_check_media(const struct request *req, bool has_body, enum media_type *media, struct response *res)
{
	*media = MEDIA_FORM;
	if (!req->has_content_type) {
		if (!has_body)
			return 0;
		response_problem(
		    res, 415,
		    "the body needs a Content-Type: application/x-www-form-urlencoded or application/json");
		return -1;
	}
	*media = media_parse(request_view(req, req->content_type));
	if (*media == MEDIA_FORM || *media == MEDIA_JSON)
		return 0;
	response_problem(res, 415,
			 *media == MEDIA_BAD_CHARSET
			     ? "the only charset taken is UTF-8"
			     : "the body has to be application/x-www-form-urlencoded or application/json");
	return -1;
}

/* Appends the content to *content. Returns NULL, or what is wrong. */
static const char *read_form(struct slice body, struct buf *content)
{
	struct slice raw_name, value, decoded;
	char scratch[FORM_NAME_MAX_BYTES];
	bool found = false;
	while (form_next(&body, &raw_name, &value)) {
		if (!slice_equal(decode_name(raw_name, scratch), SLICE("content")))
			continue;
		if (found)
			return "content is given more than once";
		found = true;
		buf_reserve(content, value.len + 1);
		switch (
		    form_decode(value, (struct form_rules){.plus_is_space = true}, content->data, &decoded)) {
		case FORM_OK: content->len = decoded.len; break;
		case FORM_NOT_UTF8: return "content is no valid UTF-8";
		case FORM_BROKEN_ESCAPE:
		case FORM_CONTROL:
			return "content holds a percent sign that is not followed by two hexadecimal digits";
		}
	}
	return found ? NULL : "content is missing: send content=TEXT";
}

static const char *read_json(struct slice body, struct buf *content)
{
	static const char *const details[] = {
	    [TODO_JSON_OK] = NULL,
	    [TODO_JSON_MALFORMED] = "the body is no JSON text, names a member twice, or nests too deep",
	    [TODO_JSON_NO_OBJECT] = "the body has to be a JSON object with a member content",
	    [TODO_JSON_NO_CONTENT] = "the member content is missing",
	    [TODO_JSON_NOT_A_STRING] = "the member content has to be a string",
	};
	return details[todo_json_read_content(body, content)];
}

/* Fills *content with what the client wants stored, or *res with what is wrong and returns -1. */
static int read_content(struct call *call, struct buf *content)
{
	const struct request *req = call->req;
	size_t max_bytes = call->api->config->content_max_bytes;
	struct slice body = request_view(req, req->body);
	enum media_type media;
	if (todos_check_media(req, body.len > 0, &media, call->res) != 0)
		return -1;
	const char *detail = media == MEDIA_JSON ? read_json(body, content) : read_form(body, content);
	if (!detail)
		switch (todo_check_content(buf_slice(content), max_bytes)) {
		case TODO_CONTENT_OK: return 0;
		case TODO_CONTENT_EMPTY: detail = "content is empty"; break;
		case TODO_CONTENT_BLANK: detail = "content is nothing but white space"; break;
		case TODO_CONTENT_NUL: detail = "content holds a NUL character"; break;
		case TODO_CONTENT_NOT_UTF8: detail = "content is no valid UTF-8"; break;
		case TODO_CONTENT_TOO_LONG:
			response_problem_format(call->res, 413, "content may have at most %zu bytes",
						max_bytes);
			return -1;
		}
	response_problem(call->res, 400, detail);
	return -1;
}

struct job *todos_create(struct call *call)
{
	struct job *job = job_new(JOB_WRITE, call->owner);
	if (read_content(call, &job->write.content) != 0) {
		job_free(job);
		return NULL;
	}
	int64_t now_us = clock_wall_us();
	struct todo *todo = &job->write.todo;
	job->write.kind = STORE_INSERT;
	uuid_make(&todo->id, now_us);
	todo->created_at = todo_seconds(now_us);
	todo->content = buf_slice(&job->write.content);
	return call_submit(call, job);
}

/* ---- /todo/ID */

struct job *todos_get(struct call *call)
{
	struct job *job = job_new(JOB_GET, call->owner);
	job->id = call->id;
	return call_submit(call, job);
}

static struct job *submit_write(struct call *call, enum store_write_kind kind)
{
	struct job *job = job_new(JOB_WRITE, call->owner);
	job->write.kind = kind;
	job->write.todo.id = call->id;
	if (kind == STORE_FINISH)
		job->write.todo.finished_at = todo_seconds(clock_wall_us());
	return call_submit(call, job);
}

struct job *todos_finish(struct call *call)
{
	return submit_write(call, STORE_FINISH);
}

struct job *todos_delete(struct call *call)
{
	return submit_write(call, STORE_DELETE);
}

/* ---- answers */

static void answer_todo(struct response *res, const struct todo *todo)
{
	res->status = 200;
	res->type = RESPONSE_JSON;
	todo_json_append(&res->body, todo);
}

static void answer_write(const struct store_write *write, struct response *res)
{
	char id[UUID_TEXT_BYTES];
	uuid_to_text(&write->todo.id, id);
	if (write->kind == STORE_DELETE) {
		res->status = 200;
		res->type = RESPONSE_JSON;
		buf_append_str(&res->body, "{\"id\": \"");
		buf_append(&res->body, id, sizeof(id));
		buf_append_str(&res->body, "\"}");
		return;
	}
	answer_todo(res, &write->todo);
	if (write->kind == STORE_INSERT) {
		buf_append_str(&res->location, "/todo/");
		buf_append(&res->location, id, sizeof(id));
	}
}

void todos_answer(struct job *job, struct response *res)
{
	switch (job->status) {
	case STORE_OK: break;
	case STORE_NOT_FOUND: response_problem(res, 404, "there is no todo with this id"); return;
	case STORE_UNAVAILABLE:
		answer_unavailable(res, "the store cannot serve now; nothing was done");
		return;
	case STORE_FULL: response_problem(res, 507, "the store has no space left; nothing was done"); return;
	case STORE_UNKNOWN:
		response_problem(res, 504,
				 "the store has not said whether the write took effect; it may have");
		return;
	}
	if (job->kind == JOB_PAGE)
		answer_page(job, res);
	else if (job->kind == JOB_GET)
		answer_todo(res, &job->page->todos[0]);
	else
		answer_write(&job->write, res);
}
