#include "cache/page_memory.h"

#include "base/clock.h"
#include "todo/todo_json.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
	PAGE_LAYOUT = 2, /* to be counted up with any change of what follows, or of what it means */
	PAGE_WORKERS_MAX = PAGE_PLACES_MAX + 1,
	PAGE_READ_TRIES = 3,
	PAGE_LINE_BYTES = 128, /* a cache line and the one that is fetched along with it */
};

/* What stands in the slot before the JSON. */
struct slot_head {
	uint64_t generation, wanted; /* generation first: page_slot_generation */
	int64_t asked_ns, filled_us;
	uint32_t state, source, is_stale, has_more;
	uint64_t json_bytes;
	struct uuid tag;
	struct todo_position last;
};

enum {
	SLOT_HEAD_WORDS = sizeof(struct slot_head) / sizeof(uint64_t),
	SLOT_WORDS = SLOT_HEAD_WORDS + PAGE_JSON_MAX_BYTES / sizeof(uint64_t)
};
static_assert(sizeof(struct slot_head) % sizeof(uint64_t) == 0, "whole words");

struct slot {
	_Alignas(PAGE_LINE_BYTES) _Atomic uint64_t sequence; /* odd: being written */
	_Alignas(PAGE_LINE_BYTES) _Atomic uint64_t words[SLOT_WORDS];
};

struct page_worker {
	_Alignas(PAGE_LINE_BYTES) _Atomic uint32_t committed; /* the last number given out */
	_Atomic uint32_t invalidated;
	_Atomic uint32_t waiting;
	_Atomic uint32_t is_there;
};

struct page_words {
	/* Packed: all are read for a hit, as far as there are workers. */
	_Alignas(PAGE_LINE_BYTES) _Atomic uint32_t workers_end; /* see end_of */
	_Atomic uint32_t writing[PAGE_WORKERS_MAX];
	_Alignas(PAGE_LINE_BYTES) _Atomic uint64_t generation;
	_Alignas(PAGE_LINE_BYTES) _Atomic int64_t link_until_ns;
	_Alignas(PAGE_LINE_BYTES) _Atomic uint64_t wanted;
	_Alignas(PAGE_LINE_BYTES) _Atomic int64_t beat_ns;

	/* Seldom written. */
	_Alignas(PAGE_LINE_BYTES) _Atomic int64_t doubt_until_ns;
	_Atomic uint32_t cache_state;
	_Atomic int64_t doubt_ns; /* see page_memory_doubt */

	struct page_worker workers[PAGE_WORKERS_MAX];
	struct slot slot;
};

const char *page_cache_name(unsigned cache)
{
	static const char *const names[PAGE_CACHES] = {
	    [PAGE_CACHE_OFF] = "off",
	    [PAGE_CACHE_LOCAL] = "local",
	    [PAGE_CACHE_OK] = "ok",
	    [PAGE_CACHE_AWAY] = "away",
	};
	return cache < PAGE_CACHES ? names[cache] : "";
}

/* ---- life */

static int open_bells(struct page_memory *m, struct err *err)
{
	size_t count = (size_t)m->worker_count + 1;
	m->bells = alloc_zeroed(count, sizeof(*m->bells));
	for (; m->bell_count < count; m->bell_count++) {
		int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (fd < 0)
			return err_set(err, EXIT_CODE_OS, "eventfd: %s", strerror(errno));
		m->bells[m->bell_count] = fd;
	}
	return 0;
}

int page_memory_open(struct page_memory *m, unsigned places, uint32_t doubt_ms, struct err *err)
{
	assert(places <= PAGE_PLACES_MAX);
	*m = (struct page_memory){.shm.fd = -1, .worker_count = places + 1};
	if (shm_open_new(&m->shm, "todod-page", sizeof(struct page_words), err) != 0)
		return -1;
	m->words = m->shm.addr;
	uuid_make(&m->machine, clock_wall_us());
	atomic_store(&m->words->generation, 1);
	page_memory_doubt(m, doubt_ms);
	if (open_bells(m, err) != 0) {
		page_memory_close(m);
		return -1;
	}
	return 0;
}

