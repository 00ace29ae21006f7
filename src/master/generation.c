/*
 * Those who were forked by one plan. Every round makes of each generation what it should be: as many children as its plan says,
 * and none more. A generation that boots takes over only when it is whole, and it alone makes the other one drain.
 */
#include "master/master_private.h"

#include "base/buf.h"
#include "base/clock.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- counting */

static unsigned count_listening(const struct master *m, const struct generation *g, bool only_ready)
{
	unsigned count = 0;
	for (size_t i = 0; i < m->child_count; i++) {
		const struct child *c = m->children[i];
		count += c->generation == g && c->kind->listens && c->duty == CHILD_SERVES &&
			 (!only_ready || child_is_ready(c));
	}
	return count;
}

bool generation_has_listeners(const struct master *m, const struct generation *g)
{
	for (size_t i = 0; i < m->child_count; i++)
		if (m->children[i]->generation == g && m->children[i]->kind->listens &&
		    m->children[i]->pid > 0)
			return true;
	return false;
}

static bool has_children(const struct master *m, const struct generation *g)
{
	for (size_t i = 0; i < m->child_count; i++)
		if (m->children[i]->generation == g && m->children[i]->pid > 0)
			return true;
	return false;
}

unsigned generations_draining(const struct master *m)
{
	unsigned count = 0;
	for (const struct generation *g = m->generations; g; g = g->next)
		count += g->state == GENERATION_DRAINS;
	return count;
}

/* ---- beginning */

static unsigned find_setup(const struct master *m)
{
	bool used[PROCESS_SETUPS] = {false};
	unsigned setup = 0;
	for (const struct generation *g = m->generations; g; g = g->next)
		used[g->setup] = true;
	while (setup + 1 < PROCESS_SETUPS && used[setup])
		setup++;
	return setup;
}

static struct generation *add(struct master *m, const struct master_plan *plan, unsigned number,
			      enum generation_state state)
{
	struct generation *g = alloc_zeroed(1, sizeof(*g));
	g->plan = *plan;
	g->number = number;
	g->state = state;
	g->begun_ms = clock_monotonic_ms();
	g->next = m->generations;
	m->generations = g;
	return g;
}

void generation_begin(struct master *m, const struct master_plan *plan, struct attempt *attempt)
{
	unsigned setup = find_setup(m);
	struct generation *g = add(m, plan, ++m->last_number, GENERATION_BOOTS);
	g->attempt = attempt;
	g->setup = setup;
	bool needs_setup = false;
	for (size_t i = 0; i < plan->kind_count; i++) {
		const struct process_kind *kind = &plan->kinds[i];
		g->wanted += kind->listens ? kind->count : 0;
		needs_setup |= kind->once && !kind->crosses;
	}
	if (!needs_setup) {
		g->setup = m->serving->setup;
		g->once_has_run = m->serving->once_has_run;
		g->once_is_done = m->serving->once_is_done;
	} else {
		atomic_store(&m->scoreboard.board->setup_done[setup], 0);
	}
	if (m->serving) {
		m->booting = g;
		log_info("%s: generation %u boots, %u workers", attempt->name, g->number, g->wanted);
	} else {
		g->state = GENERATION_SERVES;
		m->serving = g;
	}
}

void generation_plan(struct master *m, struct attempt *attempt)
{
	struct master_plan plan;
	struct err err;
	const struct master_settings *s = m->settings;
	if (s->ops->plan(s->arg, &plan, m->serving ? &m->serving->plan : NULL, &err) != 0)
		attempt_fail(attempt, err.code, "%s", err.text);
	else
		generation_begin(m, &plan, attempt);
}

struct generation *generation_adopt(struct master *m, const struct master_plan *plan, unsigned number,
				    enum generation_state state)
{
	struct generation *g = add(m, plan, number, state);
	g->once_has_run = g->once_is_done = g->was_ever_ready = true;
	if (state == GENERATION_SERVES)
		m->serving = g;
	if (m->last_number < number)
		m->last_number = number;
	return g;
}

/* ---- ending */

void generation_drain(struct master *m, struct generation *g, int64_t now_ms)
{
	if (g->state == GENERATION_DRAINS)
		return;
	g->state = GENERATION_DRAINS;
	if (m->serving == g)
		m->serving = NULL;
	if (m->booting == g)
		m->booting = NULL;
	/* The master's descriptors of the listeners go first and the workers' last, each after it has emptied the
	 * queue: a connection that the kernel has completed is answered, and what comes later is refused. */
	m->settings->ops->stop_listening(m->settings->arg, &g->plan);
	for (size_t i = 0; i < m->child_count; i++) {
		struct child *c = m->children[i];
		if (c->generation == g && (c->kind->listens || c->kind->once))
			child_leave(c, SIGTERM, now_ms);
	}
}

void generation_give_up(struct master *m, struct generation *g, const char *format, ...)
{
	char why[200];
	va_list args;
	va_start(args, format);
	(void)vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	if (g->attempt)
		attempt_fail(g->attempt, EXIT_CODE_INTERNAL, "generation %u: %s", g->number, why);
	generation_drain(m, g, clock_monotonic_ms());
}

