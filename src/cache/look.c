#include "cache/look.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/random.h"
#include "cache/first_page.h"
#include "cache/keeper.h"

#include <stdlib.h>
#include <string.h>

enum {
	LOOK_ASK_MS = 50,   /* then the store is asked instead of Redis */
	LOOK_BUSY_MS = 200, /* with another machine's lease in the way, while writes keep taking it away */
	LOOK_POLL_MIN_MS = 5,
	LOOK_POLL_MAX_MS = 50,
	LOOK_GATHER_NS = 1000000,
	LOOK_AGAIN_MS = 1000, /* after a refresh that failed, or that somebody else makes */
	MS_NS = 1000000,
	S_US = 1000000,
};

enum look_state { LOOK_IDLE, LOOK_ASKING, LOOK_WAITING, LOOK_QUERYING };

/* A query on its way, and what is to become of its page. */
struct query {
	struct job *job; /* NULL: none */
	int64_t deadline_ms;
	uint64_t generation, wanted;
	int64_t asked_ns, filled_us;
	bool has_lease, dirty;
	bool has_old; /* fetched holds a page that is too old to be served while the store can be asked */
	char token[LEASE_TOKEN_BYTES];
};

struct look {
	struct look_settings settings;
	const struct lease *lease; /* NULL, and the next three: there is no Redis to ask */
	struct session *session;
	struct link *link;
	const struct invalidator *invalidator;

	enum look_state state;
	unsigned number; /* answers to an earlier question are dropped */
	uint64_t generation, wanted;
	int64_t asked_ns;
	int64_t begun_ms, busy_ms; /* busy_ms: since somebody wrote while it waited; 0: nobody has */
	int64_t due_ms;            /* ASKING: too late; WAITING: ask again */
	int64_t poll_ms;
	char token[LEASE_TOKEN_BYTES];

	struct query query, refresh;
	struct page shown;   /* as published last */
	struct page fetched; /* from Redis: memory that is reused */
	uint64_t served;     /* how many that was for */
	int64_t served_ns;
	uint64_t covered;   /* the wanted of what was published last */
	int64_t refresh_ms; /* when the shown page is no longer fresh */
	int64_t failed_ms;  /* when the store last failed; 0: it has answered since */
};

/* ---- publishing */

static bool is_shown_current(const struct look *l)
{
	return l->shown.state == PAGE_OK && page_is_current(l->settings.memory, &l->shown);
}

static enum keeper_source source_of(const struct page *page)
{
	if (page->state == PAGE_FAILED)
		return KEEPER_NONE;
	if (page->is_stale)
		return KEEPER_STALE;
	return page->source == PAGE_FROM_REDIS ? KEEPER_REDIS : KEEPER_STORE;
}

/* Who has a copy looks at the slot again only when the generation moves. Moved by us alone, it is one further; moved by a
 * writer too, it is more than that, and then this page is for those who wait, as it should be. A page that was begun before
 * the one that is there is of no use: somebody may still have to fetch that. */
static void publish(struct look *l, struct page *page)
{
	if (page->wanted < l->covered)
		return;
	bool is_seen = l->shown.state == PAGE_OK && l->shown.generation == page->generation;
	bool differs = page->state != PAGE_OK || uuid_compare_to(&page->tag, &l->shown.tag) != 0 ||
		       page->is_stale != l->shown.is_stale;
	if (is_seen && differs && page_generation(l->settings.memory) == page->generation) {
		page_move_generation(l->settings.memory);
		page->generation++;
	}
	l->served = page->wanted - l->covered;
	l->served_ns = clock_monotonic_ns();
	l->covered = page->wanted;
	counter_add(&metrics_own()->published[source_of(page)], 1);
	page_publish(l->settings.memory, page);
	page_copy(&l->shown, page);
}

static void plan_refresh(struct look *l, int64_t in_ms)
{
	l->refresh_ms = l->settings.loop->now_ms + (in_ms > 1 ? in_ms : 1);
}

/* The store cannot be asked: what is current without it may be served on, as what it is. False: nothing is. */
static bool publish_stale(struct look *l, uint64_t wanted)
{
	if (!is_shown_current(l))
		return false;
	if (clock_wall_us() - l->shown.filled_us >= (int64_t)l->settings.ttl_s * S_US) {
		page_move_generation(l->settings.memory);
		return false;
	}
	struct page page = {0};
	page_copy(&page, &l->shown);
	page.is_stale = true;
	page.wanted = wanted;
	publish(l, &page);
	page_release(&page);
	return true;
}

