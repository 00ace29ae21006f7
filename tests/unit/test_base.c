#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/report.h"
#include "base/shm.h"
#include "base/siphash.h"
#include "base/uuid.h"

#include <errno.h>
#include <fcntl.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- bytes ---- */

static void assert_buf(const struct buf *b, const char *expected)
{
	assert_true(b->len <= b->cap);
	assert_int_equal(b->len, strlen(expected));
	assert_memory_equal(b->data, expected, b->len);
}

static void a_buf_grows(void **state)
{
	(void)state;
	struct buf b = BUF_INIT;
	buf_append(&b, NULL, 0);
	assert_null(b.data);
	buf_append_str(&b, "ab");
	buf_append_slice(&b, SLICE("c\0d"));
	buf_append_slice(&b, (struct slice){NULL, 0});
	assert_int_equal(b.len, 5);
	assert_memory_equal(b.data, "abc\0d", 5);
	buf_clear(&b);
	assert_int_equal(b.len, 0);
	for (int i = 0; i < 10000; i++)
		buf_append(&b, "0123456789", 10);
	assert_int_equal(b.len, 100000);
	for (size_t i = 0; i < b.len; i++)
		assert_int_equal(b.data[i], '0' + (char)(i % 10));
	buf_release(&b);
	assert_null(b.data);
	assert_int_equal(b.cap, 0);
	buf_reserve(&b, 1000);
	assert_true(b.cap >= 1000);
	memset(b.data, 'x', 1000);
	buf_release(&b);
}

static void numbers(void **state)
{
	(void)state;
	struct buf b = BUF_INIT;
	buf_append_u64(&b, 0);
	buf_append_str(&b, " ");
	buf_append_u64(&b, 10);
	buf_append_str(&b, " ");
	buf_append_u64(&b, UINT64_MAX);
	assert_buf(&b, "0 10 18446744073709551615");
	buf_clear(&b);
	buf_printf(&b, "%s=%d", "key", -7);
	buf_printf(&b, "%s", "");
	buf_printf(&b, ", %0300d", 1);
	assert_int_equal(b.len, 6 + 2 + 300);
	assert_memory_equal(b.data, "key=-7, 000", 11);
	assert_int_equal(b.data[b.len - 1], '1');
	buf_release(&b);
}

static void slices(void **state)
{
	(void)state;
	assert_true(slice_equal(SLICE(""), (struct slice){NULL, 0}));
	assert_true(slice_equal(SLICE("a\0b"), SLICE("a\0b")));
	assert_false(slice_equal(SLICE("a\0b"), SLICE("a\0c")));
	assert_false(slice_equal(SLICE("a"), SLICE("ab")));
	assert_true(slice_equal_nocase(SLICE("Content-TYPE"), SLICE("cONTENT-type")));
	/* Pairs that differ in the same bit as the letters do. */
	assert_false(slice_equal_nocase(SLICE("@["), SLICE("`{")));
	assert_false(slice_equal_nocase(SLICE("\xc4"), SLICE("\xe4")));
	assert_false(slice_equal_nocase(SLICE("a"), SLICE("ab")));
	char *copy = alloc_string((struct slice){"abcdef", 3});
	assert_string_equal(copy, "abc");
	free(copy);
	copy = alloc_string((struct slice){NULL, 0});
	assert_string_equal(copy, "");
	free(copy);
}

/* ---- errors ---- */

static void an_error_is_one_line(void **state)
{
	(void)state;
	struct err err = {0};
	assert_int_equal(err_set(&err, EXIT_CODE_CONFIG, "%s:%d: no \"%s\"", "f", 3, "a\nb\x1b[0m\x7f"), -1);
	assert_int_equal(err.code, EXIT_CODE_CONFIG);
	assert_string_equal(err.text, "f:3: no \"a?b?[0m?\"");
	char longer[2000];
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	err_set(&err, EXIT_CODE_OS, "%s", longer);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
}

/* ---- ids ---- */

