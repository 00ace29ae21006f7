#include "master/master_private.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/random.h"
#include "master/spawn.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum {
	CHILD_BACKOFF_FIRST_MS = 100,
	CHILD_HEALTHY_MS = 60 * 1000, /* one that lived that long starts with a clean record */
	CHILD_ROUND_MS = 250,         /* the master's round: who slept longer was late itself */
	CHILD_BOOT_FAILURES_MIN =
	    3, /* deaths before the first one was ever ready, or as many as there are workers */
};

/* Of those whose own cannot be read: they pass for ready, and are not watched. */
static struct process_slot blind = {.state = PROCESS_READY};

/* ---- life */

struct child *child_new(struct master *m, struct generation *g, const struct process_kind *kind)
{
	if (m->child_count == m->child_cap) {
		m->child_cap = m->child_cap ? 2 * m->child_cap : 16;
		m->children = alloc_resize(m->children, m->child_cap, sizeof(*m->children));
	}
	struct child *c = alloc_zeroed(1, sizeof(*c));
	c->generation = g;
	c->kind = kind;
	c->slot = -1;
	m->children[m->child_count++] = c;
	return c;
}

void children_sweep(struct master *m)
{
	size_t kept = 0;
	for (size_t i = 0; i < m->child_count; i++) {
		struct child *c = m->children[i];
		if (c->pid == 0 && c->duty != CHILD_SERVES)
			free(c);
		else
			m->children[kept++] = c;
	}
	m->child_count = kept;
}

bool child_is_ready(const struct child *c)
{
	return c->pid > 0 && scoreboard_is_ready(c->process.slot);
}

/* ---- signals */

static void signal_child(const struct child *c, int number)
{
	/* A set-up has nothing to leave: QUIT would dump its core. */
	int suited = number == SIGQUIT && c->kind->once ? SIGTERM : number;
	if (c->pid > 0) /* not reaped yet, so the number is still its own */
		(void)kill(c->pid, suited);
}

void children_signal(const struct master *m, int number)
{
	for (size_t i = 0; i < m->child_count; i++)
		signal_child(m->children[i], number);
}

void child_leave(struct child *c, int number, int64_t now_ms)
{
	if (c->duty == CHILD_LEAVES)
		return;
	uint32_t drain_ms = number == SIGTERM ? c->generation->plan.drain_timeout_ms : 0;
	c->duty = CHILD_LEAVES;
	c->kill_ms = now_ms + drain_ms + MASTER_STOP_MS;
	signal_child(c, number);
}

/* ---- places */

static int first_free(const bool *used, int from, int end)
{
	int at = from;
	while (at < end && used[at])
		at++;
	return at < end ? at : -1;
}

static int find_slot(const struct master *m, const struct process_kind *kind)
{
	bool used[SCOREBOARD_SLOTS] = {false};
	for (size_t i = 0; i < m->child_count; i++)
		if (m->children[i]->pid > 0 && m->children[i]->slot >= 0)
			used[m->children[i]->slot] = true;
	return kind->listens ? first_free(used, SCOREBOARD_OTHERS, SCOREBOARD_SLOTS)
			     : first_free(used, 0, SCOREBOARD_OTHERS);
}

static bool is_akin(const struct process_kind *a, const struct process_kind *b)
{
	return a->pool == b->pool && strcmp(a->name, b->name) == 0;
}

static int find_index(const struct master *m, const struct process_kind *kind)
{
	bool used[SCOREBOARD_SLOTS] = {false};
	int places = kind->places < SCOREBOARD_SLOTS ? (int)kind->places : SCOREBOARD_SLOTS;
	for (size_t i = 0; i < m->child_count; i++) {
		const struct child *c = m->children[i];
		if (c->pid > 0 && is_akin(c->kind, kind) && c->process.index < SCOREBOARD_SLOTS)
			used[c->process.index] = true;
	}
	return first_free(used, 0, places);
}

static void fill_process(const struct master *m, struct child *c, int slot, int index)
{
	const struct generation *g = c->generation;
	const struct scoreboard *sb = &m->scoreboard;
	c->slot = slot;
	c->process = (struct process){
	    .name = c->kind->name,
	    .index = (unsigned)index,
	    .slot = &sb->slots[slot],
	    .peers = &sb->slots[SCOREBOARD_OTHERS],
	    .peers_max = SCOREBOARD_WORKERS,
	    .slots = sb->slots,
	    .slots_max = SCOREBOARD_SLOTS,
	    .board = sb->board,
	    .setup_done = &sb->board->setup_done[g->setup],
	    .lifeline_fd = m->lifeline[0],
	    .config = g->plan.config,
	    .shared = c->kind->shared,
	};
	if (!c->kind->listens)
		return;
	c->process.listener_fds = g->plan.listener_fds;
	c->process.listener_is_admin = g->plan.listener_is_admin;
	c->process.listener_count = g->plan.listener_count;
}

