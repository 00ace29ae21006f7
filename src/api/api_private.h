/*
 * What the endpoints share: a call of one, and the table of routes that leads there.
 */
#ifndef API_API_PRIVATE_H
#define API_API_PRIVATE_H

#include "api/api.h"
#include "http/etag.h"
#include "http/media.h"
#include "http/target.h"

struct call {
	struct api *api;
	const struct request *req;
	struct slice query; /* raw */
	struct uuid id;     /* of the path, where the route has one */
	uint64_t owner;
	bool is_admin;
	enum media_type media;             /* of a body that todos_check_create has let pass */
	struct etag_conditions conditions; /* until the next request */
	enum etag_verdict verdict;         /* on them, for a resource without a tag: all but the first page */
	struct response *res;
};

/* Returns NULL when call->res is the answer, else the job that was submitted. */
typedef struct job *endpoint_fn(struct call *call);

/* Looks at the head alone, for what "normal request checks" (RFC 9110 section 13.2.1) find in it, and then at the conditions.
 * Returns 0, or -1 and a refusal in *call->res. has_body: as far as one knows. */
typedef int check_fn(struct call *call, bool has_body);

/* health.c */
endpoint_fn health_index, health_live, health_ready;
/* `job` is NULL when the store has not answered. */
void health_answer_ready(const struct api *api, const struct job *job, bool wants_detail,
			 struct response *res);

/* metrics.c */
endpoint_fn metrics_show;

/* list.c */
endpoint_fn list_todos;
void list_answer(struct api *api, struct job *job, struct response *res); /* with STORE_OK */

/* The value of a Link to the page behind `last`; limit 0: none is said. */
void list_append_next(struct buf *out, const struct todo_position *last, uint32_t limit);

/* todos.c */
endpoint_fn todos_create, todos_get, todos_finish, todos_delete;
check_fn todos_check_create, todos_check_finish;
void todos_answer(struct api *api, struct job *job, struct response *res);

/* A job for this call. Returns owned. */
struct job *call_job(const struct call *call, enum job_kind kind);

/* Submits, or answers 503: then returns NULL and the job is freed. */
struct job *call_submit(struct call *call, struct job *job);

/* Makes 304 or 412 of a success, where the verdict says so; any other answer stays (RFC 9110 section 13.2.1). */
void answer_verdict(struct response *res, enum etag_verdict verdict);
void answer_failed(struct response *res); /* 412 */

/* "Nothing was done" for now. */
void answer_unavailable(struct response *res, const char *detail);

#endif