void page_memory_doubt(struct page_memory *m, uint32_t doubt_ms)
{
	_Atomic int64_t *doubt_ns = &m->words->doubt_ns;
	int64_t ns = (int64_t)doubt_ms * 1000000;
	if (atomic_load(doubt_ns) < ns)
		atomic_store(doubt_ns, ns);
}

uint64_t page_memory_layout(void)
{
	return (uint64_t)PAGE_LAYOUT << 32 | sizeof(struct page_words);
}

int page_memory_adopt(struct page_memory *m, int fd, size_t size, const int *bells, unsigned worker_count,
		      const struct uuid *machine, struct err *err)
{
	*m = (struct page_memory){.worker_count = worker_count, .machine = *machine};
	if (worker_count < 1 || worker_count > PAGE_WORKERS_MAX || size != sizeof(struct page_words))
		return err_set(err, EXIT_CODE_OS, "the first page's memory is of another layout");
	if (shm_open_fd(&m->shm, fd, size, err) != 0)
		return -1;
	m->words = m->shm.addr;
	m->bell_count = (size_t)worker_count + 1;
	m->bells = alloc_zeroed(m->bell_count, sizeof(*m->bells));
	memcpy(m->bells, bells, m->bell_count * sizeof(*bells));
	return 0;
}

void page_memory_close(struct page_memory *m)
{
	for (size_t i = 0; i < m->bell_count; i++)
		close(m->bells[i]);
	free(m->bells);
	shm_close(&m->shm);
	*m = (struct page_memory){.shm.fd = -1};
}

/* ---- bells */

int page_keeper_bell(const struct page_memory *m)
{
	return m->bells[0];
}

int page_worker_bell(const struct page_memory *m, unsigned worker)
{
	assert(worker < m->worker_count);
	return m->bells[1 + worker];
}

void page_ring(int bell)
{
	uint64_t one = 1;
	if (write(bell, &one, sizeof(one)) != sizeof(one))
		assert(errno == EAGAIN); /* the counter is far from 0 then: it rings anyway */
}

void page_bell_quiet(int bell)
{
	uint64_t count;
	if (read(bell, &count, sizeof(count)) != sizeof(count))
		assert(errno == EAGAIN); /* it did not ring */
}

/* ---- workers */

static struct page_worker *worker_of(const struct page_memory *m, unsigned worker)
{
	assert(worker < m->worker_count);
	return &m->words->workers[worker];
}

/* The upper half of workers_end counts those who have begun: who lowers it looks again at whom it has missed. */
enum { END_BITS = 16 };
static_assert(PAGE_WORKERS_MAX < 1 << END_BITS, "an end is half a word");

static unsigned end_of(uint32_t workers_end)
{
	return workers_end & ((1U << END_BITS) - 1);
}

void page_worker_begins(struct page_memory *m, unsigned worker)
{
	_Atomic uint32_t *workers_end = &m->words->workers_end;
	uint32_t last = atomic_load(workers_end), next;
	atomic_store(&worker_of(m, worker)->is_there, 1);
	do {
		uint32_t end = end_of(last) > worker ? end_of(last) : worker + 1;
		next = ((last >> END_BITS) + 1) << END_BITS | end;
	} while (!atomic_compare_exchange_weak(workers_end, &last, next));
}

/* A worker that begins meanwhile has said that it is there, and wins. */
static void forget_worker(struct page_memory *m, unsigned worker)
{
	_Atomic uint32_t *workers_end = &m->words->workers_end;
	uint32_t last = atomic_load(workers_end);
	unsigned end;
	atomic_store(&worker_of(m, worker)->is_there, 0);
	while ((end = end_of(last)) > 0 && end <= m->worker_count &&
	       !atomic_load(&worker_of(m, end - 1)->is_there))
		if (atomic_compare_exchange_weak(workers_end, &last, last - 1))
			last--;
}

/* ---- a write */

void page_write_begins(struct page_memory *m, unsigned worker)
{
	assert(worker < m->worker_count);
	atomic_fetch_add(&m->words->writing[worker], 1);
}

