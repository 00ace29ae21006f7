/*
 * Making a child, and what stands in it before its own code runs.
 */
#ifndef MASTER_SPAWN_H
#define MASTER_SPAWN_H

#include "master/master.h"

#include <sys/types.h>

/*
 * Forks. In the child: every descriptor is closed but stdio, the lifeline, plan->kept_fds and (for kinds
 * that listen) the listeners; all signals are at their defaults and still blocked, it runs as plan->privileges say, dies with the master
 * (PR_SET_PDEATHSIG(2const), SIGTERM), and kind->run is called; the child never returns. Returns the child's
 * pid, or -1 with errno. `p` is copied.
 */
pid_t spawn(const struct process_kind *kind, const struct process *p, const struct master_plan *plan);

/* A child that only judges: it has stdio, its signals are unblocked, and it ends with 0, or with the code of what `judge` has found.
 * *verdict is memory that it shares with the master; the text in there is whole once it has ended so. */
pid_t spawn_judge(int (*judge)(void *arg, struct err *err), void *arg, struct err *verdict);

/* Likewise, another program with `option` behind its arguments, which gets what is handed over to read. Its stdout goes nowhere. */
pid_t spawn_program(const char *program, char *const *argv, const char *option, const struct handover *h);

#endif
