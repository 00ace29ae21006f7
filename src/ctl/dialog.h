/*
 * One connection to the control socket: a question at a time, and its answer.
 */
#ifndef CTL_DIALOG_H
#define CTL_DIALOG_H

#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

struct dialog {
	const char *path; /* borrowed */
	int fd;           /* -1: not connected */
	struct buf text;  /* of the last answer */
};

/* How it went. */
enum dialog_result {
	DIALOG_ANSWERED, /* ok */
	DIALOG_REFUSED,  /* *err is what the master says */
	DIALOG_CUT, /* the connection has ended without an answer: what was asked was not done, or is not known to be */
	DIALOG_LATE,   /* the deadline has passed; *err */
	DIALOG_NOBODY, /* cannot connect; *err */
};

/* Connects where that is needed, asks, and waits for the answer until `deadline_ms` (clock_monotonic_ms; INT64_MAX: for ever).
 * `request` is without its line break. *body, NULL or not: the lines behind the first, each with its line break; on that first, *number. A
 * view until the next question. */
enum dialog_result dialog_ask(struct dialog *d, const char *request, int64_t deadline_ms, struct slice *body,
			      uint64_t *number, struct err *err);

void dialog_close(struct dialog *d);

#endif
