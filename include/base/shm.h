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
	void *addr; /* zeroed when it is new, page-aligned; valid until shm_close */
	size_t size;
};

/* Returns 0, or -1 and *err (EXIT_CODE_OS). `name` shows up in /proc/PID/maps. */
int shm_open_new(struct shm *shm, const char *name, size_t size, struct err *err);

/* Maps one that shm_open_new made, perhaps in another program that has become this one by execve(2). The descriptor is *shm's
 * from here on, and CLOEXEC again. Returns 0, or -1 and *err; then it is still the caller's. */
int shm_open_fd(struct shm *shm, int fd, size_t size, struct err *err);
void shm_close(struct shm *shm);

#endif
