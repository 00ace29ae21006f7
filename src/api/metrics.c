/*
 * GET /metrics, from one table of what is shown and where it stands; and what is counted of every answer.
 */
#include "api/metrics.h"

#include "api/api_private.h"
#include "cache/first_page.h"
#include "cache/keeper.h"
#include "http/coding.h"
#include "todo/todo_json.h"

#include <assert.h>
#include <ctype.h>

static_assert((int)API_ROUTES <= METRICS_ROUTES && (int)API_CACHES <= METRICS_CACHES,
	      "there is room for them");

/* ---- counting */

void api_count(const struct response *res, int64_t latency_ns)
{
	struct metrics *m = metrics_own();
	if (res->status == API_CLIENT_GONE) {
		counter_add(&m->abandoned, 1);
		return;
	}
	unsigned class = res->status / 100U - 1, code = res->status % 100U;
	unsigned route = res->route < API_ROUTES ? res->route : (unsigned)API_ROUTE_NONE;
	if (class >= METRICS_CLASSES)
		return;
	counter_add(&m->requests[route][class], 1);
	counter_add(&m->statuses[class][code < METRICS_STATUSES ? code : METRICS_STATUSES - 1], 1);
	if (res->cache != API_CACHE_NONE && res->cache < API_CACHES)
		counter_add(&m->caches[res->cache], 1);
	histogram_add(&m->latency[route], &histogram_times, latency_ns > 0 ? (uint64_t)latency_ns : 0);
}

/* ---- what a label may be: NULL, no such value; "" never */

static const char *route_label(unsigned route)
{
	return route == API_ROUTE_NONE ? "none" : route == API_ROUTE_METRICS ? NULL : api_route_name(route);
}

static const char *class_label(unsigned class)
{
	static const char *const names[METRICS_CLASSES] = {NULL, "2xx", "3xx", "4xx", "5xx"};
	return names[class];
}

static const char *cache_label(unsigned cache)
{
	return cache == API_CACHE_NONE ? NULL : api_cache_name(cache);
}

static const char *role_label(unsigned role)
{
	return role == PROCESS_ROLES ? "master" : role == PROCESS_SET_UP ? NULL : process_role_name(role);
}

static const char *state_label(unsigned state)
{
	return state == PROCESS_NONE ? NULL : process_state_name(state);
}

static const char *result_label(unsigned has_failed)
{
	return has_failed ? "failed" : "ok";
}

/* ---- the table */

enum kind { COUNTER, GAUGE, HISTOGRAM };

enum unit { PLAIN, SECONDS }; /* SECONDS: of words that are nanoseconds */

struct label {
	const char *name;
	const char *(*value)(unsigned i);
	unsigned count;
	size_t step; /* from one to the next, in bytes */
};

struct family {
	const char *name;
	enum kind kind;
	enum unit unit;
	const char *help;
	size_t offset; /* of its first word, or histogram, in struct snapshot */
	struct label labels[2];
	const struct histogram_scale *scale;
	/* Instead: its lines are not known before. */
	void (*append)(const struct snapshot *shot, const struct family *f, struct buf *out);
};

static void append_responses(const struct snapshot *shot, const struct family *f, struct buf *out);
static void append_queues(const struct snapshot *shot, const struct family *f, struct buf *out);
static void append_build(const struct snapshot *shot, const struct family *f, struct buf *out);

enum {
	WORD = sizeof(uint64_t),
	RANGE = sizeof(struct histogram),
};

#define AT(field)    .offset = offsetof(struct snapshot, field)
#define WORDS(field) sizeof(((struct snapshot *)NULL)->field)

