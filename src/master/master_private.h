/*
 * What the files of the master share: its children, their generations, and what is asked of it. Each file has one idea, and tends
 * it once per round:
 *
 *     child.c        a process: forked, watched, reaped, replaced
 *     generation.c   those of one plan: booting, taking over, draining; how many there are; successors of spent ones
 *     reload.c       SIGHUP
 *     upgrade.c      SIGUSR2
 *     control.c      what is asked on the control socket; status.c: how things are, in words
 *     master.c       signals, rounds, the end
 */
#ifndef MASTER_MASTER_PRIVATE_H
#define MASTER_MASTER_PRIVATE_H

#include "master/control.h"
#include "master/master.h"
#include "master/notify.h"
#include "master/scoreboard.h"

#include <poll.h>
#include <sys/types.h>

enum {
	MASTER_DRAINING_MAX = 2,     /* generations; then a reload or upgrade waits */
	MASTER_BOOT_MS = 10 * 1000,  /* for a generation to have all its workers ready */
	MASTER_JUDGE_MS = 10 * 1000, /* for a child that judges a configuration or a program */
	MASTER_STOP_MS = 1000,      /* for children told to leave at once, and beyond a drain: then SIGKILL */
	MASTER_SUCCESSION_MS = 100, /* between two workers that are recycled */
	MASTER_HEAD_START_MS = 500, /* for the set-up, before anything listens */
};

/* ---- what is there */

enum child_duty {
	CHILD_SERVES,
	CHILD_RETIRES, /* serves until its successor is ready */
	CHILD_LEAVES,  /* was told to */
};

struct child {
	struct generation *generation;
	const struct process_kind *kind; /* of its generation's plan */
	struct process process;          /* while it runs, and until it is reaped */
	pid_t pid;                       /* 0: none */
	int slot;                        /* while pid is not 0; -1: none that could be read */
	enum child_duty duty;
	bool is_done; /* a set-up that has succeeded */
	bool killed_as_stuck;
	unsigned failures; /* in a row */
	int64_t forked_ms;
	int64_t retry_ms; /* when pid is 0: not before */
	int64_t kill_ms;  /* CHILD_LEAVES: then SIGKILL */
};

enum generation_state { GENERATION_BOOTS, GENERATION_SERVES, GENERATION_DRAINS };

struct generation {
	struct generation *next; /* the one before it */
	unsigned number;
	enum generation_state state;
	struct master_plan plan;
	struct attempt *attempt;     /* that made it; NULL: the first, or adopted */
	struct generation *replaces; /* while that may still accept */
	unsigned wanted;             /* of those that listen */
	unsigned setup;              /* which word of the board's setup_done; generations may share one */
	bool once_has_run;           /* the set-up has ended for the first time, well or not */
	bool once_is_done;
	bool was_ever_ready;
	unsigned boot_failures; /* deaths before it was ready */
	unsigned forced;        /* connections that its drain had to cut */
	int64_t begun_ms;
	int64_t served_ms;     /* since when, where it replaces another */
	int64_t succession_ms; /* when a spent worker was last told to leave */
};

/* A reload, or an upgrade: asked for any number of times, one under way at a time. */
struct attempt {
	const char *name;   /* a literal */
	uint64_t asked;     /* how often so far */
	uint64_t begun;     /* the one under way, or the last, does for all up to this one */
	uint64_t ended;     /* the result is known for all up to this one */
	bool has_succeeded; /* the last that ended */
	int64_t ended_ms;
	enum exit_code code;                    /* it did not: EXIT_CODE_CONFIG or another, */
	char why[400];                          /* and this is why */
	pid_t judge;                            /* the child that judges; 0: none */
	int64_t judge_ms;                       /* it is killed then */
	_Atomic uint64_t *successes, *failures; /* how many have ended so, on the board */
};

struct control_client;

/* The clients of the control socket. */
struct control {
	struct control_client **clients;
	size_t count;
};

enum phase { PHASE_RUN, PHASE_DRAIN, PHASE_STOP };

