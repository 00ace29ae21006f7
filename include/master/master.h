/*
 * The master: keeps the processes of a table alive, and turns signals into a drain or a stop. One thread. It
 * speaks no HTTP, knows no store, and what it forks it knows only from the table that main.c gives it: a
 * master that does little cannot fail with its children.
 *
 * It sleeps in one place, until a signal (all are blocked and read from a signalfd(2)) or a deadline. Every
 * wake it reads the signals, reaps, looks at the scoreboard, and then makes what is resemble what should be:
 * all of it idempotent.
 *
 *     RUN -> DRAIN     SIGTERM: listeners closed, and who listens is told to drain; the others, who work for
 *                      them, are told when the last of them is reaped
 *     RUN -> STOP      SIGINT, SIGQUIT: children told to leave at once
 *     RUN -> STOP      with an exit code: a child that cannot work, or none ready for MASTER_NOT_READY_MS
 *     DRAIN -> STOP    SIGINT, SIGQUIT
 *     (any) -> end     the last child is reaped; those that outstay the deadline are killed
 *
 * SIGUSR1 makes files anew, and goes on to the children.
 *
 * A child's slot:
 *
 *     EMPTY -> RUNNING  spawn
 *     RUNNING -> EMPTY  reap: asked to leave, or a set-up that has succeeded
 *     RUNNING -> WAITING -> RUNNING  reap: it died; replaced after a back-off that doubles, or at once when it
 *                                    was killed because it stood still, for the first time
 */
#ifndef MASTER_MASTER_H
#define MASTER_MASTER_H

#include "base/err.h"
#include "base/log.h"
#include "base/process.h"
#include "master/privileges.h"
#include "net/listener.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A kind of process that the master forks. */
struct process_kind {
	const char *name;              /* a literal */
	int (*run)(struct process *p); /* in the child; returns its exit code */
	unsigned count;
	bool once; /* run until it has succeeded once, which process_board.setup_done then says. Others get no
		      head start on it */
	bool listens;             /* gets the listeners, says when it is ready */
	uint32_t beat_timeout_ms; /* killed and replaced when it has not beaten for so long; 0: not watched */
	uint32_t backoff_max_ms;  /* between a death and its replacement, at most */
	void *shared;             /* handed on to each: memory that they share with others */

	/* In the master, right after one has ended and before it is replaced; NULL: nothing. */
	void (*reaped)(const struct process *p);
};

struct master_settings {
	const struct process_kind *kinds;
	size_t kind_count;
	const void *config;  /* handed on to every process */
	const int *kept_fds; /* descriptors that every process keeps, beside its listeners */
	size_t kept_count;
	const struct privileges *privileges; /* of every process */
	enum log_level log_level;
	struct listener *listeners; /* open; the master closes them */
	size_t listener_count;
	uint32_t drain_timeout_ms;

	/* In the master, before children are told to open their files again; NULL: nothing. */
	void (*reopen)(const struct master_settings *settings);
};

/* Runs until told to stop. Returns the exit code, or -1 and *err when it could not begin. Blocks all signals
 * of the calling thread for good. */
int master_run(const struct master_settings *settings, struct err *err);

#endif
