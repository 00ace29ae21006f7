/*
 * The keeper: the process that owns the first page, and the only one that talks to Redis. One event loop and one store thread. It
 * decides nothing about requests: it looks for the page when a worker rings, publishes it, and invalidates Redis for
 * the workers' writes. Whatever becomes of it, workers serve correct pages without it.
 */
#ifndef CACHE_KEEPER_H
#define CACHE_KEEPER_H

#include "base/process.h"

#include <stdbool.h>

struct config;

/* Runs until told to leave. process->shared is the struct page_memory, process->config the configuration. Returns the exit
 * code. */
int keeper_run(struct process *p);

/* Would a keeper that runs with one configuration do for the other as well? */
bool keeper_does_for(const struct config *a, const struct config *b);

/* Where a page that it has published came from: for counters. */
enum keeper_source {
	KEEPER_STORE,
	KEEPER_REDIS,
	KEEPER_STALE, /* the last known one: the store cannot be asked */
	KEEPER_NONE,  /* there is none */
	KEEPER_SOURCES,
};

/* In lower case, e.g. "store"; the scripts that Redis runs for it, e.g. "acquire"; and what Redis says to that one, e.g. "won". ""
 * behind the last. */
const char *keeper_source_name(unsigned source);
const char *keeper_script_name(unsigned script);
const char *keeper_lookup_name(unsigned verdict);

/* Name and version of the library that speaks to Redis. */
const char *keeper_library(void);

#endif