/* clang-format off */
static const struct family families[] = {
	{"todod_http_requests_total", COUNTER, PLAIN, "Requests that were answered.", AT(sum.requests),
	 {{"route", route_label, API_ROUTES, WORDS(sum.requests[0])}, {"class", class_label, METRICS_CLASSES, WORD}}},
	{"todod_http_responses_total", COUNTER, PLAIN, "The same, by status code.", .append = append_responses},
	{"todod_http_request_duration_seconds", HISTOGRAM, SECONDS, "From the arrival of a request's last byte to its answer.",
	 AT(sum.latency), {{"route", route_label, API_ROUTES, RANGE}}, &histogram_times},
	{"todod_http_requests_abandoned_total", COUNTER, PLAIN, "Requests whose client left before the store had answered.",
	 AT(sum.abandoned)},
	{"todod_http_sent_bytes_total", COUNTER, PLAIN, "Bytes sent to clients.", AT(sum.sent_bytes)},
	{"todod_http_received_bytes_total", COUNTER, PLAIN, "Bytes received from clients.", AT(sum.received_bytes)},

	{"todod_connections", GAUGE, PLAIN, "Open connections of clients.", AT(connections)},
	{"todod_connections_accepted_total", COUNTER, PLAIN, "Connections that were accepted.", AT(sum.accepted)},
	{"todod_connections_closed_total", COUNTER, PLAIN, "Connections that were closed; those of a worker that was killed are not among them.",
	 AT(sum.closed)},
	{"todod_connections_evicted_total", COUNTER, PLAIN, "Idle connections that were closed to make room.", AT(sum.evicted)},
	{"todod_connections_refused_total", COUNTER, PLAIN, "Connections that were not served: too many.", AT(sum.refused)},
	{"todod_accept_failures_total", COUNTER, PLAIN, "Connections that could not be accepted: no descriptor or no memory was left.",
	 AT(sum.accept_failures)},
	{"todod_accept_queue_length", GAUGE, PLAIN, "Connections that wait to be accepted, by TCP listener.",
	 offsetof(struct api_listener, queued), .append = append_queues},
	{"todod_accept_queue_limit", GAUGE, PLAIN, "How many may wait; further ones are dropped.",
	 offsetof(struct api_listener, limit), .append = append_queues},

	{"todod_cache_requests_total", COUNTER, PLAIN, "Answers with a list, by how the cache took part.", AT(sum.caches),
	 {{"outcome", cache_label, API_CACHES, WORD}}},
	{"todod_cache_state", GAUGE, PLAIN, "1 for the state that the cache is in.", AT(caches), {{"state", page_cache_name, PAGE_CACHES, WORD}}},
	{"todod_cache_vouched_for", GAUGE, PLAIN, "1 while first pages are served from memory.", AT(vouched_for)},

	{"todod_store_operations_total", COUNTER, PLAIN, "What the store was asked for.", AT(sum.operations),
	 {{"operation", store_operation_name, STORE_OPERATIONS, WORDS(sum.operations[0])}, {"outcome", store_outcome_name, STORE_UNKNOWN + 1, WORD}}},
	{"todod_store_refused_total", COUNTER, PLAIN, "Operations that were not begun: the store is away, too many wait for it, or they waited too long.",
	 AT(sum.store_refused)},
	{"todod_store_call_duration_seconds", HISTOGRAM, SECONDS, "Time in the store's driver; a call may do many operations.",
	 AT(sum.calls), {{"call", store_call_name, STORE_CALLS, RANGE}}, &histogram_times},
	{"todod_store_queue_wait_seconds", HISTOGRAM, SECONDS, "Time of an operation before its call began.",
	 AT(sum.waits), {{"lane", store_lane_name, LANES, RANGE}}, &histogram_times},
	{"todod_store_queue_length", GAUGE, PLAIN, "Operations that wait for their call.", AT(sum.gauges.queued),
	 {{"lane", store_lane_name, LANES, WORD}}},
	{"todod_store_commit_writes", HISTOGRAM, PLAIN, "Writes that were committed together.", AT(sum.batches), .scale = &histogram_sizes},

	{"todod_keeper_scripts_total", COUNTER, PLAIN, "Scripts that Redis was asked to run.", AT(sum.scripts),
	 {{"script", keeper_script_name, METRICS_SCRIPTS, WORD}, {"result", result_label, 2, WORDS(sum.scripts)}}},
	{"todod_keeper_lookups_total", COUNTER, PLAIN, "What Redis answered when it was asked for the page.", AT(sum.lookups),
	 {{"answer", keeper_lookup_name, METRICS_LOOKUPS, WORD}}},
	{"todod_keeper_sessions_opened_total", COUNTER, PLAIN, "Sessions with Redis that were opened.", AT(sum.sessions_opened)},
	{"todod_keeper_sessions_lost_total", COUNTER, PLAIN, "Sessions with Redis that ended.", AT(sum.sessions_lost)},
	{"todod_keeper_published_total", COUNTER, PLAIN, "First pages that the keeper published.", AT(sum.published),
	 {{"source", keeper_source_name, KEEPER_SOURCES, WORD}}},

	{"todod_workers", GAUGE, PLAIN, "Workers by state.", AT(workers), {{"state", state_label, PROCESS_STATES, WORD}}},
	{"todod_workers_wanted", GAUGE, PLAIN, "Workers that there should be.", AT(counts.workers_wanted)},
	{"todod_process_forks_total", COUNTER, PLAIN, "Processes that the master started.", AT(counts.forks),
	 {{"process", process_role_name, PROCESS_ROLES, WORD}, {"result", result_label, 2, WORDS(counts.forks)}}},
	{"todod_process_restarts_total", COUNTER, PLAIN, "Processes that had to be replaced.", AT(counts.replaced),
	 {{"process", role_label, PROCESS_ROLES, WORDS(counts.replaced[0])}, {"reason", process_end_name, PROCESS_ENDS, WORD}}},
	{"todod_resident_memory_bytes", GAUGE, PLAIN, "Memory of the processes; what they share counts for each.", AT(resident_bytes),
	 {{"process", role_label, PROCESS_ROLES + 1, WORD}}},
	{"todod_reloads_total", COUNTER, PLAIN, "Reloads of the configuration.", AT(counts.reloads), {{"result", result_label, 2, WORD}}},
	{"todod_upgrades_total", COUNTER, PLAIN, "Upgrades in place.", AT(counts.upgrades), {{"result", result_label, 2, WORD}}},
	{"todod_draining_generations", GAUGE, PLAIN, "Earlier generations of workers that still answer.", AT(counts.draining_generations)},
	{"todod_start_time_seconds", GAUGE, SECONDS, "When the service began, since the epoch.", AT(counts.started_ns)},
	{"todod_build_info", GAUGE, PLAIN, "Always 1: versions of todod and of its libraries.", .append = append_build},
};
/* clang-format on */

