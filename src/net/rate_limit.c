#include "net/rate_limit.h"

#include <assert.h>
#include <stdatomic.h>

enum { SETS = 16384, WAYS = 8, TIME_BITS = 42 }; /* 131,072 addresses; the time comes round after 50 days */

/* How far one process's clock may be behind another's. Beyond it a word counts as free: it may be 50 days old as well. */
enum { LAG_MAX_US = 10 * 1000000 };

struct rate_limit_set {
	_Alignas(64) _Atomic uint64_t words[WAYS]; /* 0: free */
};

static_assert(((int64_t)RATE_LIMIT_MAX_BURST + 1) * 1000000 + LAG_MAX_US < 1LL << (TIME_BITS - 1),
	      "a time ahead has to differ from one that is past");

int rate_limit_open(struct rate_limit *r, uint32_t per_second, uint32_t burst, struct err *err)
{
	assert(per_second >= 1 && per_second <= RATE_LIMIT_MAX_PER_SECOND);
	assert(burst >= 1 && burst <= RATE_LIMIT_MAX_BURST);
	*r = (struct rate_limit){.interval_us = 1000000 / per_second};
	r->tolerance_us = (burst - 1) * r->interval_us;
	if (shm_open_new(&r->shm, "todod-rate", SETS * sizeof(struct rate_limit_set), err) != 0)
		return -1;
	r->sets = r->shm.addr;
	r->key = siphash_new_key();
	return 0;
}

void rate_limit_close(struct rate_limit *r)
{
	shm_close(&r->shm);
	r->sets = NULL;
}

static uint64_t word_of(uint64_t tag, int64_t time_us)
{
	return tag << TIME_BITS | ((uint64_t)time_us & (((uint64_t)1 << TIME_BITS) - 1));
}

static uint64_t tag_of(uint64_t word)
{
	return word >> TIME_BITS;
}

/* How far ahead of now the word's time is; below 0 when it is past. */
static int64_t ahead_us(const struct rate_limit *r, uint64_t word, int64_t now_us)
{
	/* Shifted up, the difference has its sign where it belongs. */
	int64_t ahead = (int64_t)((word - (uint64_t)now_us) << (64 - TIME_BITS)) >> (64 - TIME_BITS);
	return word == 0 || ahead > r->tolerance_us + r->interval_us + LAG_MAX_US ? INT64_MIN : ahead;
}

bool rate_limit_admit(struct rate_limit *r, const struct ip *client, int64_t now_us)
{
	struct ip site = ip_site(client);
	uint64_t hash = siphash(&r->key, &site, sizeof(site)), tag = tag_of(hash);
	_Atomic uint64_t *words = r->sets[hash % SETS].words;
	for (;;) {
		uint64_t old = 0;
		int64_t ahead = INT64_MAX;
		size_t chosen = 0;
		for (size_t i = 0; i < WAYS; i++) {
			uint64_t word = atomic_load_explicit(&words[i], memory_order_relaxed);
			int64_t its_ahead = ahead_us(r, word, now_us);
			bool is_own = word != 0 && tag_of(word) == tag;
			if (is_own || its_ahead < ahead) {
				old = word;
				ahead = its_ahead;
				chosen = i;
			}
			if (is_own)
				break;
		}
		if (ahead < 0 || tag_of(old) != tag)
			ahead = 0;
		if (ahead > r->tolerance_us)
			return false;
		uint64_t next = word_of(tag, now_us + ahead + r->interval_us);
		/* Fails only when another request was counted in this set meanwhile. */
		if (atomic_compare_exchange_strong_explicit(&words[chosen], &old, next, memory_order_relaxed,
							    memory_order_relaxed))
			return true;
	}
}
