#include "worker/request_log.h"

#include "api/api.h"
#include "base/clock.h"
#include "http/request.h"
#include "net/server.h"

#include <assert.h>

/* A note: this, then the bytes of each in turn. All of them stood in one head, or in its lines joined. */
struct note_head {
	uint16_t method_len, target_len, referer_len, user_agent_len, id_len;
	uint8_t minor;
};

static_assert(2 * HTTP_HEAD_MAX_BYTES <= UINT16_MAX, "every length has to fit");

void request_log_open(struct request_log *log, const struct config *config, const struct process *process)
{
	*log = (struct request_log){
	    .has_access = config->access_log != NULL,
	    .has_slow = config->slow_ms > 0,
	};
	if (log->has_access)
		access_log_open(&log->access, config->access_log, config->access_log_format, process);
	if (log->has_slow)
		slow_log_init(&log->slow, config->slow_ms);
	request_ids_init(&log->ids);
}

void request_log_close(struct request_log *log)
{
	if (log->has_access)
		access_log_close(&log->access);
	buf_release(&log->lines);
}

bool request_log_is_on(const struct request_log *log)
{
	return log->has_access || log->has_slow;
}

/* ---- notes */

static uint16_t note_bytes(struct buf *note, struct slice bytes)
{
	buf_append_slice(note, bytes);
	return (uint16_t)bytes.len;
}

static uint16_t note_id(struct request_log *log, const struct request *req, bool is_trusted, struct buf *note)
{
	if (is_trusted) {
		struct slice given = request_field(req, SLICE("X-Request-Id"), &log->lines);
		if (request_id_is_sane(given))
			return note_bytes(note, given);
	}
	return note_bytes(note, request_ids_next(&log->ids));
}

void request_log_note(struct request_log *log, const struct request *req, bool is_trusted, struct buf *note)
{
	struct note_head head = {.minor = req->minor};
	assert(note->len == 0);
	buf_append(note, &head, sizeof(head)); /* its room */
	if (log->has_access) {
		head.method_len = note_bytes(note, request_view(req, req->method_text));
		head.target_len = note_bytes(note, request_view(req, req->target));
		head.referer_len = note_bytes(note, request_field(req, SLICE("Referer"), &log->lines));
		head.user_agent_len = note_bytes(note, request_field(req, SLICE("User-Agent"), &log->lines));
	}
	head.id_len = note_id(log, req, is_trusted, note);
	memcpy(note->data, &head, sizeof(head));
}

static struct slice take(struct slice *rest, size_t len)
{
	assert(len <= rest->len);
	struct slice taken = {rest->data, len};
	rest->data += len;
	rest->len -= len;
	return taken;
}

static void read_note(struct slice note, struct access_entry *e)
{
	struct note_head head;
	if (note.len == 0)
		return;
	memcpy(&head, take(&note, sizeof(head)).data, sizeof(head));
	e->minor = head.minor;
	e->method = take(&note, head.method_len);
	e->target = take(&note, head.target_len);
	e->referer = take(&note, head.referer_len);
	e->user_agent = take(&note, head.user_agent_len);
	e->id = take(&note, head.id_len);
}

/* ---- lines */

void request_log_answered(struct request_log *log, const struct exchange *exchange)
{
	if (!request_log_is_on(log))
		return;
	const struct response *res = exchange->res;
	struct access_entry entry = {
	    .client = &exchange->client->ip,
	    .status = res->status,
	    .body_bytes = exchange->body_bytes,
	    .latency_us = exchange->latency_ns / 1000,
	    .route = api_route_name(res->route),
	    .store = api_store_name(res->store),
	    .cache = api_cache_name(res->cache),
	};
	read_note(exchange->note, &entry);
	if (log->has_slow)
		slow_log_note(&log->slow, exchange, entry.id);
	if (log->has_access) {
		entry.wall_us = clock_wall_us();
		access_log_append(&log->access, &entry);
	}
}

void request_log_tick(struct request_log *log, int64_t now_ms)
{
	if (log->has_access)
		access_log_tick(&log->access);
	if (log->has_slow)
		slow_log_tick(&log->slow, now_ms);
}

void request_log_reopen(struct request_log *log)
{
	if (log->has_access)
		access_log_reopen(&log->access);
}
