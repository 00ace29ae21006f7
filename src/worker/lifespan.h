/*
 * How much a worker may do, and how large it may grow, before it asks for a successor: max_requests and max_rss_mb. What leaks a
 * little, in a library or in the allocator, is gone with its process.
 */
#ifndef WORKER_LIFESPAN_H
#define WORKER_LIFESPAN_H

#include "config/config.h"

#include <stdbool.h>
#include <stdint.h>

struct lifespan {
	uint64_t requests, requests_max; /* 0: any number */
	uint64_t rss_max_bytes;          /* 0: any */
	int64_t look_ms;                 /* at its own size: not before */
};

/* requests_max is within 10 % of what is configured: workers that began together do not end together. */
void lifespan_init(struct lifespan *l, const struct config *config);

/* Once per request. */
static inline void lifespan_count(struct lifespan *l)
{
	l->requests++;
}

/* Every tick. True once, when it is over, which the log says too. */
bool lifespan_is_over(struct lifespan *l, int64_t now_ms);

#endif
