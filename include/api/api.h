/*
 * Where HTTP meets todos: a request becomes an answer, or a job for the store threads whose result becomes
 * one. Knows neither sockets nor databases. One per worker, used by its loop alone; nothing here blocks.
 */
#ifndef API_API_H
#define API_API_H

#include "config/config.h"
#include "http/request.h"
#include "http/response.h"
#include "store/executor.h"

#include <stdbool.h>
#include <stdint.h>

struct api {
	const struct config *config; /* borrowed */
	struct executor *executor;   /* borrowed */
};

/* A whole request. Returns NULL: *res is the answer. Otherwise the job that the answer waits for: `owner`
 * comes back in it, and api_answer makes the answer of it once executor_collect has returned it. */
struct job *api_handle(struct api *api, const struct request *req, uint64_t owner, struct response *res);

/* Only the head is here. True: *res refuses the request, its body need not come. */
bool api_refuse(struct api *api, const struct request *req, struct response *res);

/* The answer to a collected job. `res` views into the job until it is written. */
void api_answer(const struct api *api, struct job *job, struct response *res);

/* The job has waited for as long as a request may: gives it up. True: *res is the answer, the job is gone.
 * False: the job is done, and executor_collect is about to return it. */
bool api_expire(struct api *api, struct job *job, struct response *res);

#endif
