/*
 * What /metrics shows: the sum of what every process of the service has counted, and how things stand now.
 */
#ifndef API_METRICS_H
#define API_METRICS_H

#include "api/api.h"
#include "cache/page_memory.h"

/* Words, so that a table can say where each stands. */
struct snapshot {
	struct metrics sum;
	struct process_counts counts; /* the master's */
	uint64_t connections;
	uint64_t workers[PROCESS_STATES];
	uint64_t resident_bytes[PROCESS_ROLES + 1]; /* by role; behind them the master */
	uint64_t caches[PAGE_CACHES];               /* 1 for the state that Redis is in */
	uint64_t vouched_for;
	struct api_listener listeners[API_LISTENERS_MAX];
	size_t listener_count;
};

/* Adds up the slots. Reads words that others are writing, each for itself: two scrapes differ by what happened between their
 * readings of it. */
void snapshot_take(struct snapshot *shot, const struct process *p);

/* Appends all of it in Prometheus's text format, version 0.0.4. */
void snapshot_append(const struct snapshot *shot, struct buf *out);

#endif
