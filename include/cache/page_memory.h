/*
 * The first page in shared memory: the words that workers, the keeper and the master exchange about it. Made
 * before any fork, inherited by every process. It is the whole of what makes a page current or not:
 *
 *   writing[i]   writes of worker i that the store may be doing. Raised just before the store is asked, lowered
 *                after the generation has moved. Written by worker i's threads; by the master once it is dead.
 *   workers_end  no worker is there from this number on. Raised by whoever begins, lowered by the master.
 *   generation   moves when something has changed. Never 0: 0 tags a page that is for nobody but who waits.
 *   doubt_until  until then a write of unknown outcome may still land: no page that was asked for before then is current later.
 *   link_until   how long the keeper vouches for other machines: for ever (cache = local), never (off, strict).
 *   wanted       counts requests that wait for a page. Who waits keeps its number; a page says up to which
 *                number it was begun after.
 *   slot         the page: one writer, the keeper; under a sequence lock.
 *
 * A page is current when every writing[] is 0, *then* now is before link_until, and *then* its generation is the present one; and it was
 * asked for after doubt_until. In that order (all sequentially consistent) it is linearizable: at the instant of the first look no write
 * was under way here, at that of the second none of another machine had been answered, and none of either has become known since.
 *
 * The order of a write: page_write_begins, the store, [page_write_committed, the keeper invalidates Redis],
 * page_write_ends, and only then the answer.
 *
 * What stands here was written by other processes: indices and lengths are clamped by whoever reads them.
 */
#ifndef CACHE_PAGE_MEMORY_H
#define CACHE_PAGE_MEMORY_H

#include "base/err.h"
#include "base/shm.h"
#include "base/uuid.h"
#include "todo/todo.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	PAGE_JSON_MAX_BYTES = 64 * 1024, /* of the slot: a larger page is read by each worker itself */
	PAGE_KEEPER_SILENT_MS = 250,     /* without a beat the keeper counts as stuck */
};

/* What the keeper says of Redis: for /readyz. */
enum page_cache { PAGE_CACHE_OFF, PAGE_CACHE_LOCAL, PAGE_CACHE_OK, PAGE_CACHE_AWAY, PAGE_CACHES };

/* In lower case, e.g. "away"; "" for none of them. */
const char *page_cache_name(unsigned cache);

struct page_words; /* what is shared */

struct page_memory {
	struct shm shm;
	struct page_words *words;
	unsigned
	    worker_count; /* places for workers, and a last one, which stands for the rivals: page_rivals_begin */
	size_t bell_count;
	/* Who this daemon is, for other machines: its keepers follow each other under one name. */
	struct uuid machine;
	int *bells; /* eventfd(2)s, CLOEXEC: the keeper's, then one per worker; children have to keep them */
};

enum { PAGE_PLACES_MAX = 4 * 1024 + 64 };

/* Places for all that may be there at a time, of so many workers each: a generation that serves, one that boots, two that drain; and
 * some for those that are recycled. */
static inline unsigned page_places(unsigned workers)
{
	return 4 * workers + 16;
}

/* Descriptors that every process has for them. */
static inline size_t page_bells(unsigned places)
{
	return (size_t)places + 2;
}

/* For workers 0 to places - 1. `doubt_ms`: how long a write of unknown outcome may still land; 0 where none can (SQLite: the
 * process is gone). Returns 0, or -1 and *err (EXIT_CODE_OS). */
int page_memory_open(struct page_memory *m, unsigned places, uint32_t doubt_ms, struct err *err);
void page_memory_close(struct page_memory *m);

/* In the master: from now on it may be so long, if it was less before. What older workers have begun may still take what it took. */
void page_memory_doubt(struct page_memory *m, uint32_t doubt_ms);

/* The memory of the program that has become this one by execve(2), from its descriptors: `bells` has worker_count + 1. All are
 * the memory's from here on. Returns 0, or -1 and *err; then they are still the caller's. */
int page_memory_adopt(struct page_memory *m, int fd, size_t size, const int *bells, unsigned worker_count,
		      const struct uuid *machine, struct err *err);

/* Two programs that agree on this number agree on what stands in the memory. */
uint64_t page_memory_layout(void);

/* ---- another memory beside this one
 *
 * While two generations of workers serve with a memory each (their stores, or caches, differ), neither knows what the other
 * writes: nothing is current, and the keepers ask the store. As if somebody wrote all the time. */

/* In the master, before the first worker of the other memory is forked. Idempotent. */
void page_rivals_begin(struct page_memory *m);

/* After the last of them was reaped: whatever it was writing is in doubt. Nothing if there was none. */
void page_rivals_end(struct page_memory *m);

/* There were none after all. */
void page_rivals_cancel(struct page_memory *m);

/* ---- bells: readable once rung, until page_bell_quiet */

int page_keeper_bell(const struct page_memory *m);
int page_worker_bell(const struct page_memory *m, unsigned worker);
void page_ring(int bell);
void page_bell_quiet(int bell);

/* Worker i is there, and about to write: until page_reap_worker. */
void page_worker_begins(struct page_memory *m, unsigned worker);

