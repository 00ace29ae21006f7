#include "cache/inspect.h"

#include "cache/identity.h"
#include "cache/redis.h"
#include "net/loop.h"

#include <stdlib.h>
#include <string.h>

enum { REDIS_MAJOR_MIN = 5 };

/* One look: connect, ask all questions at once, judge each answer as it comes. */
struct look {
	struct loop loop;
	struct redis *redis;
	uint32_t timeout_ms;
	struct report *report;
	unsigned open; /* questions without an answer */
};

static void answered(struct look *l)
{
	if (--l->open == 0)
		loop_stop(&l->loop);
}

/* ---- judging */

static bool info_is(struct slice info, const char *name, const char *value)
{
	return slice_equal(identity_info(info, slice_of(name)), slice_of(value));
}

static void judge_server(struct report *report, const struct redisReply *reply, struct slice info)
{
	struct identity identity;
	struct slice version = identity_info(info, SLICE("redis_version:"));
	const char *wrong = identity_read(&identity, reply);
	if (wrong)
		report_fail(report, EXIT_CODE_UNAVAILABLE, "Redis", "%s; name the master in `cache`", wrong);
	else if (version.len == 0 || strtol(version.data, NULL, 10) < REDIS_MAJOR_MIN)
		report_fail(report, EXIT_CODE_UNAVAILABLE, "Redis",
			    "version \"%.*s\"; todod needs %d or later", (int)version.len, version.data,
			    REDIS_MAJOR_MIN);
	else
		report_ok(report, "Redis", "%.*s, a master", (int)version.len, version.data);
}

static void judge_memory(struct report *report, struct slice info)
{
	struct slice limit = identity_info(info, SLICE("maxmemory_human:"));
	struct slice policy = identity_info(info, SLICE("maxmemory_policy:"));
	if (info_is(info, "maxmemory:", "0"))
		report_ok(report, "memory of Redis", "not limited");
	else if (slice_equal(policy, SLICE("noeviction")))
		report_warn(report, "memory of Redis",
			    "limited to %.*s with noeviction: full, it stores no page; set maxmemory-policy "
			    "allkeys-lru",
			    (int)limit.len, limit.data);
	else
		report_ok(report, "memory of Redis", "limited to %.*s, %.*s", (int)limit.len, limit.data,
			  (int)policy.len, policy.data);
}

static void judge_persistence(struct report *report, struct slice info)
{
	if (!info_is(info, "rdb_last_bgsave_status:", "ok"))
		report_warn(report, "snapshots of Redis",
			    "the last one failed, after which it may refuse writes; make room, or set "
			    "stop-writes-on-bgsave-error no");
	if (info_is(info, "aof_enabled:", "1"))
		report_warn(report, "log of Redis",
			    "appendonly is on: it costs time, and nothing of todod's has to survive; set "
			    "appendonly no");
}

static void on_info(void *arg, const struct redisReply *reply)
{
	struct look *l = arg;
	struct slice info = redis_text(reply);
	if (reply) {
		judge_server(l->report, reply, info);
		if (redis_type(reply) == REDIS_TEXT) {
			judge_memory(l->report, info);
			judge_persistence(l->report, info);
		}
	}
	answered(l);
}

/* CONFIG GET save; a user that may not ask is told nothing. */
static void on_save(void *arg, const struct redisReply *reply)
{
	struct look *l = arg;
	struct slice save = redis_text(redis_at(reply, 1));
	if (save.len)
		report_warn(
		    l->report, "snapshots of Redis",
		    "save is \"%.*s\": a restart may bring back pages that todod then has to delete; set "
		    "save \"\"",
		    (int)save.len, save.data);
	answered(l);
}

static void on_written(void *arg, const struct redisReply *reply)
{
	struct look *l = arg;
	struct slice text = redis_text(reply);
	if (reply && redis_type(reply) == REDIS_ERROR)
		report_fail(l->report, EXIT_CODE_UNAVAILABLE, "writing to Redis",
			    "%.*s; conf/redis.conf shows what todod needs", (int)text.len, text.data);
	else if (reply)
		report_ok(l->report, "writing to Redis", "it takes writes");
	answered(l);
}

/* ---- asking */

static void on_open(void *arg)
{
	static const struct {
		const char *words[5];
		redis_done_fn *done;
	} questions[] = {
	    {{"INFO"},				   on_info   },
	    {{"CONFIG", "GET", "save"},                  on_save   },
	    {{"SET", "todod:doctor", "1", "PX", "1000"}, on_written},
	};
	struct look *l = arg;
	l->open = sizeof(questions) / sizeof(questions[0]);
	for (size_t i = 0; i < sizeof(questions) / sizeof(questions[0]); i++) {
		struct slice words[5];
		size_t count = 0;
		for (; count < 5 && questions[i].words[count]; count++)
			words[count] = slice_of(questions[i].words[count]);
		redis_send(l->redis, words, count, l->timeout_ms, questions[i].done, l);
	}
}

static void on_closed(void *arg, const char *reason)
{
	struct look *l = arg;
	report_fail(l->report, EXIT_CODE_UNAVAILABLE, "Redis",
		    "%s; start it, or correct `cache`: until then first pages come from the store", reason);
	loop_stop(&l->loop);
}

static void on_push(void *arg, const struct redisReply *reply)
{
	struct look *l = arg;
	(void)reply;
	redis_close(l->redis, "it says what nobody asked");
}

static void on_tick(void *arg)
{
	(void)arg;
}

static int after_events(void *arg)
{
	struct look *l = arg;
	int sleep_ms = redis_check_time(l->redis);
	redis_flush(l->redis);
	return sleep_ms;
}

void cache_inspect(const char *uri, uint32_t timeout_ms, struct report *report)
{
	struct look l = {.timeout_ms = timeout_ms, .report = report};
	const struct loop_hooks hooks = {on_tick, after_events, &l};
	const struct redis_events events = {on_open, on_closed, on_push, &l};
	struct redis_address address;
	struct err err;
	if (redis_address_parse(&address, uri, &err) != 0) {
		report_fail(report, err.code, "Redis", "%s", err.text);
		return;
	}
	if (loop_init(&l.loop, &hooks, &err) == 0) {
		l.redis = redis_new(&l.loop, &address, &events);
		redis_connect(l.redis, timeout_ms);
		loop_run(&l.loop);
		redis_free(l.redis);
		loop_release(&l.loop);
	} else {
		report_fail(report, err.code, "Redis", "%s", err.text);
	}
	redis_address_release(&address);
}
