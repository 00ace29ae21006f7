/*
 * The lease protocol of the first page: keys, scripts, and the form of the page in Redis. Pure: makes commands
 * and reads replies; sends nothing.
 *
 *     todod:{ID}:pg   the page                   PX ttl, or less while somebody writes
 *     todod:{ID}:fr   "1" while it is fresh,     PX fresh + LEASE_GRACE_MS
 *                     and for the grace
 *     todod:{ID}:ls   the lease: a random token  PX LEASE_MS
 *     todod:{ID}:wi   intents to write: a zset of machine -> deadline, Redis's clock, ms
 *     todod:{ID}:ma   machines: a zset of machine -> until when it counts as present
 *     todod:{ID}:ch   the channel: "I MACHINE" invalidated, "F MACHINE" filled, "R MACHINE" released
 *
 * ID is the database's, a UUID. The lease is the permission to store: every write deletes page, freshness and
 * lease, so that a page which was read before the write cannot be stored after it.
 */
#ifndef CACHE_LEASE_H
#define CACHE_LEASE_H

#include "base/uuid.h"
#include "cache/page_memory.h"
#include "cache/redis.h"

enum {
	LEASE_MS = 3000,        /* longer than the store takes to read a page */
	LEASE_INTENT_MS = 5000, /* an intent counts that long, at least LEASE_MS: a machine may die writing */
	LEASE_GRACE_MS = 2000,  /* a page is served so much longer while one machine reads it anew */
	LEASE_MACHINE_MS = 10000, /* a machine that has said nothing for so long does not count */
	LEASE_TOKEN_BYTES = 32,   /* hexadecimal digits of 128 random bits */
};

enum lease_script {
	LEASE_OPEN,
	LEASE_PROBE,
	LEASE_ACQUIRE,
	LEASE_FILL,
	LEASE_BEGIN,
	LEASE_INVALIDATE,
	LEASE_RELEASE,
	LEASE_SCRIPTS
};

/* A script's KEYS are those of them that it needs, in this order. */
enum lease_key {
	LEASE_PAGE,
	LEASE_FRESH,
	LEASE_LEASE,
	LEASE_INTENTS,
	LEASE_MACHINES,
	LEASE_CHANNEL,
	LEASE_KEYS
};

struct lease {
	char id[UUID_TEXT_BYTES + 1];      /* of the database */
	char machine[UUID_TEXT_BYTES + 1]; /* this daemon, as it shows in wi, ma and ch */
	uint32_t ttl_ms, fresh_ms;         /* before the jitter */
	bool vouches; /* its pages are served without asking Redis: writers elsewhere have to wait for it */
	struct buf keys[LEASE_KEYS];
};

void lease_init(struct lease *l, const struct uuid *database, const struct uuid *machine, uint32_t ttl_ms,
		uint32_t fresh_ms, bool vouches);
void lease_release(struct lease *l);

/* A fresh random token. */
void lease_token(char token[LEASE_TOKEN_BYTES]);

/* Its name, for errors, and its source, to load (SCRIPT LOAD); the SHA-1 by which it is then called is
 * computed by whoever loads it: Redis answers with it. */
const char *lease_script_name(enum lease_script s);
struct slice lease_script_source(enum lease_script s);

/*
 * The arguments behind EVALSHA sha, in order, as views into *l and the arguments; `words` has room for
 * LEASE_WORDS_MAX. Numbers stand in *scratch, which has to live until the command is queued. Each returns the
 * count of words. What the scripts do, and answer:
 *
 *   open        deletes page, freshness and lease, and whatever else has a wrong type; says "I", and that the
 *               machine is there. Works on a full Redis, too.             -> [receivers, machines]
 *   probe       the write probe: says that the machine is there, forgets those that are gone.  -> machines
 *   acquire     the page, or the lease.                                   -> lease_read_acquire
 *   fill        stores the page if the token is still in Redis.           -> its life in ms, 0: refused
 *   begin       somebody here is about to write: an intent, and the page's life is capped.     -> 1
 *   invalidate  deletes page, freshness and lease, says "I"; forgets the machine's intent if `ends_intent`.
 *               Only deletions: works on a full Redis.                    -> [receivers, machines]
 *   release     gives the lease back, if it is still ours, says "R".      -> 1 or 0
 *
 * `machines` counts the one that asks, too. An error tells what is wrong: OOM, the server is full; NOSCRIPT;
 * WRONGTYPE or BADLEASE, somebody else has written to our keys, and open repairs it.
 */
enum { LEASE_WORDS_MAX = 24 };
size_t lease_open_args(const struct lease *l, struct slice *words, struct buf *scratch);
size_t lease_probe_args(const struct lease *l, struct slice *words, struct buf *scratch);
size_t lease_acquire_args(const struct lease *l, const char *token, struct slice *words, struct buf *scratch);
/* `dirty`: as acquire said. ttl ± 10 %, fresh − 0 to 20 %. */
size_t lease_fill_args(const struct lease *l, const char *token, const struct page *page, bool dirty,
		       struct slice *words, struct buf *scratch);
size_t lease_begin_args(const struct lease *l, struct slice *words, struct buf *scratch);
size_t lease_invalidate_args(const struct lease *l, bool ends_intent, struct slice *words,
			     struct buf *scratch);
size_t lease_release_args(const struct lease *l, const char *token, struct slice *words, struct buf *scratch);

enum lease_verdict {
	LEASE_HIT, /* *page; fresh_left_ms */
	LEASE_WON, /* the lease is ours; has_page: *page is there, and was fresh until fresh_left_ms (<= 0) ago */
	LEASE_SERVE,  /* *page is no longer fresh, and somebody reads it anew */
	LEASE_WAIT,   /* somebody reads it; wait_ms: the lease has that long to live */
	LEASE_BROKEN, /* what came cannot be used: *why */
};

struct lease_acquired {
	enum lease_verdict verdict;
	bool has_page, dirty;
	int64_t
	    fresh_left_ms; /* WON, SERVE: 0 or less; at -LEASE_GRACE_MS or below nobody else is served the page */
	int64_t wait_ms;
	const char *why; /* a literal or a view of the reply */
};

/* Fills json, tag, has_more, last, filled_us, source and state of *page. A page that does not decode
 * (garbage, a newer version, bytes that are not what tag and check say) makes LEASE_BROKEN. */
void lease_read_acquire(const struct redisReply *reply, struct lease_acquired *a, struct page *page);

/* The form of the page in Redis: "TD2 filled_us tag last-or-- length check\n" and the JSON. The tag is of the JSON, and the check of the
 * line before it, so that neither can be damaged or come from somewhere else; a page has one form only. Pure; what is fuzzed. */
void lease_page_encode(const struct page *page, struct buf *out);
int lease_page_decode(struct slice text, struct page *page); /* 0, or -1: *page->json is undefined */

#endif
