/*
 * What a process counts, in memory that outlives it: a block in its slot (base/process.h). A block is never set back: who gets
 * the slot next goes on counting in it, so the sum over all slots is the whole service, whoever has died meanwhile.
 *
 * Where several things are told apart, the index is the enumeration of whoever counts, which has at most as many values as there
 * is room for here. A changed meaning is a changed layout: raise METRICS_LAYOUT.
 *
 * A word has one writer (counter_add: a plain load and a plain store), or is added to by several threads of its process
 * (counter_add_shared). Whoever reads sees each word whole, and no order among them.
 */
#ifndef BASE_METRICS_H
#define BASE_METRICS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum {
	METRICS_LAYOUT = 1,
	METRICS_LINE_BYTES = 128, /* a cache line and the one that is fetched along with it */
	HISTOGRAM_BUCKETS = 15,
	METRICS_ROUTES = 16,
	METRICS_CLASSES = 5,   /* of status codes: 1xx to 5xx */
	METRICS_STATUSES = 33, /* of one class, by the last two digits of the code; the last: any higher */
	METRICS_CACHES = 8,
	METRICS_LANES = 4,
	METRICS_OPERATIONS = 8,
	METRICS_OUTCOMES = 8,
	METRICS_CALLS = 8,
	METRICS_SCRIPTS = 8,
	METRICS_LOOKUPS = 8,
	METRICS_SOURCES = 4,
};

static inline void counter_add(_Atomic uint64_t *counter, uint64_t n)
{
	uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
	atomic_store_explicit(counter, value + n, memory_order_relaxed);
}

static inline void counter_add_shared(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* The present value of something that also falls. */
static inline void gauge_set(_Atomic uint64_t *gauge, uint64_t value)
{
	atomic_store_explicit(gauge, value, memory_order_relaxed);
}

/* How many values lay in which range; how many in all is the sum of the buckets. */
struct histogram {
	_Atomic uint64_t buckets[HISTOGRAM_BUCKETS]; /* by bound; behind the last bound: whatever is larger */
	_Atomic uint64_t sum;
};

struct histogram_scale {
	unsigned count;                         /* of bounds, below HISTOGRAM_BUCKETS */
	uint64_t bounds[HISTOGRAM_BUCKETS - 1]; /* ascending, each the largest value of its bucket */
};

extern const struct histogram_scale histogram_times; /* nanoseconds, from 0.1 ms to 2.5 s */
extern const struct histogram_scale histogram_sizes; /* 1, 2, 4, … 512 */

void histogram_add(struct histogram *h, const struct histogram_scale *scale, uint64_t value);
void histogram_add_shared(struct histogram *h, const struct histogram_scale *scale, uint64_t value);

/* Gone with their process, unlike the rest. */
struct metrics_gauges {
	_Atomic uint64_t resident_bytes;
	_Atomic uint64_t queued[METRICS_LANES]; /* jobs that wait for a store thread */
};

struct metrics {
	/* The loop's alone: what it counts for each answer. */
	_Alignas(METRICS_LINE_BYTES) _Atomic uint64_t requests[METRICS_ROUTES][METRICS_CLASSES];
	_Atomic uint64_t statuses[METRICS_CLASSES][METRICS_STATUSES];
	_Atomic uint64_t caches[METRICS_CACHES];
	_Atomic uint64_t sent_bytes, received_bytes;
	struct histogram latency[METRICS_ROUTES]; /* histogram_times */

	/* And for each connection. */
	_Atomic uint64_t accepted, closed;
	_Atomic uint64_t evicted;         /* closed to make room */
	_Atomic uint64_t refused;         /* not served at all: too many */
	_Atomic uint64_t accept_failures; /* no descriptor, no memory */
	_Atomic uint64_t abandoned;       /* requests whose client left before their answer */

	/* The store threads' and the loop's. */
	_Alignas(METRICS_LINE_BYTES) _Atomic uint64_t operations[METRICS_OPERATIONS][METRICS_OUTCOMES];
	_Atomic uint64_t store_refused;        /* jobs that no lane took, or no thread in time */
	struct histogram calls[METRICS_CALLS]; /* histogram_times: in the driver */
	struct histogram waits[METRICS_LANES]; /* histogram_times: before it */
	struct histogram batches;              /* histogram_sizes: writes that were committed together */

	/* The keeper's loop's. */
	_Alignas(METRICS_LINE_BYTES) _Atomic uint64_t scripts[METRICS_SCRIPTS];
	_Atomic uint64_t scripts_failed[METRICS_SCRIPTS];
	_Atomic uint64_t sessions_opened, sessions_lost;
	_Atomic uint64_t lookups[METRICS_LOOKUPS];   /* what Redis said when asked for the page */
	_Atomic uint64_t published[METRICS_SOURCES]; /* pages, by where they came from */

	_Alignas(METRICS_LINE_BYTES) struct metrics_gauges gauges;
};

/* Where this process counts: a block that nobody reads, until metrics_begin. Never NULL. */
struct metrics *metrics_own(void);

/* Before the process has a second thread. `m` is borrowed for the rest of its life. */
void metrics_begin(struct metrics *m);

/* Adds every word of *m but the gauges to *sum, which nobody else uses. */
void metrics_add(struct metrics *sum, const struct metrics *m);

/* All that were answered. */
uint64_t metrics_requests(const struct metrics *m);

/* The gauges of a process that lives. */
void metrics_add_gauges(struct metrics *sum, const struct metrics *m);

#endif
