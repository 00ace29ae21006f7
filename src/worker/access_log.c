#include "worker/access_log.h"

#include "base/log.h"
#include "worker/access_file.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the file */

/* False, and *log is as it was, but for what is said. */
static bool open_file(struct access_log *log)
{
	struct err err;
	struct stat st;
	int fd = access_file_open(log->path, &err);
	if (fd < 0) {
		log_warn("%s", err.text);
		return false;
	}
	if (log->fd >= 0)
		close(log->fd);
	log->fd = fd;
	log->is_regular = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
	return true;
}

static struct slice kept_lines(const struct access_log *log)
{
	return (struct slice){log->buf.data + 1, log->buf.len - 1};
}

static void drop_front(struct access_log *log, size_t len)
{
	log->buf.len -= len;
	memmove(log->buf.data + 1, log->buf.data + 1 + len, log->buf.len - 1);
}

/* Up to the end of the last line that is whole. */
static size_t whole_bytes(struct slice lines)
{
	const char *end = lines.len ? memrchr(lines.data, '\n', lines.len) : NULL;
	return end ? (size_t)(end - lines.data) + 1 : 0;
}

static uint64_t count_lines(struct slice lines)
{
	uint64_t count = 0;
	for (size_t i = 0; i < lines.len; i++)
		count += lines.data[i] == '\n';
	return count;
}

/* As much as one write(2) keeps together. */
static size_t next_bytes(const struct access_log *log)
{
	struct slice lines = kept_lines(log);
	if (log->is_regular || lines.len < PIPE_BUF)
		return lines.len;
	size_t some = whole_bytes((struct slice){lines.data, PIPE_BUF - 1});
	return some ? some : (size_t)((const char *)memchr(lines.data, '\n', lines.len) - lines.data) + 1;
}

/* One write(2) of whole lines. Returns how many bytes of them are in the file now as whole lines, or -1 with errno. */
static ssize_t write_lines(struct access_log *log, size_t len)
{
	_Atomic uint32_t *is_cut = &log->process->board->is_log_cut;
	_Atomic uint32_t *is_writing = &log->process->slot->is_writing_log;
	size_t before = atomic_load(is_cut) && atomic_exchange(is_cut, 0);
	const char *from = log->buf.data + 1 - before;
	ssize_t n;
	atomic_store(is_writing, 1);
	do
		n = write(log->fd, from, len + before);
	while (n < 0 && errno == EINTR);
	int saved_errno = errno;
	size_t got = n > 0 ? (size_t)n : 0;
	size_t whole = whole_bytes((struct slice){from, got});
	if (whole < got || got < before)
		atomic_store(is_cut, 1);
	if (whole < got && from[got] == '\n')
		whole = got + 1; /* but for its end, which the next write begins with */
	atomic_store(is_writing, 0);
	errno = n == 0 ? ENOSPC : saved_errno;
	return n > 0 ? (ssize_t)(whole > before ? whole - before : 0) : -1;
}

/* ---- what cannot be written */

static void say_failure(struct access_log *log, const char *reason)
{
	if (log->is_failing)
		return;
	log->is_failing = true;
	log_warn("access_log: cannot write %s: %s; up to %d KiB of lines are kept until it can be", log->path,
		 reason, ACCESS_LOG_KEPT_BYTES / 1024);
}

static void say_recovery(struct access_log *log)
{
	log->is_waiting = false;
	if (!log->is_failing)
		return;
	log->is_failing = false;
	log_info("access_log: %s is written again; lost=%llu lines", log->path,
		 (unsigned long long)log->lost);
	log->lost = 0;
}

static void flush(struct access_log *log)
{
	while (log->fd >= 0 && log->buf.len > 1) {
		size_t wanted = next_bytes(log);
		ssize_t got = write_lines(log, wanted);
		if (got < 0) {
			log->is_waiting = true;
			if (errno != EAGAIN)
				say_failure(log, strerror(errno));
			return;
		}
		drop_front(log, (size_t)got);
		if ((size_t)got == wanted)
			say_recovery(log);
	}
}

/* ---- the log */

void access_log_open(struct access_log *log, const char *path, uint32_t style, const struct process *process)
{
	*log = (struct access_log){.path = path, .fd = -1, .process = process};
	access_format_init(&log->format, style);
	buf_append_slice(&log->buf, SLICE("\n"));
	log->is_failing = !open_file(log);
}

void access_log_append(struct access_log *log, const struct access_entry *entry)
{
	if (log->buf.len > ACCESS_LOG_KEPT_BYTES) {
		log->lost++;
		say_failure(log, "it takes too long");
		return;
	}
	access_format_append(&log->format, entry, &log->buf);
	if (log->buf.len > ACCESS_LOG_FLUSH_BYTES && !log->is_waiting)
		flush(log);
}

void access_log_tick(struct access_log *log)
{
	flush(log);
}

void access_log_reopen(struct access_log *log)
{
	flush(log);
	if (open_file(log))
		flush(log);
}

void access_log_close(struct access_log *log)
{
	flush(log);
	log->lost += count_lines(kept_lines(log));
	if (log->lost > 0)
		log_warn("access_log: lost=%llu lines of %s", (unsigned long long)log->lost, log->path);
	if (log->fd >= 0)
		close(log->fd);
	buf_release(&log->buf);
	*log = (struct access_log){.fd = -1};
}

void access_log_reap(const struct process *process)
{
	if (atomic_exchange(&process->slot->is_writing_log, 0))
		atomic_store(&process->board->is_log_cut, 1);
}
