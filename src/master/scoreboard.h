/*
 * The shared memory: the board and a slot per process. What processes wrote there decides nothing but whether
 * they live.
 */
#ifndef MASTER_SCOREBOARD_H
#define MASTER_SCOREBOARD_H

#include "base/process.h"
#include "base/shm.h"

#include <stdbool.h>

struct scoreboard {
	struct shm memory;
	struct process_board *board;
	struct process_slot *slots;
};

/* Returns 0, or -1 and *err. */
int scoreboard_open(struct scoreboard *sb, size_t slot_count, struct err *err);
void scoreboard_close(struct scoreboard *sb);

/* Before a process is forked into the slot: alive from now on, not ready. */
void scoreboard_reset(struct process_slot *slot);

/* Milliseconds since the slot's last beat; a beat in the future counts as none ago. */
int64_t scoreboard_beat_age_ms(const struct process_slot *slot);

bool scoreboard_is_ready(const struct process_slot *slot);

#endif
