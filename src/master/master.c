#include "master/master.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/random.h"
#include "master/notify.h"
#include "master/scoreboard.h"
#include "master/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	MASTER_ROUND_MS = 250,      /* at the latest, the scoreboard is looked at again */
	MASTER_HEAD_START_MS = 500, /* for the set-up, before anything listens */
	MASTER_BACKOFF_FIRST_MS = 100,
	MASTER_HEALTHY_MS = 60 * 1000,   /* a child that lived that long starts with a clean record */
	MASTER_NOT_READY_MS = 60 * 1000, /* without any worker ready: somebody else has to look */
	MASTER_BOOT_FAILURES_MIN =
	    3, /* deaths before the first one was ever ready, or as many as there are workers */
	MASTER_STOP_MS = 1000, /* for children told to leave at once, before SIGKILL */
};

enum phase { PHASE_RUN, PHASE_DRAIN, PHASE_STOP };

struct child {
	const struct process_kind *kind;
	struct process process;
	pid_t pid;    /* 0: none */
	bool is_done; /* a set-up that has succeeded */
	bool killed_as_stuck;
	unsigned failures; /* in a row */
	int64_t forked_ms;
	int64_t retry_ms; /* when pid is 0: not before */
};

struct master {
	const struct master_settings *settings;
	struct scoreboard scoreboard;
	struct child *children;
	size_t child_count;
	unsigned worker_count; /* of those that listen */
	int *listener_fds;
	int signal_fd;
	int lifeline[2];
	enum phase phase;
	enum exit_code exit_code;
	int64_t started_ms;
	int64_t last_round_ms;
	int64_t last_ready_ms; /* when a worker was ready, or the master started */
	int64_t kill_ms;       /* PHASE_DRAIN, PHASE_STOP: SIGKILL for whoever is left */
	bool was_ever_ready;
	bool rest_is_drained; /* PHASE_DRAIN: those that do not listen have been told, too */
	bool once_has_run;    /* the set-up has ended for the first time, well or not */
	unsigned boot_failures;
	unsigned forced;
	struct notify notify;
};

/* ---- stopping */

static bool has_children(const struct master *m, bool only_listening)
{
	for (size_t i = 0; i < m->child_count; i++)
		if (m->children[i].pid > 0 && (m->children[i].kind->listens || !only_listening))
			return true;
	return false;
}

static void signal_child(const struct child *c, int number)
{
	/* A set-up has nothing to leave: QUIT would dump its core. */
	int suited = number == SIGQUIT && c->kind->once ? SIGTERM : number;
	if (c->pid > 0) /* not reaped yet, so the number is still its own */
		(void)kill(c->pid, suited);
}

static void signal_children(const struct master *m, int number)
{
	for (size_t i = 0; i < m->child_count; i++)
		signal_child(&m->children[i], number);
}

static void stop(struct master *m, enum exit_code code, const char *reason)
{
	if (m->phase == PHASE_STOP)
		return;
	log_info("stopping: %s", reason);
	m->phase = PHASE_STOP;
	m->exit_code = code;
	m->kill_ms = clock_monotonic_ms() + MASTER_STOP_MS;
	signal_children(m, SIGQUIT);
}

static void close_listeners(struct master *m)
{
	for (size_t i = 0; i < m->settings->listener_count; i++)
		listener_close(&m->settings->listeners[i], true);
}

/* The master's descriptors of the listeners go first and the workers' last, each after it has emptied the
 * queue: a connection that the kernel has completed is answered, and what comes later is refused. */
static void drain(struct master *m)
{
	if (m->phase != PHASE_RUN)
		return;
	log_info("draining: up to %u s for requests in flight", m->settings->drain_timeout_ms / 1000);
	m->phase = PHASE_DRAIN;
	m->kill_ms = clock_monotonic_ms() + m->settings->drain_timeout_ms + MASTER_STOP_MS;
	close_listeners(m);
	for (size_t i = 0; i < m->child_count; i++)
		if (m->children[i].kind->listens || m->children[i].kind->once)
			signal_child(&m->children[i], SIGTERM);
}

