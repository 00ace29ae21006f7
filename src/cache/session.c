#include "cache/session.h"

#include "base/log.h"
#include "base/metrics.h"
#include "base/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum session_state { SESSION_AWAY, SESSION_CONNECTING, SESSION_OPENING, SESSION_OPEN };

enum {
	SHA_BYTES = 40,
	REASON_BYTES = 256,
	SESSION_RETRY_MAX_MS = 400,
	SESSION_REFUSALS_MAX = 10,
	SESSION_QUIET_MS = 3000, /* open for that long, it is back */
};

struct session {
	struct loop *loop;
	struct redis *redis;
	const struct lease *lease;
	struct session_events events;
	enum session_state state;
	int64_t pause_ms; /* after the next try, should it fail */
	bool is_refused;  /* it ends over an answer, not over the connection: at once it would end so again */
	unsigned refusals;     /* such ends, each soon after the other */
	int64_t refused_ms;    /* the last */
	int64_t open_since_ms; /* when it was opened */
	int64_t last_open_ms;  /* when it was last open, or began */
	int64_t retry_ms;
	int64_t probe_ms;
	bool is_full;
	int64_t full_ms;  /* when it last refused something for that */
	unsigned loading; /* scripts that are loaded */
	char shas[LEASE_SCRIPTS][SHA_BYTES];
	struct identity identity; /* of the server */
	bool others;
	char reason[REASON_BYTES]; /* why it is not open, as was logged; empty: nothing to log has happened */
};

/* A script on its way. */
struct call {
	struct session *session;
	enum lease_script script;
	redis_done_fn *done;
	void *arg;
};

bool session_is_open(const struct session *s)
{
	return s->state == SESSION_OPEN;
}

bool session_is_away(const struct session *s)
{
	return s->state != SESSION_OPEN && s->loop->now_ms - s->last_open_ms >= SESSION_COMMAND_MS;
}

bool session_is_full(const struct session *s)
{
	return s->state == SESSION_OPEN && s->is_full;
}

bool session_has_others(const struct redisReply *reply, unsigned own_receivers)
{
	const struct redisReply *receivers = redis_at(reply, 0), *machines = redis_at(reply, 1);
	return !receivers || !machines || redis_integer(receivers) > own_receivers ||
	       redis_integer(machines) > 1; /* this one has said that it is there */
}

/* ---- why it is away */

static void say_once(struct session *s, const char *reason)
{
	if (strncmp(s->reason, reason, sizeof(s->reason) - 1) == 0)
		return;
	struct slice text = slice_of(reason);
	size_t len = text.len < sizeof(s->reason) ? text.len : sizeof(s->reason) - 1;
	memcpy(s->reason, text.data, len);
	s->reason[len] = '\0';
	log_warn("Redis is away: %s; first pages come from the store", s->reason);
}

static void on_closed(void *arg, const char *reason)
{
	struct session *s = arg;
	bool was_open = s->state == SESSION_OPEN;
	if (was_open)
		counter_add(&metrics_own()->sessions_lost, 1);
	s->state = SESSION_AWAY;
	s->is_full = false;
	if (s->loop->now_ms - s->refused_ms >= SESSION_QUIET_MS)
		s->refusals = 0;
	if (s->is_refused) {
		s->refused_ms = s->loop->now_ms;
		s->refusals++;
	}
	/* An opening mends what is damaged; what it does not mend would end the next session, too. */
	bool may_be_mended = was_open && s->refusals <= SESSION_REFUSALS_MAX;
	int64_t pause_ms = may_be_mended ? 0 : s->is_refused ? SESSION_RETRY_MAX_MS : s->pause_ms;
	s->pause_ms = was_open ? SESSION_RETRY_MS : 2 * s->pause_ms;
	if (s->pause_ms > SESSION_RETRY_MAX_MS)
		s->pause_ms = SESSION_RETRY_MAX_MS;
	/* Machines that lost the same server do not come back together. */
	s->retry_ms = s->loop->now_ms + random_between(pause_ms * 3 / 4, pause_ms * 5 / 4);
	/* What does not last is not worth a line. */
	if (s->is_refused || session_is_away(s))
		say_once(s, reason);
	else
		log_debug("the session with Redis ended: %s", reason);
	s->is_refused = false;
	if (was_open)
		s->events.on_lost(s->events.arg);
}

void session_reset(struct session *s, const char *reason)
{
	s->is_refused = true;
	redis_close(s->redis, reason);
}

