/*
 * What a baseline counts: operations, failures, and how long each one took. Memory is shared, so that the
 * same struct serves threads and forked processes; each has its own tally, and the parent adds them up.
 */
#ifndef BENCH_TALLY_H
#define BENCH_TALLY_H

#include <err.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { TALLY_SAMPLES = 1 << 20 }; /* later operations are counted, but not timed */

struct tally {
	uint64_t rows;
	uint64_t errors;
	size_t samples;
	uint32_t sample_us[TALLY_SAMPLES];
};

static inline double now_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static inline struct tally *tally_new_array(unsigned count)
{
	struct tally *tallies = mmap(NULL, count * sizeof(*tallies), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (tallies == MAP_FAILED)
		err(EXIT_FAILURE, "mmap");
	return tallies;
}

static inline void tally_add(struct tally *tally, unsigned rows, double began_s)
{
	tally->rows += rows;
	if (tally->samples < TALLY_SAMPLES)
		tally->sample_us[tally->samples++] = (uint32_t)((now_s() - began_s) * 1e6);
}

static inline int tally_compare_us(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

struct tally_sum {
	uint64_t rows, errors;
	uint32_t p50_us, p99_us;
};

static inline struct tally_sum tally_add_up(const struct tally *tallies, unsigned count)
{
	struct tally_sum sum = {0};
	size_t samples = 0, filled = 0;
	for (unsigned i = 0; i < count; i++) {
		sum.rows += tallies[i].rows;
		sum.errors += tallies[i].errors;
		samples += tallies[i].samples;
	}
	uint32_t *all_us = calloc(samples + 1, sizeof(*all_us));
	if (all_us == NULL)
		err(EXIT_FAILURE, "calloc");
	for (unsigned i = 0; i < count; i++) {
		memcpy(all_us + filled, tallies[i].sample_us, tallies[i].samples * sizeof(*all_us));
		filled += tallies[i].samples;
	}
	qsort(all_us, samples, sizeof(*all_us), tally_compare_us);
	sum.p50_us = all_us[samples / 2];
	sum.p99_us = all_us[samples * 99 / 100];
	free(all_us);
	return sum;
}

/* One line of JSON on stdout. */
static inline void tally_print(const struct tally *tallies, unsigned count, double elapsed_s)
{
	struct tally_sum sum = tally_add_up(tallies, count);
	printf("{\"rate\": %.1f, \"p50_us\": %" PRIu32 ", \"p99_us\": %" PRIu32 ", \"errors\": %" PRIu64
	       "}\n",
	       (double)sum.rows / elapsed_s, sum.p50_us, sum.p99_us, sum.errors);
}

/* A whole number from the command line, from 1 to max. */
static inline unsigned argument(const char *text, unsigned max)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);
	if (end == text || *end != '\0' || value < 1 || value > max)
		errx(EXIT_FAILURE, "%s: a number from 1 to %u is wanted", text, max);
	return (unsigned)value;
}

/* UUID version 7 without the trimmings: 48 bits of milliseconds, the rest from rand_r. Ids that grow, as
 * todod's do, are what makes the inserts of a baseline comparable. */
static inline void make_id(uint8_t id[16], unsigned *seed)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	uint64_t ms = (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
	for (int i = 0; i < 6; i++)
		id[i] = (uint8_t)(ms >> (40 - 8 * i));
	for (int i = 6; i < 16; i++)
		id[i] = (uint8_t)((unsigned)rand_r(seed) >> 8);
	id[6] = (uint8_t)(0x70 | (id[6] & 0x0f));
	id[8] = (uint8_t)(0x80 | (id[8] & 0x3f));
}

static inline double wall_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (double)t.tv_sec + (double)(t.tv_nsec / 1000) / 1e6;
}

#define BENCH_CONTENT "buy milk, eggs and a loaf of bread, number %09u" /* as long as what load.lua posts */

#endif