/* Those that do not listen work for those that do: they leave after the last of them, and not by SIGTERM, which may be sent to
 * the whole group at once. */
static void drain_rest(struct master *m, struct generation *g, int64_t now_ms)
{
	if (g->state != GENERATION_DRAINS || generation_has_listeners(m, g))
		return;
	for (size_t i = 0; i < m->child_count; i++)
		if (m->children[i]->generation == g)
			child_leave(m->children[i], SIGQUIT, now_ms);
}

static void release_drained(struct master *m)
{
	for (struct generation **at = &m->generations; *at;) {
		struct generation *g = *at;
		if (g->state != GENERATION_DRAINS || has_children(m, g)) {
			at = &g->next;
			continue;
		}
		*at = g->next;
		if (m->phase == PHASE_RUN)
			log_info(g->forced ? "generation %u has left; forced=%u connections cut"
					   : "generation %u has left",
				 g->number, g->forced);
		for (size_t i = 0; i < m->child_count; i++)
			if (m->children[i]->generation == g)
				m->children[i]->duty = CHILD_LEAVES; /* the sweep frees them */
		children_sweep(m);
		m->settings->ops->release(m->settings->arg, &g->plan);
		free(g);
	}
}

/* ---- taking over */

static bool is_whole(const struct master *m, const struct generation *g)
{
	return count_listening(m, g, true) >= g->wanted && (!g->plan.waits_for_once || g->once_is_done);
}

static struct process_kind *find_kind(struct generation *g, const struct process_kind *like)
{
	for (size_t i = 0; i < g->plan.kind_count; i++)
		if (strcmp(g->plan.kinds[i].name, like->name) == 0)
			return &g->plan.kinds[i];
	return NULL;
}

/* Those that do for the new generation as well are its own from here on; and those who work for others make way for a successor over
 * the same memory. */
static void inherit(struct master *m, struct generation *g, struct generation *from, int64_t now_ms)
{
	for (size_t i = 0; i < m->child_count; i++) {
		struct child *c = m->children[i];
		struct process_kind *kind = c->generation == from ? find_kind(g, c->kind) : NULL;
		if (!kind)
			continue;
		if (kind->crosses) {
			c->generation = g;
			c->kind = kind;
		} else if (!kind->listens && !kind->once && kind->pool == c->kind->pool) {
			child_leave(c, SIGQUIT, now_ms);
		}
	}
	g->once_has_run |= g->setup == from->setup && from->once_has_run;
	g->once_is_done |= g->setup == from->setup && from->once_is_done;
}

static void take_over(struct master *m, struct generation *g, int64_t now_ms)
{
	struct generation *old = m->serving;
	log_init("master", g->plan.log_level);
	g->state = GENERATION_SERVES;
	m->booting = NULL;
	inherit(m, g, old, now_ms);
	m->settings->ops->take_over(m->settings->arg, &g->plan);
	generation_drain(m, old, now_ms);
	m->serving = g;
	g->replaces = old;
	g->served_ms = now_ms;
}

static bool may_accept(const struct master *m, const struct generation *g)
{
	for (size_t i = 0; i < m->child_count; i++) {
		const struct child *c = m->children[i];
		if (c->generation == g && c->kind->listens && c->pid > 0 && c->slot >= 0 &&
		    atomic_load(&c->process.slot->state) != PROCESS_DRAINING)
			return true;
	}
	return false;
}

static void finish_replacing(struct generation *g)
{
	log_info("%s: generation %u serves, generation %u drains", g->attempt->name, g->number,
		 g->replaces->number);
	g->replaces = NULL;
	attempt_succeed(g->attempt);
}

/* A change has succeeded when nobody of the old generation accepts any more: who waited for its end and connects then is answered by
 * the new one. A worker that stands still is not waited for. */
static void tend_replacing(struct master *m, struct generation *g, int64_t now_ms)
{
	if (g->replaces && (!may_accept(m, g->replaces) || now_ms - g->served_ms >= MASTER_STOP_MS))
		finish_replacing(g);
}

void generation_finish_replacing(struct master *m)
{
	if (m->serving && m->serving->replaces)
		finish_replacing(m->serving);
}

static void tend_booting(struct master *m, int64_t now_ms)
{
	struct generation *g = m->booting;
	if (!g || m->phase != PHASE_RUN)
		return;
	if (is_whole(m, g))
		take_over(m, g, now_ms);
	else if (now_ms - g->begun_ms >= MASTER_BOOT_MS)
		generation_give_up(m, g, "%u of %u workers are ready after %d s%s",
				   count_listening(m, g, true), g->wanted, MASTER_BOOT_MS / 1000,
				   g->plan.waits_for_once && !g->once_is_done ? ": its store is away" : "");
}

/* ---- as many as there should be */

static bool may_start(const struct generation *g, const struct process_kind *kind, int64_t now_ms)
{
	if (kind->once)
		return true;
	if (g->plan.waits_for_once)
		return g->once_is_done;
	return g->once_has_run || now_ms - g->begun_ms >= MASTER_HEAD_START_MS;
}

