#include "master/master_private.h"

#include "base/clock.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void attempts_count(struct master *m)
{
	struct process_counts *counts = &m->scoreboard.board->counts;
	m->reload.successes = &counts->reloads;
	m->reload.failures = &counts->failed_reloads;
	m->upgrade.successes = &counts->upgrades;
	m->upgrade.failures = &counts->failed_upgrades;
}

void attempt_begin(struct attempt *a)
{
	a->begun = a->asked;
	log_debug("%s: begins", a->name);
}

static void end(struct attempt *a, bool has_succeeded)
{
	a->ended = a->begun;
	a->ended_ms = clock_monotonic_ms();
	a->has_succeeded = has_succeeded;
	counter_add(has_succeeded ? a->successes : a->failures, 1);
}

void attempt_succeed(struct attempt *a)
{
	a->why[0] = '\0';
	a->code = EXIT_CODE_OK;
	end(a, true);
}

void attempt_fail(struct attempt *a, enum exit_code code, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	(void)vsnprintf(a->why, sizeof(a->why), format, args);
	va_end(args);
	end(a, false);
	a->code = code;
	log_error("%s failed: %s; what serves now serves on", a->name, a->why);
}

void attempt_await(struct attempt *a, pid_t judge, int64_t now_ms)
{
	if (judge < 0) {
		attempt_fail(a, EXIT_CODE_OS, "cannot fork: %s", strerror(errno));
		return;
	}
	a->judge = judge;
	a->judge_ms = now_ms + MASTER_JUDGE_MS;
}

void attempt_tend(struct attempt *a, int64_t now_ms)
{
	if (a->judge > 0 && now_ms >= a->judge_ms)
		(void)kill(a->judge, SIGKILL); /* and what is reaped then says that it was a signal */
}
