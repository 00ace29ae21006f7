/*
 * What one program hands to the one that follows it: here both are this one.
 */
#include "master/handover.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static const char variable[] = "TODOD_HANDOVER";

static bool is_cloexec(int fd)
{
	int flags = fcntl(fd, F_GETFD);
	assert_true(flags >= 0);
	return flags & FD_CLOEXEC;
}

static int open_some(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

/* As the other program finds it: its descriptor by another number, which the first one's close does not touch. */
static void pass(const struct handover *h)
{
	char number[16];
	handover_name(h);
	assert_int_equal(atoi(getenv(variable)), h->fd);
	snprintf(number, sizeof(number), "%d", dup(h->fd));
	setenv(variable, number, 1);
}

static void test_nothing_is_handed_over(void **state)
{
	(void)state;
	struct handover h;
	struct err err;
	unsetenv(variable);
	assert_int_equal(handover_receive(&h, &err), 0);
	assert_null(handover_accepted(&h));
	handover_close(&h);
}

static void test_all_of_it_arrives(void **state)
{
	(void)state;
	struct handover sent, got;
	struct err err;
	int first = open_some(), second = open_some(), third = open_some();
	assert_int_equal(handover_open(&sent, &err), 0);
	assert_true(is_cloexec(sent.fd));
	handover_add(&sent, "thing %d of some words", handover_fd(&sent, first));
	handover_add(&sent, "things %d", handover_fd(&sent, second));
	handover_add(&sent, "empty ");
	assert_int_equal(handover_fd(&sent, third), third);
	assert_true(is_cloexec(first));
	assert_int_equal(handover_write(&sent, true, &err), 0);
	assert_false(is_cloexec(first) || is_cloexec(second) || is_cloexec(third) || is_cloexec(sent.fd));
	pass(&sent);

	assert_int_equal(handover_receive(&got, &err), 1);
	assert_null(getenv(variable));
	assert_true(is_cloexec(first) && is_cloexec(second) && is_cloexec(third) && is_cloexec(got.fd));
	char expected[64];
	snprintf(expected, sizeof(expected), "%d of some words", first);
	assert_int_equal(got.line_count, 5);
	assert_string_equal(handover_line(&got, 1, "thing"), expected);
	assert_null(handover_line(&got, 1, "things"));
	assert_null(handover_line(&got, 2, "thing"));
	assert_string_equal(handover_line(&got, 3, "empty"), "");

	assert_int_equal(handover_take(&got, first), first);
	assert_int_equal(handover_take(&got, first), -1);
	assert_int_equal(handover_take(&got, 4711), -1);
	handover_close(&got);
	assert_true(fcntl(first, F_GETFD) >= 0);
	assert_true(fcntl(second, F_GETFD) < 0 && fcntl(third, F_GETFD) < 0); /* nobody took them */
	handover_close(&sent);
	close(first);
}

static void test_an_exec_that_fails(void **state)
{
	(void)state;
	struct handover h;
	struct err err;
	int fd = open_some();
	assert_int_equal(handover_open(&h, &err), 0);
	handover_add(&h, "thing %d", handover_fd(&h, fd));
	assert_int_equal(handover_write(&h, true, &err), 0);
	handover_take_back(&h);
	assert_true(is_cloexec(fd) && is_cloexec(h.fd));
	handover_close(&h);
	assert_true(fcntl(fd, F_GETFD) >= 0); /* it was never anybody else's */
	close(fd);
}

static void test_who_is_asked_answers(void **state)
{
	(void)state;
	struct handover asked, got;
	struct err err;
	assert_int_equal(handover_open(&asked, &err), 0);
	assert_int_equal(handover_write(&asked, false, &err), 0);
	assert_null(handover_accepted(&asked));
	pass(&asked);
	assert_int_equal(handover_receive(&got, &err), 1);
	handover_accept(&got, "1.2.3");
	handover_close(&got);
	assert_string_equal(handover_accepted(&asked), "1.2.3");
	handover_close(&asked);
}

static void test_a_descriptor_is_handed_over_once(void **state)
{
	(void)state;
	struct handover sent, got;
	struct err err;
	int fd = open_some();
	assert_int_equal(handover_open(&sent, &err), 0);
	(void)handover_fd(&sent, fd);
	(void)handover_fd(&sent, fd);
	assert_int_equal(handover_write(&sent, true, &err), 0);
	pass(&sent);
	assert_int_equal(handover_receive(&got, &err), 1);
	assert_int_equal(handover_take(&got, fd), fd);
	assert_int_equal(handover_take(&got, fd), -1);
	handover_close(&got);
	assert_true(fcntl(fd, F_GETFD) >= 0);
	handover_close(&sent);
	close(fd);
}

static void expect_refused(const char *text)
{
	struct handover h;
	struct err err;
	char number[16];
	int ends[2] = {-1, -1};
	if (text) {
		assert_int_equal(handover_open(&h, &err), 0);
		assert_int_equal(pwrite(h.fd, text, strlen(text), 0), strlen(text));
		pass(&h);
		handover_close(&h);
	} else {
		assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
		snprintf(number, sizeof(number), "%d", ends[0]);
		setenv(variable, number, 1);
	}
	assert_int_equal(handover_receive(&h, &err), -1);
	assert_int_equal(err.code, EXIT_CODE_INTERNAL);
	assert_null(getenv(variable));
	if (!text)
		close(ends[1]);
}

static void test_what_cannot_be_read_is_refused(void **state)
{
	(void)state;
	static const char *const texts[] = {"",          "todod",     "todod 1",          "todod 2\n",
					    "todod x\n", "other 1\n", "todod 1\nfds 3 1", NULL};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		expect_refused(texts[i]);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_nothing_is_handed_over),
	    cmocka_unit_test(test_all_of_it_arrives),
	    cmocka_unit_test(test_an_exec_that_fails),
	    cmocka_unit_test(test_who_is_asked_answers),
	    cmocka_unit_test(test_a_descriptor_is_handed_over_once),
	    cmocka_unit_test(test_what_cannot_be_read_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
