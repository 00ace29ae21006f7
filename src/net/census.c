#include "net/census.h"

#include <assert.h>
#include <stdatomic.h>

enum { ROWS = 2, CELLS = 65536 };

struct census_table {
	_Atomic uint32_t cells[ROWS][CELLS];
};

int census_open(struct census *c, unsigned worker_count, struct err *err)
{
	*c = (struct census){.worker_count = worker_count};
	if (shm_open_new(&c->shm, "todod-census", worker_count * sizeof(struct census_table), err) != 0)
		return -1;
	c->tables = c->shm.addr;
	c->key = siphash_new_key();
	return 0;
}

void census_close(struct census *c)
{
	shm_close(&c->shm);
	c->tables = NULL;
}

static uint64_t hash_of(const struct census *c, const struct ip *client)
{
	struct ip site = ip_site(client);
	return siphash(&c->key, &site, sizeof(site));
}

static size_t cell_of(uint64_t hash, size_t row)
{
	return (hash >> 16 * row) % CELLS;
}

/* All sequentially consistent: see census_count. */
static void change(struct census *c, unsigned worker, const struct ip *client, bool enters)
{
	assert(worker < c->worker_count);
	uint64_t hash = hash_of(c, client);
	for (size_t row = 0; row < ROWS; row++) {
		_Atomic uint32_t *cell = &c->tables[worker].cells[row][cell_of(hash, row)];
		uint32_t count = atomic_load(cell);
		if (enters ? count < UINT32_MAX : count > 0)
			atomic_store(cell, enters ? count + 1 : count - 1);
	}
}

void census_enter(struct census *c, unsigned worker, const struct ip *client)
{
	change(c, worker, client, true);
}

void census_leave(struct census *c, unsigned worker, const struct ip *client)
{
	change(c, worker, client, false);
}

uint64_t census_count(const struct census *c, const struct ip *client)
{
	uint64_t hash = hash_of(c, client), least = UINT64_MAX;
	for (size_t row = 0; row < ROWS; row++) {
		size_t cell = cell_of(hash, row);
		uint64_t sum = 0;
		for (unsigned i = 0; i < c->worker_count; i++)
			sum += atomic_load(&c->tables[i].cells[row][cell]);
		if (sum < least)
			least = sum;
	}
	return least;
}

void census_clear(struct census *c, unsigned worker)
{
	assert(worker < c->worker_count);
	for (size_t row = 0; row < ROWS; row++)
		for (size_t cell = 0; cell < CELLS; cell++)
			atomic_store_explicit(&c->tables[worker].cells[row][cell], 0, memory_order_relaxed);
}