static void uuids_are_version_7(void **state)
{
	(void)state;
	const int64_t us = INT64_C(0x123456789abc) * 1000 + 500;
	struct uuid u;
	char text[UUID_TEXT_BYTES + 1] = {0};
	uuid_make(&u, us);
	uuid_to_text(&u, text);
	/* The milliseconds, the version, 500 of 1000 as 2048 of 4096; then the variant. */
	assert_memory_equal(text, "12345678-9abc-7800-", 19);
	assert_non_null(strchr("89ab", text[19]));
	struct uuid other;
	uuid_make(&other, us);
	assert_memory_equal(u.bytes, other.bytes, 8);
	assert_memory_not_equal(u.bytes + 8, other.bytes + 8, 8);
}

static void uuids_sort_by_time(void **state)
{
	(void)state;
	struct uuid last, next;
	const int64_t start = INT64_C(1795415696998000);
	uuid_make(&last, start);
	for (int64_t us = start + 1; us < start + 4000; us++) {
		uuid_make(&next, us);
		assert_true(uuid_compare_to(&last, &next) < 0);
		assert_true(uuid_compare_to(&next, &last) > 0);
		last = next;
	}
	assert_int_equal(uuid_compare_to(&last, &next), 0);
}

/* The tags of pages that machines exchange: a todod that computes another one reads everything anew. */
static void uuids_of_bytes_are_version_5(void **state)
{
	(void)state;
	struct uuid u, again;
	char text[UUID_TEXT_BYTES];
	uuid_of_bytes(&u, "[]", 2);
	uuid_to_text(&u, text);
	assert_memory_equal(text, "71606981-cb44-5215-95d8-848655f6721a", UUID_TEXT_BYTES);
	uuid_of_bytes(&again, "[] ", 2);
	assert_int_equal(uuid_compare_to(&u, &again), 0);
	uuid_of_bytes(&again, "[] ", 3);
	assert_int_not_equal(uuid_compare_to(&u, &again), 0);
	uuid_of_bytes(&again, "[\0", 2);
	assert_int_not_equal(uuid_compare_to(&u, &again), 0);
	uuid_of_bytes(&u, NULL, 0);
	uuid_to_text(&u, text);
	assert_memory_equal(text, "a5c52640-94ac-5726-b7fa-2d9c374174a5", UUID_TEXT_BYTES);
}

static void uuid_texts(void **state)
{
	(void)state;
	static const char lower[] = "01a2071d-6594-7a52-9f0e-3c2f1b6d8a47";
	static const uint8_t bytes[] = {0x01, 0xa2, 0x07, 0x1d, 0x65, 0x94, 0x7a, 0x52,
					0x9f, 0x0e, 0x3c, 0x2f, 0x1b, 0x6d, 0x8a, 0x47};
	struct uuid u;
	char text[UUID_TEXT_BYTES];
	assert_int_equal(uuid_from_text(&u, slice_of(lower)), 0);
	assert_memory_equal(u.bytes, bytes, UUID_BYTES);
	uuid_to_text(&u, text);
	assert_memory_equal(text, lower, UUID_TEXT_BYTES);
	assert_int_equal(uuid_from_text(&u, SLICE("01A2071D-6594-7A52-9F0E-3C2F1B6D8A47")), 0);
	assert_memory_equal(u.bytes, bytes, UUID_BYTES);
	/* Other versions and variants are ids, too. */
	assert_int_equal(uuid_from_text(&u, SLICE("00000000-0000-0000-0000-000000000000")), 0);
	assert_int_equal(uuid_from_text(&u, SLICE("ffffffff-ffff-ffff-ffff-ffffffffffff")), 0);

	assert_int_equal(uuid_from_text(&u, slice_of(lower)), 0);
	for (size_t len = 0; len < UUID_TEXT_BYTES; len++)
		assert_int_equal(uuid_from_text(&u, (struct slice){lower, len}), -1);
	assert_int_equal(uuid_from_text(&u, SLICE("01a2071d-6594-7a52-9f0e-3c2f1b6d8a470")), -1);
	assert_int_equal(uuid_from_text(&u, SLICE("{1a2071d-6594-7a52-9f0e-3c2f1b6d8a4}")), -1);
	for (size_t at = 0; at < UUID_TEXT_BYTES; at++) {
		const char strange[] = {'g', ' ', '\0', '%', '+', lower[at] == '-' ? '0' : '-'};
		for (size_t i = 0; i < sizeof(strange); i++) {
			char wrong[UUID_TEXT_BYTES];
			memcpy(wrong, lower, sizeof(wrong));
			wrong[at] = strange[i];
			assert_int_equal(uuid_from_text(&u, (struct slice){wrong, sizeof(wrong)}), -1);
		}
	}
	assert_memory_equal(u.bytes, bytes, UUID_BYTES); /* untouched */
}

