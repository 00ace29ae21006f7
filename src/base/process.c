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