/* Those that do not listen work for those that do: they leave after the last of them, and not by SIGTERM, which may be sent to
 * the whole group at once. */
static void drain_rest(struct master *m)
{
	if (m->phase != PHASE_DRAIN || m->rest_is_drained || has_children(m, true))
		return;
	m->rest_is_drained = true;
	signal_children(m, SIGQUIT);
}

/* ---- signals */

static void on_term(struct master *m, const char *name)
{
	(void)name;
	drain(m);
}

static void on_quit(struct master *m, const char *name)
{
	stop(m, EXIT_CODE_OK, name);
}

static void on_usr1(struct master *m, const char *name)
{
	log_info("%s: log files are opened again", name);
	if (m->settings->reopen)
		m->settings->reopen(m->settings);
	signal_children(m, SIGUSR1);
}

/* Reaping comes after all signals are read, so that a TERM to the whole group is known first. */
static void on_child(struct master *m, const char *name)
{
	(void)m;
	(void)name;
}

static void on_other(struct master *m, const char *name)
{
	(void)m;
	log_warn("%s is not handled by this version: ignored", name);
}

static const struct signal_row {
	int number;
	const char *name;
	void (*act)(struct master *m, const char *name);
} signal_table[] = {
    {SIGTERM, "SIGTERM", on_term },
    {SIGINT,  "SIGINT",  on_quit },
    {SIGQUIT, "SIGQUIT", on_quit },
    {SIGCHLD, "SIGCHLD", on_child},
    {SIGHUP,  "SIGHUP",  on_other},
    {SIGUSR1, "SIGUSR1", on_usr1 },
    {SIGUSR2, "SIGUSR2", on_other},
};

enum { SIGNAL_ROWS = sizeof(signal_table) / sizeof(signal_table[0]) };

static void read_signals(struct master *m)
{
	struct signalfd_siginfo info;
	while (read(m->signal_fd, &info, sizeof(info)) == sizeof(info))
		for (size_t i = 0; i < SIGNAL_ROWS; i++)
			if (signal_table[i].number == (int)info.ssi_signo)
				signal_table[i].act(m, signal_table[i].name);
}

static int open_signals(struct master *m, struct err *err)
{
	struct sigaction by_default = {.sa_handler = SIG_DFL};
	sigset_t all, ours;
	sigfillset(&all);
	sigemptyset(&ours);
	sigemptyset(&by_default.sa_mask);
	(void)sigprocmask(SIG_SETMASK, &all, NULL);
	for (size_t i = 0; i < SIGNAL_ROWS; i++)
		(void)sigaddset(&ours, signal_table[i].number);
	/* An inherited SIG_IGN would reap children before waitpid(2) could say how they ended. */
	(void)sigaction(SIGCHLD, &by_default, NULL);
	m->signal_fd = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
	if (m->signal_fd < 0)
		return err_set(err, EXIT_CODE_OS, "signalfd: %s", strerror(errno));
	return 0;
}

/* ---- children */

static void back_off(struct child *c, int64_t now_ms)
{
	int64_t max_ms = c->kind->backoff_max_ms;
	int64_t delay_ms = MASTER_BACKOFF_FIRST_MS;
	for (unsigned i = 0; i < c->failures && delay_ms < max_ms; i++)
		delay_ms *= 2;
	c->failures++;
	int64_t pause_ms = delay_ms < max_ms ? delay_ms : max_ms;
	/* Those that died together do not come back together. */
	c->retry_ms = now_ms + random_between(pause_ms * 4 / 5, pause_ms * 6 / 5);
}