/* Before the process is there: who sums up or compares must not miss it. */
static void announce_slot(const struct master *m, int slot)
{
	struct process_board *board = m->scoreboard.board;
	uint32_t end = (uint32_t)slot + 1,
		 workers_end = end > SCOREBOARD_OTHERS ? end - SCOREBOARD_OTHERS : 0;
	if (atomic_load(&board->slots_end) < end)
		atomic_store(&board->slots_end, end);
	if (atomic_load(&board->peers_end) < workers_end)
		atomic_store(&board->peers_end, workers_end);
}

/* ---- forking */

static void back_off(struct child *c, int64_t now_ms)
{
	int64_t max_ms = c->kind->backoff_max_ms;
	int64_t delay_ms = CHILD_BACKOFF_FIRST_MS;
	for (unsigned i = 0; i < c->failures && delay_ms < max_ms; i++)
		delay_ms *= 2;
	c->failures++;
	int64_t pause_ms = delay_ms < max_ms ? delay_ms : max_ms;
	/* Those that died together do not come back together. */
	c->retry_ms = now_ms + random_between(pause_ms * 4 / 5, pause_ms * 6 / 5);
}

void child_start(struct master *m, struct child *c, int64_t now_ms)
{
	struct process_counts *counts = &m->scoreboard.board->counts;
	int slot = find_slot(m, c->kind), index = find_index(m, c->kind);
	if (slot < 0 || index < 0)
		return; /* until one of those that drain has left */
	fill_process(m, c, slot, index);
	scoreboard_reset(c->process.slot, c->kind->role);
	announce_slot(m, slot);
	c->killed_as_stuck = false;
	c->forked_ms = now_ms;
	pid_t pid = spawn(c->kind, &c->process, &c->generation->plan);
	if (pid < 0) {
		log_error("cannot fork a %s: %s", c->kind->name, strerror(errno));
		counter_add(&counts->failed_forks[c->kind->role], 1);
		scoreboard_clear(c->process.slot);
		back_off(c, now_ms);
		return;
	}
	counter_add(&counts->forks[c->kind->role], 1);
	c->pid = pid;
}

void child_adopt(struct master *m, struct child *c, pid_t pid, int slot, int index)
{
	if (slot >= 0 && slot < SCOREBOARD_SLOTS) {
		fill_process(m, c, slot, index);
		scoreboard_beat(c->process.slot); /* a program that is slow to start has seen nobody */
	} else {
		c->process = (struct process){
		    .index = (unsigned)index,
		    .slot = &blind,
		    .board = m->scoreboard.board,
		    .shared = c->kind->shared,
		};
	}
	c->pid = pid;
}

/* ---- reaping */

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
	struct generation *g = c->generation;
	g->once_has_run = true;
	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_CODE_OK) {
		c->is_done = g->once_is_done = true;
		atomic_store(&m->scoreboard.board->setup_done[g->setup], 1);
	} else if (m->phase != PHASE_RUN || c->duty == CHILD_LEAVES) {
		return;
	} else if (WIFSIGNALED(status)) {
		log_death(c, pid, status, ": trying again");
		back_off(c, now_ms);
	} else if (WEXITSTATUS(status) == EXIT_CODE_UNAVAILABLE) {
		back_off(c, now_ms); /* it has said why */
	} else if (g->state == GENERATION_BOOTS) {
		generation_give_up(m, g, "its store cannot be used");
	} else {
		master_stop(m, (enum exit_code)WEXITSTATUS(status), "an operator has to act");
	}
}

/* True when the generation has had too many of them to go on with it. */
static bool count_boot_failure(struct master *m, struct generation *g, int status)
{
	if (g->was_ever_ready && g->state != GENERATION_BOOTS)
		return false;
	g->boot_failures++;
	if (g->boot_failures < CHILD_BOOT_FAILURES_MIN || g->boot_failures < g->wanted)
		return false;
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_CODE_INTERNAL;
	if (g->state == GENERATION_BOOTS)
		generation_give_up(m, g, "no worker comes up");
	else
		master_stop(m, code == EXIT_CODE_CONFIG ? EXIT_CODE_CONFIG : EXIT_CODE_INTERNAL,
			    "no worker comes up");
	return true;
}

