/*
 * How things are, in words: the facts of include/master/control.h.
 */
#ifndef MASTER_STATUS_H
#define MASTER_STATUS_H

#include "base/buf.h"

struct master;

/* Appends a line for each. Reads a file of /proc for each process. */
void status_write(const struct master *m, struct buf *out);

/* A path may have anything in it: what would break a line is a '?'. */
void status_append_text(struct buf *out, const char *text);

#endif
