/*
 * The file of the access log. Every worker opens it for itself and appends to it; the master does no more than see to it that
 * it is there, since it may be allowed to make a file where its workers are not.
 */
#ifndef WORKER_ACCESS_FILE_H
#define WORKER_ACCESS_FILE_H

#include "base/err.h"

#include <sys/types.h>

/* Opens for appending, makes the file (0640) where there is none. Never blocks: a pipe that nobody reads is refused. Returns the
 * descriptor (CLOEXEC), or -1 and *err (EXIT_CODE_CANNOT_CREATE). */
int access_file_open(const char *path, struct err *err);

/* Sees to it that it can be opened, too, and that one that was made here belongs to `uid` and `gid` (-1: to whom it would anyhow). One
 * that was there keeps its owner, whoever that is: in a directory of somebody else's it may be any file. Returns 0, or -1 and *err. */
int access_file_make(const char *path, uid_t uid, gid_t gid, struct err *err);

#endif
