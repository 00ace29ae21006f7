#include "net/pace.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
	PACE_BUSY_EVENTS = 200, /* per look: with fewer there is nothing to win */
	PACE_TOGETHER = 2,      /* events per wake-up, at least */
	PACE_WAIT_MAX_NS = 1000 * 1000,
	PACE_PAUSE_MIN_MS = 1000,
	PACE_PAUSE_MAX_MS = 64 * 1000,
};

/* Returns 0, or -1. */
static int read_waited(const struct pace *p, uint64_t *waited_ns)
{
	char text[96];
	ssize_t len = pread(p->schedstat_fd, text, sizeof(text) - 1, 0);
	text[len > 0 ? len : 0] = '\0';
	return sscanf(text, "%*u %" SCNu64, waited_ns) == 1 ? 0 : -1;
}

void pace_init(struct pace *p)
{
	*p = (struct pace){.schedstat_fd = -1, .pause_ms = PACE_PAUSE_MIN_MS};
	if (sched_getscheduler(0) != SCHED_OTHER)
		return;
	p->schedstat_fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
	if (p->schedstat_fd >= 0 && read_waited(p, &p->waited_ns) != 0)
		pace_release(p); /* it tells nothing */
}

void pace_release(struct pace *p)
{
	if (p->schedstat_fd >= 0)
		close(p->schedstat_fd);
	p->schedstat_fd = -1;
}

bool pace_choose(struct pace *p, uint64_t waited_ns, int64_t now_ms)
{
	bool is_busy = p->events >= PACE_BUSY_EVENTS;
	if (!p->is_batch)
		return is_busy && now_ms >= p->retry_ms;
	if (is_busy && p->events >= PACE_TOGETHER * p->wakes &&
	    waited_ns <= (uint64_t)PACE_WAIT_MAX_NS * p->wakes) {
		p->pause_ms = PACE_PAUSE_MIN_MS;
		return true;
	}
	p->retry_ms = now_ms + p->pause_ms;
	p->pause_ms = 2 * p->pause_ms < PACE_PAUSE_MAX_MS ? 2 * p->pause_ms : PACE_PAUSE_MAX_MS;
	return false;
}

void pace_look(struct pace *p, int64_t now_ms)
{
	const struct sched_param none = {0};
	uint64_t waited_ns = p->waited_ns;
	/* An idle loop, which is not SCHED_BATCH, reads nothing. */
	if (p->schedstat_fd < 0 || (p->is_batch && read_waited(p, &waited_ns) != 0))
		return;
	bool is_batch = pace_choose(p, waited_ns - p->waited_ns, now_ms);
	p->wakes = p->events = 0;
	p->waited_ns = waited_ns;
	if (is_batch == p->is_batch || (is_batch && read_waited(p, &p->waited_ns) != 0))
		return;
	bool is_ours = sched_getscheduler(0) == (p->is_batch ? SCHED_BATCH : SCHED_OTHER);
	if (!is_ours || sched_setscheduler(0, is_batch ? SCHED_BATCH : SCHED_OTHER, &none) != 0) {
		log_debug("how it is scheduled is left alone: %s",
			  is_ours ? strerror(errno) : "somebody else has changed it");
		pace_release(p);
		return;
	}
	p->is_batch = is_batch;
	log_debug("scheduled as %s", is_batch ? "SCHED_BATCH" : "SCHED_OTHER");
}
