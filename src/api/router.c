/*
 * One table of routes, and the way of every request through it: target, path, route, method, endpoint. And what
 * becomes of the jobs.
 */
#include "api/api_private.h"

#include "api/representation.h"
#include "base/log.h"
#include "cache/first_page.h"

enum { ROUTE_SEGMENTS_MAX = 3, ROUTE_ENDPOINTS_MAX = 2, ROUTE_PATH_MAX_BYTES = HTTP_TARGET_MAX_BYTES };

/* clang-format off */
/* A segment ":id" stands for any UUID; what else is there makes the path one that nobody serves. */
struct route {
	const char *segments[ROUTE_SEGMENTS_MAX];
	struct endpoint {
		enum http_method method;
		endpoint_fn *handle;
		check_fn *check; /* NULL: nothing to check */
		enum api_route route;
	} endpoints[ROUTE_ENDPOINTS_MAX];
	const char *allow;
};

static const struct route routes[] = {
	{{"index"}, {{HTTP_GET, health_index, NULL, API_ROUTE_INDEX}}, "GET, HEAD, OPTIONS"},
	{{"todo"}, {{HTTP_GET, list_todos, NULL, API_ROUTE_LIST}, {HTTP_POST, todos_create, todos_check_create, API_ROUTE_CREATE}}, "GET, HEAD, POST, OPTIONS"},
	{{"todo", ":id"}, {{HTTP_GET, todos_get, NULL, API_ROUTE_GET}, {HTTP_DELETE, todos_delete, NULL, API_ROUTE_DELETE}}, "GET, HEAD, DELETE, OPTIONS"},
	{{"todo", ":id", "finish"}, {{HTTP_PUT, todos_finish, todos_check_finish, API_ROUTE_FINISH}}, "PUT, OPTIONS"},
	{{"healthz"}, {{HTTP_GET, health_live, NULL, API_ROUTE_LIVE}}, "GET, HEAD, OPTIONS"},
	{{"readyz"}, {{HTTP_GET, health_ready, NULL, API_ROUTE_READY}}, "GET, HEAD, OPTIONS"},
};

static const struct route admin_routes[] = {
	{{"metrics"}, {{HTTP_GET, metrics_show, NULL, API_ROUTE_METRICS}}, "GET, HEAD, OPTIONS"},
	{{"healthz"}, {{HTTP_GET, health_live, NULL, API_ROUTE_LIVE}}, "GET, HEAD, OPTIONS"},
	{{"readyz"}, {{HTTP_GET, health_ready, NULL, API_ROUTE_READY}}, "GET, HEAD, OPTIONS"},
};
/* clang-format on */

static const struct site {
	const struct route *routes;
	size_t count;
	const char *every_method;
	const char *nothing; /* what is said of a path that it does not have */
} clients_site = {routes, sizeof(routes) / sizeof(routes[0]), "GET, HEAD, POST, PUT, DELETE, OPTIONS",
		  "there is nothing at this path; the todos are at /todo"},
  admin_site = {admin_routes, sizeof(admin_routes) / sizeof(admin_routes[0]), "GET, HEAD, OPTIONS",
		"there is nothing at this path; there are /metrics, /healthz and /readyz"};

static bool route_matches(const struct route *route, const struct slice *segments, int count, struct uuid *id)
{
	for (int i = 0; i < ROUTE_SEGMENTS_MAX; i++) {
		const char *wanted = route->segments[i];
		if (!wanted)
			return i == count;
		if (i >= count)
			return false;
		if (wanted[0] == ':' ? uuid_from_text(id, segments[i]) != 0
				     : !slice_equal(slice_of(wanted), segments[i]))
			return false;
	}
	return count == ROUTE_SEGMENTS_MAX;
}

/* Returns NULL when nobody serves the path, or it is broken: *res says so. */
static const struct route *find_route(const struct site *site, struct slice path, struct uuid *id,
				      struct response *res)
{
	char scratch[ROUTE_PATH_MAX_BYTES];
	struct slice segments[TARGET_SEGMENTS_MAX];
	int count = target_segments(path, scratch, segments);
	if (count < 0) {
		response_problem(
		    res, 400,
		    "the path holds a broken percent-encoding, a control character or invalid UTF-8");
		return NULL;
	}
	for (size_t i = 0; i < site->count; i++)
		if (route_matches(&site->routes[i], segments, count, id))
			return &site->routes[i];
	response_problem(res, 404, site->nothing);
	return NULL;
}

