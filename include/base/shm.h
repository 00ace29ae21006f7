/*
 * Memory shared by the daemon's processes: a memfd mapped MAP_SHARED before any fork (memfd_create(2)). What
 * stands in it was written by other processes and is not to be trusted: whoever reads it clamps.
 */
#ifndef BASE_SHM_H
#define BASE_SHM_H

#include "base/err.h"

#include <stddef.h>

struct shm {
	int fd;     /* CLOEXEC */
	void *addr; /* zeroed, page-aligned; valid until shm_close */
	size_t size;
};

/* Returns 0, or -1 and *err (EXIT_CODE_OS). `name` shows up in /proc/PID/maps. */
int shm_open_new(struct shm *shm, const char *name, size_t size, struct err *err);
void shm_close(struct shm *shm);

#endif
