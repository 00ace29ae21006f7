/*
 * SipHash-2-4 (Aumasson and Bernstein, 2012): a hash that nobody can aim for collisions in who does not know the key. For
 * tables whose keys strangers choose.
 */
#ifndef BASE_SIPHASH_H
#define BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct siphash_key {
	uint64_t low, high;
};

/* From the kernel. Waits for its generator to be seeded, early after boot (getrandom(2)). */
struct siphash_key siphash_new_key(void);

uint64_t siphash(const struct siphash_key *key, const void *data, size_t len);

#endif
