#include "master/scoreboard.h"

#include "base/clock.h"

int scoreboard_open(struct scoreboard *sb, size_t slot_count, struct err *err)
{
	size_t size = sizeof(struct process_board) + slot_count * sizeof(struct process_slot);
	if (shm_open_new(&sb->memory, "todod", size, err) != 0)
		return -1;
	sb->board = sb->memory.addr;
	sb->slots = (struct process_slot *)(void *)(sb->board + 1);
	return 0;
}

void scoreboard_close(struct scoreboard *sb)
{
	shm_close(&sb->memory);
}

void scoreboard_reset(struct process_slot *slot)
{
	atomic_store(&slot->beat_ns, (uint64_t)clock_monotonic_ns());
	atomic_store(&slot->state, PROCESS_BOOTING);
	atomic_store(&slot->forced, 0);
	atomic_store(&slot->connections, 0);
}

int64_t scoreboard_beat_age_ms(const struct process_slot *slot)
{
	uint64_t beat_ns = atomic_load(&slot->beat_ns), now_ns = (uint64_t)clock_monotonic_ns();
	return beat_ns < now_ns ? (int64_t)((now_ns - beat_ns) / 1000000) : 0;
}

bool scoreboard_is_ready(const struct process_slot *slot)
{
	return atomic_load(&slot->state) == PROCESS_READY;
}