/* ---- time and memory ---- */

static void clocks_tick(void **state)
{
	(void)state;
	int64_t first = clock_monotonic_ns();
	assert_true(clock_monotonic_ns() >= first);
	assert_true(clock_monotonic_ms() >= first / 1000000);
	assert_true(clock_wall_us() > INT64_C(1700000000000000)); /* after 2023: microseconds, not less */
	assert_true(clock_wall_us() < INT64_C(9000000000000000));
}

static void memory_is_shared(void **state)
{
	(void)state;
	struct shm shm;
	struct err err = {0};
	assert_int_equal(shm_open_new(&shm, "test", 4096, &err), 0);
	assert_true(fcntl(shm.fd, F_GETFD) & FD_CLOEXEC);
	volatile int *shared = shm.addr;
	assert_int_equal(*shared, 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		*shared = 42;
		_exit(0);
	}
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(*shared, 42);
	shm_close(&shm);
	assert_int_equal(shm.fd, -1);
}

/* ---- the log ---- */

/* What a child of this process logs, as one string in `text`. */
static void run_logging(void (*log)(void), char *text, size_t size)
{
	int fds[2];
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (dup2(fds[1], STDERR_FILENO) < 0)
			_exit(1);
		log();
		_exit(0);
	}
	close(fds[1]);
	size_t len = 0;
	for (ssize_t n; (n = read(fds[0], text + len, size - 1 - len)) > 0;)
		len += (size_t)n;
	text[len] = '\0';
	close(fds[0]);
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void assert_matches(const char *text, const char *pattern)
{
	regex_t regex;
	assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
	int result = regexec(&regex, text, 0, NULL, 0);
	regfree(&regex);
	if (result != 0)
		fail_msg("\"%s\" does not match %s", text, pattern);
}

static void log_levels(void)
{
	unsetenv("JOURNAL_STREAM");
	log_init("worker", LOG_LEVEL_WARN);
	log_error("one");
	log_warn("two %d", 2);
	log_info("three");
	log_debug("four");
}

static void log_hostile(void)
{
	char longer[5000];
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	unsetenv("JOURNAL_STREAM");
	log_init("master", LOG_LEVEL_DEBUG);
	log_debug("a\nb\r\x1b[31m\x7f");
	log_info("%s", longer);
	errno = ENOENT;
	log_info("last");
	if (errno != ENOENT)
		_exit(1);
}

