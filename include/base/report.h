/*
 * What a look at something has found, for the operator: a line each.
 *
 *     ok    disk space: 12.0 GiB of 40.0 GiB are free
 *     warn  clock: it is not synchronised; run chrony or systemd-timesyncd
 *     FAIL  store: no primary; start it, or correct `store`
 *
 * `what` is a literal. The text says what was found and, where it is not well, behind a semicolon what to do.
 * It never holds a password.
 */
#ifndef BASE_REPORT_H
#define BASE_REPORT_H

#include "base/err.h"

#include <stdio.h>

struct report {
	FILE *out;           /* borrowed */
	enum exit_code code; /* of the first FAIL; EXIT_CODE_OK without one */
};

/* Control characters in the text become '?', since parts of it may come from outside. */
void report_ok(struct report *r, const char *what, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void report_warn(struct report *r, const char *what, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void report_fail(struct report *r, enum exit_code code, const char *what, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
