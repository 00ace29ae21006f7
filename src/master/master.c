#include "master/master_private.h"

#include "base/buf.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum {
	MASTER_ROUND_MS = 250,    /* at the latest, the scoreboard is looked at again */
	MASTER_ROUND_SOON_MS = 5, /* while something is awaited that only the scoreboard tells */
	MASTER_MEMORY_MS = 1000,
	MASTER_NOT_READY_MS = 60 * 1000, /* without any worker ready: somebody else has to look */
};

/* ---- stopping */

/* Those that judge count: killed just after they were forked, they have the master's descriptors still, and its locks. */
static bool has_children(const struct master *m)
{
	if (m->reload.judge > 0 || m->upgrade.judge > 0)
		return true;
	for (size_t i = 0; i < m->child_count; i++)
		if (m->children[i]->pid > 0)
			return true;
	return false;
}

/* Whoever waits for them is told; nobody waits for what they find. */
static void end_attempts(struct master *m)
{
	struct attempt *attempts[] = {&m->reload, &m->upgrade};
	generation_finish_replacing(m);
	for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++) {
		if (attempts[i]->judge > 0)
			(void)kill(attempts[i]->judge, SIGKILL);
		if (attempt_is_under_way(attempts[i]))
			attempt_fail(attempts[i], EXIT_CODE_INTERNAL, "todod was told to stop");
	}
}

void master_stop(struct master *m, enum exit_code code, const char *reason)
{
	if (m->phase == PHASE_STOP)
		return;
	log_info("stopping: %s", reason);
	end_attempts(m);
	m->phase = PHASE_STOP;
	m->exit_code = code;
	int64_t now_ms = clock_monotonic_ms();
	m->kill_ms = now_ms + MASTER_STOP_MS;
	for (struct generation *g = m->generations; g; g = g->next)
		m->settings->ops->stop_listening(m->settings->arg, &g->plan);
	children_signal(m, SIGQUIT);
}

void master_drain(struct master *m)
{
	if (m->phase != PHASE_RUN)
		return;
	uint32_t drain_s = m->serving ? m->serving->plan.drain_timeout_ms / 1000 : 0;
	log_info("draining: up to %u s for requests in flight", drain_s);
	end_attempts(m);
	m->phase = PHASE_DRAIN;
	int64_t now_ms = clock_monotonic_ms();
	for (struct generation *g = m->generations; g; g = g->next)
		generation_drain(m, g, now_ms);
}

/* ---- what is asked of the master */

static const struct process_kind *listening_kind(const struct generation *g)
{
	for (size_t i = 0; i < g->plan.kind_count; i++)
		if (g->plan.kinds[i].listens)
			return &g->plan.kinds[i];
	return NULL;
}

int master_set_workers(struct master *m, unsigned wanted, struct err *err)
{
	struct generation *g = m->serving;
	const struct process_kind *kind = g ? listening_kind(g) : NULL;
	if (!kind || m->phase != PHASE_RUN)
		return err_set(err, EXIT_CODE_INTERNAL, "todod is stopping");
	if (g->plan.is_adopted)
		return err_set(
		    err, EXIT_CODE_INTERNAL,
		    "the workers are those of the program before this one: only a reload replaces them");
	if (wanted < 1 || wanted > kind->count_max)
		return err_set(err, EXIT_CODE_USAGE, "%u workers stay: 1 to %u is what there may be",
			       g->wanted, kind->count_max);
	log_info("%u workers wanted, after %u", wanted, g->wanted);
	g->wanted = wanted;
	return 0;
}

static void change_workers(struct master *m, int by)
{
	struct err err;
	if (m->serving && master_set_workers(m, m->serving->wanted + (unsigned)by, &err) != 0)
		log_warn("%s", err.text);
}

/* A generation that boots needs a place for each of its workers, beside those that serve and those that drain. */
static bool has_room(const struct master *m)
{
	const struct process_kind *kind = m->serving ? listening_kind(m->serving) : NULL;
	size_t living = 0;
	for (size_t i = 0; i < m->child_count; i++)
		living += m->children[i]->pid > 0 && m->children[i]->kind->listens;
	return kind && (kind->places == 0 || 2 * living <= kind->places);
}

bool master_may_change(const struct master *m)
{
	return m->phase == PHASE_RUN && m->serving && !m->booting && !attempt_is_under_way(&m->reload) &&
	       !attempt_is_under_way(&m->upgrade) && generations_draining(m) < MASTER_DRAINING_MAX &&
	       has_room(m);
}

/* ---- signals */

static void on_term(struct master *m, const char *name)
{
	(void)name;
	master_drain(m);
}

static void on_quit(struct master *m, const char *name)
{
	master_stop(m, EXIT_CODE_OK, name);
}

