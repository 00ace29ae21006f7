#include "doctor/doctor.h"

#include "base/clock.h"
#include "doctor/checks.h"
#include "master/privileges.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void sleep_until_child_or(int64_t deadline_ms)
{
	sigset_t child;
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	int64_t left_ms = deadline_ms - clock_monotonic_ms();
	const struct timespec left = {left_ms / 1000, left_ms % 1000 * 1000000};
	if (left_ms > 0)
		(void)sigtimedwait(&child, NULL, &left);
}

/* Waits for the process of a check, and ends it at its deadline. */
static void await(pid_t pid, const struct check *check, struct report *report)
{
	int64_t deadline_ms = clock_monotonic_ms() + DOCTOR_CHECK_MS;
	int status;
	pid_t ended;
	while ((ended = waitpid(pid, &status, WNOHANG)) == 0 && clock_monotonic_ms() < deadline_ms)
		sleep_until_child_or(deadline_ms);
	if (ended == 0) {
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, &status, 0);
		report_fail(report, EXIT_CODE_UNAVAILABLE, check->name, "no answer within %d s; %s",
			    DOCTOR_CHECK_MS / 1000, check->when_late);
	} else if (WIFEXITED(status)) {
		if (report->code == EXIT_CODE_OK)
			report->code = (enum exit_code)WEXITSTATUS(status);
	} else {
		report_fail(report, EXIT_CODE_INTERNAL, check->name, "the check died of signal %d",
			    WTERMSIG(status));
	}
}

/* The process of a check. */
static _Noreturn void run(const struct check *check, const struct config *config,
			  const struct privileges *privileges, FILE *out)
{
	struct report report = {.out = out};
	struct err err;
	if (check->as_user && privileges_drop(privileges, &err) != 0)
		report_fail(&report, err.code, check->name, "%s", err.text);
	else
		check->run(config, &report);
	(void)fflush(out);
	_exit((int)report.code);
}

static void run_apart(const struct check *check, const struct config *config,
		      const struct privileges *privileges, struct report *report)
{
	(void)fflush(report->out);
	pid_t pid = fork();
	if (pid < 0)
		report_fail(report, EXIT_CODE_OS, check->name, "fork: %s", strerror(errno));
	else if (pid == 0)
		run(check, config, privileges, report->out);
	else
		await(pid, check, report);
}

enum exit_code doctor_run(const struct config *config, const struct config_sources *sources,
			  const struct privileges *privileges, FILE *out)
{
	struct report report = {.out = out};
	sigset_t child, before;
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	(void)sigprocmask(SIG_BLOCK, &child, &before);
	/* Line by line: what a check has found before it hangs is not lost with it. */
	(void)setvbuf(out, NULL, _IOLBF, 0);
	if (sources->file)
		report_ok(&report, "configuration", "%s", sources->file);
	else
		report_ok(&report, "configuration", "no file was given with -c");
	struct err err;
	if (privileges_check(privileges, &err) != 0)
		report_fail(&report, err.code, "user", "%s", err.text);
	for (size_t i = 0; i < check_count; i++)
		run_apart(&checks[i], config, privileges, &report);
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	return report.code;
}
