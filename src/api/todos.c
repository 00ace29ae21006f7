/*
 * The endpoints of /todo and /todo/ID, but for the list.
 */
#include "api/api_private.h"

#include "base/clock.h"
#include "http/form.h"
#include "todo/todo_json.h"

#include <stdlib.h>

/* ---- POST /todo */

/* NULL, or what is wrong with the media type: then *media is none that is taken. Without a body and a type it is that of an
 * empty form. */
static const char *check_media(const struct request *req, bool has_body, enum media_type *media)
{
	*media = MEDIA_FORM;
	if (!req->has_content_type)
		return has_body ? "the body needs a Content-Type: application/x-www-form-urlencoded or "
				  "application/json"
				: NULL;
	*media = media_parse(request_view(req, req->content_type));
	if (*media == MEDIA_FORM || *media == MEDIA_JSON)
		return NULL;
	return *media == MEDIA_BAD_CHARSET
		   ? "the only charset taken is UTF-8"
		   : "the body has to be application/x-www-form-urlencoded or application/json";
}

/* Coded bytes are not what they say (RFC 9110 section 8.4); "identity" is no coding, if superfluous. */
static bool is_coded(struct call *call)
{
	struct slice coding = request_field(call->req, SLICE("Content-Encoding"), &call->api->lines);
	return coding.len > 0 && !slice_equal_nocase(coding, SLICE("identity"));
}

/* Says in a field what would have been taken (RFC 9110 section 15.5.16). */
static int refuse_body(struct response *res, const char *detail, struct slice field)
{
	response_problem(res, 415, detail);
	res->fields = field;
	return -1;
}

/* The list has a tag, but which one is known only by reading it, and no longer when the todo is written: that the client's is the present
 * one, or is not, can be vouched for by nobody, and what cannot is not done. */
static enum etag_verdict judge_create(const struct call *call)
{
	return call->conditions.if_none_match.data ? ETAG_FAILED : call->verdict;
}

int todos_check_create(struct call *call, bool has_body)
{
	if (is_coded(call))
		return refuse_body(call->res, "the body has to come without a Content-Encoding",
				   SLICE("Accept-Encoding: identity\r\n"));
	const char *detail = check_media(call->req, has_body, &call->media);
	if (detail)
		return refuse_body(call->res, detail,
				   SLICE("Accept: application/x-www-form-urlencoded, application/json\r\n"));
	if (judge_create(call) == ETAG_GO_ON)
		return 0;
	answer_failed(call->res);
	return -1;
}

/* Appends the content to *content. Returns NULL, or what is wrong. */
static const char *read_form(struct slice body, struct buf *content)
{
	struct slice raw_name, value, decoded;
	char scratch[FORM_NAME_MAX_BYTES];
	bool found = false;
	while (form_next(&body, &raw_name, &value)) {
		if (!slice_equal(form_decode_name(raw_name, scratch), SLICE("content")))
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
	const char *detail = call->media == MEDIA_JSON ? read_json(body, content) : read_form(body, content);
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
	struct job *job = call_job(call, JOB_WRITE);
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
	struct job *job = call_job(call, JOB_GET);
	job->id = call->id;
	return call_submit(call, job);
}

static struct job *submit_write(struct call *call, enum store_write_kind kind)
{
	if (call->verdict != ETAG_GO_ON)
		return todos_get(call); /* nothing will be done: 412 if there is such a todo, else 404 */
	struct job *job = call_job(call, JOB_WRITE);
	job->write.kind = kind;
	job->write.todo.id = call->id;
	if (kind == STORE_FINISH)
		job->write.todo.finished_at = todo_seconds(clock_wall_us());
	return call_submit(call, job);
}

/* Nothing is PUT in part here (RFC 9110 section 14.5). */
int todos_check_finish(struct call *call, bool has_body)
{
	(void)has_body;
	if (!request_field(call->req, SLICE("Content-Range"), &call->api->lines).data)
		return 0;
	response_problem(call->res, 400, "a todo cannot be changed in part: send no Content-Range");
	return -1;
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

void todos_answer(struct api *api, struct job *job, struct response *res)
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
		list_answer(api, job, res);
	else if (job->kind == JOB_GET)
		answer_todo(res, &job->page->todos[0]);
	else
		answer_write(&job->write, res);
}
