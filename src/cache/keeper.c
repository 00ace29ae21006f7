/*
 * The life of the keeper: it opens what it needs, connects the parts with each other, and leaves. The parts:
 *
 *     look          finds the page and publishes it
 *     invalidator   tells Redis of the workers' writes, and the workers that they may answer
 *     session       the connection on which Redis is asked
 *     link          the connection on which Redis tells
 */
#include "cache/keeper.h"

#include "base/clock.h"
#include "base/log.h"
#include "cache/invalidator.h"
#include "cache/link.h"
#include "cache/look.h"
#include "cache/page_memory.h"
#include "cache/session.h"
#include "config/config.h"
#include "store/executor.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum {
	KEEPER_AGAIN_MS = 1000, /* before the store is asked again for the database's id */
	KEEPER_AGAIN_MAX_MS = 30 * 1000,
	KEEPER_PROOF_MS = LINK_SETTLE_MS + 1000, /* without a proof for so long Redis counts as away */
	KEEPER_ORPHAN_MS = 6000,                 /* after the workers, who have 5 s */
	KEEPER_CLOSE_MS = 500,
	MS_NS = 1000000,
};

struct keeper {
	struct process *process;
	const struct config *config;
	struct page_memory *memory;
	struct loop loop;
	struct watch signals, lifeline, bell, results;
	int signal_fd;
	int64_t opened_ms;
	int64_t leave_ms; /* 0: stay */
	struct store *store;
	struct executor *executor;

	bool has_redis, vouches; /* vouches: cache_mode auto */
	struct redis_address address;
	struct lease lease;
	struct job *id_job;
	int64_t id_retry_ms, id_pause_ms;
	int64_t proof_ms;        /* when the link last proved anything */
	bool is_settled;         /* as of the last proof */
	bool is_deaf;            /* it proves nothing, as was said */
	struct session *session; /* NULL until the database's id is known */
	struct link *link;
	struct invalidator *invalidator;
	struct look *look;
};

/* ---- what the store says */

static void on_id(struct keeper *k, const struct job *job);

static void results_ready(struct watch *watch, uint32_t events)
{
	struct keeper *k = WATCH_OWNER(watch, struct keeper, results);
	(void)events;
	struct job *next;
	for (struct job *job = executor_collect(k->executor); job; job = next) {
		next = job->next;
		if (job == k->id_job)
			on_id(k, job);
		else
			(void)look_take(k->look, job);
		job_free(job);
	}
}

/* ---- Redis */

static void on_opening(void *arg)
{
	struct keeper *k = arg;
	invalidator_opening(k->invalidator);
}

static void on_open(void *arg, bool others)
{
	struct keeper *k = arg;
	link_unsettle(k->link);
	k->proof_ms = k->loop.now_ms; /* from here on it is expected */
	invalidator_opened(k->invalidator, others);
	/* What was shown was shown without knowing what others did. */
	page_move_generation(k->memory);
}

static void on_lost(void *arg)
{
	struct keeper *k = arg;
	page_set_link_until(k->memory, 0);
	page_move_generation(k->memory);
	link_reset(k->link, "the session has ended"); /* the next one may be with another server */
}

static void on_break(void *arg)
{
	struct keeper *k = arg;
	page_set_link_until(k->memory, 0);
	page_move_generation(k->memory);
}

static void on_message(void *arg, enum link_message message)
{
	struct keeper *k = arg;
	if (message == LINK_INVALIDATED)
		page_move_generation(k->memory);
	look_heard(k->look, message);
}

static void on_proof(void *arg, int64_t sent_ns)
{
	struct keeper *k = arg;
	if (!session_is_open(k->session))
		return;
	if (!identity_equal(session_identity(k->session), link_identity(k->link))) {
		link_reset(k->link, "it is with another server than the session");
		return;
	}
	bool was_settled = k->is_settled;
	k->is_settled = link_is_settled(k->link);
	if (!was_settled && k->is_settled)
		page_move_generation(
		    k->memory); /* what was read meanwhile is in no Redis: the next look puts it there */
	if (k->is_settled)
		k->proof_ms = k->loop.now_ms;
	if (k->is_settled && k->is_deaf)
		log_info("Redis tells again what other machines write");
	k->is_deaf = k->is_deaf && !k->is_settled;
	/* Full, Redis does not take down that this machine is there. */
	if (k->vouches && k->is_settled && !session_is_full(k->session))
		page_set_link_until(k->memory, sent_ns + (int64_t)LINK_LEASE_MS * MS_NS);
}

static void open_redis(struct keeper *k, const struct uuid *database)
{
	const struct session_events session_events = {on_opening, on_open, on_lost, k};
	const struct link_events link_events = {on_break, on_message, on_proof, k};
	lease_init(&k->lease, database, &k->memory->machine, k->config->cache_ttl_s * 1000,
		   k->config->cache_fresh_s * 1000, k->vouches);
	k->session = session_new(&k->loop, &k->address, &k->lease, &session_events);
	k->link = link_new(&k->loop, &k->address, &k->lease, &link_events);
	k->invalidator = invalidator_new(&k->loop, k->memory, &k->lease, k->link);
	look_use(k->look, &k->lease, k->session, k->link, k->invalidator);
}