static void start_missing(struct master *m, struct generation *g, int64_t now_ms)
{
	if (g->plan.is_adopted || m->phase == PHASE_STOP)
		return;
	for (size_t i = 0; i < m->child_count; i++) {
		struct child *c = m->children[i];
		if (c->generation == g && c->pid == 0 && c->duty == CHILD_SERVES && !c->is_done &&
		    now_ms >= c->retry_ms && may_start(g, c->kind, now_ms))
			child_start(m, c, now_ms);
	}
}

static int use_of(const struct child *c)
{
	return (c->pid > 0) + child_is_ready(c);
}

/* *least: who is of the least use, the last of them; NULL when there is nobody. */
static unsigned count_serving(const struct master *m, const struct generation *g,
			      const struct process_kind *kind, struct child **least)
{
	unsigned count = 0;
	*least = NULL;
	for (size_t i = 0; i < m->child_count; i++) {
		struct child *c = m->children[i];
		if (c->generation != g || c->kind != kind || c->duty != CHILD_SERVES)
			continue;
		count++;
		if (!*least || use_of(c) <= use_of(*least))
			*least = c;
	}
	return count;
}

static void set_count(struct master *m, struct generation *g, const struct process_kind *kind,
		      unsigned wanted, int64_t now_ms)
{
	struct child *least;
	unsigned count;
	while ((count = count_serving(m, g, kind, &least)) > wanted)
		child_leave(least, SIGTERM, now_ms);
	for (; count < wanted; count++)
		(void)child_new(m, g, kind);
}

static void set_counts(struct master *m, struct generation *g, int64_t now_ms)
{
	if (g->plan.is_adopted || g->state == GENERATION_DRAINS || m->phase != PHASE_RUN)
		return;
	for (size_t i = 0; i < g->plan.kind_count; i++) {
		const struct process_kind *kind = &g->plan.kinds[i];
		if (g->state == GENERATION_SERVES || !kind->crosses)
			set_count(m, g, kind, kind->listens ? g->wanted : kind->count, now_ms);
	}
}

/* ---- successors of spent workers */

static struct child *find_child(const struct master *m, const struct generation *g, bool retires)
{
	for (size_t i = 0; i < m->child_count; i++) {
		struct child *c = m->children[i];
		if (c->generation != g || !c->kind->listens || c->pid == 0)
			continue;
		if (retires ? c->duty == CHILD_RETIRES
			    : c->duty == CHILD_SERVES && child_is_ready(c) &&
				  scoreboard_is_spent(c->process.slot))
			return c;
	}
	return NULL;
}

/* One at a time: its successor is ready before it goes. */
static void tend_succession(struct master *m, int64_t now_ms)
{
	struct generation *g = m->serving;
	if (!g || m->booting || m->phase != PHASE_RUN || g->plan.is_adopted)
		return;
	if (count_listening(m, g, true) < g->wanted)
		return;
	struct child *c = find_child(m, g, true);
	if (c) {
		child_leave(c, SIGTERM, now_ms);
		counter_add(&m->scoreboard.board->counts.replaced[c->kind->role][PROCESS_RECYCLED], 1);
		g->succession_ms = now_ms;
		return;
	}
	if (now_ms - g->succession_ms < MASTER_SUCCESSION_MS || !(c = find_child(m, g, false)))
		return;
	log_info("%s %d gets a successor", c->kind->name, c->pid);
	c->duty = CHILD_RETIRES;
}

/* ---- the round */

static void watch_readiness(struct master *m, int64_t now_ms)
{
	for (size_t i = 0; i < m->child_count; i++) {
		struct child *c = m->children[i];
		if (!c->kind->listens || c->duty == CHILD_LEAVES || !child_is_ready(c))
			continue;
		m->last_ready_ms = now_ms;
		c->generation->was_ever_ready = true;
		if (!m->was_ever_ready)
			log_info("ready");
		m->was_ever_ready = true;
	}
}

/* It may have got smaller: those that balance look at fewer slots then. */
static void publish_peers(const struct master *m)
{
	int end = 0;
	for (size_t i = 0; i < m->child_count; i++) {
		const struct child *c = m->children[i];
		if (c->pid > 0 && c->slot >= SCOREBOARD_OTHERS + end)
			end = c->slot - SCOREBOARD_OTHERS + 1;
	}
	atomic_store(&m->scoreboard.board->peers_end, (uint32_t)end);
}

static void publish_counts(const struct master *m)
{
	struct process_counts *counts = &m->scoreboard.board->counts;
	gauge_set(&counts->workers_wanted, m->serving ? m->serving->wanted : 0);
	gauge_set(&counts->draining_generations, generations_draining(m));
}

void generations_tend(struct master *m, int64_t now_ms)
{
	watch_readiness(m, now_ms);
	tend_booting(m, now_ms);
	tend_succession(m, now_ms);
	for (struct generation *g = m->generations; g; g = g->next) {
		tend_replacing(m, g, now_ms);
		set_counts(m, g, now_ms);
		drain_rest(m, g, now_ms);
		start_missing(m, g, now_ms);
	}
	children_sweep(m);
	release_drained(m);
	publish_peers(m);
	publish_counts(m);
}
