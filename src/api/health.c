/*
 * /index, /healthz and /readyz.
 */
#include "api/api_private.h"

#include "cache/first_page.h"

static struct job *answer_json(struct call *call, struct slice json)
{
	call->res->status = 200;
	call->res->type = RESPONSE_JSON;
	call->res->shared_body = json;
	return NULL;
}

struct job *health_index(struct call *call)
{
	return answer_json(call, SLICE("{\"msg\": \"hello world\"}"));
}

/* Neither store nor cache is asked: this process answers, and that is all it says. */
struct job *health_live(struct call *call)
{
	return answer_json(call, SLICE("{\"status\": \"ok\"}"));
}

struct job *health_ready(struct call *call)
{
	struct job *job = call_job(call, JOB_PING);
	if (executor_submit(call->api->executor, job))
		return job;
	job_free(job);
	health_answer_ready(call->api, NULL, call->res);
	return NULL;
}

/* `job` is NULL when the store has not answered. A 503 is a problem like any other, and its members say which
 * part is how (RFC 9457 section 3.2). */
void health_answer_ready(const struct api *api, const struct job *job, struct response *res)
{
	static const char *const caches[] = {
	    [PAGE_CACHE_OFF] = "off",
	    [PAGE_CACHE_LOCAL] = "local",
	    [PAGE_CACHE_OK] = "ok",
	    [PAGE_CACHE_AWAY] = "away",
	};
	enum page_cache cache = first_page_cache(api->first_page);
	if (job && job->status == STORE_OK) {
		res->status = 200;
		res->type = RESPONSE_JSON;
		buf_printf(&res->body, "{\"status\": \"%s\", \"store\": \"ok\", \"cache\": \"%s\"}",
			   cache == PAGE_CACHE_AWAY ? "degraded" : "ok", caches[cache]);
		return;
	}
	res->status = 503;
	res->type = RESPONSE_PROBLEM;
	res->retry_after_s = 1;
	buf_printf(
	    &res->body,
	    "{\"title\": \"Service Unavailable\", \"status\": 503, \"detail\": \"the store cannot serve\", "
	    "\"store\": \"away\", \"cache\": \"%s\"}",
	    caches[cache]);
}
