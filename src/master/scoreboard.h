/*
 * The shared memory: the board and a slot per process. What processes wrote there decides nothing but whether
 * they live. It is made once, for as many processes as there may ever be (what was never touched takes no memory), and crosses an
 * upgrade: slots are taken and given back, and what they count goes on.
 */
#ifndef MASTER_SCOREBOARD_H
#define MASTER_SCOREBOARD_H

#include "base/process.h"
#include "base/shm.h"

#include <stdbool.h>

enum {
	SCOREBOARD_OTHERS = 16, /* slots of those that do not listen: they come first */
	SCOREBOARD_WORKERS = 4 * 1024 + 64,
	SCOREBOARD_SLOTS = SCOREBOARD_OTHERS + SCOREBOARD_WORKERS,
};

struct scoreboard {
	struct shm memory;
	struct process_board *board;
	struct process_slot *slots;
};

/* Returns 0, or -1 and *err. */
int scoreboard_open(struct scoreboard *sb, struct err *err);

/* One that another program has made. Its descriptor is *sb's from here on. Returns 0, or -1 and *err: then it is still the
 * caller's. */
int scoreboard_adopt(struct scoreboard *sb, int fd, struct err *err);
void scoreboard_close(struct scoreboard *sb);

/* Two programs that agree on this number agree on what stands in the memory. */
uint64_t scoreboard_layout(void);

/* Before a process is forked into the slot: alive from now on, not ready. What its predecessors counted stays. */
void scoreboard_reset(struct process_slot *slot, enum process_role role);

/* Its process has ended. */
void scoreboard_clear(struct process_slot *slot);

/* As if its process had just beaten: nobody could look at it meanwhile. */
void scoreboard_beat(struct process_slot *slot);

/* Milliseconds since the slot's last beat; a beat in the future counts as none ago. */
int64_t scoreboard_beat_age_ms(const struct process_slot *slot);

/* That its present process has answered. */
uint64_t scoreboard_requests(const struct process_slot *slot);

bool scoreboard_is_ready(const struct process_slot *slot);
bool scoreboard_is_spent(const struct process_slot *slot);

#endif
