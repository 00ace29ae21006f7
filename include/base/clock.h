/*
 * Time. Deadlines use the monotonic clock, which never steps; todos are stamped by the wall clock.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

/* CLOCK_MONOTONIC, see clock_gettime(2). */
int64_t clock_monotonic_ns(void);
int64_t clock_monotonic_ms(void);

/* CLOCK_REALTIME: microseconds since the epoch. */
int64_t clock_wall_us(void);

#endif
