/*
 * SIGHUP. A child proves the configuration first: what it may do wrong (a file that is a pipe, a library that aborts over a URI) it
 * does there, and the master waits for it with a deadline. It is forked, not executed: the program on disk may be a newer one by now,
 * and judge otherwise than this one, which has to live with the configuration.
 *
 *     asked -> judged -> planned -> boots -> serves
 *
 * Whatever fails on the way, the generation that serves is left as it is. Requests that come meanwhile are one that follows.
 */
#include "master/master_private.h"

#include "master/spawn.h"

#include <sys/wait.h>

void reload_judged(struct master *m, int status)
{
	m->reload.judge = 0;
	if (m->phase != PHASE_RUN)
		return;
	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_CODE_OK)
		generation_plan(m, &m->reload);
	else if (WIFEXITED(status))
		attempt_fail(&m->reload, (enum exit_code)WEXITSTATUS(status), "%.*s",
			     (int)sizeof(m->verdict->text), m->verdict->text);
	else
		attempt_fail(&m->reload, EXIT_CODE_INTERNAL, "reading the configuration ended with signal %d",
			     WTERMSIG(status));
}

void reload_tend(struct master *m, int64_t now_ms)
{
	attempt_tend(&m->reload, now_ms);
	if (!attempt_is_pending(&m->reload) || !master_may_change(m))
		return;
	attempt_begin(&m->reload);
	attempt_await(&m->reload, spawn_judge(m->settings->ops->prove, m->settings->arg, m->verdict), now_ms);
}
