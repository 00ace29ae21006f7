/*
 * What the service manager is told: each message, their order, and when. The test is the manager, with a socket of its own.
 */
#include "master/notify.h"

#include "base/clock.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct manager {
	int fd;
	char name[64]; /* as in $NOTIFY_SOCKET */
};

static struct manager manager;

/* The kernel picks an abstract address. */
static int open_manager(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	socklen_t len = sizeof(address);
	(void)state;
	manager.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (bind(manager.fd, (const struct sockaddr *)&address, sizeof(sa_family_t)) != 0 ||
	    getsockname(manager.fd, (struct sockaddr *)&address, &len) != 0)
		return -1;
	snprintf(manager.name, sizeof(manager.name), "@%.*s", (int)(len - sizeof(sa_family_t) - 1),
		 address.sun_path + 1);
	setenv("NOTIFY_SOCKET", manager.name, 1);
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	return 0;
}

static int close_manager(void **state)
{
	(void)state;
	close(manager.fd);
	return 0;
}

/* NULL for none. */
static void expect(const char *text)
{
	char got[512];
	ssize_t len = recv(manager.fd, got, sizeof(got) - 1, 0);
	if (!text) {
		assert_int_equal(len, -1);
		assert_int_equal(errno, EAGAIN);
		return;
	}
	assert_true(len >= 0);
	got[len] = '\0';
	assert_string_equal(got, text);
}

static void test_states(void **state)
{
	struct notify n;
	(void)state;
	notify_open(&n);
	expect(NULL);
	notify_tell(&n, NOTIFY_STARTING, "starting", 1000);
	expect("STATUS=starting\n");
	notify_tell(&n, NOTIFY_READY, "3 of 3", 1001);
	expect("READY=1\nSTATUS=3 of 3\n");
	notify_tell(&n, NOTIFY_READY, "3 of 3", 1002);
	expect(NULL);
	notify_tell(&n, NOTIFY_STOPPING, "3 of 3", 1003);
	expect("STOPPING=1\n");
	assert_true(notify_wake_ms(&n) == INT64_MAX);
}

static void test_reload_carries_its_time(void **state)
{
	struct notify n;
	char got[256];
	long long usec;
	(void)state;
	notify_open(&n);
	notify_tell(&n, NOTIFY_READY, "", 1);
	expect("READY=1\n");
	long long before_usec = (long long)clock_monotonic_ns() / 1000;
	notify_tell(&n, NOTIFY_RELOADING, "", 2);
	ssize_t len = recv(manager.fd, got, sizeof(got) - 1, 0);
	assert_true(len > 0);
	got[len] = '\0';
	assert_int_equal(sscanf(got, "RELOADING=1\nMONOTONIC_USEC=%lld\n", &usec), 1);
	assert_true(usec >= before_usec && usec <= (long long)clock_monotonic_ns() / 1000);
	notify_tell(&n, NOTIFY_READY, "reload failed: no", 3);
	expect("READY=1\nSTATUS=reload failed: no\n");
}

static void test_status_is_told_now_and_then(void **state)
{
	struct notify n;
	(void)state;
	notify_open(&n);
	notify_tell(&n, NOTIFY_READY, "1", 0);
	expect("READY=1\nSTATUS=1\n");
	notify_tell(&n, NOTIFY_READY, "2", 9999);
	expect(NULL);
	notify_tell(&n, NOTIFY_READY, "2", 10000);
	expect("STATUS=2\n");
	notify_tell(&n, NOTIFY_READY, "2", 30000);
	expect(NULL);
}

static void test_watchdog(void **state)
{
	struct notify n;
	char pid[16];
	(void)state;
	setenv("WATCHDOG_USEC", "3000000", 1);
	notify_open(&n);
	assert_int_equal(n.ping_ms, 1000);
	notify_tell(&n, NOTIFY_READY, "", 5000);
	expect("READY=1\nWATCHDOG=1\n");
	assert_int_equal(notify_wake_ms(&n), 6000);
	notify_tell(&n, NOTIFY_READY, "", 5999);
	expect(NULL);
	notify_tell(&n, NOTIFY_READY, "", 6000);
	expect("WATCHDOG=1\n");

	snprintf(pid, sizeof(pid), "%d", getpid());
	setenv("WATCHDOG_PID", pid, 1);
	notify_open(&n);
	assert_int_equal(n.ping_ms, 1000);
	static const char *const not_ours[][2] = {
	    {"3000000", "1" },
            {"3000000", "x" },
            {"0",       NULL},
            {"",        NULL},
            {"-3",      NULL},
            {"3s",      NULL},
	};
	for (size_t i = 0; i < sizeof(not_ours) / sizeof(not_ours[0]); i++) {
		setenv("WATCHDOG_USEC", not_ours[i][0], 1);
		setenv("WATCHDOG_PID", not_ours[i][1] ? not_ours[i][1] : pid, 1);
		notify_open(&n);
		assert_int_equal(n.ping_ms, 0);
	}
}

/* What could not be sent is sent later, and nobody waits for it in a busy loop. */
static void test_a_full_socket(void **state)
{
	struct notify n;
	(void)state;
	setenv("WATCHDOG_USEC", "3000000", 1);
	notify_open(&n);
	int64_t now_ms = 0;
	unsigned sent = 0;
	for (notify_tell(&n, NOTIFY_READY, "", now_ms); n.next_ping_ms == now_ms + 1000; sent++) {
		now_ms = n.next_ping_ms;
		notify_tell(&n, NOTIFY_READY, "", now_ms);
	}
	assert_true(sent > 0 && notify_wake_ms(&n) > now_ms);
	notify_tell(&n, NOTIFY_STOPPING, "late", now_ms);
	assert_int_equal(n.told, NOTIFY_READY);
	expect("READY=1\nWATCHDOG=1\n");
	while (--sent > 0)
		expect("WATCHDOG=1\n");
	expect(NULL);
	notify_tell(&n, NOTIFY_STOPPING, "late", now_ms);
	expect("STOPPING=1\nSTATUS=late\n");
}

static void test_nobody_to_be_told(void **state)
{
	static const char *const names[] = {
	    "",
	    "vsock:2:1",
	    "relative",
	    ("/a/path/of/more/than/one/hundred/and/seven/bytes/is/longer/than/what/fits/into/the/address/of/"
	     "a/"
	     "unix/domain/socket"),
	};
	struct notify n;
	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		setenv("NOTIFY_SOCKET", names[i], 1);
		notify_open(&n);
		assert_int_equal(n.address_bytes, 0);
		notify_tell(&n, NOTIFY_READY, "x", 1);
	}
	setenv("NOTIFY_SOCKET", "/no/such/socket", 1);
	notify_open(&n);
	notify_tell(&n, NOTIFY_READY, "x", 1);
	assert_int_equal(n.told, NOTIFY_STARTING);
}

static void test_children_forget(void **state)
{
	struct notify n;
	(void)state;
	setenv("WATCHDOG_USEC", "3000000", 1);
	notify_forget();
	assert_null(getenv("NOTIFY_SOCKET"));
	assert_null(getenv("WATCHDOG_USEC"));
	assert_null(getenv("WATCHDOG_PID"));
	notify_open(&n);
	notify_tell(&n, NOTIFY_READY, "x", 1);
	expect(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_manager, close_manager)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_states),
	    TEST(test_reload_carries_its_time),
	    TEST(test_status_is_told_now_and_then),
	    TEST(test_watchdog),
	    TEST(test_a_full_socket),
	    TEST(test_nobody_to_be_told),
	    TEST(test_children_forget),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
