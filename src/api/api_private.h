/*
 * What the endpoints share: a call of one, and the table of routes that leads there.
 */
#ifndef API_API_PRIVATE_H
#define API_API_PRIVATE_H

#include "api/api.h"
#include "http/media.h"
#include "http/target.h"

struct call {
	struct api *api;
	const struct request *req;
	struct slice query; /* raw */
	struct uuid id;     /* of the path, where the route has one */
	uint64_t owner;
	struct response *res;
};

/* Returns NULL when call->res is the answer, else the job that was submitted. */
typedef struct job *endpoint_fn(struct call *call);

/* health.c */
endpoint_fn health_index, health_live, health_ready;
void health_answer_ready(const struct api *api, const struct job *job, struct response *res);

/* list.c */
endpoint_fn list_todos;
void list_answer(struct api *api, struct job *job, struct response *res); /* with STORE_OK */

/* The value of a Link to the page behind `last`; limit 0: none is said. */
void list_append_next(struct buf *out, const struct todo_position *last, uint32_t limit);

/* todos.c */
endpoint_fn todos_create, todos_get, todos_finish, todos_delete;
void todos_answer(struct api *api, struct job *job, struct response *res);

/* Checks the media type of a body: 0 and *media, or -1 and a refusal in *res. Needs the head only. Without a body
 * and a type it is MEDIA_FORM: of an empty form. */
int todos_check_media(const struct request *req, bool has_body, enum media_type *media, struct response *res);

/* Submits, or answers 503: then returns NULL and the job is freed. */
struct job *call_submit(struct call *call, struct job *job);

/* "Nothing was done" for now. */
void answer_unavailable(struct response *res, const char *detail);

#endif
