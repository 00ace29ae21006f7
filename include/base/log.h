/*
 * The log: one line per event on stderr, written with a single write(2) so that lines of several processes
 * never mix.
 *
 *     2026-11-25T10:02:03.456Z warn worker[1234] connection 7: …
 *
 * When stderr is the journal ($JOURNAL_STREAM names its device and inode, systemd.exec(5)), the line starts
 * with the priority prefix of sd-daemon(3) instead of the time. Safe to call from any thread; errno is
 * preserved.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Called once per process, before other threads exist. `process` is borrowed for ever: a literal. */
void log_init(const char *process, enum log_level level);

/* True where a line of this level would be written: guards costly arguments. */
int log_wants(enum log_level level);

/* Control characters in the text become '?', so that nothing from outside can forge a line. */
void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