static void log_death(const struct child *c, pid_t pid, int status, const char *consequence)
{
	char end[128];
	if (c->killed_as_stuck)
		(void)snprintf(end, sizeof(end), "killed: its loop stood still");
	else if (WIFSIGNALED(status))
		(void)snprintf(end, sizeof(end), "killed by signal %d (%s)%s", WTERMSIG(status),
			       strsignal(WTERMSIG(status)),
			       WTERMSIG(status) == SIGKILL ? "; out of memory?" : "");
	else
		(void)snprintf(end, sizeof(end), "exit code %d", WEXITSTATUS(status));
	log_warn("%s %d died, %s%s", c->kind->name, pid, end, consequence);
}

static void reap_once(struct master *m, struct child *c, pid_t pid, int status, int64_t now_ms)
{
	m->once_has_run = true;
	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_CODE_OK) {
		c->is_done = true;
		atomic_store(&m->scoreboard.board->setup_done, 1);
	} else if (m->phase != PHASE_RUN) {
		return;
	} else if (WIFSIGNALED(status)) {
		log_death(c, pid, status, ": trying again");
		back_off(c, now_ms);
	} else if (WEXITSTATUS(status) == EXIT_CODE_UNAVAILABLE) {
		back_off(c, now_ms); /* it has said why */
	} else {
		stop(m, (enum exit_code)WEXITSTATUS(status), "an operator has to act");
	}
}

static void reap_lasting(struct master *m, struct child *c, pid_t pid, int status, int64_t now_ms)
{
	bool left = WIFEXITED(status) && WEXITSTATUS(status) == EXIT_CODE_OK;
	m->forced += atomic_load(&c->process.slot->forced);
	bool is_replaced =
	    m->phase == PHASE_RUN || (m->phase == PHASE_DRAIN && !c->kind->listens && !m->rest_is_drained);
	if (!is_replaced) {
		if (!left)
			log_death(c, pid, status, "");
		return;
	}
	if (left)
		log_info("%s %d has left: replacing it", c->kind->name, pid);
	else
		log_death(c, pid, status, ": replacing it");
	if (c->kind->listens && !m->was_ever_ready && ++m->boot_failures >= MASTER_BOOT_FAILURES_MIN &&
	    m->boot_failures >= m->worker_count) {
		int code = WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_CODE_INTERNAL;
		stop(m, code == EXIT_CODE_CONFIG ? EXIT_CODE_CONFIG : EXIT_CODE_INTERNAL,
		     "no worker comes up");
		return;
	}
	if (now_ms - c->forked_ms >= MASTER_HEALTHY_MS)
		c->failures = 0;
	bool is_first = c->failures == 0;
	back_off(c, now_ms);
	if (c->killed_as_stuck && is_first)
		c->retry_ms = now_ms; /* it has been missed for long enough */
}

static void reap(struct master *m)
{
	int status;
	pid_t pid;
	int64_t now_ms = clock_monotonic_ms();
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (size_t i = 0; i < m->child_count;
		     i++) { /* as PID 1 of a container, others are inherited too */
			struct child *c = &m->children[i];
			if (c->pid != pid)
				continue;
			c->pid = 0; /* first of all: from here on the number may be somebody else's */
			atomic_store(&c->process.slot->state, PROCESS_NONE);
			if (c->kind->reaped)
				c->kind->reaped(&c->process);
			(c->kind->once ? reap_once : reap_lasting)(m, c, pid, status, now_ms);
		}
}

static void start(struct master *m, struct child *c, int64_t now_ms)
{
	scoreboard_reset(c->process.slot);
	c->killed_as_stuck = false;
	c->forked_ms = now_ms;
	pid_t pid = spawn(c->kind, &c->process, m->settings);
	if (pid < 0) {
		log_error("cannot fork a %s: %s", c->kind->name, strerror(errno));
		back_off(c, now_ms);
		return;
	}
	c->pid = pid;
}