/* Reaping comes after all signals are read, so that a TERM to the whole group is known first. */
static void on_child(struct master *m, const char *name)
{
	(void)m;
	(void)name;
}

static void on_hup(struct master *m, const char *name)
{
	(void)name;
	master_ask(&m->reload);
}

static void on_usr2(struct master *m, const char *name)
{
	(void)name;
	master_ask(&m->upgrade);
}

/* The master's own log is stderr: whoever reads that rotates it. Files are the workers'. */
static void on_usr1(struct master *m, const char *name)
{
	log_info("%s: log files are opened again", name);
	for (const struct generation *g = m->generations; g; g = g->next)
		m->settings->ops->reopen(m->settings->arg, &g->plan);
	for (size_t i = 0; i < m->child_count; i++)
		if (m->children[i]->kind->listens && m->children[i]->pid > 0)
			(void)kill(m->children[i]->pid, SIGUSR1);
}

static void on_ttin(struct master *m, const char *name)
{
	(void)name;
	change_workers(m, 1);
}

static void on_ttou(struct master *m, const char *name)
{
	(void)name;
	change_workers(m, -1);
}

static const struct signal_row {
	int number;
	const char *name;
	void (*act)(struct master *m, const char *name);
	bool not_of_kernel; /* a terminal makes the kernel send it, which means nothing here */
} signal_table[] = {
    {SIGTERM, "SIGTERM", on_term,  false},
    {SIGINT,  "SIGINT",  on_quit,  false},
    {SIGQUIT, "SIGQUIT", on_quit,  false},
    {SIGCHLD, "SIGCHLD", on_child, false},
    {SIGHUP,  "SIGHUP",  on_hup,   false},
    {SIGUSR1, "SIGUSR1", on_usr1,  false},
    {SIGUSR2, "SIGUSR2", on_usr2,  false},
    {SIGTTIN, "SIGTTIN", on_ttin,  true },
    {SIGTTOU, "SIGTTOU", on_ttou,  true },
};

enum { SIGNAL_ROWS = sizeof(signal_table) / sizeof(signal_table[0]) };

static void read_signals(struct master *m)
{
	struct signalfd_siginfo info;
	while (read(m->signal_fd, &info, sizeof(info)) == sizeof(info))
		for (size_t i = 0; i < SIGNAL_ROWS; i++) {
			const struct signal_row *row = &signal_table[i];
			if (row->number == (int)info.ssi_signo &&
			    !(row->not_of_kernel && info.ssi_code == SI_KERNEL))
				row->act(m, row->name);
		}
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

/* ---- what the service manager is told */

static enum notify_state state_of(const struct master *m)
{
	if (m->phase != PHASE_RUN)
		return NOTIFY_STOPPING;
	if (!m->was_ever_ready)
		return NOTIFY_STARTING;
	bool changes = attempt_is_under_way(&m->reload) || attempt_is_under_way(&m->upgrade);
	return changes ? NOTIFY_RELOADING : NOTIFY_READY;
}

static const char *last_failure(const struct master *m)
{
	const struct attempt *last = m->upgrade.ended_ms > m->reload.ended_ms ? &m->upgrade : &m->reload;
	return last->ended > 0 && !last->has_succeeded ? last->name : NULL;
}

/* Behind all that a round is for: whoever waits for a ping learns that it was done. Before another change begins, too: the end of
 * the last one has to be told by itself (Type=notify-reload waits for it). */
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
		const struct child *c = m->children[i];
		if (c->pid == 0 || !c->kind->listens)
			continue;
		ready += c->duty != CHILD_LEAVES && child_is_ready(c);
		connections += atomic_load(&c->process.slot->connections);
	}
	unsigned wanted = m->serving ? m->serving->wanted : ready;
	enum notify_state state = state_of(m);
	const char *failed = last_failure(m);
	(void)snprintf(status, sizeof(status), "%s%u of %u workers ready, %lu connections%s%s%s",
		       words[state], ready, wanted, connections, failed ? "; the last " : "",
		       failed ? failed : "", failed ? " failed" : "");
	notify_tell(&m->notify, state, status, now_ms);
}

/* As each of its children does in its own slot: once a second. */
static void note_memory(struct master *m, int64_t now_ms)
{
	if (now_ms < m->memory_ms)
		return;
	m->memory_ms = now_ms + MASTER_MEMORY_MS;
	gauge_set(&m->scoreboard.board->counts.resident_bytes, process_resident_bytes(getpid()));
}

/* ---- the loop */

/* What only the scoreboard tells: that the first worker is ready, or a generation, or a successor; that an old one accepts no more. */
static bool awaits_readiness(const struct master *m)
{
	if (!m->was_ever_ready || m->booting || (m->serving && m->serving->replaces))
		return true;
	for (size_t i = 0; i < m->child_count; i++)
		if (m->children[i]->duty == CHILD_RETIRES)
			return true;
	return false;
}

