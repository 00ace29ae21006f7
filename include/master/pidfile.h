/*
 * The pidfile: says which process is the master, and keeps a second one from starting. What counts is its lock
 * (flock(2)), which the kernel releases however the process ends; the number in the file is for people and scripts,
 * and whose it once was says nothing. The lock belongs to the descriptor: it is held for as long as that is open
 * anywhere, across execve(2) too.
 */
#ifndef MASTER_PIDFILE_H
#define MASTER_PIDFILE_H

#include "base/err.h"

/* All there is to hand on to a new image of the same process. */
struct pidfile {
	int fd;           /* CLOEXEC; -1: none */
	const char *path; /* borrowed */
};

/*
 * Creates the file or takes over one that nobody holds, locks it, and writes the pid of the caller. Without a path
 * there is none, and all is well. Returns 0, or -1 and *err: EXIT_CODE_ALREADY_RUNNING with the holder's pid,
 * EXIT_CODE_CANNOT_CREATE (also where something lies that is no pidfile: it is left as it is),
 * EXIT_CODE_NO_PERMISSION.
 */
int pidfile_open(struct pidfile *p, const char *path, struct err *err);

/* Removes the file, if it is still the one that was locked, and lets go of it. */
void pidfile_close(struct pidfile *p);

#endif