static void start_missing(struct master *m, int64_t now_ms)
{
	bool head_start = !m->once_has_run && now_ms - m->started_ms < MASTER_HEAD_START_MS;
	for (size_t i = 0; i < m->child_count; i++) {
		struct child *c = &m->children[i];
		/* Draining, those who work for the last that listen are still needed. */
		bool is_wanted = m->phase == PHASE_RUN ? c->kind->once || !head_start
						       : !c->kind->once && !c->kind->listens;
		if (c->pid == 0 && !c->is_done && now_ms >= c->retry_ms && is_wanted)
			start(m, c, now_ms);
	}
}

/* ---- what the scoreboard says */

static void watch_readiness(struct master *m, int64_t now_ms)
{
	for (size_t i = 0; i < m->child_count; i++) {
		struct child *c = &m->children[i];
		if (c->pid == 0 || !c->kind->listens || !scoreboard_is_ready(c->process.slot))
			continue;
		m->last_ready_ms = now_ms;
		if (!m->was_ever_ready)
			log_info("ready");
		m->was_ever_ready = true;
	}
	if (m->phase == PHASE_RUN && now_ms - m->last_ready_ms > MASTER_NOT_READY_MS)
		stop(m, EXIT_CODE_INTERNAL, "no worker has been ready for a minute");
}

/* A loop that stands still serves nobody, and nobody else can end it. */
static void watch_beats(struct master *m, int64_t now_ms)
{
	int64_t slept_ms = now_ms - m->last_round_ms - MASTER_ROUND_MS;
	m->last_round_ms = now_ms;
	for (size_t i = 0; i < m->child_count; i++) {
		struct child *c = &m->children[i];
		uint32_t timeout_ms = c->kind->beat_timeout_ms;
		/* Who slept itself (SIGSTOP, suspend, a stolen CPU) cannot judge others: they get another
		 * round. */
		bool was_late = slept_ms > timeout_ms / 2;
		if (c->pid == 0 || timeout_ms == 0 || c->killed_as_stuck || was_late ||
		    scoreboard_beat_age_ms(c->process.slot) <= timeout_ms)
			continue;
		c->killed_as_stuck = true;
		(void)kill(c->pid, SIGKILL);
	}
}

/* ---- what the service manager is told */

static enum notify_state state_of(const struct master *m)
{
	if (m->phase != PHASE_RUN)
		return NOTIFY_STOPPING;
	return m->was_ever_ready ? NOTIFY_READY : NOTIFY_STARTING;
}

/* Behind all that a round is for: whoever waits for a ping learns that it was done. */
static void tell_service_manager(struct master *m, int64_t now_ms)
{
	static const char *const words[] = {
	    [NOTIFY_STARTING] = "starting: ",
	    [NOTIFY_READY] = "",
	    [NOTIFY_RELOADING] = "reloading: ",
	    [NOTIFY_STOPPING] = "stopping: ",
	};
	char status[128];
	unsigned ready = 0;
	unsigned long connections = 0;
	for (size_t i = 0; i < m->child_count; i++) {
		const struct child *c = &m->children[i];
		if (c->pid == 0 || !c->kind->listens)
			continue;
		ready += scoreboard_is_ready(c->process.slot);
		connections += atomic_load(&c->process.slot->connections);
	}
	enum notify_state state = state_of(m);
	(void)snprintf(status, sizeof(status), "%s%u of %u workers ready, %lu connections", words[state],
		       ready, m->worker_count, connections);
	notify_tell(&m->notify, state, status, now_ms);
}

/* ---- the loop */

static int next_wake_ms(const struct master *m, int64_t now_ms)
{
	int64_t wake_ms = now_ms + MASTER_ROUND_MS, ping_ms = notify_wake_ms(&m->notify);
	if (ping_ms < wake_ms)
		wake_ms = ping_ms > now_ms ? ping_ms : now_ms;
	for (size_t i = 0; i < m->child_count; i++) {
		const struct child *c = &m->children[i];
		if (c->pid == 0 && !c->is_done && c->retry_ms > now_ms && c->retry_ms < wake_ms)
			wake_ms = c->retry_ms;
	}
	/* A worker's readiness is read from the scoreboard: until the first, look often. */
	return m->was_ever_ready ? (int)(wake_ms - now_ms) : 5;
}

