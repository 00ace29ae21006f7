/*
 * What a worker tells of its requests, in the access log and of the slow ones; and the id that both call a request by. Off unless
 * the configuration asks for one of them.
 *
 * A request's bytes are gone by the time it is answered, so what the lines need of it is noted when it has come.
 */
#ifndef WORKER_REQUEST_LOG_H
#define WORKER_REQUEST_LOG_H

#include "config/config.h"
#include "worker/access_log.h"
#include "worker/request_id.h"
#include "worker/slow_log.h"

struct exchange;
struct request;

struct request_log {
	bool has_access, has_slow;
	struct access_log access;
	struct slow_log slow;
	struct request_ids ids;
	struct buf lines; /* of a field that came in several */
};

/* Both are borrowed. */
void request_log_open(struct request_log *log, const struct config *config, const struct process *process);
void request_log_close(struct request_log *log);

/* Is there anything to tell? Else no request needs to be noted. */
bool request_log_is_on(const struct request_log *log);

/* Appends what `exchange.note` has to bring back. `is_trusted`: the peer is a proxy whose X-Request-Id counts. */
void request_log_note(struct request_log *log, const struct request *req, bool is_trusted, struct buf *note);

void request_log_answered(struct request_log *log, const struct exchange *exchange);

void request_log_tick(struct request_log *log, int64_t now_ms);

/* Between two requests. */
void request_log_reopen(struct request_log *log);

#endif
