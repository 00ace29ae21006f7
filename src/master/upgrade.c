/*
 * SIGUSR2. The program, as it is on disk now, takes the place of this one by execve(2): its PID, its children, its listeners and its
 * shared memory stay. Before that it is run with -t, and has to say that it can take over: there is no way back from an execve(2)
 * that succeeds.
 *
 *     asked -> judged -> (execve) -> adopted -> boots -> serves
 *
 * It adopts the old children: it watches, reaps and drains them, but cannot replace them, so it boots a generation of its own at
 * once. If that fails, the old workers serve on.
 */
#include "master/master_private.h"

#include "base/clock.h"
#include "master/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- handing over */

static void hand_over_attempt(const struct attempt *a, struct handover *h)
{
	handover_add(h, "%s %" PRIu64 " %" PRIu64 " %" PRIu64 " %d %d %" PRId64 " %s", a->name, a->asked,
		     a->begun, a->ended, a->has_succeeded, (int)a->code, a->ended_ms, a->why);
}

static void hand_over_children(const struct master *m, struct handover *h)
{
	for (size_t i = 0; i < m->child_count; i++) {
		const struct child *c = m->children[i];
		if (c->pid > 0)
			handover_add(h, "child %d %u %d %u %d %" PRId64 " %" PRId64 " %s", c->pid,
				     c->generation->number, c->slot, c->process.index, (int)c->duty,
				     c->forked_ms, c->kill_ms, c->kind->name);
	}
}

/* The youngest first, as they stand: read back, each is put before the last. */
static void hand_over_generations(const struct master *m, const struct generation *g, struct handover *h)
{
	if (!g)
		return;
	hand_over_generations(m, g->next, h);
	m->settings->ops->hand_over_plan(m->settings->arg, &g->plan, g->number, h);
	handover_add(h, "generation %u %d %u %u %u", g->number, (int)g->state, g->wanted, g->setup,
		     g->plan.drain_timeout_ms);
}

static void hand_over(const struct master *m, struct handover *h)
{
	const struct scoreboard *sb = &m->scoreboard;
	handover_add(h, "lifeline %d %d", handover_fd(h, m->lifeline[0]), handover_fd(h, m->lifeline[1]));
	handover_add(h, "scoreboard %d %" PRIu64, handover_fd(h, sb->memory.fd), scoreboard_layout());
	handover_add(h, "program %s", m->settings->program);
	handover_add(h, "master %u %u %d %" PRId64, m->last_number, m->forced, m->was_ever_ready,
		     m->started_ms);
	hand_over_attempt(&m->reload, h);
	hand_over_attempt(&m->upgrade, h);
	m->settings->ops->hand_over(m->settings->arg, h);
	hand_over_generations(m, m->generations, h);
	hand_over_children(m, h);
}

static void execute(struct master *m)
{
	struct handover h;
	struct err err;
	const struct master_settings *s = m->settings;
	m->is_accepted = false;
	if (handover_open(&h, &err) != 0) {
		attempt_fail(&m->upgrade, err.code, "%s", err.text);
		return;
	}
	hand_over(m, &h);
	if (handover_write(&h, true, &err) == 0) {
		handover_name(&h);
		(void)execv(s->program, s->argv);
		err_set(&err, EXIT_CODE_OS, "cannot execute %s: %s", s->program, strerror(errno));
		handover_unname();
	}
	handover_take_back(&h);
	handover_close(&h);
	s->ops->stay(s->arg);
	attempt_fail(&m->upgrade, err.code, "%s", err.text);
}

/* ---- asking the other program */

static void ask(struct master *m, int64_t now_ms)
{
	struct err err;
	const struct master_settings *s = m->settings;
	attempt_begin(&m->upgrade);
	if (handover_open(&m->probe, &err) != 0 || handover_write(&m->probe, false, &err) != 0)
		attempt_fail(&m->upgrade, err.code, "%s", err.text);
	else
		attempt_await(&m->upgrade, spawn_program(s->program, s->argv, "-t", &m->probe), now_ms);
	if (m->upgrade.judge <= 0)
		handover_close(&m->probe);
}

void upgrade_judged(struct master *m, int status)
{
	m->upgrade.judge = 0;
	const char *version = handover_accepted(&m->probe);
	bool has_accepted = WIFEXITED(status) && WEXITSTATUS(status) == EXIT_CODE_OK && version;
	if (has_accepted)
		log_info("upgrade: to todod %s, %s", version, m->settings->program);
	handover_close(&m->probe);
	m->is_accepted = has_accepted;
	if (has_accepted || m->phase != PHASE_RUN)
		return;
	if (!WIFEXITED(status))
		attempt_fail(&m->upgrade, EXIT_CODE_INTERNAL, "%s -t ended with signal %d",
			     m->settings->program, WTERMSIG(status));
	else if (WEXITSTATUS(status) != EXIT_CODE_OK)
		attempt_fail(&m->upgrade, (enum exit_code)WEXITSTATUS(status),
			     "%s -t ended with exit code %d; what it said is in the log",
			     m->settings->program, WEXITSTATUS(status));
	else
		attempt_fail(&m->upgrade, EXIT_CODE_INTERNAL, "%s does not say that it can take over",
			     m->settings->program);
}

void upgrade_tend(struct master *m, int64_t now_ms)
{
	attempt_tend(&m->upgrade, now_ms);
	if (m->is_accepted)
		execute(m);
	else if (attempt_is_pending(&m->upgrade) && master_may_change(m))
		ask(m, now_ms);
}

