/*
 * What plans share, each counted by its users: sockets, claims on a store, memories of the first page, pidfiles. Gone with the last
 * user.
 */
#ifndef SERVICE_SHARES_H
#define SERVICE_SHARES_H

#include "cache/page_memory.h"
#include "master/handover.h"
#include "master/pidfile.h"
#include "net/census.h"
#include "net/listener.h"
#include "net/rate_limit.h"

enum share_kind { SHARE_ADDRESS, SHARE_CLAIM, SHARE_MEMORY, SHARE_PIDFILE, SHARE_RATE_LIMIT, SHARE_KINDS };

struct share {
	struct share *next;
	enum share_kind kind;
	unsigned number; /* unlike that of every other one: names it in what is handed over */
	unsigned users;
	char *name; /* the address as it is configured; the store's URI; the path; the limit; owned */

	/* SHARE_ADDRESS */
	struct listener listener;
	struct listener_rights rights; /* that its file has */
	bool is_passed;                /* by a service manager */
	/* Whose it is it stays, though the address were the same: who waits in its queue expects them. */
	bool is_admin;   /* operators', by HTTP */
	bool is_control; /* the control socket */

	struct pidfile pidfile; /* SHARE_PIDFILE */

	struct rate_limit
	    rate_limit; /* SHARE_RATE_LIMIT; does not cross an upgrade: there it begins anew, and so does a census */

	int claim; /* SHARE_CLAIM: -1: this store needs none */
	int64_t
	    orphans_until_ns; /* workers whose master was killed may write to it until then; 0: there are none */

	/* SHARE_MEMORY */
	char *cache; /* owned */
	struct page_memory pages;
	struct census census; /* of those who have places in it; opened with the first plan that wants it */
	bool has_census;
	bool is_foreign; /* of a program that lays it out otherwise: nothing in it can be read or written */
};

struct shares {
	struct share *list;
	unsigned last_number;
};

/* Each returns one more use of what is there, or of what it opens; NULL and *err when that fails. */
struct share *shares_address(struct shares *s, const char *text, bool is_admin,
			     const struct listener_rights *rights, const struct share *const *taken,
			     size_t taken_count, struct err *err);

/* Of an address that another configuration has opened: what it asked for does not hold any more. What cannot be changed is said in the
 * log. */
void shares_set_rights(struct share *address, const struct listener_rights *rights);
struct share *shares_control(struct shares *s, const char *path, struct err *err);
struct share *shares_pidfile(struct shares *s, const char *path, struct err *err);
struct share *shares_claim(struct shares *s, const char *store, struct err *err);

/* Made anew where store, cache or the number of places do not fit; then there are rivals: shares_set_rivals. With room for `workers` of each of the generations that may live at a time. */
struct share *shares_memory(struct shares *s, const char *store, const char *cache, unsigned workers,
			    uint32_t doubt_ms, struct err *err);
struct share *shares_rate_limit(struct shares *s, uint32_t rate, uint32_t burst, struct err *err);
void shares_drop(struct shares *s, struct share *share); /* accepts NULL */

/* Sockets that a service manager has passed to this process: one use of each. Returns how many there are, 0 for none; or -1 and
 * *err. `is_first`: it may have, just now. */
int shares_passed(struct shares *s, bool is_first, struct share **addresses, size_t max, struct err *err);

/* Returns 0, or -1 and *err. Idempotent. */
int shares_open_census(struct share *memory, struct err *err);

/* For workers, of all generations that use it. */
unsigned shares_memory_places(const struct share *memory);

/* Two memories know nothing of each other's writers. To be called when there is a new one; dropping one does the rest. */
void shares_set_rivals(struct shares *s);

/* ---- across an upgrade */

void shares_hand_over(struct shares *s, struct handover *h);
void shares_stay(struct shares *s);

/* All that was handed over, in use once more than plans use it: until shares_settle, after the last plan was adopted.
 * Returns 0, or -1 and *err: then nothing is kept. */
int shares_adopt(struct shares *s, struct handover *h, struct err *err);
void shares_settle(struct shares *s);

/* One more use of the one with this number, or NULL. */
struct share *shares_find(struct shares *s, enum share_kind kind, unsigned number);

#endif