uint32_t page_write_committed(struct page_memory *m, unsigned worker)
{
	_Atomic uint32_t *committed = &worker_of(m, worker)->committed;
	uint32_t last = atomic_load(committed), number;
	do
		number = last == UINT32_MAX ? 1 : last + 1;
	while (!atomic_compare_exchange_weak(committed, &last, number));
	page_ring(page_keeper_bell(m));
	return number;
}

uint32_t page_committed(const struct page_memory *m, unsigned worker)
{
	return atomic_load(&worker_of(m, worker)->committed);
}

uint32_t page_invalidated(const struct page_memory *m, unsigned worker)
{
	return atomic_load(&worker_of(m, worker)->invalidated);
}

void page_set_invalidated(struct page_memory *m, unsigned worker, uint32_t number)
{
	if (atomic_exchange(&worker_of(m, worker)->invalidated, number) != number)
		page_ring(page_worker_bell(m, worker));
}

void page_write_ends(struct page_memory *m, unsigned worker, uint32_t count, bool changed)
{
	assert(worker < m->worker_count);
	if (changed)
		page_move_generation(m);
	atomic_fetch_sub(&m->words->writing[worker], count);
}

void page_distrust_until(struct page_memory *m, int64_t end_ns)
{
	_Atomic int64_t *until_ns = &m->words->doubt_until_ns;
	int64_t last_ns = atomic_load(until_ns);
	while (last_ns < end_ns && !atomic_compare_exchange_weak(until_ns, &last_ns, end_ns))
		continue;
}

void page_write_in_doubt(struct page_memory *m)
{
	page_distrust_until(m, clock_monotonic_ns() + atomic_load(&m->words->doubt_ns));
}

void page_reap_worker(struct page_memory *m, unsigned worker)
{
	struct page_worker *w = worker_of(m, worker);
	bool was_writing = atomic_load(&m->words->writing[worker]) != 0;
	bool is_owed = page_invalidated(m, worker) != page_committed(m, worker);
	if (was_writing)
		page_write_in_doubt(m);
	if (was_writing || is_owed) {
		page_move_generation(m);
		/* `invalidated` stays behind: the keeper has to see that it owes this. The successor waits only for
		 * numbers of its own, which come after this one. */
		(void)page_write_committed(m, worker);
	}
	atomic_store(&m->words->writing[worker], 0);
	atomic_store(&w->waiting, 0);
	forget_worker(m, worker);
	page_ring(page_keeper_bell(m));
}

/* ---- rivals */

static unsigned rivals_of(const struct page_memory *m)
{
	return m->worker_count - 1;
}

void page_rivals_begin(struct page_memory *m)
{
	atomic_store(&m->words->writing[rivals_of(m)], 1);
}

void page_rivals_end(struct page_memory *m)
{
	if (atomic_load(&m->words->writing[rivals_of(m)]) != 0)
		page_reap_worker(m, rivals_of(m));
}

void page_rivals_cancel(struct page_memory *m)
{
	atomic_store(&m->words->writing[rivals_of(m)], 0);
}

/* ---- what is current */

/* A worker that comes after the first line has written nothing that anybody could have seen before it. */
bool page_is_writing(const struct page_memory *m)
{
	unsigned end = end_of(atomic_load(&m->words->workers_end));
	if (end > m->worker_count)
		end = m->worker_count;
	for (unsigned i = 0; i < end; i++)
		if (atomic_load(&m->words->writing[i]) != 0)
			return true;
	return atomic_load(&m->words->writing[rivals_of(m)]) != 0;
}

/* More have begun than are done: those whose worker has not yet heard that Redis knows count as begun. Rivals have a Redis of
 * their own to tell, or none. */
bool page_is_storing(const struct page_memory *m)
{
	for (unsigned i = 0; i < rivals_of(m); i++) {
		uint32_t held = page_committed(m, i) - page_invalidated(m, i);
		if (atomic_load(&m->words->writing[i]) > held)
			return true;
	}
	return false;
}

bool page_is_quiet(const struct page_memory *m)
{
	return !page_is_writing(m) && clock_monotonic_ns() > page_doubt_until_ns(m);
}

uint64_t page_generation(const struct page_memory *m)
{
	return atomic_load(&m->words->generation);
}