/* ---- a write of worker i; any thread of it */

void page_write_begins(struct page_memory *m, unsigned worker);

/* Done in the store, and to be invalidated in Redis: returns its number among the worker's, 1, 2, … (modulo
 * 2^32, never 0). Rings the keeper. */
uint32_t page_write_committed(struct page_memory *m, unsigned worker);

/* The number up to which the keeper has invalidated what worker i committed. */
uint32_t page_invalidated(const struct page_memory *m, unsigned worker);

/* `count` writes are over; `changed`: the generation moves first. */
void page_write_ends(struct page_memory *m, unsigned worker, uint32_t count, bool changed);

/* The store has not said what became of a write: called before page_write_ends. */
void page_write_in_doubt(struct page_memory *m);

/* Somebody who knows nothing of this memory may write until then (CLOCK_MONOTONIC). */
void page_distrust_until(struct page_memory *m, int64_t end_ns);

/* In the master, after it has reaped worker i and before it makes another: whatever that was writing is in
 * doubt, the generation moves, the keeper is rung to invalidate. */
void page_reap_worker(struct page_memory *m, unsigned worker);

/* ---- what is current */

bool page_is_quiet(const struct page_memory *m); /* nobody writes, and nothing is in doubt */
bool page_is_writing(const struct page_memory *m);

/* Is some write in the store now, rather than waiting for its invalidation? As far as can be told: for intents, which are a
 * second net. */
bool page_is_storing(const struct page_memory *m);
uint64_t page_generation(const struct page_memory *m);
int64_t page_doubt_until_ns(const struct page_memory *m);

/* ---- the page */

enum page_state {
	PAGE_NONE, /* nothing has been published since the keeper began */
	PAGE_OK,
	PAGE_FAILED,    /* the store could not be asked */
	PAGE_TOO_LARGE, /* of no use to others than the keeper */
};

enum page_source { PAGE_FROM_STORE, PAGE_FROM_REDIS };

/* A private copy. json is owned: page_release. */
struct page {
	uint64_t generation; /* read before the page was asked for; 0: for those who wait alone */
	uint64_t wanted;     /* likewise: who waits with this number or a lower one may have it */
	int64_t asked_ns;    /* CLOCK_MONOTONIC, likewise */
	int64_t filled_us;   /* CLOCK_REALTIME: when the store was asked, on whichever machine (for Age) */
	enum page_state state;
	enum page_source source;
	bool
	    is_stale; /* the store cannot be asked: this is the last that was known, and nobody has written since */
	struct uuid tag; /* of the bytes: version 5, so the same on every machine */
	bool has_more;
	struct todo_position last; /* of the page, where has_more */
	struct buf json;
};

void page_release(struct page *page);

/* What the store has answered: state, source, tag, has_more, last and json. The rest is left as it is. */
void page_fill(struct page *page, struct todo_page *todos);

/* Into memory of its own, which is reused. */
void page_copy(struct page *to, const struct page *from);

/* Does somebody vouch for other machines now, so that pages are served from memory? */
bool page_is_vouched_for(const struct page_memory *m);

/* Is this copy current? At the instant of the call. */
bool page_is_current(const struct page_memory *m, const struct page *page);

/* Copies what is in the slot over *page (json's memory is reused). False: *page is untouched, since the keeper
 * is just writing, or died over it. Never blocks. */
bool page_read(const struct page_memory *m, struct page *page);

/* The generation of what is in the slot, without copying it; 0 when it cannot be read now. */
uint64_t page_slot_generation(const struct page_memory *m);

/* ---- a worker that waits */

/* One more waits: returns its number, at least 1. page_waits tells the keeper whom to wake; set before
 * page_want, cleared when nobody waits any more. */
uint64_t page_want(struct page_memory *m);
void page_set_waiting(struct page_memory *m, unsigned worker, bool waits);

/* Has the keeper been silent for PAGE_KEEPER_SILENT_MS, or never said a word? */
bool page_keeper_is_stuck(const struct page_memory *m);
enum page_cache page_cache_state(const struct page_memory *m);

/* ---- the keeper alone */

/* A new keeper: puts the slot in order, whatever its predecessor was doing, and moves the generation. */
void page_keeper_begins(struct page_memory *m);
void page_keeper_beat(struct page_memory *m);
void page_set_cache_state(struct page_memory *m, enum page_cache state);
void page_set_link_until(struct page_memory *m,
			 int64_t until_ns); /* CLOCK_MONOTONIC; INT64_MAX for ever, 0 never */
void page_move_generation(struct page_memory *m);
uint64_t page_wanted(const struct page_memory *m);

/* Makes *page what everybody sees, and rings the workers that wait. json of more than PAGE_JSON_MAX_BYTES becomes
 * PAGE_TOO_LARGE. */
void page_publish(struct page_memory *m, const struct page *page);

uint32_t page_committed(const struct page_memory *m, unsigned worker);
/* Rings the worker where that is news. */
void page_set_invalidated(struct page_memory *m, unsigned worker, uint32_t number);

#endif
