#include "cache/invalidator.h"

#include "base/clock.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum {
	INTENT_AGAIN_MS = LEASE_INTENT_MS / 2, /* a write that goes on keeps its intent alive */
	RELEASES_MAX = LINK_LEASE_MS + 2,      /* those that fall into one millisecond are one */
};

/* What had been committed, by worker: released together. */
struct release {
	int64_t due_ms;
	uint32_t *committed;
};

struct invalidator {
	struct loop *loop;
	struct page_memory *memory;
	const struct lease *lease;
	const struct link *link;
	bool has_intent;
	int64_t intent_ms;
	bool has_failed;    /* an invalidation, or writers were released without one */
	bool is_sent;       /* an invalidation is on its way, for `sent` */
	uint32_t *sent;     /* by worker: what the last invalidation or opening was for */
	int64_t waiting_ms; /* since when writers wait and none was released; 0: none waits */
	int64_t doubt_ns;   /* of page_doubt_until_ns: invalidated after that, too */
	size_t release_first, release_count;
	struct release releases[RELEASES_MAX];
};

/* ---- releasing */

/* Never back: a release that was due later may come after one for more. */
static void release_now(struct invalidator *v, const uint32_t *committed)
{
	for (unsigned i = 0; i < v->memory->worker_count; i++)
		if ((int32_t)(committed[i] - page_invalidated(v->memory, i)) > 0)
			page_set_invalidated(v->memory, i, committed[i]);
	v->waiting_ms = 0;
}

static struct release *release_at(struct invalidator *v, size_t i)
{
	return &v->releases[(v->release_first + i) % RELEASES_MAX];
}

static void release_later(struct invalidator *v, const uint32_t *committed)
{
	int64_t due_ms = clock_monotonic_ms() + LINK_LEASE_MS +
			 1; /* from here on: loop->now_ms is older than the answer */
	struct release *last = v->release_count ? release_at(v, v->release_count - 1) : NULL;
	if (!last || (last->due_ms != due_ms && v->release_count < RELEASES_MAX))
		last = release_at(v, v->release_count++);
	last->due_ms = due_ms;
	memcpy(last->committed, committed, v->memory->worker_count * sizeof(*committed));
}

static void release_due(struct invalidator *v)
{
	while (v->release_count > 0 && release_at(v, 0)->due_ms <= v->loop->now_ms) {
		release_now(v, release_at(v, 0)->committed);
		v->release_first = (v->release_first + 1) % RELEASES_MAX;
		v->release_count--;
	}
}

static void invalidated(struct invalidator *v, bool others)
{
	if (others)
		release_later(v, v->sent);
	else
		release_now(v, v->sent);
}

/* ---- telling Redis */

/* True when something is committed that `sent` does not cover; then it does. */
static bool take_committed(struct invalidator *v)
{
	bool is_new = false;
	for (unsigned i = 0; i < v->memory->worker_count; i++) {
		uint32_t number = page_committed(v->memory, i);
		is_new = is_new || number != v->sent[i];
		v->sent[i] = number;
	}
	return is_new;
}

static bool has_committed(const struct invalidator *v)
{
	for (unsigned i = 0; i < v->memory->worker_count; i++)
		if (page_committed(v->memory, i) != page_invalidated(v->memory, i))
			return true;
	return false;
}

/* A write of unknown outcome may have landed until then, unheard. */
static bool doubt_is_over(struct invalidator *v)
{
	int64_t until_ns = page_doubt_until_ns(v->memory);
	if (until_ns == v->doubt_ns || clock_monotonic_ns() < until_ns)
		return false;
	v->doubt_ns = until_ns;
	return true;
}

/* Machines that ask Redis for every page need not be waited for. Among themselves they go by who says that it vouches; one that
 * vouches itself also by who hears. */
static bool has_others(const struct invalidator *v, const struct redisReply *reply)
{
	unsigned own_receivers = v->lease->vouches ? link_is_up(v->link) : UINT_MAX;
	return session_has_others(reply, own_receivers);
}

static void on_invalidated(void *arg, const struct redisReply *reply)
{
	struct invalidator *v = arg;
	v->is_sent = false;
	v->has_failed = v->has_failed || !reply;
	if (reply)
		invalidated(v, has_others(v, reply));
}