static void show(struct look *l, struct page *page)
{
	page->generation = l->generation;
	page->wanted = l->wanted;
	page->asked_ns = l->asked_ns;
	publish(l, page);
}

/* ---- queries */

static void give_back(struct look *l, const char *token);

static void on_filled(void *arg, const struct redisReply *reply)
{
	(void)arg;
	if (reply && redis_integer(reply) == 0)
		log_debug("the page was not stored: somebody wrote meanwhile");
}

static void fill(struct look *l, const struct query *q, const struct page *page)
{
	struct slice words[LEASE_WORDS_MAX];
	struct buf scratch = BUF_INIT;
	if (page->json.len > PAGE_JSON_MAX_BYTES) {
		give_back(l, q->token);
		return;
	}
	size_t count = lease_fill_args(l->lease, q->token, page, q->dirty, words, &scratch);
	session_call(l->session, LEASE_FILL, words, count, on_filled, l);
	buf_release(&scratch);
}

static void give_back(struct look *l, const char *token)
{
	struct slice words[LEASE_WORDS_MAX];
	struct buf scratch = BUF_INIT;
	size_t count = lease_release_args(l->lease, token, words, &scratch);
	session_call(l->session, LEASE_RELEASE, words, count, NULL, NULL);
	buf_release(&scratch);
}

/* Nobody waits for a refresh: who is not served by what there is asks again. */
static void query_fail(struct look *l, const struct query *q)
{
	l->failed_ms = l->settings.loop->now_ms;
	plan_refresh(l, LOOK_AGAIN_MS);
	if (q->has_lease)
		give_back(l, q->token);
	if (publish_stale(l, q->wanted) || q == &l->refresh)
		return;
	if (q->has_old) {
		l->fetched.is_stale = true;
		show(l, &l->fetched);
		return;
	}
	struct page page = {.wanted = q->wanted, .state = PAGE_FAILED};
	publish(l, &page);
}

/* `has_lease`: the token of the look, and whether somebody writes elsewhere. False: the store refuses at once. */
static bool query_begin(struct look *l, struct query *q, bool has_lease, bool dirty, bool has_old)
{
	*q = (struct query){.has_lease = has_lease, .dirty = dirty, .has_old = has_old};
	q->wanted = page_wanted(l->settings.memory);
	q->generation = page_generation(l->settings.memory);
	q->asked_ns = clock_monotonic_ns();
	q->filled_us = clock_wall_us();
	q->deadline_ms = l->settings.loop->now_ms + l->settings.store_timeout_ms;
	if (has_lease)
		memcpy(q->token, l->token, sizeof(q->token));
	q->job = job_new(JOB_PAGE, 0);
	q->job->query = (struct store_page_query){.count = FIRST_PAGE_COUNT};
	if (executor_submit(l->settings.executor, q->job))
		return true;
	job_free(q->job);
	q->job = NULL;
	query_fail(l, q);
	return false;
}

static void query_succeed(struct look *l, const struct query *q, struct todo_page *todos)
{
	int64_t fresh_ms = (int64_t)l->settings.fresh_s * 1000;
	struct page page = {.generation = q->generation,
			    .wanted = q->wanted,
			    .asked_ns = q->asked_ns,
			    .filled_us = q->filled_us};
	page_fill(&page, todos);
	l->failed_ms = 0;
	plan_refresh(l, random_between(fresh_ms * 4 / 5, fresh_ms));
	publish(l, &page);
	if (q->has_lease)
		fill(l, q, &page);
	page_release(&page);
}

/* ---- looks */

static void ask_store(struct look *l)
{
	l->number++;
	l->state = query_begin(l, &l->query, false, false, false) ? LOOK_QUERYING : LOOK_IDLE;
}

static void ask_store_with_lease(struct look *l, const struct lease_acquired *got)
{
	l->number++;
	l->state = query_begin(l, &l->query, true, got->dirty, got->has_page) ? LOOK_QUERYING : LOOK_IDLE;
}

static void end(struct look *l)
{
	l->number++;
	l->state = LOOK_IDLE;
}

