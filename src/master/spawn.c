#include "master/spawn.h"

#include <assert.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

enum { SPAWN_KEPT_MAX = 32 };

static int compare_fds(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;
	return (x > y) - (x < y);
}

/* An allow-list, since a forgotten descriptor would outlive its owner in here. */
static bool close_all_but(const int *kept, size_t count)
{
	int sorted[SPAWN_KEPT_MAX];
	assert(count <= SPAWN_KEPT_MAX);
	memcpy(sorted, kept, count * sizeof(*kept));
	qsort(sorted, count, sizeof(*sorted), compare_fds);
	unsigned next = STDERR_FILENO + 1;
	bool all = true;
	for (size_t i = 0; i < count; i++) {
		unsigned fd = (unsigned)sorted[i];
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

static _Noreturn void run_child(const struct process_kind *kind, struct process p, pid_t master,
				enum log_level log_level)
{
	int kept[SPAWN_KEPT_MAX] = {p.lifeline_fd}, listeners[SPAWN_KEPT_MAX];
	size_t count = 1;
	if (!kind->listens)
		p.listener_count = 0;
	for (size_t i = 0; i < p.listener_count; i++)
		kept[count++] = listeners[i] = p.listener_fds[i];
	p.listener_fds = listeners;
	bool closed = close_all_but(kept, count);
	reset_signals();
	char name[16]; /* all that the kernel keeps */
	(void)snprintf(name, sizeof(name), "todod-%.9s", kind->name);
	(void)prctl(PR_SET_NAME, name);
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != master)
		_exit(EXIT_CODE_OK); /* it died before the line above */
	log_init(kind->name, log_level);
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

pid_t spawn(const struct process_kind *kind, const struct process *p, enum log_level log_level)
{
	pid_t master = getpid();
	pid_t pid = fork();
	if (pid == 0)
		run_child(kind, *p, master, log_level);
	return pid;
}
