#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LOG_LINE_MAX_BYTES = 1024 };

static const struct {
	const char *name;
	int priority; /* of syslog(3): what sd-daemon(3) wants between < and > */
} levels[] = {
    [LOG_LEVEL_ERROR] = {"error", 3},
    [LOG_LEVEL_WARN] = {"warn",  4},
    [LOG_LEVEL_INFO] = {"info",  6},
    [LOG_LEVEL_DEBUG] = {"debug", 7},
};

static struct {
	const char *process;
	enum log_level level;
	bool to_journal;
} state = {"todod", LOG_LEVEL_INFO, false};

static bool stderr_is_the_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;
	return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

void log_init(const char *process, enum log_level level)
{
	state.process = process;
	state.level = level;
	state.to_journal = stderr_is_the_journal();
}

int log_wants(enum log_level level)
{
	return level <= state.level;
}

static size_t format_prefix(char *line, size_t size, enum log_level level)
{
	int len;
	if (state.to_journal) {
		len = snprintf(line, size, "<%d>%s[%d] ", levels[level].priority, state.process, getpid());
	} else {
		struct timespec now = {0, 0};
		struct tm utc = {0};
		(void)clock_gettime(CLOCK_REALTIME, &now);
		(void)gmtime_r(&now.tv_sec, &utc);
		len =
		    snprintf(line, size, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ %s %s[%d] ",
			     utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min,
			     utc.tm_sec, now.tv_nsec / 1000000, levels[level].name, state.process, getpid());
	}
	return len > 0 ? (size_t)len : 0;
}

void log_write(enum log_level level, const char *format, ...)
{
	if (!log_wants(level))
		return;
	int saved_errno = errno;
	char line[LOG_LINE_MAX_BYTES];
	size_t start = format_prefix(line, sizeof(line), level);

	va_list args;
	va_start(args, format);
	int len = vsnprintf(line + start, sizeof(line) - start, format, args);
	va_end(args);
	size_t end = len < 0 ? start : start + (size_t)len;
	if (end > sizeof(line) - 1)
		end = sizeof(line) - 1; /* cut: the newline takes the place of the NUL */
	for (size_t i = start; i < end; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	line[end++] = '\n';

	/* A log that cannot be written has nobody to be told. */
	ssize_t written = write(STDERR_FILENO, line, end);
	(void)written;
	errno = saved_errno;
}