static void await_holder(struct look *l, int64_t lease_left_ms)
{
	int64_t now_ms = l->settings.loop->now_ms;
	/* The lease of a machine that is gone may live longer than those who wait here. */
	if (now_ms - l->begun_ms > l->settings.store_timeout_ms / 2 ||
	    (l->busy_ms && now_ms - l->busy_ms > LOOK_BUSY_MS)) {
		ask_store(l);
		return;
	}
	l->state = LOOK_WAITING;
	l->poll_ms = l->poll_ms ? 2 * l->poll_ms : LOOK_POLL_MIN_MS;
	if (l->poll_ms > LOOK_POLL_MAX_MS)
		l->poll_ms = LOOK_POLL_MAX_MS;
	int64_t wait_ms = random_between(l->poll_ms * 3 / 4, l->poll_ms * 5 / 4);
	l->due_ms = now_ms + (lease_left_ms > 0 && lease_left_ms < wait_ms ? lease_left_ms + 1 : wait_ms);
}

/* The lease is ours, and the page that is there is no longer fresh: it is served while it is read anew, unless the store has
 * just failed. */
static void serve_and_refresh(struct look *l, bool dirty)
{
	l->fetched.is_stale = l->failed_ms > 0;
	show(l, &l->fetched);
	plan_refresh(l, LOOK_AGAIN_MS);
	end(l);
	if (l->refresh.job || (l->failed_ms && l->settings.loop->now_ms - l->failed_ms < LOOK_AGAIN_MS))
		give_back(l, l->token);
	else
		(void)query_begin(l, &l->refresh, true, dirty, false);
}

/* An answer that nobody waits for any more: a lease that it won is of no use. */
struct acquisition {
	struct look *look;
	unsigned number;
	char token[LEASE_TOKEN_BYTES];
};

static void on_acquired(void *arg, const struct redisReply *reply)
{
	struct acquisition asked = *(struct acquisition *)arg;
	struct look *l = asked.look;
	free(arg);
	bool is_late = l->state != LOOK_ASKING || l->number != asked.number;
	if (!reply) {
		if (!is_late)
			ask_store(l);
		return;
	}
	struct lease_acquired got;
	int64_t fresh_ms = (int64_t)l->settings.fresh_s * 1000; /* others may think differently */
	lease_read_acquire(reply, &got, &l->fetched);
	counter_add(&metrics_own()->lookups[got.verdict], 1);
	if (got.verdict == LEASE_BROKEN) {
		if (!is_late)
			ask_store(l);
		session_reset(l->session, got.why);
		return;
	}
	if (is_late) {
		if (got.verdict == LEASE_WON)
			give_back(l, asked.token);
		return;
	}
	switch (got.verdict) {
	case LEASE_HIT:
		l->fetched.is_stale = false;
		show(l, &l->fetched);
		plan_refresh(l, got.fresh_left_ms < fresh_ms ? got.fresh_left_ms : fresh_ms);
		end(l);
		break;
	case LEASE_WON:
		/* Past its grace only where there is nothing better. */
		if (got.has_page && (got.fresh_left_ms > -LEASE_GRACE_MS || l->failed_ms > 0))
			serve_and_refresh(l, got.dirty);
		else
			ask_store_with_lease(l, &got);
		break;
	case LEASE_SERVE:
		l->fetched.is_stale = l->failed_ms > 0;
		show(l, &l->fetched);
		plan_refresh(l, LOOK_AGAIN_MS);
		end(l);
		break;
	case LEASE_WAIT: await_holder(l, got.wait_ms); break;
	case LEASE_BROKEN: break;
	}
}

/* Redis has been well for a while, it knows of every write of this machine, and there is none under way that somebody may have seen
 * by another path. */
static bool may_ask_redis(const struct look *l)
{
	return l->session && session_is_open(l->session) && link_is_settled(l->link) &&
	       page_is_quiet(l->settings.memory) && !invalidator_owes(l->invalidator) &&
	       identity_equal(session_identity(l->session), link_identity(l->link)) &&
	       clock_monotonic_ns() - link_proven_ns(l->link) < (int64_t)LINK_TRUST_MS * MS_NS;
}

