#include "cache/link.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum link_state { LINK_DOWN, LINK_CONNECTING, LINK_IDENTIFYING, LINK_SUBSCRIBING, LINK_UP };

enum {
	LINK_PINGS_MAX = LINK_SILENCE_MS / LINK_PING_MS + 2,
	LINK_RETRY_MAX_MS = 500,
	LINK_REASON_BYTES = 128,
	MS_NS = 1000000,
};

struct link {
	struct loop *loop;
	struct redis *redis;
	const struct lease *lease;
	struct link_events events;
	enum link_state state;
	int64_t due_ms; /* DOWN: the next try; SUBSCRIBING: the end of it; UP: the next PING */
	int64_t sent_ns[LINK_PINGS_MAX]; /* PINGs without an answer, oldest first */
	size_t sent_count;
	int64_t answered_ns;      /* the latest of those answered since link_tend: 0: none */
	struct identity identity; /* of the server */
	int64_t up_ms;            /* when it was last UP */
	char reason[LINK_REASON_BYTES];
	int64_t unsettled_ns; /* when it was last not to be trusted */
	int64_t void_ns;      /* a PING sent before then proves nothing */
	int64_t proven_ns;
};

bool link_is_up(const struct link *l)
{
	return l->state == LINK_UP;
}

const struct identity *link_identity(const struct link *l)
{
	return &l->identity;
}

void link_reset(struct link *l, const char *reason)
{
	redis_close(l->redis, reason);
}

int64_t link_proven_ns(const struct link *l)
{
	return l->proven_ns;
}

void link_unsettle(struct link *l)
{
	l->unsettled_ns = clock_monotonic_ns();
}

bool link_is_settled(const struct link *l)
{
	return l->state == LINK_UP &&
	       clock_monotonic_ns() - l->unsettled_ns > (int64_t)LINK_SETTLE_MS * MS_NS;
}

const char *link_reason(const struct link *l)
{
	return l->reason;
}

static void broke(struct link *l)
{
	l->proven_ns = l->answered_ns = 0;
	l->void_ns = l->unsettled_ns = clock_monotonic_ns();
	l->events.on_break(l->events.arg);
}

static void on_identified(void *arg, const struct redisReply *reply)
{
	struct link *l = arg;
	if (!reply || l->state != LINK_IDENTIFYING)
		return;
	const char *wrong = identity_read(&l->identity, reply);
	if (wrong) {
		redis_close(l->redis, wrong);
		return;
	}
	const struct slice words[] = {SLICE("SUBSCRIBE"), buf_slice(&l->lease->keys[LEASE_CHANNEL])};
	l->state = LINK_SUBSCRIBING;
	l->due_ms = l->loop->now_ms + LINK_SILENCE_MS;
	redis_send(l->redis, words, 2, 0, NULL, NULL);
}

static void on_connected(void *arg)
{
	struct link *l = arg;
	l->state = LINK_IDENTIFYING;
	identity_ask(l->redis, LINK_SILENCE_MS, on_identified, l);
}

static void on_closed(void *arg, const char *reason)
{
	struct link *l = arg;
	(void)snprintf(l->reason, sizeof(l->reason), "%s", reason);
	bool was_well = link_is_settled(l);
	l->state = LINK_DOWN;
	bool is_new = l->loop->now_ms - l->up_ms < LINK_RETRY_MAX_MS;
	int64_t pause_ms = was_well ? 0 : is_new ? LINK_RETRY_MS : LINK_RETRY_MAX_MS;
	l->due_ms = l->loop->now_ms + pause_ms;
	l->sent_count = 0;
	broke(l);
}

/* ---- what comes */

static void answered(struct link *l)
{
	if (l->sent_count == 0) {
		redis_close(l->redis, "a PONG that nobody asked for");
		return;
	}
	int64_t sent_ns = l->sent_ns[0], now_ns = clock_monotonic_ns();
	l->sent_count--;
	memmove(l->sent_ns, l->sent_ns + 1, l->sent_count * sizeof(*l->sent_ns));
	if (sent_ns < l->void_ns)
		return;
	if (now_ns - sent_ns > (int64_t)LINK_LATE_MS * MS_NS) {
		broke(l);
		return;
	}
	l->answered_ns = sent_ns;
}

