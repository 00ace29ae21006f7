/*
 * What an operator should know of a Redis before the keeper relies on it: for `todod doctor`.
 */
#ifndef CACHE_INSPECT_H
#define CACHE_INSPECT_H

#include "base/report.h"

#include <stdint.h>

/* `uri` as config_check_cache_uri takes it. Blocks for some timeout_ms at most: each of connecting and of what is
 * asked has that time. Leaves nothing behind but a key that expires within a second. In a process of its own: it may make a thread. */
void cache_inspect(const char *uri, uint32_t timeout_ms, struct report *report);

#endif
