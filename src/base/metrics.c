#include "base/metrics.h"

#include <assert.h>

enum { US = 1000, MS = 1000 * US, GAUGES_AT = offsetof(struct metrics, gauges) / sizeof(uint64_t) };

static_assert(sizeof(struct metrics) % sizeof(_Atomic uint64_t) == 0 &&
		  sizeof(_Atomic uint64_t) == sizeof(uint64_t),
	      "metrics_add adds words");

const struct histogram_scale histogram_times = {
    .count = 14,
    .bounds = {100 * US, 250 * US, 500 * US, 1 * MS, 2500 * US, 5 * MS, 10 * MS, 25 * MS, 50 * MS, 100 * MS,
	       250 * MS, 500 * MS, 1000ULL * MS, 2500ULL * MS},
};

const struct histogram_scale histogram_sizes = {
    .count = 10,
    .bounds = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512},
};

/* From below: most answers are quick. */
static unsigned bucket_of(const struct histogram_scale *scale, uint64_t value)
{
	unsigned i = 0;
	while (i < scale->count && value > scale->bounds[i])
		i++;
	return i;
}

void histogram_add(struct histogram *h, const struct histogram_scale *scale, uint64_t value)
{
	counter_add(&h->buckets[bucket_of(scale, value)], 1);
	counter_add(&h->sum, value);
}

void histogram_add_shared(struct histogram *h, const struct histogram_scale *scale, uint64_t value)
{
	counter_add_shared(&h->buckets[bucket_of(scale, value)], 1);
	counter_add_shared(&h->sum, value);
}

static struct metrics nobody;
static struct metrics *own = &nobody;

struct metrics *metrics_own(void)
{
	return own;
}

void metrics_begin(struct metrics *m)
{
	own = m;
}

static void add_words(struct metrics *sum, const struct metrics *m, size_t from, size_t to)
{
	_Atomic uint64_t *words = (_Atomic uint64_t *)(void *)sum;
	const _Atomic uint64_t *more = (const _Atomic uint64_t *)(const void *)m;
	for (size_t i = from; i < to; i++)
		counter_add(&words[i], atomic_load_explicit(&more[i], memory_order_relaxed));
}

void metrics_add(struct metrics *sum, const struct metrics *m)
{
	add_words(sum, m, 0, GAUGES_AT);
}

uint64_t metrics_requests(const struct metrics *m)
{
	uint64_t count = 0;
	for (size_t route = 0; route < METRICS_ROUTES; route++)
		for (size_t class = 0; class < METRICS_CLASSES; class ++)
			count += atomic_load_explicit(&m->requests[route][class], memory_order_relaxed);
	return count;
}

void metrics_add_gauges(struct metrics *sum, const struct metrics *m)
{
	add_words(sum, m, GAUGES_AT, sizeof(*m) / sizeof(uint64_t));
}