static int next_wake_ms(const struct master *m, int64_t now_ms)
{
	int64_t wake_ms = now_ms + (awaits_readiness(m) ? MASTER_ROUND_SOON_MS : MASTER_ROUND_MS);
	int64_t ping_ms = notify_wake_ms(&m->notify);
	if (ping_ms < wake_ms)
		wake_ms = ping_ms > now_ms ? ping_ms : now_ms;
	for (size_t i = 0; i < m->child_count; i++) {
		const struct child *c = m->children[i];
		if (c->pid == 0 && !c->is_done && c->retry_ms > now_ms && c->retry_ms < wake_ms)
			wake_ms = c->retry_ms;
	}
	return (int)(wake_ms - now_ms);
}

static void run_round(struct master *m, int64_t now_ms)
{
	note_memory(m, now_ms);
	children_watch(m, now_ms);
	generations_tend(m, now_ms);
	if (m->phase == PHASE_RUN && now_ms - m->last_ready_ms > MASTER_NOT_READY_MS)
		master_stop(m, EXIT_CODE_INTERNAL, "no worker has been ready for a minute");
	if (m->phase == PHASE_STOP && now_ms >= m->kill_ms)
		children_signal(m, SIGKILL);
	tell_service_manager(m, now_ms);
	if (m->phase == PHASE_RUN) {
		/* An upgrade reads the configuration as well: it does not wait for ever more reloads. */
		upgrade_tend(m, now_ms);
		reload_tend(m, now_ms);
		tell_service_manager(m, now_ms); /* what begins may have ended before the next round */
	}
	control_tell(m, now_ms);
}

static void run(struct master *m)
{
	for (;;) {
		int64_t now_ms = clock_monotonic_ms();
		run_round(m, now_ms);
		if (m->phase != PHASE_RUN && !has_children(m))
			return;
		struct pollfd fds[1 + CONTROL_POLLED] = {
		    {.fd = m->signal_fd, .events = POLLIN}
                };
		(void)poll(fds, 1 + control_poll(m, fds + 1), next_wake_ms(m, now_ms));
		read_signals(m);
		children_reap(m);
		control_serve(m, clock_monotonic_ms());
	}
}

/* ---- life */

static int open_verdict(struct master *m, struct err *err)
{
	void *memory =
	    mmap(NULL, sizeof(*m->verdict), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return err_set(err, EXIT_CODE_OS, "mmap: %s", strerror(errno));
	m->verdict = memory;
	return 0;
}

static int open_master(struct master *m, struct err *err)
{
	const struct master_settings *s = m->settings;
	struct master_plan plan;
	m->started_ms = m->last_round_ms = m->last_ready_ms = clock_monotonic_ms();
	control_open(&m->control);
	if (open_signals(m, err) != 0 || open_verdict(m, err) != 0)
		return -1;
	if (s->from)
		return upgrade_adopt(m, s->from, err);
	if (scoreboard_open(&m->scoreboard, err) != 0)
		return -1;
	attempts_count(m);
	if (pipe2(m->lifeline, O_CLOEXEC) != 0)
		return err_set(err, EXIT_CODE_OS, "pipe2: %s", strerror(errno));
	if (s->ops->plan(s->arg, &plan, NULL, err) != 0)
		return -1;
	generation_begin(m, &plan, NULL);
	return 0;
}

static void close_master(struct master *m)
{
	for (struct generation *g; (g = m->generations);) {
		m->generations = g->next;
		m->settings->ops->stop_listening(m->settings->arg, &g->plan);
		m->settings->ops->release(m->settings->arg, &g->plan);
		free(g);
	}
	control_close(&m->control);
	if (m->verdict)
		(void)munmap(m->verdict, sizeof(*m->verdict));
	scoreboard_close(&m->scoreboard);
	for (int i = 0; i < 2; i++)
		if (m->lifeline[i] >= 0)
			close(m->lifeline[i]);
	if (m->signal_fd >= 0)
		close(m->signal_fd);
	for (size_t i = 0; i < m->child_count; i++)
		free(m->children[i]);
	free(m->children);
}

int master_run(const struct master_settings *settings, struct err *err)
{
	struct master m = {
	    .settings = settings,
	    .reload = {.name = "reload" },
	    .upgrade = {.name = "upgrade"},
	    .signal_fd = -1,
	    .lifeline = {-1,                -1},
	    .scoreboard = {.memory = {.fd = -1}                },
	};
	int result = open_master(&m, err);
	if (result == 0) {
		notify_open(&m.notify);
		run(&m);
		log_info(m.forced ? "stopped; forced=%u connections cut" : "stopped", m.forced);
		result = (int)m.exit_code;
	}
	close_master(&m);
	return result;
}
