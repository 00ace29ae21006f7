#include "base/clock.h"

#include <time.h>

/* clock_gettime on these two clocks fails only for a bad pointer. */
static struct timespec read_clock(clockid_t id)
{
	struct timespec t = {0, 0};
	(void)clock_gettime(id, &t);
	return t;
}

int64_t clock_monotonic_ns(void)
{
	struct timespec t = read_clock(CLOCK_MONOTONIC);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t clock_monotonic_ms(void)
{
	return clock_monotonic_ns() / 1000000;
}

int64_t clock_wall_us(void)
{
	struct timespec t = read_clock(CLOCK_REALTIME);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}