static void answer_options(struct response *res, const char *allow)
{
	res->status = 204;
	res->type = RESPONSE_NO_BODY;
	res->route = API_ROUTE_OPTIONS;
	res->allow = slice_of(allow);
}

/* Finds who handles the request. NULL: *res is the answer. */
static const struct endpoint *find_endpoint(struct call *call)
{
	struct response *res = call->res;
	const struct site *site = call->is_admin ? &admin_site : &clients_site;
	enum http_method method = call->req->method;
	struct target target;
	const char *detail;
	if (method == HTTP_METHOD_UNKNOWN) {
		response_problem(res, 501, "this method is not known here; methods are in upper case");
		return NULL;
	}
	if (method == HTTP_CONNECT) {
		response_problem(res, 405, "todod is no proxy");
		res->allow = slice_of(site->every_method);
		return NULL;
	}
	if (target_parse(&target, method, request_view(call->req, call->req->target), &detail) != 0) {
		response_problem(res, 400, detail);
		return NULL;
	}
	if (target.form == TARGET_ASTERISK) {
		answer_options(res, site->every_method);
		return NULL;
	}
	const struct route *route = find_route(site, target.path, &call->id, res);
	if (!route)
		return NULL;
	if (method == HTTP_OPTIONS) {
		answer_options(res, route->allow);
		return NULL;
	}
	call->query = target.query;
	for (size_t i = 0; i < ROUTE_ENDPOINTS_MAX; i++)
		if (route->endpoints[i].handle &&
		    route->endpoints[i].method == (method == HTTP_HEAD ? HTTP_GET : method)) {
			res->route = (uint8_t)route->endpoints[i].route;
			return &route->endpoints[i];
		}
	response_problem(res, 405, "this path takes other methods: see the field Allow");
	res->allow = slice_of(route->allow);
	return NULL;
}

/* ---- conditions */

void answer_failed(struct response *res)
{
	response_problem(res, 412,
			 "what If-Match or If-None-Match asks for is not the case; nothing was done");
}

void answer_verdict(struct response *res, enum etag_verdict verdict)
{
	if (verdict == ETAG_GO_ON || res->status != 200)
		return;
	if (verdict == ETAG_FAILED) {
		answer_failed(res);
		return;
	}
	res->status = 304;
	res->type = RESPONSE_NO_BODY;
	res->ready = (struct slice){NULL, 0};
}

static void read_conditions(struct call *call)
{
	const struct request *req = call->req;
	struct api *api = call->api;
	call->conditions.if_match = request_field(req, SLICE("If-Match"), &api->if_match);
	call->conditions.if_none_match = request_field(req, SLICE("If-None-Match"), &api->if_none_match);
	call->verdict =
	    etag_evaluate(&call->conditions, SLICE(""), req->method == HTTP_GET || req->method == HTTP_HEAD);
}

/* ---- calls */

/* As far as the head allows: NULL when *call->res is the answer already. */
static const struct endpoint *admit(struct call *call, bool has_body)
{
	const struct endpoint *endpoint = find_endpoint(call);
	if (endpoint && call->req->has_conditions)
		read_conditions(call);
	return endpoint && (!endpoint->check || endpoint->check(call, has_body) == 0) ? endpoint : NULL;
}

struct job *api_handle(struct api *api, const struct request *req, bool is_admin, uint64_t owner,
		       struct response *res)
{
	struct call call = {.api = api, .req = req, .owner = owner, .is_admin = is_admin, .res = res};
	const struct endpoint *endpoint = admit(&call, req->body.len > 0);
	if (!endpoint)
		return NULL;
	struct job *job = endpoint->handle(&call);
	if (!job)
		answer_verdict(res, call.verdict);
	return job;
}

bool api_refuse(struct api *api, const struct request *req, bool is_admin, struct response *res)
{
	struct call call = {.api = api, .req = req, .is_admin = is_admin, .res = res};
	return !admit(&call, req->has_body);
}

