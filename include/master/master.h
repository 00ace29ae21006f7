/*
 * The master: keeps the processes of a table alive, and turns signals into a drain, a reload or an upgrade. One thread. It
 * speaks no HTTP, knows no store, and what it forks it knows only from the plans that are made for it: a
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
 * A generation is what was forked by one plan (src/master/generation.c):
 *
 *     (none) -> SERVES   the first
 *     (none) -> BOOTS    a reload, or after an upgrade. Another one serves meanwhile
 *     BOOTS  -> SERVES   all its workers are ready: the other one drains, and only now
 *     BOOTS  -> DRAINS   too many of them died, or too much time has passed: the other one serves on
 *     SERVES -> DRAINS   the next one serves, or SIGTERM
 *     DRAINS -> (none)   its last process is reaped
 *
 * SIGUSR1 makes files anew, and goes on to the children.
 *
 * A reload (SIGHUP, src/master/reload.c): a child proves the configuration, the master plans a generation from it, and that boots. An
 * upgrade (SIGUSR2, src/master/upgrade.c): the program, as it is on disk now, is asked with -t; then the master becomes it by
 * execve(2), its PID, children and listeners staying what they are, and boots a generation by it.
 *
 * A child (src/master/child.c):
 *
 *     WAITING -> RUNNING  spawn
 *     RUNNING -> (none)   reap: told to leave, or a set-up that has succeeded
 *     RUNNING -> WAITING  reap: it died; replaced after a back-off that doubles, or at once when it
 *                         was killed because it stood still, for the first time
 */
#ifndef MASTER_MASTER_H
#define MASTER_MASTER_H

#include "base/err.h"
#include "base/log.h"
#include "base/process.h"
#include "master/handover.h"
#include "master/privileges.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A kind of process that the master forks. */
struct process_kind {
	const char *name; /* a literal; names what is the same kind in another generation */
	enum process_role role;
	int (*run)(struct process *p); /* in the child; returns its exit code */
	unsigned count;
	unsigned count_max; /* to which SIGTTIN may raise it */
	const void *
	    pool; /* who has the same one, and the same name, shares places: they are told from each other by it */
	unsigned places; /* so many at a time, those that leave included; process.index stays below */
	bool once; /* run until it has succeeded once: process.setup_done. Others get no head start on it */
	bool listens;             /* gets the listeners, says when it is ready */
	bool crosses;             /* the processes that serve now do for this generation as well */
	uint32_t beat_timeout_ms; /* killed and replaced when it has not beaten for so long; 0: not watched */
	uint32_t backoff_max_ms;  /* between a death and its replacement, at most */
	void *shared;             /* handed on to each: memory that they share with others */

	/* In the master, right after one has ended and before it is replaced; NULL: nothing. */
	void (*reaped)(const struct process *p);
};

enum { MASTER_KINDS_MAX = 4 };

/* What a generation is made by. */
struct master_plan {
	void *own; /* its maker's */
	struct process_kind kinds[MASTER_KINDS_MAX];
	size_t kind_count;
	const void *config;  /* handed on to every process */
	const int *kept_fds; /* descriptors that every process keeps, beside its listeners */
	size_t kept_count;
	const int *listener_fds;
	const bool *listener_is_admin; /* as many: handed on */
	size_t listener_count;
	int control_fd; /* the control socket (master/control.h), for the master alone; -1: none */
	const struct privileges *privileges; /* of every process */
	enum log_level log_level;
	uint32_t drain_timeout_ms;
	bool
	    waits_for_once; /* who listens is forked only when the set-up has succeeded: nobody trusts that store yet */
	bool is_adopted; /* of the program before this one: its processes cannot be replaced */
};

/* For people; what is not known is NULL. */
struct master_description {
	char *configuration, *store, *cache; /* owned; without passwords */
};

/* Who makes the plans. All but `prove` is called in the master: none of it blocks for long. */
struct master_ops {
	/* In a child of its own: is the configuration right? Returns 0, or -1 and *err. */
	int (*prove)(void *arg, struct err *err);

	/* Plans a generation, to follow `present` (NULL: the first), and opens what that needs. Returns 0, or -1 and *err: nothing is
	 * left open. */
	int (*plan)(void *arg, struct master_plan *plan, const struct master_plan *present, struct err *err);

	/* The generation serves from here on: what is not of one generation alone becomes as it wants it. */
	void (*take_over)(void *arg, const struct master_plan *plan);

	/* The generation accepts no more: listeners that no other plan has are closed. May be called again. */
	void (*stop_listening)(void *arg, struct master_plan *plan);

	/* Children are about to be told to open their files again. */
	void (*reopen)(void *arg, const struct master_plan *plan);

	void (*describe)(void *arg, const struct master_plan *plan, struct master_description *d);

	/* The last process of the generation is reaped, or none was ever forked. */
	void (*release)(void *arg, struct master_plan *plan);

	/* execve(2) is next: adds everything that plans share, and then each plan. `stay`: it has failed. */
	void (*hand_over)(void *arg, struct handover *h);
	void (*hand_over_plan)(void *arg, const struct master_plan *plan, unsigned number,
			       struct handover *h);
	void (*stay)(void *arg);

	/* The same in the other program. Return 0, or -1 and *err. */
	int (*adopt)(void *arg, struct handover *h, struct err *err);
	int (*adopt_plan)(void *arg, struct master_plan *plan, unsigned number, struct handover *h,
			  struct err *err);
	void (*settle)(void *arg); /* after the last adopted plan: what none of them uses may go */
};

struct master_settings {
	const struct master_ops *ops;
	void *arg;
	const char *program; /* the absolute path of what an upgrade executes; borrowed */
	char *const *argv;
	struct handover *from; /* what the program before this one has left; NULL: started anew */
};

/* Runs until told to stop. Returns the exit code, or -1 and *err when it could not begin. Blocks all signals
 * of the calling thread for good. */
int master_run(const struct master_settings *settings, struct err *err);

#endif
