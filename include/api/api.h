/*
 * Where HTTP meets todos: a request becomes an answer, or a job for the store threads whose result becomes
 * one. Knows neither sockets nor databases. One per worker, used by its loop alone; nothing here blocks.
 */
#ifndef API_API_H
#define API_API_H

#include "base/process.h"
#include "config/config.h"
#include "http/request.h"
#include "http/response.h"
#include "store/executor.h"

#include <stdbool.h>
#include <stdint.h>

struct first_page;
struct representations;

/* What response.route, .store and .cache mean: for logs and counters. */
enum api_route {
	API_ROUTE_NONE, /* a path that nobody serves, a method that it does not take, or no request at all */
	API_ROUTE_OPTIONS,
	API_ROUTE_INDEX,
	API_ROUTE_LIST,
	API_ROUTE_CREATE,
	API_ROUTE_GET,
	API_ROUTE_FINISH,
	API_ROUTE_DELETE,
	API_ROUTE_LIVE,
	API_ROUTE_READY,
	API_ROUTE_METRICS,
	API_ROUTES,
};

enum api_store {
	API_STORE_NONE, /* it was not asked for this */
	API_STORE_OK,
	API_STORE_NOT_FOUND,
	API_STORE_UNAVAILABLE,
	API_STORE_FULL,
	API_STORE_UNKNOWN,
	API_STORE_LATE,    /* it had not answered when the request had waited long enough */
	API_STORE_REFUSED, /* not asked: too many wait already, or it is away */
	API_STORES,
};

enum api_cache {
	API_CACHE_NONE,
	API_CACHE_HIT,
	API_CACHE_MISS,
	API_CACHE_REDIS, /* a miss here, a hit there */
	API_CACHE_STALE,
	API_CACHE_BYPASS, /* a list that is not kept */
	API_CACHES,
};

enum { API_CLIENT_GONE = 499 }; /* a status that nobody is sent: for logs and counters, as in nginx */

/* In lower case, e.g. "list", "not_found", "hit"; "-" for NONE. */
const char *api_route_name(unsigned route);
const char *api_store_name(unsigned store);
const char *api_cache_name(unsigned cache);

/* A listener as the kernel has it. */
struct api_listener {
	char name[64];          /* "HOST:PORT" */
	uint32_t queued, limit; /* connections that nobody has accepted yet */
};

enum { API_LISTENERS_MAX = 32 };

/* Everything is borrowed, for as long as the api is open. */
struct api_settings {
	const struct config *config;
	struct executor *executor;
	struct first_page *first_page;
	const struct process *process;

	/* Fills in the listeners whose queue the kernel tells of, at most API_LISTENERS_MAX; returns how many. */
	size_t (*listeners)(void *arg, struct api_listener *listeners);
	void *listeners_arg;
};

struct api {
	const struct config *config;   /* borrowed */
	struct executor *executor;     /* borrowed */
	struct first_page *first_page; /* borrowed */
	const struct process *process; /* borrowed */
	size_t (*listeners)(void *arg, struct api_listener *listeners);
	void *listeners_arg;
	struct representations *representations;
	struct buf lines, if_match, if_none_match; /* of fields that came in several lines */
};

void api_open(struct api *api, const struct api_settings *settings);
void api_close(struct api *api);

/* A whole request; `is_admin`: of an operator, for whom there are other paths. Returns NULL: *res is the answer. Otherwise the job
 * that the answer waits for: `owner` comes back in it, and api_answer makes the answer of it once executor_collect or first_page_collect
 * has returned it. */
struct job *api_handle(struct api *api, const struct request *req, bool is_admin, uint64_t owner,
		       struct response *res);

/* Only the head is here. True: *res refuses the request, its body need not come. */
bool api_refuse(struct api *api, const struct request *req, bool is_admin, struct response *res);

/* Counts an answer, or one that nobody waited for (API_CLIENT_GONE), in metrics_own(). For each that is not an operator's. */
void api_count(const struct response *res, int64_t latency_ns);

/* The answer to a collected job that first_page_hold and first_page_land have not taken. `res` views into the job, and what it has
 * to do with the first page, until it is written. */
void api_answer(struct api *api, struct job *job, struct response *res);

/* The job has waited for as long as a request may: gives it up. True: *res is the answer, the job is gone.
 * False: the job is done, and executor_collect is about to return it. */
bool api_expire(struct api *api, struct job *job, struct response *res);

/* The client of a job has gone: the job is the caller's no longer. executor_collect may still return it. Says in *res what it was,
 * with API_CLIENT_GONE. */
void api_abandon(struct api *api, struct job *job, struct response *res);

#endif