/* ---- text */

static uint64_t word_at(const struct snapshot *shot, size_t offset)
{
	uint64_t word;
	memcpy(&word, (const char *)shot + offset, sizeof(word));
	return word;
}

static void append_value(struct buf *out, enum unit unit, uint64_t value)
{
	const uint64_t s_ns = 1000000000;
	if (unit == PLAIN) {
		buf_append_u64(out, value);
		return;
	}
	buf_append_u64(out, value / s_ns);
	char digits[10] = ".000000000";
	uint64_t rest = value % s_ns;
	size_t len = rest ? sizeof(digits) : 0;
	for (size_t i = sizeof(digits) - 1; i > 0; i--, rest /= 10)
		digits[i] = (char)('0' + rest % 10);
	while (len > 0 && digits[len - 1] == '0')
		len--;
	buf_append(out, digits, len);
}

/* The name, `suffix`, and the labels; `le` for the bucket of a histogram, else NULL. */
static void append_line(struct buf *out, const struct family *f, const char *suffix, struct slice labels,
			struct slice le)
{
	buf_append_str(out, f->name);
	buf_append_str(out, suffix);
	if (labels.len + le.len > 0) {
		buf_append_str(out, "{");
		buf_append_slice(out, labels);
		buf_append_str(out, labels.len && le.len ? ",le=\"" : le.len ? "le=\"" : "");
		buf_append_slice(out, le);
		buf_append_str(out, le.len ? "\"}" : "}");
	}
	buf_append_str(out, " ");
}

