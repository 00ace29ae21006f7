#include "base/process.h"

#include "base/clock.h"

void process_beat(const struct process *p)
{
	atomic_store_explicit(&p->slot->beat_ns, (uint64_t)clock_monotonic_ns(), memory_order_relaxed);
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

void process_ask_successor(const struct process *p)
{
	atomic_store_explicit(&p->slot->is_spent, 1, memory_order_relaxed);
}
