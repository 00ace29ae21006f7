#include "worker/lifespan.h"

#include "base/log.h"
#include "base/process.h"
#include "base/random.h"

#include <inttypes.h>
#include <unistd.h>

enum { LIFESPAN_LOOK_MS = 1000, LIFESPAN_JITTER_PERCENT = 10 };

void lifespan_init(struct lifespan *l, const struct config *config)
{
	int64_t requests = config->max_requests, spread = requests * LIFESPAN_JITTER_PERCENT / 100;
	*l = (struct lifespan){
	    .requests_max = (uint64_t)random_between(requests - spread, requests + spread),
	    .rss_max_bytes = (uint64_t)config->max_rss_mb << 20,
	};
}

static bool is_too_large(struct lifespan *l, int64_t now_ms)
{
	if (l->rss_max_bytes == 0 || now_ms < l->look_ms)
		return false;
	l->look_ms = now_ms + LIFESPAN_LOOK_MS;
	uint64_t rss = process_resident_bytes(getpid());
	if (rss <= l->rss_max_bytes)
		return false;
	log_info("it has grown to %" PRIu64 " MiB: to be replaced", rss >> 20);
	return true;
}

bool lifespan_is_over(struct lifespan *l, int64_t now_ms)
{
	bool has_done_enough = l->requests_max > 0 && l->requests >= l->requests_max;
	if (has_done_enough)
		log_info("it has handled %" PRIu64 " requests: to be replaced", l->requests);
	else if (!is_too_large(l, now_ms))
		return false;
	l->requests_max = l->rss_max_bytes = 0;
	return true;
}
