/*
 * The life of one worker: open, run, drain, leave. It makes every connection and thread of its own after
 * fork; it shares with the other workers the listeners and its slot in the scoreboard. Knows nothing of how
 * the master decides.
 *
 *     SIGTERM             drain: take what waits in the listeners' queues, answer what is in flight, leave
 *     SIGQUIT             leave at once
 *     SIGUSR1             open the access log again
 *     the master is gone  drain within WORKER_ORPHAN_DRAIN_MS
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include "base/process.h"

struct census;
struct page_memory;
struct rate_limit;

/* Of the descriptor limit, what is not for connections: store, loop and log; and the bells of the first page besides. */
enum { WORKER_SPARE_DESCRIPTORS = 64 };

/* What the workers share: process.shared of each. All borrowed. */
struct worker_shared {
	struct page_memory *pages;
	struct rate_limit *rate_limit; /* NULL: none */
	struct census *census;         /* NULL: connections of an address are not limited */
};

/* Returns the exit code of the process, for _exit(2). p->config is a struct config, p->shared a struct worker_shared. */
int worker_run(struct process *p);

/* In the master, after one has ended. */
void worker_reap(const struct process *p);

/* The set-up process: makes schema and index, sees that workers can open their log, and returns EXIT_CODE_OK when they are there,
 * EXIT_CODE_UNAVAILABLE when trying again may help, and another code when an operator has to act. */
int worker_set_up_store(struct process *p);

#endif