static void send_intent(struct invalidator *v, struct session *session)
{
	struct slice words[LEASE_WORDS_MAX];
	struct buf scratch = BUF_INIT;
	size_t count = lease_begin_args(v->lease, words, &scratch);
	v->has_intent = true;
	v->intent_ms = v->loop->now_ms;
	session_call(session, LEASE_BEGIN, words, count, NULL, NULL);
	buf_release(&scratch);
}

static void send_invalidation(struct invalidator *v, struct session *session)
{
	struct slice words[LEASE_WORDS_MAX];
	struct buf scratch = BUF_INIT;
	bool ends_intent = v->has_intent && !page_is_storing(v->memory);
	size_t count = lease_invalidate_args(v->lease, ends_intent, words, &scratch);
	if (ends_intent)
		v->has_intent = false;
	v->is_sent = true;
	v->has_failed = false;
	session_call(session, LEASE_INVALIDATE, words, count, on_invalidated, v);
	buf_release(&scratch);
}

static void tend_open(struct invalidator *v, struct session *session)
{
	bool intent_is_old = v->has_intent && v->loop->now_ms - v->intent_ms >= INTENT_AGAIN_MS;
	if (page_is_storing(v->memory) && (!v->has_intent || intent_is_old))
		send_intent(v, session);
	/* What the last one was sent for is not yet answered, and the session may have ended over it. */
	if (v->is_sent)
		return;
	bool is_new = take_committed(v), is_over = doubt_is_over(v);
	if (is_new || is_over || v->has_failed)
		send_invalidation(v, session);
}

/* The writers wait for a session that may be back in a moment, but not for one that is not. */
static void tend_closed(struct invalidator *v, const struct session *session)
{
	if (v->waiting_ms == 0 ||
	    (!session_is_away(session) && v->loop->now_ms - v->waiting_ms < SESSION_COMMAND_MS))
		return;
	(void)take_committed(v);
	release_now(v, v->sent);
	v->has_failed = true; /* the opening that is under way may have been for less */
}

static void note_waiting(struct invalidator *v)
{
	if (!has_committed(v))
		v->waiting_ms = 0;
	else if (v->waiting_ms == 0)
		v->waiting_ms = v->loop->now_ms;
}

bool invalidator_owes(const struct invalidator *v)
{
	for (unsigned i = 0; i < v->memory->worker_count; i++)
		if (page_committed(v->memory, i) != v->sent[i])
			return true;
	return v->has_failed;
}

int invalidator_tend(struct invalidator *v, struct session *session)
{
	release_due(v);
	note_waiting(v);
	if (session_is_open(session)) {
		tend_open(v, session);
	} else {
		v->has_intent = false; /* a new session may be with another server */
		tend_closed(v, session);
	}
	if (v->release_count > 0) {
		int64_t wait_ms = release_at(v, 0)->due_ms - v->loop->now_ms;
		return wait_ms > 0 ? (int)wait_ms : 0;
	}
	return v->waiting_ms && !session_is_open(session) ? SESSION_COMMAND_MS / 4 : -1;
}

void invalidator_opening(struct invalidator *v)
{
	(void)take_committed(v);
	v->is_sent = v->has_failed = false;
}

void invalidator_opened(struct invalidator *v, bool others)
{
	invalidated(v, others);
}

/* ---- life */

struct invalidator *invalidator_new(struct loop *loop, struct page_memory *memory, const struct lease *lease,
				    const struct link *link)
{
	struct invalidator *v = alloc_zeroed(1, sizeof(*v));
	v->loop = loop;
	v->memory = memory;
	v->lease = lease;
	v->link = link;
	v->sent = alloc_zeroed(memory->worker_count, sizeof(*v->sent));
	for (size_t i = 0; i < RELEASES_MAX; i++)
		v->releases[i].committed = alloc_zeroed(memory->worker_count, sizeof(*v->sent));
	return v;
}

void invalidator_free(struct invalidator *v)
{
	if (!v)
		return;
	for (size_t i = 0; i < RELEASES_MAX; i++)
		free(v->releases[i].committed);
	free(v->sent);
	free(v);
}