/* ---- adopting */

/* One of another layout is of no use: what the old workers say in it is not heard then, and counting begins anew. */
static void adopt_scoreboard(struct master *m, struct handover *h, const char *line)
{
	struct err err;
	int fd;
	uint64_t layout;
	if (sscanf(line, "%d %" SCNu64, &fd, &layout) == 2 && layout == scoreboard_layout() &&
	    (fd = handover_take(h, fd)) >= 0 && scoreboard_adopt(&m->scoreboard, fd, &err) != 0)
		close(fd);
}

static void adopt_master(struct master *m, struct handover *h, size_t i)
{
	int in, out, ready;
	const char *line;
	if ((line = handover_line(h, i, "lifeline")) && sscanf(line, "%d %d", &in, &out) == 2) {
		m->lifeline[0] = handover_take(h, in);
		m->lifeline[1] = handover_take(h, out);
	} else if ((line = handover_line(h, i, "scoreboard"))) {
		adopt_scoreboard(m, h, line);
	} else if ((line = handover_line(h, i, "master")) &&
		   sscanf(line, "%u %u %d %" SCNd64, &m->last_number, &m->forced, &ready, &m->started_ms) ==
		       4) {
		m->was_ever_ready = ready != 0;
	}
}

static void adopt_attempt(struct attempt *a, const struct handover *h, size_t i)
{
	const char *line = handover_line(h, i, a->name);
	int succeeded, code, at = 0;
	if (!line || sscanf(line, "%" SCNu64 " %" SCNu64 " %" SCNu64 " %d %d %" SCNd64 " %n", &a->asked,
			    &a->begun, &a->ended, &succeeded, &code, &a->ended_ms, &at) != 6)
		return;
	a->has_succeeded = succeeded != 0;
	a->code = (enum exit_code)code;
	(void)snprintf(a->why, sizeof(a->why), "%s", line + at);
}

static int adopt_generation(struct master *m, struct handover *h, size_t i, struct err *err)
{
	struct master_plan plan;
	unsigned number, wanted, setup, drain_ms;
	int state;
	const char *line = handover_line(h, i, "generation");
	if (!line || sscanf(line, "%u %d %u %u %u", &number, &state, &wanted, &setup, &drain_ms) != 5)
		return 0;
	if (m->settings->ops->adopt_plan(m->settings->arg, &plan, number, h, err) != 0)
		return -1;
	plan.drain_timeout_ms = drain_ms;
	plan.is_adopted = true;
	struct generation *g =
	    generation_adopt(m, &plan, number,
			     state == GENERATION_SERVES ? GENERATION_SERVES : GENERATION_DRAINS);
	g->wanted = wanted;
	g->setup = setup < PROCESS_SETUPS ? setup : 0;
	return 0;
}

/* Any other number is somebody else's: it would be signalled, and waited for in vain. */
static bool is_child(pid_t pid)
{
	siginfo_t info;
	return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static void adopt_child(struct master *m, const struct handover *h, size_t i, bool knows_slots)
{
	int pid, slot, index, duty, at = 0;
	unsigned number;
	int64_t forked_ms, kill_ms;
	const char *line = handover_line(h, i, "child");
	if (!line ||
	    sscanf(line, "%d %u %d %d %d %" SCNd64 " %" SCNd64 " %n", &pid, &number, &slot, &index, &duty,
		   &forked_ms, &kill_ms, &at) != 7 ||
	    !is_child(pid))
		return;
	for (struct generation *g = m->generations; g; g = g->next)
		for (size_t k = 0; g->number == number && k < g->plan.kind_count; k++) {
			const struct process_kind *kind = &g->plan.kinds[k];
			bool has_place = index >= 0 && (kind->places == 0 || (unsigned)index < kind->places);
			if (strcmp(kind->name, line + at) != 0 || !has_place)
				continue;
			struct child *c = child_new(m, g, kind);
			c->duty = duty == CHILD_LEAVES ? CHILD_LEAVES : CHILD_SERVES;
			c->forked_ms = forked_ms;
			c->kill_ms = kill_ms;
			child_adopt(m, c, pid, knows_slots ? slot : -1, index);
		}
}

int upgrade_adopt(struct master *m, struct handover *from, struct err *err)
{
	for (size_t i = 0; i < from->line_count; i++) {
		adopt_master(m, from, i);
		adopt_attempt(&m->reload, from, i);
		adopt_attempt(&m->upgrade, from, i);
	}
	if (m->lifeline[1] < 0)
		return err_set(err, EXIT_CODE_INTERNAL, "the lifeline was not handed over");
	bool knows_slots = m->scoreboard.board;
	if (!knows_slots)
		log_info("the program before this one counts otherwise: counters begin anew");
	if (!knows_slots && scoreboard_open(&m->scoreboard, err) != 0)
		return -1;
	attempts_count(m);
	if (m->settings->ops->adopt(m->settings->arg, from, err) != 0)
		return -1;
	for (size_t i = 0; i < from->line_count; i++)
		if (adopt_generation(m, from, i, err) != 0)
			return -1;
	m->settings->ops->settle(m->settings->arg);
	for (size_t i = 0; i < from->line_count; i++)
		adopt_child(m, from, i, knows_slots);
	handover_close(from);
	generation_plan(m, &m->upgrade); /* what serves now is not for long */
	return 0;
}