static void append_word(struct buf *out, const struct family *f, const char *suffix, struct slice labels,
			enum unit unit, uint64_t value)
{
	append_line(out, f, suffix, labels, SLICE(""));
	append_value(out, unit, value);
	buf_append_str(out, "\n");
}

static void append_histogram(struct buf *out, const struct family *f, struct slice labels,
			     const struct snapshot *shot, size_t offset)
{
	uint64_t count = 0;
	struct buf bound = BUF_INIT;
	for (unsigned i = 0; i <= f->scale->count; i++) {
		buf_clear(&bound);
		if (i < f->scale->count)
			append_value(&bound, f->unit, f->scale->bounds[i]);
		else
			buf_append_str(&bound, "+Inf");
		count += word_at(shot, offset + offsetof(struct histogram, buckets) + i * sizeof(uint64_t));
		append_line(out, f, "_bucket", labels, buf_slice(&bound));
		buf_append_u64(out, count);
		buf_append_str(out, "\n");
	}
	buf_release(&bound);
	append_word(out, f, "_sum", labels, f->unit, word_at(shot, offset + offsetof(struct histogram, sum)));
	append_word(out, f, "_count", labels, PLAIN, count);
}

/* False: there is no such value. */
static bool append_label(struct buf *labels, const struct label *label, unsigned i)
{
	const char *value = label->value(i);
	if (!value || !value[0])
		return false;
	buf_printf(labels, "%s%s=\"%s\"", labels->len ? "," : "", label->name, value);
	return true;
}

static void append_one(const struct snapshot *shot, const struct family *f, struct slice labels,
		       size_t offset, struct buf *out)
{
	if (f->kind == HISTOGRAM)
		append_histogram(out, f, labels, shot, offset);
	else
		append_word(out, f, "", labels, f->unit, word_at(shot, offset));
}

/* One of each value of the labels from `depth` on; those before stand in *labels already. */
static void append_all(const struct snapshot *shot, const struct family *f, unsigned depth,
		       struct buf *labels, size_t offset, struct buf *out)
{
	const struct label *label = &f->labels[depth];
	if (depth == sizeof(f->labels) / sizeof(f->labels[0]) || !label->name) {
		append_one(shot, f, buf_slice(labels), offset, out);
		return;
	}
	size_t len = labels->len;
	for (unsigned i = 0; i < label->count; i++) {
		if (append_label(labels, label, i))
			append_all(shot, f, depth + 1, labels, offset + i * label->step, out);
		labels->len = len;
	}
}

/* Those that todod sends. */
static void append_responses(const struct snapshot *shot, const struct family *f, struct buf *out)
{
	for (unsigned class = 0; class < METRICS_CLASSES; class ++)
		for (unsigned i = 0; i < METRICS_STATUSES; i++) {
			char label[16];
			unsigned code = (class + 1) * 100 + i;
			if (response_reason((uint16_t)code).len == 0)
				continue;
			int len = snprintf(label, sizeof(label), "code=\"%u\"", code);
			append_word(out, f, "", (struct slice){label, (size_t)len}, PLAIN,
				    atomic_load(&shot->sum.statuses[class][i]));
		}
}

static void append_queues(const struct snapshot *shot, const struct family *f, struct buf *out)
{
	for (size_t i = 0; i < shot->listener_count; i++) {
		const struct api_listener *l = &shot->listeners[i];
		char label[sizeof(l->name) + 16];
		uint32_t value;
		int len = snprintf(label, sizeof(label), "listener=\"%s\"", l->name);
		memcpy(&value, (const char *)l + f->offset, sizeof(value));
		append_word(out, f, "", (struct slice){label, (size_t)len}, PLAIN, value);
	}
}