/* Asks Redis, or else the store. */
static void ask(struct look *l)
{
	l->number++;
	l->wanted = page_wanted(l->settings.memory);
	l->generation = page_generation(l->settings.memory);
	l->asked_ns = clock_monotonic_ns();
	/* In this order: whoever waits by now may have seen what is being written now. */
	if (!may_ask_redis(l)) {
		ask_store(l);
		return;
	}
	l->state = LOOK_ASKING;
	l->due_ms = l->settings.loop->now_ms + LOOK_ASK_MS;
	lease_token(l->token);
	struct acquisition *asked = alloc_zeroed(1, sizeof(*asked));
	*asked = (struct acquisition){.look = l, .number = l->number};
	memcpy(asked->token, l->token, sizeof(asked->token));
	struct slice words[LEASE_WORDS_MAX];
	struct buf scratch = BUF_INIT;
	size_t count = lease_acquire_args(l->lease, l->token, words, &scratch);
	session_call(l->session, LEASE_ACQUIRE, words, count, on_acquired, asked);
	buf_release(&scratch);
}

static void begin(struct look *l)
{
	l->begun_ms = l->settings.loop->now_ms;
	l->busy_ms = l->poll_ms = 0;
	ask(l);
}

/* Those who have just been answered are about to ask again: one query for all of them. A client that asks alone never waits. */
static bool is_gathering(const struct look *l, uint64_t waiting)
{
	return 2 * waiting < l->served && clock_monotonic_ns() - l->served_ns < LOOK_GATHER_NS;
}

static void tend(struct look *l)
{
	int64_t now_ms = l->settings.loop->now_ms;
	if (l->state == LOOK_ASKING && now_ms >= l->due_ms)
		ask_store(l);
	else if (l->state == LOOK_WAITING && now_ms >= l->due_ms)
		ask(l);
	uint64_t waiting = page_wanted(l->settings.memory) - l->covered;
	if (l->state == LOOK_IDLE && waiting > 0 && !is_gathering(l, waiting))
		begin(l);
}

/* ---- freshness */

/* While the others are served. Of a page that is not current nobody takes care until somebody asks. */
static void refresh_tend(struct look *l)
{
	if (l->settings.loop->now_ms < l->refresh_ms || l->refresh.job || l->state != LOOK_IDLE ||
	    !is_shown_current(l))
		return;
	plan_refresh(l, LOOK_AGAIN_MS);
	if (l->session)
		begin(l);
	else
		(void)query_begin(l, &l->refresh, false, false, false);
}

/* ---- what the store says */

static bool query_collect(struct look *l, struct query *q, struct job *job)
{
	if (job != q->job)
		return false;
	q->job = NULL;
	if (job->status == STORE_OK)
		query_succeed(l, q, job->page);
	else
		query_fail(l, q);
	return true;
}

/* A query that the store does not answer in time is one that failed. */
static bool query_expire(struct look *l, struct query *q)
{
	if (!q->job || l->settings.loop->now_ms < q->deadline_ms ||
	    executor_expire(l->settings.executor, q->job) == JOB_COLLECTABLE)
		return false;
	q->job = NULL;
	query_fail(l, q);
	return true;
}

/* ---- the module */

int look_tend(struct look *l)
{
	if (query_expire(l, &l->query))
		end(l);
	(void)query_expire(l, &l->refresh);
	refresh_tend(l);
	tend(l);
	if (l->state == LOOK_IDLE && page_wanted(l->settings.memory) > l->covered)
		return 1; /* gathering */
	if (l->state != LOOK_ASKING && l->state != LOOK_WAITING)
		return -1;
	int64_t wait_ms = l->due_ms - l->settings.loop->now_ms;
	return wait_ms > 0 ? (int)wait_ms : 0;
}

bool look_take(struct look *l, struct job *job)
{
	if (query_collect(l, &l->query, job)) {
		end(l);
		return true;
	}
	return query_collect(l, &l->refresh, job);
}

void look_heard(struct look *l, enum link_message message)
{
	int64_t now_ms = l->settings.loop->now_ms;
	if (message == LINK_INVALIDATED && l->state == LOOK_WAITING && !l->busy_ms)
		l->busy_ms = now_ms;
	if (message == LINK_FILLED)
		l->refresh_ms = now_ms; /* it may be fresher than what is shown */
	if (l->state == LOOK_WAITING)
		l->due_ms = now_ms;
}

void look_use(struct look *l, const struct lease *lease, struct session *session, struct link *link,
	      const struct invalidator *invalidator)
{
	l->lease = lease;
	l->session = session;
	l->link = link;
	l->invalidator = invalidator;
}

struct look *look_new(const struct look_settings *settings)
{
	struct look *l = alloc_zeroed(1, sizeof(*l));
	l->settings = *settings;
	return l;
}

void look_free(struct look *l)
{
	if (!l)
		return;
	page_release(&l->shown);
	page_release(&l->fetched);
	free(l);
}