/* "I MACHINE" and the like. */
static void message(struct link *l, struct slice text)
{
	static const char letters[] = {[LINK_INVALIDATED] = 'I', [LINK_FILLED] = 'F', [LINK_RELEASED] = 'R'};
	if (text.len < 2)
		return;
	struct slice machine = {text.data + 2, text.len - 2};
	if (slice_equal(machine, slice_of(l->lease->machine)))
		return;
	for (size_t i = 0; i < sizeof(letters); i++)
		if (letters[i] == text.data[0])
			l->events.on_message(l->events.arg, (enum link_message)i);
}

static void on_push(void *arg, const struct redisReply *reply)
{
	struct link *l = arg;
	struct slice kind = redis_text(redis_at(reply, 0));
	if (slice_equal(kind, SLICE("pong"))) {
		answered(l);
	} else if (slice_equal(kind, SLICE("message"))) {
		message(l, redis_text(redis_at(reply, 2)));
	} else if (slice_equal(kind, SLICE("subscribe")) && l->state == LINK_SUBSCRIBING) {
		l->state = LINK_UP;
		l->due_ms = l->loop->now_ms;
		broke(l); /* what was said before this has not been heard */
	} else {
		struct slice error = redis_text(reply);
		redis_close(l->redis, redis_type(reply) == REDIS_ERROR && error.len
					  ? error.data
					  : "it does not answer as a Redis does");
	}
}

/* ---- life */

static void ping(struct link *l)
{
	const struct slice words[] = {SLICE("PING")};
	int64_t now_ns = clock_monotonic_ns();
	if (l->sent_count == LINK_PINGS_MAX ||
	    (l->sent_count > 0 && now_ns - l->sent_ns[0] > (int64_t)LINK_SILENCE_MS * MS_NS)) {
		redis_close(l->redis, "no PONG in time");
		return;
	}
	l->due_ms = l->loop->now_ms + LINK_PING_MS;
	l->sent_ns[l->sent_count++] = now_ns;
	redis_send(l->redis, words, 1, 0, NULL, NULL);
}

int link_tend(struct link *l)
{
	/* Behind every message that came along. */
	if (l->answered_ns) {
		l->proven_ns = l->answered_ns;
		l->answered_ns = 0;
		l->events.on_proof(l->events.arg, l->proven_ns);
	}
	if (l->state == LINK_UP)
		l->up_ms = l->loop->now_ms;
	bool is_due = l->loop->now_ms >= l->due_ms;
	if (l->state == LINK_DOWN && is_due) {
		l->state = LINK_CONNECTING;
		redis_connect(l->redis, LINK_SILENCE_MS);
	}
	int redis_ms = redis_check_time(l->redis);
	if (l->state == LINK_SUBSCRIBING && is_due) {
		redis_close(l->redis, "no answer to SUBSCRIBE in time");
	} else if (l->state == LINK_UP && is_due) {
		ping(l);
	}
	redis_flush(l->redis);
	if (l->state == LINK_CONNECTING || l->state == LINK_IDENTIFYING)
		return redis_ms >= 0 ? redis_ms : LINK_SILENCE_MS;
	return l->due_ms > l->loop->now_ms ? (int)(l->due_ms - l->loop->now_ms) : 0;
}

struct link *link_new(struct loop *loop, const struct redis_address *address, const struct lease *lease,
		      const struct link_events *events)
{
	struct link *l = alloc_zeroed(1, sizeof(*l));
	struct redis_events redis_events = {on_connected, on_closed, on_push, l};
	l->loop = loop;
	l->up_ms = loop->now_ms;
	l->lease = lease;
	l->events = *events;
	l->redis = redis_new(loop, address, &redis_events);
	return l;
}

void link_free(struct link *l)
{
	if (!l)
		return;
	redis_free(l->redis);
	free(l);
}
