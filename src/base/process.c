#include "base/process.h"

#include "base/clock.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { S_NS = 1000000000 };

static const char *const roles[PROCESS_ROLES] = {
    [PROCESS_SET_UP] = "set-up",
    [PROCESS_KEEPER] = "keeper",
    [PROCESS_WORKER] = "worker",
};

static const char *const states[PROCESS_STATES] = {
    [PROCESS_NONE] = "none",
    [PROCESS_BOOTING] = "booting",
    [PROCESS_READY] = "ready",
    [PROCESS_DRAINING] = "draining",
};

static const char *const ends[PROCESS_ENDS] = {
    [PROCESS_CRASHED] = "crashed",
    [PROCESS_STUCK] = "stuck",
    [PROCESS_RECYCLED] = "recycled",
};

const char *process_role_name(unsigned role)
{
	return role < PROCESS_ROLES ? roles[role] : "";
}

const char *process_state_name(unsigned state)
{
	return state < PROCESS_STATES ? states[state] : "";
}

const char *process_end_name(unsigned end)
{
	return end < PROCESS_ENDS ? ends[end] : "";
}

uint64_t process_resident_bytes(pid_t pid)
{
	char path[32], text[128];
	(void)snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	ssize_t len = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[len > 0 ? len : 0] = '\0';
	char *end = text;
	(void)strtoull(text, &end, 10); /* of all its mappings */
	return strtoull(end, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

void process_beat(const struct process *p)
{
	uint64_t now_ns = (uint64_t)clock_monotonic_ns();
	uint64_t last_ns = atomic_load_explicit(&p->slot->beat_ns, memory_order_relaxed);
	atomic_store_explicit(&p->slot->beat_ns, now_ns, memory_order_relaxed);
	_Atomic uint64_t *resident = &p->slot->metrics.gauges.resident_bytes;
	if (last_ns / S_NS != now_ns / S_NS || atomic_load_explicit(resident, memory_order_relaxed) == 0)
		gauge_set(resident, process_resident_bytes(getpid()));
}

void process_set_state(const struct process *p, enum process_state state)
{
	atomic_store_explicit(&p->slot->state, (uint32_t)state, memory_order_release);
}

size_t process_peer_count(const struct process *p)
{
	size_t end = atomic_load_explicit(&p->board->peers_end, memory_order_relaxed);
	return end < p->peers_max ? end : p->peers_max;
}

size_t process_slot_count(const struct process *p)
{
	size_t end = atomic_load_explicit(&p->board->slots_end, memory_order_relaxed);
	return end < p->slots_max ? end : p->slots_max;
}

void process_ask_successor(const struct process *p)
{
	atomic_store_explicit(&p->slot->is_spent, 1, memory_order_relaxed);
}
