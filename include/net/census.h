/*
 * How many connections each client address has, over all workers, in memory that they share: a table for each worker, whose only writer
 * it is, and which the master clears once it is dead.
 *
 * The memory is constant, however many addresses there are (a count-min sketch): an address is counted in two cells that a keyed hash
 * names, and the smaller of them says how many it has. That is never too few. It is too many only where others share both cells: with
 * 50,000 connections from as many addresses three in ten are counted too high, two in a thousand by three or more.
 */
#ifndef NET_CENSUS_H
#define NET_CENSUS_H

#include "base/ip.h"
#include "base/shm.h"
#include "base/siphash.h"

struct census_table;

struct census {
	struct shm shm;
	struct census_table *tables; /* one per worker */
	unsigned worker_count;
	struct siphash_key key;
};

/* Before any fork. Takes 512 KiB a worker. Returns 0, or -1 and *err (EXIT_CODE_OS). */
int census_open(struct census *c, unsigned worker_count, struct err *err);
void census_close(struct census *c);

/* `worker` got or lost a connection of `client`, which counts for its site: see ip_site. */
void census_enter(struct census *c, unsigned worker, const struct ip *client);
void census_leave(struct census *c, unsigned worker, const struct ip *client);

/* How many there are, in all workers. Of two workers that enter one and then ask, at least one sees the other's. */
uint64_t census_count(const struct census *c, const struct ip *client);

/* In the master, after it has reaped `worker` and before it makes another. */
void census_clear(struct census *c, unsigned worker);

#endif
