/*
 * The access log of one worker: lines are gathered and written together, whole ones only, so that those of several workers
 * never mix. The loop's alone. write(2) may block as long as the disk does, as it does for anybody.
 *
 * What cannot be written is kept and tried again each tick, up to ACCESS_LOG_KEPT_BYTES; what comes then is lost, counted, and
 * said in the log. A write that was cut (a full disk) leaves part of a line: whoever writes next, of whatever process, ends that
 * first, and the whole line follows.
 */
#ifndef WORKER_ACCESS_LOG_H
#define WORKER_ACCESS_LOG_H

#include "base/process.h"
#include "worker/access_format.h"

#include <stdbool.h>

enum {
	ACCESS_LOG_FLUSH_BYTES = 32 * 1024,
	ACCESS_LOG_KEPT_BYTES = 256 * 1024,
};

struct access_log {
	const char *path; /* borrowed */
	int fd;           /* -1: it could not be opened */
	bool is_regular;  /* else a pipe or a terminal, that takes PIPE_BUF bytes at once */
	bool is_waiting;  /* for the next tick, to try again */
	bool is_failing;  /* said in the log */
	uint64_t lost;    /* lines, while failing */
	struct access_format format;
	struct buf buf; /* a line break, then whole lines */
	const struct process *process;
};

/* `path` and `process` are borrowed. A file that cannot be opened is said in the log, and tried again by access_log_reopen: a
 * service is worth more than its log. */
void access_log_open(struct access_log *log, const char *path, uint32_t style, const struct process *process);

/* Writes what there is, and counts what cannot be written. */
void access_log_close(struct access_log *log);

void access_log_append(struct access_log *log, const struct access_entry *entry);

/* Writes what there is. */
void access_log_tick(struct access_log *log);

/* Writes what there is to the file that was opened, then opens the path again. If that fails, the old one stays. */
void access_log_reopen(struct access_log *log);

/* In whatever process has seen `process` end: it may have been in the middle of a write. */
void access_log_reap(const struct process *process);

#endif