static bool is_replaced(const struct master *m, const struct child *c)
{
	return m->phase != PHASE_STOP && c->duty == CHILD_SERVES && !c->generation->plan.is_adopted;
}

/* What the program before this one has forked, this one cannot fork again. A generation of its own can take over. */
static void lose_adopted(struct master *m, struct child *c)
{
	bool serves = c->duty == CHILD_SERVES && c->kind->listens && m->phase == PHASE_RUN;
	c->duty = CHILD_LEAVES;
	if (serves && c->generation->state == GENERATION_SERVES && !m->booting &&
	    !attempt_is_pending(&m->reload))
		master_ask(&m->reload);
}

/* One that was wanted still. Those that retire are counted when they are told to go, unless they die before. */
static void count_end(const struct master *m, const struct child *c, bool left)
{
	enum process_end end = c->killed_as_stuck ? PROCESS_STUCK : left ? PROCESS_RECYCLED : PROCESS_CRASHED;
	if (c->duty != CHILD_LEAVES && m->phase != PHASE_STOP)
		counter_add(&m->scoreboard.board->counts.replaced[c->kind->role][end], 1);
}

static void reap_lasting(struct master *m, struct child *c, pid_t pid, int status, int64_t now_ms)
{
	bool left = WIFEXITED(status) && WEXITSTATUS(status) == EXIT_CODE_OK;
	unsigned forced = atomic_load(&c->process.slot->forced);
	m->forced += forced;
	c->generation->forced += forced;
	count_end(m, c, left);
	if (!is_replaced(m, c)) {
		if (!left)
			log_death(c, pid, status, "");
		if (c->generation->plan.is_adopted)
			lose_adopted(m, c);
		return;
	}
	if (left)
		log_info("%s %d has left: replacing it", c->kind->name, pid);
	else
		log_death(c, pid, status, ": replacing it");
	if (c->kind->listens && count_boot_failure(m, c->generation, status))
		return;
	if (now_ms - c->forked_ms >= CHILD_HEALTHY_MS)
		c->failures = 0;
	bool is_first = c->failures == 0;
	back_off(c, now_ms);
	if (c->killed_as_stuck && is_first)
		c->retry_ms = now_ms; /* it has been missed for long enough */
}

static void reap_child(struct master *m, struct child *c, int status, int64_t now_ms)
{
	pid_t pid = c->pid;
	c->pid = 0; /* first of all: from here on the number may be somebody else's */
	if (c->slot >= 0)
		scoreboard_clear(c->process.slot);
	if (c->kind->reaped)
		c->kind->reaped(&c->process);
	(c->kind->once ? reap_once : reap_lasting)(m, c, pid, status, now_ms);
	c->slot = -1;
}

void children_reap(struct master *m)
{
	int status;
	pid_t pid;
	int64_t now_ms = clock_monotonic_ms();
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == m->reload.judge)
			reload_judged(m, status);
		else if (pid == m->upgrade.judge)
			upgrade_judged(m, status);
		for (size_t i = 0; i < m->child_count;
		     i++) /* as PID 1 of a container, others are inherited too */
			if (m->children[i]->pid == pid)
				reap_child(m, m->children[i], status, now_ms);
	}
}

/* ---- watching */

/* A loop that stands still serves nobody, and nobody else can end it. */
static void watch_beat(struct child *c, int64_t slept_ms)
{
	uint32_t timeout_ms = c->kind->beat_timeout_ms;
	if (c->slot < 0 || timeout_ms == 0 || c->killed_as_stuck)
		return;
	/* Who slept itself (SIGSTOP, suspend, a stolen CPU) cannot judge others: their time begins anew. */
	if (slept_ms > timeout_ms / 2)
		scoreboard_beat(c->process.slot);
	if (scoreboard_beat_age_ms(c->process.slot) <= timeout_ms)
		return;
	c->killed_as_stuck = true;
	(void)kill(c->pid, SIGKILL);
}

void children_watch(struct master *m, int64_t now_ms)
{
	int64_t slept_ms = now_ms - m->last_round_ms - CHILD_ROUND_MS;
	m->last_round_ms = now_ms;
	for (size_t i = 0; i < m->child_count; i++) {
		struct child *c = m->children[i];
		if (c->pid == 0)
			continue;
		watch_beat(c, slept_ms);
		if (c->duty == CHILD_LEAVES && now_ms >= c->kill_ms)
			(void)kill(c->pid, SIGKILL);
	}
}
