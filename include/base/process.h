/*
 * What a process that the master forks is given, and its slot in the shared memory: how it says that it
 * lives. A slot has one writer, its process (the master only while the slot has none), so there are no locks.
 */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum process_state { PROCESS_NONE, PROCESS_BOOTING, PROCESS_READY, PROCESS_DRAINING };

/* One cache-line pair per slot: neighbours never share a line. */
struct process_slot {
	_Alignas(128) _Atomic uint64_t beat_ns; /* CLOCK_MONOTONIC of the last beat */
	_Atomic uint32_t state;                 /* enum process_state */
	_Atomic uint32_t forced;                /* connections that a drain had to cut */
	_Atomic uint32_t connections;           /* that it has now, for the balance among its kind */
	_Atomic uint32_t
	    is_writing_log; /* it is in the middle of a write to a file that others append to, too */
};

struct process_board {
	_Alignas(128) _Atomic uint32_t
	    setup_done; /* the set-up child has succeeded: the store may be used. The master's */
	_Atomic uint32_t
	    is_log_cut; /* the file that many append to ends within a line: whoever writes next ends it. Everybody's */
};

struct process {
	const char *name;                 /* of the kind of process, a literal */
	unsigned index;                   /* 0, 1, … among its kind */
	struct process_slot *slot;        /* its own */
	const struct process_slot *peers; /* the slots of its kind, its own among them */
	size_t peer_count;                /* at least 1 */
	struct process_board *board;
	int lifeline_fd; /* readable (end of file) once the master has gone; -1 after the process closed it */
	int *listener_fds; /* owned by the process: it closes them when it drains */
	size_t listener_count;
	const void *config; /* what main.c gave the master to hand on, */
	void *
	    shared; /* and what is for its kind: memory that processes share. The master does not know what is in it */
};

/* Says "alive": ten times a second, or be replaced. */
void process_beat(const struct process *p);

void process_set_state(const struct process *p, enum process_state state);

#endif
