#include "master/spawn.h"

#include "base/buf.h"
#include "master/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define HAS_LEAK_CHECK 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_LEAK_CHECK 1
#endif
#endif
#ifdef HAS_LEAK_CHECK
#include <sanitizer/lsan_interface.h>
#endif

static int compare_fds(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;
	return (x > y) - (x < y);
}

/* An allow-list, since a forgotten descriptor would outlive its owner in here. Sorts `kept`. */
static bool close_all_but(int *kept, size_t count)
{
	if (count > 0)
		qsort(kept, count, sizeof(*kept), compare_fds);
	unsigned next = STDERR_FILENO + 1;
	bool all = true;
	for (size_t i = 0; i < count; i++) {
		unsigned fd = (unsigned)kept[i];
		if (fd > next)
			all &= close_range(next, fd - 1, 0) == 0;
		if (fd >= next)
			next = fd + 1;
	}
	all &= close_range(next, UINT_MAX, 0) == 0;
	return all;
}

static void reset_signals(void)
{
	struct sigaction by_default = {.sa_handler = SIG_DFL};
	sigemptyset(&by_default.sa_mask);
	for (int number = 1; number < NSIG; number++)
		(void)sigaction(number, &by_default, NULL); /* fails for those that cannot be changed */
}

static bool close_others(const struct process *p, const struct master_plan *plan)
{
	int *kept = alloc_zeroed(1 + p->listener_count + plan->kept_count, sizeof(*kept));
	size_t count = 0;
	kept[count++] = p->lifeline_fd;
	for (size_t i = 0; i < p->listener_count; i++)
		kept[count++] = p->listener_fds[i];
	for (size_t i = 0; i < plan->kept_count; i++)
		kept[count++] = plan->kept_fds[i];
	bool closed = close_all_but(kept, count);
	free(kept);
	return closed;
}

static void die_with(pid_t master, int number)
{
	(void)prctl(PR_SET_PDEATHSIG, number);
	if (getppid() != master)
		_exit(EXIT_CODE_OK); /* it died before the line above */
}

static _Noreturn void run_child(const struct process_kind *kind, struct process p, pid_t master,
				const struct master_plan *plan)
{
	bool closed = close_others(&p, plan);
	reset_signals();
	char name[16]; /* all that the kernel keeps */
	(void)snprintf(name, sizeof(name), "todod-%.9s", kind->name);
	(void)prctl(PR_SET_NAME, name);
	notify_forget();
	log_init(kind->name, plan->log_level);
	struct err err;
	if (privileges_drop(plan->privileges, &err) != 0) {
		log_error("%s", err.text);
		_exit(err.code);
	}
	die_with(master, SIGTERM); /* behind a change of the user, which clears it */
	atomic_store(&p.slot->pid, (uint32_t)getpid());
	metrics_begin(&p.slot->metrics);
	if (!closed)
		log_error("close_range is refused here: the %s keeps the master's descriptors", kind->name);
	int code = kind->run(&p);
#ifdef HAS_LEAK_CHECK
	__lsan_do_leak_check();
#endif
	/* Not exit(3): the destructors of libraries would run while store threads may still be inside them.
	 */
	_exit(code);
}

pid_t spawn(const struct process_kind *kind, const struct process *p, const struct master_plan *plan)
{
	pid_t master = getpid();
	pid_t pid = fork();
	if (pid == 0)
		run_child(kind, *p, master, plan);
	return pid;
}

/* ---- children that judge */

static void stand_alone(pid_t master)
{
	sigset_t none;
	sigemptyset(&none);
	reset_signals();
	notify_forget();
	die_with(master, SIGKILL);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

pid_t spawn_judge(int (*judge)(void *arg, struct err *err), void *arg, struct err *verdict)
{
	pid_t master = getpid();
	pid_t pid = fork();
	if (pid != 0)
		return pid;
	(void)close_all_but(NULL, 0);
	stand_alone(master);
	_exit(judge(arg, verdict) == 0 ? EXIT_CODE_OK : (int)verdict->code);
}

static _Noreturn void run_program(const char *program, char *const *argv, const char *option,
				  const struct handover *h)
{
	size_t count = 0;
	while (argv[count])
		count++;
	const char **words = alloc_zeroed(count + 2, sizeof(*words));
	for (size_t i = 0; i < count; i++)
		words[i] = argv[i];
	words[count] = option;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0)
		(void)dup2(null, STDOUT_FILENO);
	(void)fcntl(h->fd, F_SETFD, 0);
	handover_name(h);
	(void)execv(program, (char *const *)(void *)words);
	log_error("cannot execute %s: %s", program, strerror(errno));
	_exit(EXIT_CODE_OS);
}

pid_t spawn_program(const char *program, char *const *argv, const char *option, const struct handover *h)
{
	pid_t master = getpid();
	pid_t pid = fork();
	if (pid != 0)
		return pid;
	stand_alone(master);
	run_program(program, argv, option, h);
}