static bool begins_with(struct slice text, struct slice start)
{
	return text.len >= start.len && memcmp(text.data, start.data, start.len) == 0;
}

/* An error instead of an answer. A script that is not known any more is loaded by the next opening. */
static void refused(struct session *s, const char *what, struct slice error)
{
	char reason[REASON_BYTES];
	int len = (int)(error.len < 160 ? error.len : 160);
	(void)snprintf(reason, sizeof(reason), "%s: %.*s", what, len, error.data);
	s->is_refused = !begins_with(error, SLICE("NOSCRIPT"));
	redis_close(s->redis, reason);
}

/* What a full server may refuse. It deletes even so, and that is what must not fail. */
static const bool may_be_full[LEASE_SCRIPTS] = {
    [LEASE_PROBE] = true, [LEASE_ACQUIRE] = true, [LEASE_FILL] = true, [LEASE_BEGIN] = true};

static void refused_script(struct session *s, enum lease_script script, struct slice error)
{
	if (!may_be_full[script] || !begins_with(error, SLICE("OOM"))) {
		refused(s, lease_script_name(script), error);
		return;
	}
	if (!s->is_full)
		log_warn("Redis is full: it stores no page; give it maxmemory-policy allkeys-lru");
	s->is_full = true;
	s->full_ms = s->loop->now_ms;
}

/* ---- calls */

static void on_called(void *arg, const struct redisReply *reply)
{
	struct call call = *(struct call *)arg;
	free(arg);
	bool is_done = reply && redis_type(reply) != REDIS_ERROR;
	counter_add(is_done ? &metrics_own()->scripts[call.script]
			    : &metrics_own()->scripts_failed[call.script],
		    1);
	if (reply && !is_done) {
		refused_script(call.session, call.script, redis_text(reply));
		reply = NULL;
	}
	if (call.done)
		call.done(call.arg, reply);
}

static void send_script(struct session *s, enum lease_script script, const struct slice *words, size_t count,
			redis_done_fn *done, void *arg)
{
	struct slice all[LEASE_WORDS_MAX + 2] = {
	    SLICE("EVALSHA"), {s->shas[script], SHA_BYTES}
        };
	memcpy(all + 2, words, count * sizeof(*words));
	struct call *call = alloc_zeroed(1, sizeof(*call));
	*call = (struct call){s, script, done, arg};
	redis_send(s->redis, all, count + 2, SESSION_COMMAND_MS, on_called, call);
}

void session_call(struct session *s, enum lease_script script, const struct slice *words, size_t count,
		  redis_done_fn *done, void *arg)
{
	if (s->state == SESSION_OPEN)
		send_script(s, script, words, count, done, arg);
	else if (done)
		done(arg, NULL);
}

/* ---- who it is */

/* False: the session has ended over it. */
static bool judge(struct session *s, const struct redisReply *reply)
{
	struct identity identity;
	if (!reply)
		return false;
	const char *wrong = identity_read(&identity, reply);
	if (!wrong && s->state == SESSION_OPEN && !identity_equal(&identity, &s->identity))
		wrong = "another server answers in its place";
	if (wrong) {
		session_reset(s, wrong);
		return false;
	}
	s->identity = identity;
	return true;
}

const struct identity *session_identity(const struct session *s)
{
	return &s->identity;
}

/* ---- opening */

static void on_probed(void *arg, const struct redisReply *reply)
{
	struct session *s = arg;
	if (!redis_is_open(s->redis))
		return;
	if (reply && s->is_full && s->loop->now_ms - s->full_ms >= SESSION_QUIET_MS) {
		log_info("Redis has room again");
		s->is_full = false;
	}
	if (s->state != SESSION_OPENING)
		return;
	s->state = SESSION_OPEN;
	counter_add(&metrics_own()->sessions_opened, 1);
	s->open_since_ms = s->last_open_ms = s->loop->now_ms;
	s->probe_ms = s->loop->now_ms + SESSION_PROBE_MS;
	s->events.on_open(s->events.arg, s->others);
}

static void send_probe(struct session *s)
{
	struct slice words[LEASE_WORDS_MAX];
	struct buf scratch = BUF_INIT;
	size_t count = lease_probe_args(s->lease, words, &scratch);
	send_script(s, LEASE_PROBE, words, count, on_probed, s);
	buf_release(&scratch);
}

static void on_opened(void *arg, const struct redisReply *reply)
{
	struct session *s = arg;
	if (!reply || s->state != SESSION_OPENING)
		return;
	s->others = session_has_others(reply, 0);
	send_probe(s);
}

