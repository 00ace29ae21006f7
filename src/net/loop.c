#include "net/loop.h"

#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { LOOP_EVENTS_MAX = 256 };

static void read_clock(struct loop *l)
{
	l->now_ns = clock_monotonic_ns();
	l->now_ms = l->now_ns / 1000000;
}

int loop_init(struct loop *l, const struct loop_hooks *hooks, struct err *err)
{
	*l = (struct loop){.epoll_fd = epoll_create1(EPOLL_CLOEXEC), .hooks = *hooks};
	pace_init(&l->pace);
	if (l->epoll_fd < 0)
		return err_set(err, EXIT_CODE_OS, "epoll_create1: %s", strerror(errno));
	read_clock(l);
	l->next_tick_ms = l->now_ms;
	return 0;
}

void loop_release(struct loop *l)
{
	if (l->epoll_fd >= 0)
		close(l->epoll_fd);
	l->epoll_fd = -1;
	pace_release(&l->pace);
}

int loop_add(struct loop *l, struct watch *w, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = w};
	return epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, w->fd, &event);
}

int loop_modify(struct loop *l, struct watch *w, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = w};
	return epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, w->fd, &event);
}

int loop_watch(struct loop *l, struct watch *w, int fd, void (*ready)(struct watch *, uint32_t),
	       struct err *err)
{
	*w = (struct watch){.ready = ready, .fd = fd};
	if (loop_add(l, w, EPOLLIN) != 0)
		return err_set(err, EXIT_CODE_OS, "epoll_ctl: %s", strerror(errno));
	return 0;
}

void loop_remove(struct loop *l, struct watch *w)
{
	w->ready = NULL;
	/* The only failure left is that it was not watched. */
	(void)epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
}

void loop_stop(struct loop *l)
{
	l->stopped = true;
}

void loop_run(struct loop *l)
{
	struct epoll_event events[LOOP_EVENTS_MAX];
	int sleep_ms = -1;
	while (!l->stopped) {
		int64_t until_tick_ms = l->next_tick_ms - l->now_ms;
		int timeout_ms = until_tick_ms < 0 ? 0 : (int)until_tick_ms;
		if (sleep_ms >= 0 && sleep_ms < timeout_ms)
			timeout_ms = sleep_ms;
		int count = epoll_wait(l->epoll_fd, events, LOOP_EVENTS_MAX, timeout_ms);
		assert(count >= 0 || errno == EINTR);
		read_clock(l);
		pace_count(&l->pace, count);
		for (int i = 0; i < count; i++) {
			struct watch *w = events[i].data.ptr;
			if (w->ready)
				w->ready(w, events[i].events);
		}
		if (l->now_ms >= l->next_tick_ms) {
			l->next_tick_ms = l->now_ms + LOOP_TICK_MS;
			l->hooks.tick(l->hooks.arg);
			pace_look(&l->pace, l->now_ms);
		}
		sleep_ms = l->hooks.after_events(l->hooks.arg);
	}
}
