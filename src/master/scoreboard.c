#include "master/scoreboard.h"

#include "base/clock.h"

/* To be counted up with any change of struct process_slot or process_board; what is counted in there has a number of its own. */
enum { SCOREBOARD_LAYOUT = 1 };

static const size_t size = sizeof(struct process_board) + SCOREBOARD_SLOTS * sizeof(struct process_slot);

static void lay_out(struct scoreboard *sb)
{
	sb->board = sb->memory.addr;
	sb->slots = (struct process_slot *)(void *)(sb->board + 1);
}

int scoreboard_open(struct scoreboard *sb, struct err *err)
{
	if (shm_open_new(&sb->memory, "todod", size, err) != 0)
		return -1;
	lay_out(sb);
	atomic_store(&sb->board->counts.started_ns, (uint64_t)clock_wall_us() * 1000);
	return 0;
}

int scoreboard_adopt(struct scoreboard *sb, int fd, struct err *err)
{
	if (shm_open_fd(&sb->memory, fd, size, err) != 0)
		return -1;
	lay_out(sb);
	return 0;
}

void scoreboard_close(struct scoreboard *sb)
{
	shm_close(&sb->memory);
}

uint64_t scoreboard_layout(void)
{
	return (uint64_t)SCOREBOARD_LAYOUT << 48 | (uint64_t)METRICS_LAYOUT << 32 | size;
}

void scoreboard_reset(struct process_slot *slot, enum process_role role)
{
	struct metrics_gauges *gauges = &slot->metrics.gauges;
	scoreboard_beat(slot);
	atomic_store(&slot->state, PROCESS_BOOTING);
	atomic_store(&slot->forced, 0);
	atomic_store(&slot->connections, 0);
	atomic_store(&slot->is_spent, 0);
	atomic_store(&slot->role, (uint32_t)role);
	atomic_store(&slot->pid, 0);
	atomic_store(&slot->requests_before, metrics_requests(&slot->metrics));
	gauge_set(&gauges->resident_bytes, 0);
	for (size_t i = 0; i < METRICS_LANES; i++)
		gauge_set(&gauges->queued[i], 0);
}

void scoreboard_clear(struct process_slot *slot)
{
	atomic_store(&slot->state, PROCESS_NONE);
	atomic_store(&slot->connections, 0);
}

void scoreboard_beat(struct process_slot *slot)
{
	atomic_store(&slot->beat_ns, (uint64_t)clock_monotonic_ns());
}

int64_t scoreboard_beat_age_ms(const struct process_slot *slot)
{
	uint64_t beat_ns = atomic_load(&slot->beat_ns), now_ns = (uint64_t)clock_monotonic_ns();
	return beat_ns < now_ns ? (int64_t)((now_ns - beat_ns) / 1000000) : 0;
}

uint64_t scoreboard_requests(const struct process_slot *slot)
{
	uint64_t count = metrics_requests(&slot->metrics), before = atomic_load(&slot->requests_before);
	return count > before ? count - before : 0;
}

bool scoreboard_is_ready(const struct process_slot *slot)
{
	return atomic_load(&slot->state) == PROCESS_READY;
}

bool scoreboard_is_spent(const struct process_slot *slot)
{
	return atomic_load(&slot->is_spent) != 0;
}
