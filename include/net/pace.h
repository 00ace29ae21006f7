/*
 * How the kernel schedules the thread of a loop (sched(7)). A thread that wakes up may preempt whoever runs, which on a machine with
 * a proxy of its own is the very process that is about to send more: under load a context switch for every request. As SCHED_BATCH
 * the thread waits for its turn, finds many events at once, and both get more done. But where other programs keep all cores busy its
 * turn comes with the next timer tick only, milliseconds later. So a busy loop tries it, and keeps to it while events do come
 * together and the turn comes soon.
 */
#ifndef NET_PACE_H
#define NET_PACE_H

#include <stdbool.h>
#include <stdint.h>

struct pace {
	int schedstat_fd; /* owned; -1: the policy is left alone */
	bool is_batch;
	int64_t retry_ms;       /* not tried before, */
	int64_t pause_ms;       /* and this much later after a try in vain */
	uint64_t waited_ns;     /* for a core, in all until the last look */
	uint32_t wakes, events; /* since then */
};

/* Leaves the policy alone where somebody has chosen another (systemd.exec(5), chrt(1)), now or later, or where the kernel does not
 * say how long threads wait (proc_pid_schedstat(5)). */
void pace_init(struct pace *p);
void pace_release(struct pace *p);

static inline void pace_count(struct pace *p, int events)
{
	if (events <= 0)
		return;
	p->wakes++;
	p->events += (uint32_t)events;
}

/* Ten times a second, in the loop's thread: decides anew, and tells the kernel. */
void pace_look(struct pace *p, int64_t now_ms);

/* Whether to be SCHED_BATCH, after so long a wait for a core since the last look. Knows nothing of the kernel. */
bool pace_choose(struct pace *p, uint64_t waited_ns, int64_t now_ms);

#endif
