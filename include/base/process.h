/*
 * What a process that the master forks is given, and its slot in the shared memory: how it says that it
 * lives, and what it counts. A slot has one writer, its process (the master only while the slot has none), so there are no locks.
 */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

#include "base/metrics.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { PROCESS_SETUPS = 8 }; /* at a time: one per generation that set its store up by itself */

enum process_state { PROCESS_NONE, PROCESS_BOOTING, PROCESS_READY, PROCESS_DRAINING, PROCESS_STATES };

/* What a process is for. */
enum process_role { PROCESS_SET_UP, PROCESS_KEEPER, PROCESS_WORKER, PROCESS_ROLES };

/* Why one had to be replaced. */
enum process_end {
	PROCESS_CRASHED,
	PROCESS_STUCK,    /* its loop stood still: killed */
	PROCESS_RECYCLED, /* it had done or grown enough, or left in order though it was still wanted */
	PROCESS_ENDS,
};

/* Cache-line pairs of its own: neighbours never share a line. A slot is used again by other processes, one after the other:
 * what it counts goes on, and the sum over all slots is the whole service. */
struct process_slot {
	_Alignas(METRICS_LINE_BYTES) _Atomic uint64_t beat_ns; /* CLOCK_MONOTONIC of the last beat */
	_Atomic uint32_t state;                                /* enum process_state */
	_Atomic uint32_t role;                                 /* enum process_role */
	_Atomic uint32_t pid;                                  /* for people: never signal it */
	_Atomic uint32_t forced;                               /* connections that a drain had to cut */
	_Atomic uint32_t connections; /* that it has now, for the balance among its kind */
	_Atomic uint32_t is_spent;    /* it asks for a successor: see process_ask_successor */
	_Atomic uint32_t
	    is_writing_log; /* it is in the middle of a write to a file that others append to, too */
	_Atomic uint64_t requests_before; /* that its predecessors in the slot have answered */
	struct metrics metrics;           /* kept when the slot passes to another process */
};

/* What the master counts, since the service began. */
struct process_counts {
	_Atomic uint64_t started_ns; /* CLOCK_REALTIME */
	_Atomic uint64_t forks[PROCESS_ROLES], failed_forks[PROCESS_ROLES];
	_Atomic uint64_t replaced[PROCESS_ROLES][PROCESS_ENDS];
	_Atomic uint64_t reloads, failed_reloads;
	_Atomic uint64_t upgrades, failed_upgrades;
	/* What holds now. */
	_Atomic uint64_t workers_wanted;
	_Atomic uint64_t draining_generations;
	_Atomic uint64_t resident_bytes; /* of the master */
};

/* Written by the master, but for what is said to be everybody's. The slots follow it. */
struct process_board {
	_Alignas(METRICS_LINE_BYTES) _Atomic uint32_t
	    setup_done[PROCESS_SETUPS]; /* the store may be used: struct process */
	_Atomic uint32_t peers_end; /* the slots of living workers come before this one, among the workers' */
	_Atomic uint32_t slots_end; /* from this slot on, none has ever been used: sums need not look there */
	_Atomic uint32_t
	    is_log_cut; /* the file that many append to ends within a line: whoever writes next ends it. Everybody's */
	struct process_counts counts;
};

struct process {
	const char *name;          /* of the kind of process, a literal */
	unsigned index;            /* unlike that of every other living one of its kind that has its memory */
	struct process_slot *slot; /* its own */
	const struct process_slot *peers; /* slots of those that listen: process_peer_count */
	size_t peers_max;
	const struct process_slot *slots; /* of the whole service: process_slot_count */
	size_t slots_max;
	struct process_board *board;
	const _Atomic uint32_t *setup_done; /* not 0: its store has been set up, and may be used */
	int lifeline_fd; /* readable (end of file) once the master has gone; -1 after the process closed it */
	const int *listener_fds;       /* owned by the process: it closes them when it drains */
	const bool *listener_is_admin; /* as many */
	size_t listener_count;
	const void *config; /* what main.c gave the master to hand on, */
	void *
	    shared; /* and what is for its kind: memory that processes share. The master does not know what is in it */
};

/* Says "alive": ten times a second, or be replaced. Once a second it also says how much memory the process has. */
void process_beat(const struct process *p);

void process_set_state(const struct process *p, enum process_state state);

/* How many of `peers` there are to look at; those that are not PROCESS_READY do not count. */
size_t process_peer_count(const struct process *p);

/* How many of `slots` were ever used, and may have counted something. */
size_t process_slot_count(const struct process *p);

/* It has done or grown enough. It works on until the master, once a successor is ready, tells it to drain. */
void process_ask_successor(const struct process *p);

/* In lower case, e.g. "worker", "ready", "crashed"; "" for what is no role, state or end. */
const char *process_role_name(unsigned role);
const char *process_state_name(unsigned state);
const char *process_end_name(unsigned end);

/* What a process has in memory now, proc_pid_statm(5); 0 when that cannot be read. */
uint64_t process_resident_bytes(pid_t pid);

#endif