struct master {
	const struct master_settings *settings;
	struct scoreboard scoreboard;
	struct child **children; /* owned, each by itself: they move from one generation to another */
	size_t child_count, child_cap;
	struct generation *generations; /* the youngest first */
	struct generation *serving;     /* NULL only before the first, and after the last */
	struct generation *booting;     /* or NULL */
	unsigned last_number;
	struct attempt reload, upgrade;
	struct handover probe; /* what upgrade.judge reads */
	struct err *verdict;   /* what reload.judge says: memory that is shared with it */
	struct control control;
	bool is_accepted; /* it says that it can take over */
	int signal_fd;
	int lifeline[2];
	enum phase phase;
	enum exit_code exit_code;
	int64_t started_ms;
	int64_t last_round_ms;
	int64_t memory_ms;     /* when it says again how much memory it has */
	int64_t last_ready_ms; /* when a worker was ready, or the master started */
	int64_t kill_ms;       /* PHASE_STOP: SIGKILL for whoever is left */
	bool was_ever_ready;
	unsigned forced;
	struct notify notify;
};

/* ---- master.c: what may be asked of the master, from a signal or elsewhere */

void master_drain(struct master *m);
void master_stop(struct master *m, enum exit_code code, const char *reason);
static inline void master_ask(struct attempt *a)
{
	a->asked++;
}

/* Of the serving generation; the next one has what its configuration says. Returns 0, or -1 and *err where so many cannot be: less than 1,
 * more than there may be, or that generation is another program's. */
int master_set_workers(struct master *m, unsigned wanted, struct err *err);

/* ---- attempts */

static inline bool attempt_is_pending(const struct attempt *a)
{
	return a->asked > a->begun;
}

static inline bool attempt_is_under_way(const struct attempt *a)
{
	return a->begun > a->ended;
}

/* As soon as there is a scoreboard, and before any of them ends. */
void attempts_count(struct master *m);
void attempt_begin(struct attempt *a);
void attempt_succeed(struct attempt *a);
void attempt_fail(struct attempt *a, enum exit_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Notes the child that judges, or that it could not be forked (-1 and errno). */
void attempt_await(struct attempt *a, pid_t judge, int64_t now_ms);
void attempt_tend(struct attempt *a, int64_t now_ms);

/* Is a reload or upgrade free to begin? */
bool master_may_change(const struct master *m);

/* ---- child.c */

struct child *child_new(struct master *m, struct generation *g, const struct process_kind *kind);

/* One of the program before this. `slot` as in struct child. */
void child_adopt(struct master *m, struct child *c, pid_t pid, int slot, int index);
void child_start(struct master *m, struct child *c, int64_t now_ms);

/* Tells it to leave, if it runs: SIGTERM drains, SIGQUIT is at once. It is not replaced. */
void child_leave(struct child *c, int number, int64_t now_ms);
void children_signal(const struct master *m, int number);
void children_reap(struct master *m);
void children_watch(struct master *m, int64_t now_ms); /* beats, and those that outstay */
void children_sweep(struct master *m);                 /* frees those that have left */
bool child_is_ready(const struct child *c);

/* ---- generation.c */

/* Takes the plan. The first one serves at once. */
void generation_begin(struct master *m, const struct master_plan *plan, struct attempt *attempt);

/* Begins one by a new plan; that there is none fails the attempt. */
void generation_plan(struct master *m, struct attempt *attempt);

struct generation *generation_adopt(struct master *m, const struct master_plan *plan, unsigned number,
				    enum generation_state state);
void generation_drain(struct master *m, struct generation *g, int64_t now_ms);
void generation_finish_replacing(struct master *m); /* at once: the new one serves already */

/* It does not come up: the serving one serves on. */
void generation_give_up(struct master *m, struct generation *g, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void generations_tend(struct master *m, int64_t now_ms);
bool generation_has_listeners(const struct master *m, const struct generation *g); /* living ones */
unsigned generations_draining(const struct master *m);

/* ---- reload.c, upgrade.c */

void reload_tend(struct master *m, int64_t now_ms);
void reload_judged(struct master *m, int status);
void upgrade_tend(struct master *m, int64_t now_ms);
void upgrade_judged(struct master *m, int status);

/* ---- control.c */

enum { CONTROL_POLLED = CONTROL_CLIENTS + CONTROL_WAITING + 1 };

void control_open(struct control *control);
void control_close(struct control *control);
size_t control_poll(const struct master *m,
		    struct pollfd fds[CONTROL_POLLED]); /* fills in what to wait for */
void control_serve(struct master *m, int64_t now_ms);
void control_tell(struct master *m, int64_t now_ms); /* those who await what has ended */

/* After execve(2): takes over what stands in `from`. Returns 0, or -1 and *err. */
int upgrade_adopt(struct master *m, struct handover *from, struct err *err);

#endif
