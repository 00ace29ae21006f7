/*
 * What one program hands to the one that it becomes by execve(2): descriptors, and a text that says what each is. The text stands in
 * a memfd, one fact a line, a word in front that says what the line is about; an environment variable names the memfd.
 *
 *     todod 1                      the version of the format; a program refuses those that it does not know
 *     fds 3 5 6 …                  all that are handed over
 *     listener 5 … 127.0.0.1:8080  and so on: who writes a line also reads it
 *
 * The other program is asked before: run with -t it reads the text, and says in the memfd that it could take over
 * (handover_accept). One that knows nothing of all this does not say so.
 */
#ifndef MASTER_HANDOVER_H
#define MASTER_HANDOVER_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

struct handover {
	int fd; /* of the memfd; CLOEXEC */
	struct buf text;
	int *fds; /* handed over; -1 once taken */
	size_t fd_count;
	char **lines; /* of what was read: views of `text` */
	size_t line_count;
	bool is_received; /* then the descriptors are its own until they are taken */
};

/* ---- the old program */

/* Returns 0, or -1 and *err. Release with handover_close. */
int handover_open(struct handover *h, struct err *err);

void handover_add(struct handover *h, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The descriptor crosses. Returns it: for the line that says what it is. */
int handover_fd(struct handover *h, int fd);

/* Writes the text, and lets go of the descriptors' CLOEXEC: execve(2) is next. `with_fds` false: for a program that only reads the text
 * and has none of them. Returns 0, or -1 and *err. */
int handover_write(struct handover *h, bool with_fds, struct err *err);

/* execve(2) has failed: CLOEXEC again. */
void handover_take_back(struct handover *h);

/* For the other program's environment. */
void handover_name(const struct handover *h);
void handover_unname(void);

/* Has the program that was asked said that it could take over? Its version, a view of h->text, or NULL. */
const char *handover_accepted(struct handover *h);

/* ---- the new program */

/* Reads what the environment names, and takes the name away. Returns 1, or 0 when there is nothing, or -1 and *err: then *h holds
 * nothing. Every descriptor is CLOEXEC again. */
int handover_receive(struct handover *h, struct err *err);

/* In answer to -t. */
void handover_accept(struct handover *h, const char *version);

/* What follows on the i-th line after its first word, if that is `word`; else NULL. For i below line_count. */
const char *handover_line(const struct handover *h, size_t i, const char *word);

/* The descriptor is the caller's from here on. Returns it, or -1 when it was not handed over, or is taken. */
int handover_take(struct handover *h, int fd);

/* Closes the memfd, and the descriptors that nobody has taken. */
void handover_close(struct handover *h);

#endif
