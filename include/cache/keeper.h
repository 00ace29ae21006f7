/*
 * The keeper: the process that owns the first page, and the only one that talks to Redis. One event loop and one store thread. It
 * decides nothing about requests: it looks for the page when a worker rings, publishes it, and invalidates Redis for
 * the workers' writes. Whatever becomes of it, workers serve correct pages without it.
 */
#ifndef CACHE_KEEPER_H
#define CACHE_KEEPER_H

#include "base/process.h"

/* Runs until told to leave. process->shared is the struct page_memory, process->config the configuration. Returns the exit
 * code. */
int keeper_run(struct process *p);

/* Name and version of the library that speaks to Redis. */
const char *keeper_library(void);

#endif
