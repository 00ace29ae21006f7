/*
 * The file of the access log: whole lines, whatever becomes of the file. Runs in a directory of its own.
 */
#include "worker/access_log.h"
#include "worker/access_file.h"

#include "config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const uid_t own_uid = (uid_t)-1;
static const gid_t own_gid = (gid_t)-1;
static char directory[4096], path[4200];
static struct process_board board;
static struct process_slot slot;
static const struct process process = {.board = &board, .slot = &slot};
static const struct ip client = {
    {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1}
};

static int set_up(void **state)
{
	(void)state;
	const char *parent = getenv("TMPDIR");
	snprintf(directory, sizeof(directory), "%s/todod-log-XXXXXX", parent ? parent : "/tmp");
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/access.log", directory);
	atomic_store(&board.is_log_cut, 0);
	atomic_store(&slot.is_writing_log, 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	(void)unlink(path);
	return rmdir(directory);
}

/* ---- helpers */

static void append(struct access_log *log, size_t target_bytes)
{
	static char target[8192];
	memset(target, 'x', sizeof(target));
	const struct access_entry e = {
	    .client = &client,
	    .method = SLICE("GET"),
	    .target = {target, target_bytes},
	    .status = 200,
	    .route = "list",
	    .store = "-",
	    .cache = "hit",
	};
	access_log_append(log, &e);
}

/* Owned, NUL-terminated. */
static char *contents(const char *name)
{
	struct buf out = BUF_INIT;
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	ssize_t n;
	do {
		buf_reserve(&out, 65536);
		n = read(fd, out.data + out.len, 65536);
		assert_true(n >= 0);
		out.len += (size_t)n;
	} while (n > 0);
	close(fd);
	buf_append(&out, "", 1);
	return out.data;
}

struct lines {
	size_t whole, broken;
	bool ends_within; /* the last one has no line break */
};

/* A whole line begins and ends as such a line does. */
static struct lines count(const char *name)
{
	static const char head[] = "192.0.2.1 - - [", tail[] = " 0.000000 - list - hit";
	struct lines found = {0, 0, false};
	char *text = contents(name), *at = text;
	for (char *end; (end = strchr(at, '\n')); at = end + 1) {
		*end = '\0';
		bool is_whole = strncmp(at, head, strlen(head)) == 0 && end - at > (ptrdiff_t)strlen(tail) &&
				strcmp(end - strlen(tail), tail) == 0 && !strstr(at + 1, "192.0.2.1");
		found.whole += is_whole;
		found.broken += !is_whole;
	}
	found.ends_within = *at != '\0';
	free(text);
	return found;
}

static void expect_lines(const char *name, size_t whole, size_t broken)
{
	struct lines found = count(name);
	assert_int_equal(found.whole, whole);
	assert_int_equal(found.broken, broken);
	assert_false(found.ends_within);
}

static void limit_file(rlim_t bytes)
{
	struct rlimit limit;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static off_t size_of(const char *name)
{
	struct stat st;
	return stat(name, &st) == 0 ? st.st_size : -1;
}

/* ---- cases */

static void test_lines_are_gathered(void **state)
{
	(void)state;
	struct access_log log;
	access_log_open(&log, path, CONFIG_ACCESS_LOG_COMBINED, &process);
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777 & ~0640, 0);
	append(&log, 10);
	assert_int_equal(size_of(path), 0);
	access_log_tick(&log);
	expect_lines(path, 1, 0);
	off_t line_bytes = size_of(path);
	size_t appended = 1;
	for (; size_of(path) == line_bytes; appended++)
		append(&log, 10);
	assert_in_range(size_of(path), ACCESS_LOG_FLUSH_BYTES, ACCESS_LOG_FLUSH_BYTES + 2 * line_bytes);
	append(&log, 10);
	access_log_close(&log);
	expect_lines(path, appended + 1, 0);
}

static void test_reopening_loses_nothing(void **state)
{
	(void)state;
	struct access_log log;
	char moved[sizeof(path) + 2];
	snprintf(moved, sizeof(moved), "%s.1", path);
	access_log_open(&log, path, CONFIG_ACCESS_LOG_COMBINED, &process);
	append(&log, 10);
	assert_int_equal(rename(path, moved), 0);
	append(&log, 10);
	access_log_reopen(&log);
	append(&log, 10);
	access_log_tick(&log);
	expect_lines(moved, 2, 0);
	expect_lines(path, 1, 0);
	/* Nor does one that cannot be done. */
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	access_log_reopen(&log);
	assert_int_equal(rmdir(path), 0);
	append(&log, 10);
	access_log_reopen(&log);
	append(&log, 10);
	access_log_close(&log);
	expect_lines(path, 1, 0);
	assert_int_equal(unlink(moved), 0);
}

/* What was meant for a file that could not be opened goes into it when it can be. */
static void test_no_file_at_first(void **state)
{
	(void)state;
	struct access_log log;
	assert_int_equal(mkdir(path, 0700), 0);
	access_log_open(&log, path, CONFIG_ACCESS_LOG_COMBINED, &process);
	assert_int_equal(log.fd, -1);
	append(&log, 10);
	access_log_tick(&log);
	assert_int_equal(rmdir(path), 0);
	access_log_reopen(&log);
	expect_lines(path, 1, 0);
	access_log_close(&log);
}

/* Cut at every byte of a line: the rest is neither lost nor taken for the next one, by this writer or by another. */
static void test_a_full_disk(void **state)
{
	(void)state;
	(void)sigaction(SIGXFSZ, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
	struct access_log one, other;
	access_log_open(&one, path, CONFIG_ACCESS_LOG_COMBINED, &process);
	append(&one, 10);
	access_log_tick(&one);
	size_t line_bytes = (size_t)size_of(path);
	access_log_close(&one);
	for (size_t room = 0; room <= 3 * line_bytes; room++) {
		assert_int_equal(truncate(path, 0), 0);
		access_log_open(&one, path, CONFIG_ACCESS_LOG_COMBINED, &process);
		access_log_open(&other, path, CONFIG_ACCESS_LOG_COMBINED, &process);
		for (int i = 0; i < 3; i++)
			append(&one, 10);
		limit_file(room);
		access_log_tick(&one);
		append(&other, 10);
		access_log_tick(&other);
		access_log_tick(&one);
		assert_int_equal(one.is_failing, room < 3 * line_bytes - 1);
		assert_int_equal(atomic_load(&board.is_log_cut), room % line_bytes != 0);
		limit_file(RLIM_INFINITY);
		access_log_tick(&other);
		access_log_tick(&one);
		assert_false(one.is_failing);
		assert_int_equal(one.lost, 0);
		access_log_close(&one);
		access_log_close(&other);
		/* Where only its end was missing, that was all to be added. */
		expect_lines(path, 4, room % line_bytes != 0 && room % line_bytes != line_bytes - 1);
	}
}

static void test_what_is_kept_is_bounded(void **state)
{
	(void)state;
	(void)sigaction(SIGXFSZ, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
	struct access_log log;
	access_log_open(&log, path, CONFIG_ACCESS_LOG_COMBINED, &process);
	limit_file(0);
	enum { LINES = 5000 };
	for (int i = 0; i < LINES; i++)
		append(&log, 200);
	access_log_tick(&log);
	assert_true(log.is_failing);
	assert_in_range(log.buf.len, ACCESS_LOG_KEPT_BYTES, ACCESS_LOG_KEPT_BYTES + 1000);
	size_t lost = log.lost;
	assert_true(lost > 0);
	limit_file(RLIM_INFINITY);
	access_log_tick(&log);
	assert_false(log.is_failing);
	assert_int_equal(log.lost, 0);
	access_log_close(&log);
	expect_lines(path, LINES - lost, 0);
}

/* Beyond PIPE_BUF a pipe may take part of a write, and mixes the writes of several. */
static void test_a_pipe(void **state)
{
	(void)state;
	struct access_log log;
	struct err err;
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(access_file_make(path, own_uid, own_gid, &err), -1);
	assert_int_equal(err.code, EXIT_CODE_CANNOT_CREATE);
	assert_non_null(strstr(err.text, "nobody reads it"));
	int reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	assert_true(reader >= 0);
	access_log_open(&log, path, CONFIG_ACCESS_LOG_COMBINED, &process);
	for (int i = 0; i < 1000; i++)
		append(&log, 200);
	append(&log, 6000);
	append(&log, 10);
	size_t lines = 0;
	for (int rounds = 0; rounds < 1000 && lines < 1002; rounds++) {
		char bytes[4096];
		access_log_tick(&log);
		for (ssize_t n; (n = read(reader, bytes, sizeof(bytes))) > 0;)
			for (ssize_t i = 0; i < n; i++)
				lines += bytes[i] == '\n';
	}
	assert_int_equal(lines, 1002);
	assert_false(log.is_failing);
	access_log_close(&log);
	close(reader);
}

/* The writer is killed in the middle of a write: only then does the next one begin with a line break. */
static void test_a_dead_writer(void **state)
{
	(void)state;
	struct access_log log;
	access_log_open(&log, path, CONFIG_ACCESS_LOG_COMBINED, &process);
	FILE *file = fopen(path, "ae");
	assert_non_null(file);
	fputs("192.0.2.1 - - [half", file);
	assert_int_equal(fclose(file), 0);
	access_log_reap(&process);
	assert_int_equal(atomic_load(&board.is_log_cut), 0);
	atomic_store(&slot.is_writing_log, 1);
	access_log_reap(&process);
	append(&log, 10);
	access_log_tick(&log);
	append(&log, 10);
	access_log_close(&log);
	expect_lines(path, 2, 1);
}

static void test_opening(void **state)
{
	(void)state;
	struct err err;
	char nowhere[sizeof(path) + 8];
	snprintf(nowhere, sizeof(nowhere), "%s/no/log", directory);
	assert_int_equal(access_file_make(nowhere, own_uid, own_gid, &err), -1);
	assert_int_equal(err.code, EXIT_CODE_CANNOT_CREATE);
	assert_non_null(strstr(err.text, "No such file or directory"));
	assert_non_null(strstr(err.text, nowhere));
	assert_int_equal(access_file_make(path, own_uid, own_gid, &err), 0);
	int fd = access_file_open(path, &err);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_opening, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_lines_are_gathered, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_reopening_loses_nothing, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_no_file_at_first, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_a_full_disk, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_what_is_kept_is_bounded, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_a_pipe, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_a_dead_writer, set_up, tear_down),
	};
	return cmocka_run_group_tests_name("access_log", tests, NULL, NULL);
}
