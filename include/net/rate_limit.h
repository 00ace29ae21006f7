/*
 * So many requests per second of each client address, over all workers: a token bucket for each, in memory that they share.
 *
 * The memory is constant, however many addresses come: a table of words {tag of the address, its theoretical arrival time}
 * (GCRA: one number says how full a bucket is). A set of eight words is a cache line; where it is full, the address whose bucket is
 * fullest makes room, which for the most part is one that has not come for long. So a flood from ever new addresses pushes out its own,
 * and whoever is over the limit stays in. The hash is keyed: nobody can aim for the set of another.
 *
 * A word is the whole truth about its address, changed by compare and exchange, and nothing is published with it: relaxed order is
 * enough, and no lock is held by a worker that dies. What stands there is not trusted: a time that cannot be right counts as none.
 */
#ifndef NET_RATE_LIMIT_H
#define NET_RATE_LIMIT_H

#include "base/ip.h"
#include "base/shm.h"
#include "base/siphash.h"

#include <stdbool.h>

enum { RATE_LIMIT_MAX_PER_SECOND = 10000, RATE_LIMIT_MAX_BURST = 1000000 };

struct rate_limit_set;

struct rate_limit {
	struct shm shm;
	struct rate_limit_set *sets;
	struct siphash_key key;
	int64_t interval_us;  /* between two requests at the limit */
	int64_t tolerance_us; /* how far ahead of that a client may be */
};

/* Before any fork. `per_second` and `burst`: from 1 to their maximum. Takes 1 MiB, page by page as it is used. Returns 0, or -1 and *err
 * (EXIT_CODE_OS). */
int rate_limit_open(struct rate_limit *r, uint32_t per_second, uint32_t burst, struct err *err);
void rate_limit_close(struct rate_limit *r);

/* Counts a request of `client` (of its site, see ip_site). False: it is one too many, and is not counted. now_us is of the
 * monotonic clock; that of one process may lag behind that of another by seconds. */
bool rate_limit_admit(struct rate_limit *r, const struct ip *client, int64_t now_us);

#endif