static void run_rounds(struct master *m)
{
	for (;;) {
		int64_t now_ms = clock_monotonic_ms();
		watch_readiness(m, now_ms);
		watch_beats(m, now_ms);
		if (m->phase == PHASE_RUN || (m->phase == PHASE_DRAIN && has_children(m, true)))
			start_missing(m, now_ms);
		tell_service_manager(m, now_ms);
		if (m->phase != PHASE_RUN) {
			if (!has_children(m, false))
				return;
			drain_rest(m);
			if (now_ms >= m->kill_ms)
				signal_children(m, SIGKILL);
		}
		struct pollfd signals = {.fd = m->signal_fd, .events = POLLIN};
		(void)poll(&signals, 1, next_wake_ms(m, now_ms));
		read_signals(m);
		reap(m);
	}
}

static void fill_children(struct master *m)
{
	const struct master_settings *settings = m->settings;
	size_t n = 0;
	for (size_t i = 0; i < settings->kind_count; i++)
		for (unsigned index = 0; index < settings->kinds[i].count; index++, n++) {
			m->children[n].kind = &settings->kinds[i];
			m->children[n].process = (struct process){
			    .name = settings->kinds[i].name,
			    .index = index,
			    .slot = &m->scoreboard.slots[n],
			    .peers = &m->scoreboard.slots[n - index],
			    .peer_count = settings->kinds[i].count,
			    .board = m->scoreboard.board,
			    .lifeline_fd = m->lifeline[0],
			    .listener_fds = m->listener_fds,
			    .listener_count = settings->listener_count,
			    .config = settings->config,
			    .shared = settings->kinds[i].shared,
			};
		}
}

static int open_master(struct master *m, struct err *err)
{
	const struct master_settings *settings = m->settings;
	for (size_t i = 0; i < settings->kind_count; i++) {
		m->child_count += settings->kinds[i].count;
		m->worker_count += settings->kinds[i].listens ? settings->kinds[i].count : 0;
	}
	m->children = alloc_zeroed(m->child_count, sizeof(*m->children));
	m->listener_fds = alloc_zeroed(settings->listener_count, sizeof(int));
	for (size_t i = 0; i < settings->listener_count; i++)
		m->listener_fds[i] = settings->listeners[i].fd;
	if (open_signals(m, err) != 0 || scoreboard_open(&m->scoreboard, m->child_count, err) != 0)
		return -1;
	if (pipe2(m->lifeline, O_CLOEXEC) != 0)
		return err_set(err, EXIT_CODE_OS, "pipe2: %s", strerror(errno));
	fill_children(m);
	return 0;
}

int master_run(const struct master_settings *settings, struct err *err)
{
	struct master m = {
	    .settings = settings,
	    .signal_fd = -1,
	    .lifeline = {-1, -1},
	    .scoreboard = {.memory = {.fd = -1} }
        };
	int result = open_master(&m, err);
	if (result == 0) {
		notify_open(&m.notify);
		m.started_ms = m.last_round_ms = m.last_ready_ms = clock_monotonic_ms();
		run_rounds(&m);
		log_info(m.forced ? "stopped; forced=%u connections cut" : "stopped", m.forced);
		result = (int)m.exit_code;
	}
	close_listeners(&m);
	scoreboard_close(&m.scoreboard);
	for (int i = 0; i < 2; i++)
		if (m.lifeline[i] >= 0)
			close(m.lifeline[i]);
	if (m.signal_fd >= 0)
		close(m.signal_fd);
	free(m.children);
	free(m.listener_fds);
	return result;
}
