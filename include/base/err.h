/*
 * An error for the operator: one sentence, and the exit code if the program has to end because of it.
 * Functions that take a struct err return -1 (or NULL) on failure and leave it untouched on success.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

/* Exit codes: sysexits.h, with the meanings that `todod --help` lists. */
enum exit_code {
	EXIT_CODE_OK = 0,
	EXIT_CODE_USAGE = 64,           /* the command line is wrong */
	EXIT_CODE_UNAVAILABLE = 69,     /* an address cannot be bound */
	EXIT_CODE_INTERNAL = 70,        /* a bug, or workers that never come up */
	EXIT_CODE_OS = 71,              /* the system refused: fork, memory, epoll */
	EXIT_CODE_CANNOT_CREATE = 73,   /* a file cannot be created */
	EXIT_CODE_ALREADY_RUNNING = 75, /* another todod holds the lock (EX_TEMPFAIL) */
	EXIT_CODE_NO_PERMISSION = 77,
	EXIT_CODE_CONFIG = 78,
};

struct err {
	enum exit_code code;
	char text[600]; /* NUL-terminated, one line, without "todod:" and without a full stop */
};

/* Sets code and text; returns -1, so that `return err_set(…)` reads well. A text that is too long is cut.
 * Line breaks and other control characters become '?', since parts of it may come from outside. */
int err_set(struct err *e, enum exit_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