/* ---- jobs */

void answer_unavailable(struct response *res, const char *detail)
{
	response_problem(res, 503, detail);
	res->retry_after_s = 1;
}

struct job *call_job(const struct call *call, enum job_kind kind)
{
	struct job *job = job_new(kind, call->owner);
	job->verdict = (uint8_t)call->verdict;
	job->route = call->res->route;
	return job;
}

struct job *call_submit(struct call *call, struct job *job)
{
	if (executor_submit(call->api->executor, job))
		return job;
	job_free(job);
	answer_unavailable(call->res, "the store is away or overloaded; nothing was done");
	call->res->store = API_STORE_REFUSED;
	return NULL;
}

static const uint8_t outcomes[] = {
    [STORE_OK] = API_STORE_OK,
    [STORE_NOT_FOUND] = API_STORE_NOT_FOUND,
    [STORE_UNAVAILABLE] = API_STORE_UNAVAILABLE,
    [STORE_FULL] = API_STORE_FULL,
    [STORE_UNKNOWN] = API_STORE_UNKNOWN,
};

void api_answer(struct api *api, struct job *job, struct response *res)
{
	res->route = job->route;
	res->store = outcomes[job->status];
	res->queued_us = job->queued_us;
	res->took_us = job->took_us;
	res->batch = job->batch;
	if (job->kind == JOB_PING)
		health_answer_ready(api, job, job->wants_detail, res);
	else
		todos_answer(api, job, res);
	answer_verdict(res, job->verdict);
}

static void answer_late(const struct api *api, enum job_kind kind, bool wants_detail, bool has_begun,
			struct response *res)
{
	res->store = API_STORE_LATE;
	if (kind == JOB_PING)
		health_answer_ready(api, NULL, wants_detail, res);
	else if (kind == JOB_WRITE && has_begun)
		response_problem(res, 504,
				 "the store has not answered in time; the write may still take effect");
	else
		answer_unavailable(res, "the store has not answered in time; nothing was done");
}

/* A write that the store has done is about to be answered: nobody is told before Redis is, and the hold is bounded. */
static bool expire_parked(struct api *api, struct job *job, struct response *res)
{
	if (job->kind == JOB_WRITE)
		return false;
	first_page_unpark(api->first_page, job);
	answer_late(api, job->kind, false, false, res);
	job_free(job);
	return true;
}

bool api_expire(struct api *api, struct job *job, struct response *res)
{
	enum job_kind kind = job->kind;
	bool wants_detail = job->wants_detail;
	res->route = job->route;
	if (job->is_parked)
		return expire_parked(api, job, res);
	enum job_fate fate = executor_expire(api->executor, job);
	if (fate == JOB_COLLECTABLE)
		return false;
	log_debug("a request was given up after %u ms, %s", api->config->store_timeout_ms,
		  fate == JOB_BEGUN ? "its work begun" : "still queued");
	answer_late(api, kind, wants_detail, fate == JOB_BEGUN, res);
	return true;
}

void api_abandon(struct api *api, struct job *job, struct response *res)
{
	res->status = API_CLIENT_GONE;
	res->route = job->route;
	if (job->is_parked) {
		if (job->kind == JOB_WRITE) /* it is done, and only Redis has not been told */
			res->store = outcomes[job->status];
		first_page_unpark(api->first_page, job);
		job_free(job);
	} else if (executor_abandon(api->executor, job) != JOB_NOT_BEGUN) {
		res->store = API_STORE_UNKNOWN; /* whatever became of it, nobody asks any more */
	}
}

/* ---- life */

void api_open(struct api *api, const struct api_settings *settings)
{
	*api = (struct api){
	    .config = settings->config,
	    .executor = settings->executor,
	    .first_page = settings->first_page,
	    .process = settings->process,
	    .listeners = settings->listeners,
	    .listeners_arg = settings->listeners_arg,
	    .representations = representations_new(),
	};
}

void api_close(struct api *api)
{
	representations_free(api->representations);
	buf_release(&api->lines);
	buf_release(&api->if_match);
	buf_release(&api->if_none_match);
	*api = (struct api){.config = NULL};
}