/* The keys in Redis carry it: without it there is nothing to ask for. */
static void on_id(struct keeper *k, const struct job *job)
{
	k->id_job = NULL;
	if (job->status == STORE_OK)
		open_redis(k, &job->id);
	else
		k->id_pause_ms = 2 * k->id_pause_ms + KEEPER_AGAIN_MS;
	if (k->id_pause_ms > KEEPER_AGAIN_MAX_MS)
		k->id_pause_ms = KEEPER_AGAIN_MAX_MS;
	k->id_retry_ms = k->loop.now_ms + k->id_pause_ms;
}

static void ask_id(struct keeper *k)
{
	if (!k->has_redis || k->session || k->id_job || k->loop.now_ms < k->id_retry_ms)
		return;
	k->id_retry_ms = k->loop.now_ms + KEEPER_AGAIN_MS;
	struct job *job = job_new(JOB_ID, 0);
	if (executor_submit(k->executor, job))
		k->id_job = job;
	else
		job_free(job);
}

/* Without the database's id there is no session yet: its opening would be what writers wait for. */
static void release_writers(struct keeper *k)
{
	if (k->loop.now_ms - k->opened_ms < KEEPER_AGAIN_MS)
		return;
	for (unsigned i = 0; i < k->memory->worker_count; i++)
		page_set_invalidated(k->memory, i, page_committed(k->memory, i));
}

/* ---- the loop */

static void signals_ready(struct watch *watch, uint32_t events)
{
	struct keeper *k = WATCH_OWNER(watch, struct keeper, signals);
	struct signalfd_siginfo info;
	(void)events;
	while (read(watch->fd, &info, sizeof(info)) == sizeof(info))
		loop_stop(&k->loop);
}

static void lifeline_ready(struct watch *watch, uint32_t events)
{
	struct keeper *k = WATCH_OWNER(watch, struct keeper, lifeline);
	(void)events;
	loop_remove(&k->loop, watch);
	k->leave_ms = k->loop.now_ms + KEEPER_ORPHAN_MS;
}

static void bell_ready(struct watch *watch, uint32_t events)
{
	(void)events;
	page_bell_quiet(watch->fd);
}

/* A session without a link is of half the use, and that is said once. */
static void watch_link(struct keeper *k)
{
	bool is_proven = k->loop.now_ms - k->proof_ms < KEEPER_PROOF_MS;
	bool is_well = session_is_open(k->session) && is_proven && !session_is_full(k->session);
	page_set_cache_state(k->memory, is_well ? PAGE_CACHE_OK : PAGE_CACHE_AWAY);
	if (session_is_open(k->session) && !is_proven && !k->is_deaf) {
		log_warn("Redis does not tell what other machines write: %s; first pages come from the store",
			 link_reason(k->link));
		k->is_deaf = true;
	}
}

static void tick(void *arg)
{
	struct keeper *k = arg;
	process_beat(k->process);
	page_keeper_beat(k->memory);
	ask_id(k);
	if (k->session)
		watch_link(k);
	if (k->leave_ms && k->loop.now_ms >= k->leave_ms)
		loop_stop(&k->loop);
}

static int sooner(int a, int b)
{
	return a < 0 || (b >= 0 && b < a) ? b : a;
}

static int after_events(void *arg)
{
	struct keeper *k = arg;
	int sleep_ms = -1;
	/* Before a look: what it asks of Redis comes behind what Redis has to know. */
	if (k->session)
		sleep_ms = invalidator_tend(k->invalidator, k->session);
	else if (k->has_redis)
		release_writers(k);
	sleep_ms = sooner(sleep_ms, look_tend(k->look));
	if (k->session) {
		sleep_ms = sooner(sleep_ms, session_tend(k->session));
		sleep_ms = sooner(sleep_ms, link_tend(k->link));
	}
	executor_wake(k->executor);
	return sleep_ms;
}

/* ---- open, run, leave */

/* All signals stay blocked, as the master forked it. SIGTERM too, which a whole group may get, and which the kernel sends when
 * the master dies: the workers are still answering then. */
static int open_signals(struct keeper *k, struct err *err)
{
	sigset_t ours;
	sigemptyset(&ours);
	(void)sigaddset(&ours, SIGQUIT);
	k->signal_fd = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
	if (k->signal_fd < 0)
		return err_set(err, EXIT_CODE_OS, "signalfd: %s", strerror(errno));
	return 0;
}

