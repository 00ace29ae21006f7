/*
 * A line in the ordinary log for each request that took too long: what it was and where its time went, nothing of what the client
 * sent. A store that is away makes every request slow, so only so many lines are written in a second; the rest is counted.
 */
#ifndef WORKER_SLOW_LOG_H
#define WORKER_SLOW_LOG_H

#include "base/buf.h"

#include <stdint.h>

struct exchange;

enum { SLOW_LOG_LINES_PER_S = 10 };

struct slow_log {
	int64_t limit_ns;     /* what takes longer is slow */
	int64_t since_ms;     /* when the present second began */
	unsigned lines, more; /* in it: written, and only counted */
};

void slow_log_init(struct slow_log *log, uint32_t slow_ms);

/* `id` is empty where what came could not be read as a request. */
void slow_log_note(struct slow_log *log, const struct exchange *exchange, struct slice id);

/* The second may be over. */
void slow_log_tick(struct slow_log *log, int64_t now_ms);

#endif
