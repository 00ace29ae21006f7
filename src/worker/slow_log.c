#include "worker/slow_log.h"

#include "api/api.h"
#include "base/log.h"
#include "net/server.h"

#include <stdio.h>

void slow_log_init(struct slow_log *log, uint32_t slow_ms)
{
	*log = (struct slow_log){.limit_ns = (int64_t)slow_ms * 1000000};
}

static void write_line(const struct exchange *exchange, struct slice id)
{
	const struct response *res = exchange->res;
	char work[96] = "queued=- took=- batch=-";
	if (res->batch > 0)
		(void)snprintf(work, sizeof(work), "queued=%.6f took=%.6f batch=%u", res->queued_us / 1e6,
			       res->took_us / 1e6, res->batch);
	log_warn("slow request: id=%.*s route=%s status=%u time=%.6f store=%s %s cache=%s", (int)id.len,
		 id.data, api_route_name(res->route), res->status, (double)exchange->latency_ns / 1e9,
		 api_store_name(res->store), work, api_cache_name(res->cache));
}

void slow_log_note(struct slow_log *log, const struct exchange *exchange, struct slice id)
{
	if (exchange->latency_ns <= log->limit_ns)
		return;
	if (log->lines == SLOW_LOG_LINES_PER_S) {
		log->more++;
		return;
	}
	log->lines++;
	write_line(exchange, id.len ? id : SLICE("-"));
}

void slow_log_tick(struct slow_log *log, int64_t now_ms)
{
	if (now_ms - log->since_ms < 1000)
		return;
	if (log->more > 0)
		log_warn("slow requests: %u more within a second", log->more);
	log->since_ms = now_ms;
	log->lines = log->more = 0;
}
