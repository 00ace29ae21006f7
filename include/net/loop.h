/*
 * epoll and a tick: watch a descriptor, be called when it is ready; be called ten times a second. Knows
 * nothing of HTTP. One thread owns a loop and calls everything here.
 */
#ifndef NET_LOOP_H
#define NET_LOOP_H

#include "base/err.h"
#include "net/pace.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LOOP_TICK_MS = 100 };

/* Embedded by whoever watches a descriptor. `ready` may remove any watch, its own included, but the memory of
 * a removed watch has to stay valid until `after_events`: epoll may have reported it in the same batch. */
struct watch {
	void (*ready)(struct watch *w, uint32_t events); /* events of epoll_ctl(2); NULL once removed */
	int fd;                                          /* borrowed */
};

/* The struct that embeds the watch `w` as its `member`. */
#define WATCH_OWNER(w, type, member) ((type *)(void *)((char *)(w)-offsetof(type, member)))

struct loop_hooks {
	void (*tick)(void *arg); /* every LOOP_TICK_MS, or as soon after as the loop can */
	int (*after_events)(
	    void *arg); /* after each batch; how long the loop may sleep, in ms; -1: till the tick */
	void *arg;
};

struct loop {
	int epoll_fd;
	int64_t now_ns; /* monotonic, read once per batch of events; */
	int64_t now_ms; /* the same */
	int64_t next_tick_ms;
	bool stopped;
	struct loop_hooks hooks;
	struct pace pace;
};

/* Returns 0, or -1 and *err (EXIT_CODE_OS). */
int loop_init(struct loop *l, const struct loop_hooks *hooks, struct err *err);
void loop_release(struct loop *l);

/* Events of epoll_ctl(2), EPOLLET and EPOLLEXCLUSIVE included. Return 0, or -1 with errno. */
int loop_add(struct loop *l, struct watch *w, uint32_t events);
int loop_modify(struct loop *l, struct watch *w, uint32_t events);

/* Makes *w, and adds it for EPOLLIN. Returns 0, or -1 and *err (EXIT_CODE_OS). */
int loop_watch(struct loop *l, struct watch *w, int fd, void (*ready)(struct watch *, uint32_t),
	       struct err *err);

/* Before the descriptor is closed. No further call of w->ready, not even for events that are reported
 * already. */
void loop_remove(struct loop *l, struct watch *w);

/* Runs until loop_stop. */
void loop_run(struct loop *l);
void loop_stop(struct loop *l);

#endif