/* "SQLite 3.40.1" becomes sqlite="3.40.1". */
static void append_library(struct buf *labels, const char *library)
{
	const char *space = strchr(library, ' ');
	if (!space)
		return;
	buf_append_str(labels, ",");
	for (const char *c = library; c < space; c++) {
		char lower = (char)tolower((unsigned char)*c);
		buf_append(labels, isalnum((unsigned char)*c) ? &lower : "_", 1);
	}
	buf_printf(labels, "=\"%s\"", space + 1);
}

static void append_build(const struct snapshot *shot, const struct family *f, struct buf *out)
{
	struct buf labels = BUF_INIT;
	(void)shot;
	buf_append_str(&labels, "version=\"" TODOD_VERSION "\"");
	for (size_t i = 0; store_library(i); i++)
		append_library(&labels, store_library(i));
	append_library(&labels, todo_json_library());
	append_library(&labels, keeper_library());
	append_library(&labels, coding_library());
	append_word(out, f, "", buf_slice(&labels), PLAIN, 1);
	buf_release(&labels);
}

void snapshot_append(const struct snapshot *shot, struct buf *out)
{
	static const char *const kinds[] = {
	    [COUNTER] = "counter", [GAUGE] = "gauge", [HISTOGRAM] = "histogram"};
	struct buf labels = BUF_INIT;
	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		const struct family *f = &families[i];
		buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", f->name, f->help, f->name, kinds[f->kind]);
		if (f->append)
			f->append(shot, f, out);
		else
			append_all(shot, f, 0, &labels, f->offset, out);
	}
	buf_release(&labels);
}

/* ---- taking it */

static void take_slot(struct snapshot *shot, const struct process_slot *slot)
{
	uint32_t state = atomic_load(&slot->state), role = atomic_load(&slot->role);
	metrics_add(&shot->sum, &slot->metrics);
	if (state == PROCESS_NONE || state >= PROCESS_STATES || role >= PROCESS_ROLES)
		return;
	metrics_add_gauges(&shot->sum, &slot->metrics);
	shot->connections += atomic_load(&slot->connections);
	shot->workers[state] += role == PROCESS_WORKER;
	shot->resident_bytes[role] += atomic_load(&slot->metrics.gauges.resident_bytes);
}

void snapshot_take(struct snapshot *shot, const struct process *p)
{
	const _Atomic uint64_t *from = (const _Atomic uint64_t *)(const void *)&p->board->counts;
	_Atomic uint64_t *to = (_Atomic uint64_t *)(void *)&shot->counts;
	memset(shot, 0, sizeof(*shot));
	for (size_t i = 0; i < sizeof(shot->counts) / sizeof(*to); i++)
		gauge_set(&to[i], atomic_load_explicit(&from[i], memory_order_relaxed));
	for (size_t i = 0, count = process_slot_count(p); i < count; i++)
		take_slot(shot, &p->slots[i]);
	shot->resident_bytes[PROCESS_ROLES] = atomic_load(&shot->counts.resident_bytes);
}

struct job *metrics_show(struct call *call)
{
	const struct api *api = call->api;
	static struct snapshot shot; /* the loop's alone; its alignment is more than a stack has to give */
	snapshot_take(&shot, api->process);
	shot.caches[first_page_cache(api->first_page)] = 1;
	shot.vouched_for = first_page_is_vouched_for(api->first_page);
	shot.listener_count = api->listeners(api->listeners_arg, shot.listeners);
	call->res->status = 200;
	call->res->type = RESPONSE_METRICS;
	call->res->fields = SLICE("Cache-Control: no-store\r\n");
	snapshot_append(&shot, &call->res->body);
	return NULL;
}
