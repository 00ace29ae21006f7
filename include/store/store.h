/*
 * The contract of a store: todos that survive. Drivers implement struct store_ops (store/mongo.c,
 * store/sqlite.c); nobody but store.c calls them. Everything here is synchronous and may block for seconds:
 * it is called from store threads only, never from an event loop. The one exception is said where it stands.
 *
 *     store_check, store_claim, store_doubt_ms
 *                                 before any fork: opens no connection, starts no thread
 *     store_setup                 in the set-up process
 *     store_inspect               in a process of `todod doctor`
 *     store_open                  after fork, once per process; makes no connection yet
 *     store_session_open          once per store thread; makes no connection yet
 *     store_begin … store_end     around each use of a session
 *
 * Every status says what is *known* (not what went wrong): that decides what a client may be told.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/err.h"
#include "base/report.h"
#include "todo/todo.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum store_status {
	STORE_OK,
	STORE_NOT_FOUND,   /* no todo has this id */
	STORE_UNAVAILABLE, /* nothing was done */
	STORE_FULL,        /* nothing was done: no space left */
	STORE_UNKNOWN,     /* may have been done, or may still be */
};

struct store;         /* per process */
struct store_session; /* per thread: a connection, or the right to one */

enum store_access { STORE_READ, STORE_WRITE };

enum { STORE_PAGE_MAX = 1024 }; /* todos that a page query may ask for */

/* Which part of the list: `count` todos (1 to STORE_PAGE_MAX) from position `start`, or behind `after`. */
struct store_page_query {
	uint32_t start; /* 0 when has_after */
	uint32_t count;
	bool has_after;
	struct todo_position after;
};

enum store_write_kind { STORE_INSERT, STORE_FINISH, STORE_DELETE };

/* One write of a group commit. In: kind and todo (STORE_INSERT: all of it; otherwise todo.id, and for
 * STORE_FINISH todo.finished_at as the time to set). Out: status; with STORE_OK of a finish, todo is the
 * whole todo, with the finished_at that counts, and its content views `content`. */
struct store_write {
	enum store_write_kind kind;
	struct todo todo;
	struct buf content; /* owned by the caller; filled by a finish */
	enum store_status status;
};

struct store_settings {
	const char *uri;     /* "sqlite:PATH" or "mongodb://…"; borrowed for the life of the store */
	uint32_t timeout_ms; /* an operation has to be over in about that time */
	const char *process; /* for the server's own log, e.g. "worker" */
	unsigned index;
};

struct store_ops {
	const char *name;
	const char *(*library)(void); /* name and version, e.g. "SQLite 3.40.1" */
	const char *const *schemes;   /* how a URI of this store starts, NULL-terminated */
	unsigned delete_threads;      /* 0: deletes travel with the other writes in one batch */
	uint32_t rows_per_query; /* a query costs as much as reading that many rows more in another one */

	uint32_t (*doubt_ms)(const struct store_settings *settings); /* NULL: 0 */
	int (*check)(const char *uri, struct err *err);
	int (*claim)(const char *uri, struct err *err);
	int (*setup)(const struct store_settings *settings, struct err *err);
	void (*inspect)(const struct store_settings *settings, struct report *report);
	struct store *(*open)(const struct store_settings *settings, struct err *err);
	void (*close)(struct store *store);
	struct store_session *(*session_open)(struct store *store, enum store_access access);
	void (*session_close)(struct store_session *session);
	enum store_status (*begin)(struct store_session *session);
	void (*end)(struct store_session *session);
	enum store_status (*ping)(struct store_session *session);
	enum store_status (*id)(struct store_session *session, struct uuid *id);
	enum store_status (*page)(struct store_session *session, const struct store_page_query *query,
				  struct todo_page *page);
	enum store_status (*get)(struct store_session *session, const struct uuid *id,
				 struct todo_page *page);
	void (*write)(struct store_session *session, struct store_write **writes, size_t count);
	const char *(*error)(const struct store_session *session);
};

