/*
 * Making a child, and what stands in it before its own code runs.
 */
#ifndef MASTER_SPAWN_H
#define MASTER_SPAWN_H

#include "master/master.h"

#include <sys/types.h>

/*
 * Forks. In the child: every descriptor is closed but stdio, the lifeline, settings->kept_fds and (for kinds
 * that listen) the listeners; all signals are at their defaults and still blocked, it runs as settings->privileges say, dies with the master
 * (PR_SET_PDEATHSIG(2const), SIGTERM), and kind->run is called; the child never returns. Returns the child's
 * pid, or -1 with errno. `p` is copied.
 */
pid_t spawn(const struct process_kind *kind, const struct process *p, const struct master_settings *settings);

#endif