int64_t page_doubt_until_ns(const struct page_memory *m)
{
	return atomic_load(&m->words->doubt_until_ns);
}

bool page_is_vouched_for(const struct page_memory *m)
{
	int64_t until_ns = atomic_load(&m->words->link_until_ns);
	return until_ns == INT64_MAX || clock_monotonic_ns() < until_ns;
}

bool page_is_current(const struct page_memory *m, const struct page *page)
{
	/* The keeper moves the generation before it vouches anew: who sees the second sees the first. */
	return !page_is_writing(m) && page_is_vouched_for(m) && page_generation(m) == page->generation &&
	       page->asked_ns > page_doubt_until_ns(m);
}

/* ---- the slot: a sequence lock
 *
 * Each word is stored with release and loaded with acquire: who sees a word of the next page sees the odd
 * sequence as well. It takes no fences then, and costs what relaxed words cost where it matters. */

static void store_words(_Atomic uint64_t *words, const void *bytes, size_t len)
{
	const char *from = bytes;
	uint64_t word;
	for (; len >= sizeof(word); len -= sizeof(word), from += sizeof(word)) {
		memcpy(&word, from, sizeof(word));
		atomic_store_explicit(words++, word, memory_order_release);
	}
	if (len > 0) {
		word = 0;
		memcpy(&word, from, len);
		atomic_store_explicit(words, word, memory_order_release);
	}
}

static void load_words(const _Atomic uint64_t *words, void *bytes, size_t len)
{
	char *to = bytes;
	uint64_t word;
	for (; len >= sizeof(word); len -= sizeof(word), to += sizeof(word)) {
		word = atomic_load_explicit(words++, memory_order_acquire);
		memcpy(to, &word, sizeof(word));
	}
	if (len > 0) {
		word = atomic_load_explicit(words, memory_order_acquire);
		memcpy(to, &word, len);
	}
}

/* Writes over whatever is there, even what a killed predecessor has left half written. */
static void slot_write(struct slot *slot, const struct slot_head *head, const char *json)
{
	uint64_t odd = atomic_load(&slot->sequence) | 1;
	atomic_store(&slot->sequence, odd);
	store_words(slot->words, head, sizeof(*head));
	store_words(slot->words + SLOT_HEAD_WORDS, json, head->json_bytes);
	atomic_store(&slot->sequence, odd + 1);
}

static bool slot_is_unchanged(const struct slot *slot, uint64_t sequence)
{
	return sequence % 2 == 0 && atomic_load_explicit(&slot->sequence, memory_order_relaxed) == sequence;
}

static bool slot_read(const struct slot *slot, struct slot_head *head, char json[PAGE_JSON_MAX_BYTES])
{
	for (int i = 0; i < PAGE_READ_TRIES; i++) {
		uint64_t sequence = atomic_load(&slot->sequence);
		if (sequence % 2 != 0)
			continue;
		load_words(slot->words, head, sizeof(*head));
		if (head->json_bytes > PAGE_JSON_MAX_BYTES)
			head->json_bytes = PAGE_JSON_MAX_BYTES;
		load_words(slot->words + SLOT_HEAD_WORDS, json, head->json_bytes);
		if (slot_is_unchanged(slot, sequence))
			return true;
	}
	return false;
}

/* ---- the page */

void page_release(struct page *page)
{
	buf_release(&page->json);
	*page = (struct page){0};
}

void page_fill(struct page *page, struct todo_page *todos)
{
	struct slice json = todo_page_json(todos);
	page->state = PAGE_OK;
	page->source = PAGE_FROM_STORE;
	uuid_of_bytes(&page->tag, json.data, json.len);
	page->has_more = todos->has_more && todos->count > 0;
	if (page->has_more) {
		const struct todo *last = &todos->todos[todos->count - 1];
		page->last = (struct todo_position){last->created_at, last->id};
	}
	buf_clear(&page->json);
	buf_append_slice(&page->json, json);
}

void page_copy(struct page *to, const struct page *from)
{
	struct buf json = to->json;
	buf_clear(&json);
	buf_append_slice(&json, buf_slice(&from->json));
	*to = *from;
	to->json = json;
}

