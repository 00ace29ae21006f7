#include "master/status.h"

#include "master/master_private.h"

#include "base/clock.h"
#include "net/listener.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- fields */

void status_append_text(struct buf *out, const char *text)
{
	for (; *text; text++)
		buf_append(out, iscntrl((unsigned char)*text) ? "?" : text, 1);
}

static void add_text(struct buf *out, const char *text)
{
	buf_append_str(out, " ");
	status_append_text(out, text && *text ? text : "-");
	buf_append_str(out, "\n");
}

static void write_text(struct buf *out, const char *word, const char *text)
{
	buf_append_str(out, word);
	add_text(out, text);
}

static void add_number(struct buf *out, bool is_known, int64_t number)
{
	if (is_known)
		buf_printf(out, " %" PRId64, number);
	else
		buf_append_str(out, " -");
}

/* ---- facts */

static void write_process(struct buf *out, const char *kind, unsigned index, pid_t pid)
{
	buf_printf(out, "process %s %u %d", kind, index, (int)pid);
}

static void write_memory(struct buf *out, pid_t pid)
{
	int64_t bytes = (int64_t)process_resident_bytes(pid);
	add_number(out, bytes > 0, bytes);
	buf_append_str(out, "\n");
}

static const char *state_of(const struct child *c)
{
	if (c->duty == CHILD_LEAVES)
		return "leaves";
	if (!c->kind->listens)
		return "runs";
	return child_is_ready(c) ? "ready" : "boots";
}

static void write_child(const struct child *c, int64_t now_ms, struct buf *out)
{
	bool is_known = c->kind->listens && c->slot >= 0;
	write_process(out, c->kind->name, c->process.index, c->pid);
	buf_printf(out, " %u %s %" PRId64, c->generation->number, state_of(c), now_ms - c->forked_ms);
	add_number(out, is_known, is_known ? atomic_load(&c->process.slot->connections) : 0);
	add_number(out, is_known, is_known ? (int64_t)scoreboard_requests(c->process.slot) : 0);
	write_memory(out, c->pid);
}

static void write_children(const struct master *m, const struct generation *g, int64_t now_ms,
			   struct buf *out)
{
	for (size_t i = 0; i < m->child_count; i++)
		if (m->children[i]->generation == g && m->children[i]->pid > 0)
			write_child(m->children[i], now_ms, out);
}

static void write_generation(const struct master *m, const struct generation *g, int64_t now_ms,
			     struct buf *out)
{
	static const char *const states[] = {
	    [GENERATION_BOOTS] = "boots",
	    [GENERATION_SERVES] = "serves",
	    [GENERATION_DRAINS] = "drains",
	};
	unsigned processes = 0;
	int64_t kill_ms = now_ms;
	for (size_t i = 0; i < m->child_count; i++) {
		const struct child *c = m->children[i];
		if (c->generation != g || c->pid == 0)
			continue;
		processes++;
		if (c->duty == CHILD_LEAVES && c->kill_ms > kill_ms)
			kill_ms = c->kill_ms;
	}
	buf_printf(out, "generation %u %s %u %" PRId64, g->number, states[g->state], processes,
		   now_ms - g->begun_ms);
	add_number(out, g->state == GENERATION_DRAINS, kill_ms - now_ms);
	buf_append_str(out, "\n");
}

static void write_listeners(const struct master_plan *plan, struct buf *out)
{
	for (size_t i = 0; i < plan->listener_count; i++) {
		char name[280] = "";
		uint32_t queued = 0, limit = 0;
		int fd = plan->listener_fds[i];
		bool is_known = listener_queue(fd, &queued, &limit);
		listener_name(fd, name, sizeof(name));
		buf_append_str(out, "listener");
		add_number(out, is_known, queued);
		add_number(out, is_known, limit);
		add_text(out, name);
	}
}

static void write_plan(const struct master *m, const struct generation *g, struct buf *out)
{
	struct master_description d = {.store = NULL};
	m->settings->ops->describe(m->settings->arg, &g->plan, &d);
	write_text(out, "configuration", d.configuration);
	write_text(out, "store", d.store);
	write_text(out, "cache", d.cache);
	free(d.configuration);
	free(d.store);
	free(d.cache);
	buf_printf(out, "workers %u\n", g->wanted);
	write_listeners(&g->plan, out);
}

static void write_attempt(const struct attempt *a, int64_t now_ms, struct buf *out)
{
	bool is_pending = a->asked > a->ended;
	const char *outcome = a->has_succeeded ? "succeeded" : "failed";
	if (a->asked == 0)
		outcome = "none";
	else if (is_pending)
		outcome = "pending";
	buf_printf(out, "%s %" PRIu64 " %s", a->name, a->asked, outcome);
	add_number(out, a->ended > 0 && !is_pending, now_ms - a->ended_ms);
	add_text(out, is_pending ? NULL : a->why);
}

void status_write(const struct master *m, struct buf *out)
{
	static const char *const states[] = {
	    [PHASE_RUN] = "serves",
	    [PHASE_DRAIN] = "drains",
	    [PHASE_STOP] = "stops",
	};
	int64_t now_ms = clock_monotonic_ms();
	write_text(out, "version", TODOD_VERSION);
	buf_printf(out, "pid %d\nstate %s\nuptime_ms %" PRId64 "\n", (int)getpid(), states[m->phase],
		   now_ms - m->started_ms);
	write_text(out, "program", m->settings->program);
	if (m->serving)
		write_plan(m, m->serving, out);
	for (const struct generation *g = m->generations; g; g = g->next)
		write_generation(m, g, now_ms, out);
	write_process(out, "master", 0, getpid());
	buf_printf(out, " - %s %" PRId64 " - -", states[m->phase], now_ms - m->started_ms);
	write_memory(out, getpid());
	for (const struct generation *g = m->generations; g; g = g->next)
		write_children(m, g, now_ms, out);
	write_attempt(&m->reload, now_ms, out);
	write_attempt(&m->upgrade, now_ms, out);
}
