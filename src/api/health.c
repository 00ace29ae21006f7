/*
 * /index, /healthz and /readyz.
 */
#include "api/api_private.h"

#include "base/clock.h"
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
	const struct process *p = call->api->process;
	if (!call->is_admin)
		return answer_json(call, SLICE("{\"status\": \"ok\"}"));
	int64_t up_us = clock_wall_us() - (int64_t)(atomic_load(&p->board->counts.started_ns) / 1000);
	buf_printf(&call->res->body,
		   "{\"status\": \"ok\", \"version\": \"" TODOD_VERSION "\", \"pid\": %u, \"up_s\": %lld}",
		   atomic_load(&p->slot->pid), (long long)(up_us > 0 ? up_us / 1000000 : 0));
	call->res->status = 200;
	call->res->type = RESPONSE_JSON;
	return NULL;
}

struct job *health_ready(struct call *call)
{
	struct job *job = call_job(call, JOB_PING);
	job->wants_detail = call->is_admin;
	if (executor_submit(call->api->executor, job))
		return job;
	job_free(job);
	health_answer_ready(call->api, NULL, call->is_admin, call->res);
	return NULL;
}

/* A member for each process that lives, the set-up aside. */
static void append_processes(const struct process *p, struct buf *out)
{
	int64_t now_ns = clock_monotonic_ns();
	const char *comma = "";
	buf_append_str(out, ", \"processes\": [");
	for (size_t i = 0, count = process_slot_count(p); i < count; i++) {
		const struct process_slot *slot = &p->slots[i];
		uint32_t state = atomic_load(&slot->state), role = atomic_load(&slot->role);
		if (state == PROCESS_NONE || role == PROCESS_SET_UP)
			continue;
		int64_t silent_ns = now_ns - (int64_t)atomic_load(&slot->beat_ns);
		buf_printf(out,
			   "%s{\"role\": \"%s\", \"pid\": %u, \"state\": \"%s\", \"silent_ms\": %lld, "
			   "\"connections\": %u}",
			   comma, process_role_name(role), atomic_load(&slot->pid), process_state_name(state),
			   (long long)(silent_ns > 0 ? silent_ns / 1000000 : 0),
			   atomic_load(&slot->connections));
		comma = ", ";
	}
	buf_append_str(out, "]");
}

static void append_detail(const struct api *api, struct buf *out)
{
	const struct process *p = api->process;
	unsigned ready = 0;
	for (size_t i = 0, count = process_slot_count(p); i < count; i++)
		ready += atomic_load(&p->slots[i].role) == PROCESS_WORKER &&
			 atomic_load(&p->slots[i].state) == PROCESS_READY;
	buf_printf(out, ", \"keeper\": \"%s\", \"workers_ready\": %u, \"workers_wanted\": %llu",
		   first_page_has_keeper(api->first_page) ? "ok" : "away", ready,
		   (unsigned long long)atomic_load(&p->board->counts.workers_wanted));
	append_processes(p, out);
}

/* `job` is NULL when the store has not answered. A 503 is a problem like any other, and its members say which
 * part is how (RFC 9457 section 3.2). */
void health_answer_ready(const struct api *api, const struct job *job, bool wants_detail,
			 struct response *res)
{
	enum page_cache cache = first_page_cache(api->first_page);
	bool is_ready = job && job->status == STORE_OK;
	res->status = is_ready ? 200 : 503;
	res->type = is_ready ? RESPONSE_JSON : RESPONSE_PROBLEM;
	if (is_ready) {
		buf_printf(&res->body, "{\"status\": \"%s\", \"store\": \"ok\", \"cache\": \"%s\"",
			   cache == PAGE_CACHE_AWAY ? "degraded" : "ok", page_cache_name(cache));
	} else {
		res->retry_after_s = 1;
		buf_printf(&res->body,
			   "{\"title\": \"Service Unavailable\", \"status\": 503, \"detail\": \"the store "
			   "cannot serve\", "
			   "\"store\": \"away\", \"cache\": \"%s\"",
			   page_cache_name(cache));
	}
	if (wants_detail)
		append_detail(api, &res->body);
	buf_append_str(&res->body, "}");
}