/* Drivers embed these as their first member. */
struct store {
	const struct store_ops *ops;
};

struct store_session {
	const struct store_ops *ops;
	bool has_begun; /* kept by store.c */
	enum store_access access;
};

/* The driver for a URI, or NULL. */
const struct store_ops *store_ops_find(const char *uri);

/* The library of the i-th driver, with its version; NULL beyond the last. */
const char *store_library(size_t i);

/* Does the URI parse? Touches nothing. Returns 0, or -1 and *err (EXIT_CODE_CONFIG). Never repeats a
 * password. */
int store_check(const char *uri, struct err *err);

/* Takes what only one daemon may hold, for the life of this process: SQLite's PATH.owner, after making the
 * directory. Returns a descriptor (CLOEXEC) that holds the claim and that children must close, -2 when this
 * store needs none, or -1 and *err. */
int store_claim(const char *uri, struct err *err);

/* Its file says that somebody holds it, until that ends well. The first, right after store_claim, returns whether whoever held it last was
 * killed: processes of his may be writing still. */
bool store_claim_begins(int claim);
void store_claim_ends(int claim);

/* For how long a write may still land after its process has died, or was left without an answer: in a server
 * that goes on without its client. 0: not at all. The URI has been checked. */
uint32_t store_doubt_ms(const struct store_settings *settings);

/* Makes the schema: table or index, and the `meta` record with schema version and database id. Idempotent,
 * and safe against another machine doing the same. Returns 0, or -1 and *err: EXIT_CODE_UNAVAILABLE when
 * trying again may help, any other code when an operator has to act (newer schema, no database, no
 * permission). */
int store_setup(const struct store_settings *settings, struct err *err);

/* Reports what an operator should know of this store: is it reachable, of which version, has it a schema and its index, what
 * survives a crash, how full is the disk. Changes nothing, with or without a daemon beside it. In a process of its own:
 * it may make threads, and block for seconds. */
void store_inspect(const struct store_settings *settings, struct report *report);

/* Returns owned (store_close), or NULL and *err. Connects to nothing. */
struct store *store_open(const struct store_settings *settings, struct err *err);
void store_close(struct store *store); /* accepts NULL; every session is closed before */

/* Returns owned (store_session_close). For the calling thread alone. */
struct store_session *store_session_open(struct store *store, enum store_access access);
void store_session_close(struct store_session *session); /* accepts NULL */

/* Waits until the store can act for this session: SQLite's write lock is held, MongoDB has a primary. Nothing
 * has been asked of the store when it returns. STORE_OK, or STORE_UNAVAILABLE (then store_end must not be
 * called). Blocks for as long as seconds. */
enum store_status store_begin(struct store_session *session);
void store_end(struct store_session *session);

/* Between store_begin and store_end. */
enum store_status store_ping(struct store_session *session);

/* The id that the set-up gave this database: STORE_OK or STORE_UNAVAILABLE. */
enum store_status store_id(struct store_session *session, struct uuid *id);

/* Fills a page made by todo_page_new and seals it: STORE_OK or STORE_UNAVAILABLE (the page is empty then). */
enum store_status store_page(struct store_session *session, const struct store_page_query *query,
			     struct todo_page *page);

/* Like store_page with one todo: STORE_OK, STORE_NOT_FOUND or STORE_UNAVAILABLE. */
enum store_status store_get(struct store_session *session, const struct uuid *id, struct todo_page *page);

/* Does all of them, each with its own status, in one trip to the store where it can. When it returns, what is
 * STORE_OK is durable. May be called again before store_end. */
void store_write(struct store_session *session, struct store_write **writes, size_t count);

/* Why the last call on this session failed: one line for the log, without content and without passwords; ""
 * when it did not. */
const char *store_error(const struct store_session *session);

/* Must a delete go to a thread of its own? The number of such threads, 0 for none. */
unsigned store_delete_threads(const struct store *store);

/* How many rows may be read in vain to save a query. */
uint32_t store_rows_per_query(const struct store *store);

#endif
