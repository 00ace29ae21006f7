/*
 * The store threads of one worker, and the queues before them. The event loop submits jobs and collects them;
 * it never waits. The loop holds every deadline: a job that is late is abandoned by the loop, whatever its
 * thread is doing.
 *
 * Three lanes, each a bounded queue with threads: reads (2 threads), writes (1, which takes everything that
 * waits: group commit), and, for stores that want it, deletes (each alone). A lane's queue is taken from only
 * when its thread can act (store_begin has succeeded), so a job that is still queued is known not to have
 * begun. Pages share one query when it would read few rows in vain; it begins after all of their requests
 * came.
 *
 *     QUEUED -> RUNNING -> DONE        a store thread
 *     QUEUED -> (freed)                executor_abandon
 *     RUNNING -> ABANDONED -> (freed)  executor_abandon, then the thread when it is done
 */
#ifndef STORE_EXECUTOR_H
#define STORE_EXECUTOR_H

#include "store/store.h"

#include <stdatomic.h>

enum { EXECUTOR_QUEUE_MAX = 512 }; /* jobs per lane */

enum job_kind { JOB_PAGE, JOB_GET, JOB_PING, JOB_ID, JOB_WRITE };

enum job_state { JOB_QUEUED, JOB_RUNNING, JOB_DONE, JOB_ABANDONED };

/* Owns copies of its bytes: the request it came from may be gone. */
struct job {
	enum job_kind kind;
	uint64_t owner;                /* the submitter's, untouched */
	struct store_page_query query; /* JOB_PAGE */
	bool has_limit;                /* JOB_PAGE: the submitter's notes */
	bool wants_detail;             /* JOB_PING: likewise */
	bool wants_gzip;
	struct buf if_match, if_none_match; /* data NULL: none */
	uint8_t route;                      /* the submitter's: what the client asked for */
	uint8_t verdict;                    /* likewise: what a condition makes of STORE_OK */
	struct uuid id;                     /* JOB_GET; once collected, JOB_ID: the database's */
	struct store_write write;           /* JOB_WRITE; write.todo.content views write.content */
	uint32_t commit;             /* JOB_WRITE, once collected: what executor_hooks.write_ends returned */
	uint32_t queued_us, took_us; /* once collected: before a thread began with it, and from then on; */
	uint32_t batch;              /* and how many were done with it, itself included. 0: never submitted */
	bool is_parked;              /* the submitter has it, not the executor */
	uint64_t wanted;             /* the submitter's, while it is parked */

	enum store_status status; /* once collected */
	struct todo_page *page;   /* JOB_PAGE, JOB_GET with STORE_OK: owned, perhaps shared with other jobs */

	enum job_state state;    /* the executor's, under its lane's lock */
	int64_t submitted_ns;    /* the executor's: CLOCK_MONOTONIC */
	struct job *prev, *next; /* the executor's */
};

struct job_list {
	struct job *head, *tail;
	size_t count;
};

/* For counters. A call of the driver does several operations where it can: one page for all who ask for it, one commit for all writes
 * that wait together. */
enum store_operation {
	STORE_OP_PAGE,
	STORE_OP_GET,
	STORE_OP_PING,
	STORE_OP_ID,
	STORE_OP_INSERT,
	STORE_OP_FINISH,
	STORE_OP_DELETE,
	STORE_OPERATIONS,
};

enum store_call {
	STORE_CALL_PAGE,
	STORE_CALL_GET,
	STORE_CALL_PING,
	STORE_CALL_ID,
	STORE_CALL_COMMIT,
	STORE_CALL_DELETE, /* where those travel alone */
	STORE_CALLS,
};

enum lane_kind { LANE_READ, LANE_WRITE, LANE_DELETE, LANES };

enum store_operation store_operation_of(const struct job *job);

/* In lower case, e.g. "insert", "not_found", "commit", "write". */
const char *store_operation_name(unsigned operation);
const char *store_outcome_name(unsigned status);
const char *store_call_name(unsigned call);
const char *store_lane_name(unsigned lane);

/* Through prev and next: a job is in one list at a time. */
void job_list_append(struct job_list *list, struct job *job);
void job_list_remove(struct job_list *list, struct job *job);

/* Returns owned. */
struct job *job_new(enum job_kind kind, uint64_t owner);
void job_free(struct job *job); /* accepts NULL */

struct executor;

/* Told around the writes of one batch, in the store thread that does them. */
struct executor_hooks {
	void (*write_begins)(void *arg); /* the store can act, and is about to be asked */
	/* Each has its status. Returns what the jobs carry as `commit`. */
	uint32_t (*write_ends)(void *arg, struct store_write *const *writes, size_t count);
	void *arg;
};

struct executor_settings {
	struct store *store; /* borrowed */
	uint32_t timeout_ms;
	const _Atomic uint32_t *setup_done; /* jobs wait until it is not 0 */
	unsigned readers;
	unsigned writers; /* 0: writes and deletes are refused */
	uint32_t
	    gather_max_us; /* how long a write waits at most for those that will probably come at once, to go with them */
	struct executor_hooks hooks; /* where there are writers */
};

enum { EXECUTOR_READERS = 2, EXECUTOR_WRITERS = 1, EXECUTOR_GATHER_MAX_US = 4000 }; /* of a worker */

/* Starts the threads, with all signals blocked. Returns owned, or NULL and *err. */
struct executor *executor_open(const struct executor_settings *settings, struct err *err);

/* Readable when there is something to collect. */
int executor_fd(const struct executor *ex);

/* True: the job is taken. False: it is the caller's still, because the queue is full, or the store has been
 * away for longer than a job may wait. */
bool executor_submit(struct executor *ex, struct job *job);

/* Wakes the threads for what was submitted since the last call. Once per batch of events: requests that came together wait together, and
 * go to the store together. */
void executor_wake(struct executor *ex);

/* The jobs that are done, oldest first, through `next`: the caller's now. NULL when there are none. */
struct job *executor_collect(struct executor *ex);

enum job_fate {
	JOB_NOT_BEGUN,   /* it never will */
	JOB_BEGUN,       /* its outcome will not be known */
	JOB_COLLECTABLE, /* it is done: executor_collect has it, and it is not abandoned */
};

/* Gives a submitted job up; it must not be used afterwards, save after JOB_COLLECTABLE, when executor_collect
 * returns it. */
enum job_fate executor_abandon(struct executor *ex, struct job *job);

/* The same for a job whose time is over: counted as refused when it was not begun. */
enum job_fate executor_expire(struct executor *ex, struct job *job);

/* Asks the threads to leave and waits for them up to wait_ms. True: all have left, everything is freed.
 * False: a thread hangs in the store; executor and store have to be left alone until the process exits. */
bool executor_close(struct executor *ex, uint32_t wait_ms);

#endif