static void log_to_journal(void)
{
	struct stat st;
	char stream[64];
	if (fstat(STDERR_FILENO, &st) != 0)
		_exit(1);
	(void)snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
		       (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	log_init("master", LOG_LEVEL_DEBUG);
	log_error("e");
	log_warn("w");
	log_info("i");
	log_debug("d");
}

static void log_beside_the_journal(void)
{
	setenv("JOURNAL_STREAM", "1:2", 1);
	log_init("master", LOG_LEVEL_INFO);
	log_info("i");
}

#define LOG_TIME "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z "

static void log_lines(void **state)
{
	(void)state;
	char text[8000];
	run_logging(log_levels, text, sizeof(text));
	assert_matches(text, "^" LOG_TIME "error worker\\[[0-9]+\\] one\n" LOG_TIME
			     "warn worker\\[[0-9]+\\] two 2\n$");
	run_logging(log_hostile, text, sizeof(text));
	assert_matches(text, "^" LOG_TIME "debug master\\[[0-9]+\\] a\\?b\\?\\?\\[31m\\?\n" LOG_TIME
			     "info master\\[[0-9]+\\] x+\n" LOG_TIME "info master\\[[0-9]+\\] last\n$");
	assert_true(strlen(text) < 1200); /* cut */
	run_logging(log_to_journal, text, sizeof(text));
	assert_matches(text, "^<3>master\\[[0-9]+\\] e\n<4>master\\[[0-9]+\\] w\n<6>master\\[[0-9]+\\] i\n"
			     "<7>master\\[[0-9]+\\] d\n$");
	run_logging(log_beside_the_journal, text, sizeof(text));
	assert_matches(text, "^" LOG_TIME "info master\\[[0-9]+\\] i\n$");
}

/* ---- reports ---- */

static void a_report_is_a_line_each(void **state)
{
	(void)state;
	char *text = NULL, longer[5000];
	size_t size = 0;
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	struct report report = {.out = open_memstream(&text, &size)};
	assert_non_null(report.out);
	report_ok(&report, "disk", "%d of %d", 1, 2);
	assert_int_equal(report.code, EXIT_CODE_OK);
	report_warn(&report, "clock", "a\nb\x1b[31m");
	assert_int_equal(report.code, EXIT_CODE_OK);
	report_fail(&report, EXIT_CODE_CONFIG, "store", "first");
	report_fail(&report, EXIT_CODE_OS, "store", "%s", longer);
	assert_int_equal(report.code, EXIT_CODE_CONFIG);
	assert_int_equal(fclose(report.out), 0);
	assert_matches(
	    text, "^ok    disk: 1 of 2\nwarn  clock: a\\?b\\?\\[31m\nFAIL  store: first\nFAIL  store: x+\n$");
	assert_true(size < 1400); /* cut */
	free(text);
}

/* The test vectors of the reference implementation: key 00 01 … 0f, message 00 01 … */
static void siphash_is_the_known_one(void **state)
{
	(void)state;
	const struct siphash_key key = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
	static const struct {
		size_t len;
		uint64_t hash;
	} vectors[] = {
	    {0,  0x726fdb47dd0e0e31},
            {1,  0x74f839c593dc67fd},
            {7,  0xab0200f58b01d137},
	    {8,  0x93f5f5799a932462},
            {15, 0xa129ca6149be45e5},
            {16, 0x3f2acc7f57c29bdb}
        };
	unsigned char message[16];
	for (size_t i = 0; i < sizeof(message); i++)
		message[i] = (unsigned char)i;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
		assert_true(siphash(&key, message, vectors[i].len) == vectors[i].hash);
	struct siphash_key a = siphash_new_key(), b = siphash_new_key();
	assert_true(a.low != b.low && a.high != b.high);
}

static void blanks_are_trimmed(void **state)
{
	(void)state;
	assert_true(slice_equal(slice_trim(SLICE(" \t a b\t ")), SLICE("a b")));
	assert_true(slice_equal(slice_trim(SLICE("\r a")), SLICE("\r a")));
	assert_int_equal(slice_trim(SLICE(" \t")).len, 0);
	assert_int_equal(slice_trim((struct slice){NULL, 0}).len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(siphash_is_the_known_one),
	    cmocka_unit_test(blanks_are_trimmed),
	    cmocka_unit_test(a_buf_grows),
	    cmocka_unit_test(numbers),
	    cmocka_unit_test(slices),
	    cmocka_unit_test(an_error_is_one_line),
	    cmocka_unit_test(uuids_are_version_7),
	    cmocka_unit_test(uuids_sort_by_time),
	    cmocka_unit_test(uuids_of_bytes_are_version_5),
	    cmocka_unit_test(uuid_texts),
	    cmocka_unit_test(clocks_tick),
	    cmocka_unit_test(memory_is_shared),
	    cmocka_unit_test(log_lines),
	    cmocka_unit_test(a_report_is_a_line_each),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