bool page_read(const struct page_memory *m, struct page *page)
{
	struct slot_head head;
	char json[PAGE_JSON_MAX_BYTES];
	if (!slot_read(&m->words->slot, &head, json))
		return false;
	page->generation = head.generation;
	page->wanted = head.wanted;
	page->asked_ns = head.asked_ns;
	page->filled_us = head.filled_us;
	page->state = head.state <= PAGE_TOO_LARGE ? (enum page_state)head.state : PAGE_NONE;
	page->source = head.source == PAGE_FROM_REDIS ? PAGE_FROM_REDIS : PAGE_FROM_STORE;
	page->is_stale = head.is_stale != 0;
	page->tag = head.tag;
	page->has_more = head.has_more != 0;
	page->last = head.last;
	buf_clear(&page->json);
	buf_append(&page->json, json, head.json_bytes);
	return true;
}

uint64_t page_slot_generation(const struct page_memory *m)
{
	const struct slot *slot = &m->words->slot;
	for (int i = 0; i < PAGE_READ_TRIES; i++) {
		uint64_t sequence = atomic_load(&slot->sequence);
		uint64_t generation = atomic_load_explicit(&slot->words[0], memory_order_acquire);
		if (slot_is_unchanged(slot, sequence))
			return generation;
	}
	return 0;
}

/* ---- a worker that waits */

uint64_t page_want(struct page_memory *m)
{
	return atomic_fetch_add(&m->words->wanted, 1) + 1;
}

void page_set_waiting(struct page_memory *m, unsigned worker, bool waits)
{
	atomic_store(&worker_of(m, worker)->waiting, waits);
}

bool page_keeper_is_stuck(const struct page_memory *m)
{
	int64_t beat_ns = atomic_load(&m->words->beat_ns);
	return beat_ns == 0 || clock_monotonic_ns() - beat_ns > PAGE_KEEPER_SILENT_MS * INT64_C(1000000);
}

enum page_cache page_cache_state(const struct page_memory *m)
{
	uint32_t state = atomic_load(&m->words->cache_state);
	return state <= PAGE_CACHE_AWAY ? (enum page_cache)state : PAGE_CACHE_AWAY;
}

/* ---- the keeper */

void page_keeper_begins(struct page_memory *m)
{
	const struct slot_head nothing = {.state = PAGE_NONE};
	page_set_link_until(m, 0); /* what the predecessor vouched for */
	page_move_generation(m);
	slot_write(&m->words->slot, &nothing, NULL);
	page_ring(page_keeper_bell(m)); /* the predecessor may have heard it, and done nothing yet */
}

void page_keeper_beat(struct page_memory *m)
{
	atomic_store(&m->words->beat_ns, clock_monotonic_ns());
}

void page_set_cache_state(struct page_memory *m, enum page_cache state)
{
	atomic_store(&m->words->cache_state, (uint32_t)state);
}

void page_set_link_until(struct page_memory *m, int64_t until_ns)
{
	atomic_store(&m->words->link_until_ns, until_ns);
}

void page_move_generation(struct page_memory *m)
{
	atomic_fetch_add(&m->words->generation, 1);
}

uint64_t page_wanted(const struct page_memory *m)
{
	return atomic_load(&m->words->wanted);
}

void page_publish(struct page_memory *m, const struct page *page)
{
	bool fits = page->json.len <= PAGE_JSON_MAX_BYTES;
	const struct slot_head head = {
	    .generation = page->generation,
	    .wanted = page->wanted,
	    .asked_ns = page->asked_ns,
	    .filled_us = page->filled_us,
	    .state = fits ? page->state : PAGE_TOO_LARGE,
	    .source = page->source,
	    .is_stale = page->is_stale,
	    .has_more = page->has_more,
	    .json_bytes = fits ? page->json.len : 0,
	    .tag = page->tag,
	    .last = page->last,
	};
	slot_write(&m->words->slot, &head, page->json.data);
	for (unsigned i = 0; i < m->worker_count; i++)
		if (atomic_load(&worker_of(m, i)->waiting) != 0)
			page_ring(page_worker_bell(m, i));
}
