/*
 * Chance, so that what happened together does not happen together again: for pauses and lives, not for secrets.
 */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stdint.h>

/* From low to high, both included; low <= high. Never blocks. */
int64_t random_between(int64_t low, int64_t high);

#endif