static int open_cache(struct keeper *k, struct err *err)
{
	const char *cache = k->config->cache;
	bool is_local = strcmp(cache, "local") == 0;
	k->has_redis = config_has_redis(k->config);
	k->vouches = k->has_redis && k->config->cache_mode == CONFIG_CACHE_AUTO;
	page_keeper_begins(k->memory);
	page_set_link_until(k->memory, is_local ? INT64_MAX : 0);
	page_set_cache_state(k->memory, is_local       ? PAGE_CACHE_LOCAL
					: k->has_redis ? PAGE_CACHE_AWAY
						       : PAGE_CACHE_OFF);
	return k->has_redis ? redis_address_parse(&k->address, cache, err) : 0;
}

static int open_keeper(struct keeper *k, struct err *err)
{
	struct loop_hooks hooks = {tick, after_events, k};
	struct store_settings store = {k->config->store, k->config->store_timeout_ms, k->process->name, 0};
	if (loop_init(&k->loop, &hooks, err) != 0 || open_signals(k, err) != 0 || open_cache(k, err) != 0)
		return -1;
	k->opened_ms = k->loop.now_ms;
	k->store = store_open(&store, err);
	if (!k->store)
		return -1;
	struct executor_settings executor = {
	    .store = k->store,
	    .timeout_ms = k->config->store_timeout_ms,
	    .setup_done = k->process->setup_done,
	    .readers = 1,
	};
	k->executor = executor_open(&executor, err);
	if (!k->executor)
		return -1;
	struct look_settings look = {
	    .loop = &k->loop,
	    .memory = k->memory,
	    .executor = k->executor,
	    .store_timeout_ms = k->config->store_timeout_ms,
	    .ttl_s = k->config->cache_ttl_s,
	    .fresh_s = k->config->cache_fresh_s,
	};
	k->look = look_new(&look);
	if (loop_watch(&k->loop, &k->signals, k->signal_fd, signals_ready, err) != 0 ||
	    loop_watch(&k->loop, &k->lifeline, k->process->lifeline_fd, lifeline_ready, err) != 0 ||
	    loop_watch(&k->loop, &k->bell, page_keeper_bell(k->memory), bell_ready, err) != 0)
		return -1;
	return loop_watch(&k->loop, &k->results, executor_fd(k->executor), results_ready, err);
}

/* The store is left to _exit(2), as the workers do. */
static void close_keeper(struct keeper *k)
{
	if (k->session) {
		page_set_link_until(k->memory, 0); /* before nobody waits for it any more */
		session_leave(k->session);
	}
	session_free(k->session);
	look_free(k->look);
	link_free(k->link);
	invalidator_free(k->invalidator);
	if (k->has_redis)
		redis_address_release(&k->address);
	lease_release(&k->lease);
	(void)executor_close(k->executor, KEEPER_CLOSE_MS);
	loop_release(&k->loop);
	close(k->signal_fd);
}

int keeper_run(struct process *p)
{
	static struct keeper
	    keeper; /* static, so that a leak checker sees what a store thread that hangs still uses */
	struct keeper *k = &keeper;
	struct err err;
	*k = (struct keeper){.process = p, .config = p->config, .memory = p->shared, .signal_fd = -1};
	if (open_keeper(k, &err) != 0) {
		log_error("%s", err.text);
		return err.code;
	}
	process_beat(p);
	process_set_state(p, PROCESS_READY);
	loop_run(&k->loop);
	close_keeper(k);
	return EXIT_CODE_OK;
}

bool keeper_does_for(const struct config *a, const struct config *b)
{
	return strcmp(a->store, b->store) == 0 && strcmp(a->cache, b->cache) == 0 &&
	       a->cache_mode == b->cache_mode && a->cache_ttl_s == b->cache_ttl_s &&
	       a->cache_fresh_s == b->cache_fresh_s && a->store_timeout_ms == b->store_timeout_ms &&
	       a->log_level == b->log_level;
}

const char *keeper_source_name(unsigned source)
{
	static const char *const names[KEEPER_SOURCES] = {
	    [KEEPER_STORE] = "store",
	    [KEEPER_REDIS] = "redis",
	    [KEEPER_STALE] = "stale",
	    [KEEPER_NONE] = "none",
	};
	return source < KEEPER_SOURCES ? names[source] : "";
}

const char *keeper_script_name(unsigned script)
{
	return script < LEASE_SCRIPTS ? lease_script_name((enum lease_script)script) : "";
}

const char *keeper_lookup_name(unsigned verdict)
{
	static const char *const names[] = {
	    [LEASE_HIT] = "hit",   [LEASE_WON] = "won",       [LEASE_SERVE] = "serve",
	    [LEASE_WAIT] = "wait", [LEASE_BROKEN] = "broken",
	};
	static_assert(sizeof(names) / sizeof(names[0]) <= METRICS_LOOKUPS &&
			  (int)LEASE_SCRIPTS <= METRICS_SCRIPTS && (int)KEEPER_SOURCES <= METRICS_SOURCES,
		      "there is room for them");
	return verdict < sizeof(names) / sizeof(names[0]) ? names[verdict] : "";
}

const char *keeper_library(void)
{
	return redis_library();
}