static void send_open(struct session *s)
{
	struct slice words[LEASE_WORDS_MAX];
	struct buf scratch = BUF_INIT;
	size_t count = lease_open_args(s->lease, words, &scratch);
	s->events.on_opening(s->events.arg);
	send_script(s, LEASE_OPEN, words, count, on_opened, s);
	buf_release(&scratch);
}

static void on_loaded(void *arg, const struct redisReply *reply)
{
	struct session *s = arg;
	if (!reply || s->state != SESSION_OPENING)
		return;
	struct slice sha = redis_text(reply);
	if (redis_type(reply) == REDIS_ERROR) {
		refused(s, "SCRIPT LOAD", sha);
	} else if (sha.len != SHA_BYTES) {
		session_reset(s, "it does not answer as a Redis does");
	} else {
		memcpy(s->shas[s->loading], sha.data, SHA_BYTES);
		if (++s->loading == LEASE_SCRIPTS)
			send_open(s);
	}
}

static void load(struct session *s)
{
	s->loading = 0;
	for (int script = 0; script < LEASE_SCRIPTS; script++) {
		const struct slice words[] = {SLICE("SCRIPT"), SLICE("LOAD"),
					      lease_script_source((enum lease_script)script)};
		redis_send(s->redis, words, 3, SESSION_COMMAND_MS, on_loaded, s);
	}
}

static void on_identified(void *arg, const struct redisReply *reply)
{
	struct session *s = arg;
	if (judge(s, reply) && s->state == SESSION_OPENING)
		load(s);
}

static void ask_who(struct session *s)
{
	identity_ask(s->redis, SESSION_COMMAND_MS, on_identified, s);
}

static void on_connected(void *arg)
{
	struct session *s = arg;
	s->state = SESSION_OPENING;
	ask_who(s);
}

static void no_push(void *arg, const struct redisReply *reply)
{
	struct session *s = arg;
	(void)reply;
	session_reset(s, "it says what nobody asked");
}

/* ---- life */

static void ignore(void *arg, const struct redisReply *reply)
{
	(void)arg;
	(void)reply;
}

void session_leave(struct session *s)
{
	if (s->state != SESSION_OPEN)
		return;
	const struct slice words[] = {SLICE("ZREM"), buf_slice(&s->lease->keys[LEASE_MACHINES]),
				      slice_of(s->lease->machine)};
	redis_send(s->redis, words, 3, SESSION_COMMAND_MS, ignore, s);
	redis_flush(s->redis);
}

int session_tend(struct session *s)
{
	int64_t now_ms = s->loop->now_ms, next_ms = now_ms + SESSION_PROBE_MS;
	if (s->state == SESSION_AWAY && now_ms >= s->retry_ms) {
		s->state = SESSION_CONNECTING;
		redis_connect(s->redis, SESSION_CONNECT_MS);
	}
	int redis_ms = redis_check_time(s->redis);
	if (s->state == SESSION_AWAY)
		next_ms = s->retry_ms;
	if (s->state == SESSION_OPEN && now_ms >= s->probe_ms) {
		s->probe_ms = now_ms + SESSION_PROBE_MS;
		ask_who(s);
		send_probe(s);
	}
	if (s->state == SESSION_OPEN)
		s->last_open_ms = now_ms;
	if (s->reason[0] && s->state == SESSION_OPEN && now_ms - s->open_since_ms >= SESSION_QUIET_MS) {
		log_info("Redis is back");
		s->reason[0] = '\0';
	}
	if (s->state == SESSION_OPEN)
		next_ms = s->probe_ms;
	redis_flush(s->redis);
	int wait_ms = next_ms > now_ms ? (int)(next_ms - now_ms) : 0;
	return redis_ms >= 0 && redis_ms < wait_ms ? redis_ms : wait_ms;
}

struct session *session_new(struct loop *loop, const struct redis_address *address, const struct lease *lease,
			    const struct session_events *events)
{
	struct session *s = alloc_zeroed(1, sizeof(*s));
	struct redis_events redis_events = {on_connected, on_closed, no_push, s};
	s->loop = loop;
	s->last_open_ms = loop->now_ms;
	s->pause_ms = SESSION_RETRY_MS;
	s->lease = lease;
	s->events = *events;
	s->redis = redis_new(loop, address, &redis_events);
	return s;
}

void session_free(struct session *s)
{
	if (!s)
		return;
	redis_close(s->redis, "leaving"); /* whoever waits for an answer is told */
	redis_free(s->redis);
	free(s);
}
