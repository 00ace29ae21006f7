#include "master/notify.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { NOTIFY_STATUS_MS = 10 * 1000, NOTIFY_AGAIN_MS = 100, USEC_PER_MS = 1000, NSEC_PER_USEC = 1000 };

static const char *const variables[] = {
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
};

/* A decimal number that stands for itself, or -1. */
static int64_t number_of(const char *text)
{
	char *end;
	if (!text || *text < '0' || *text > '9')
		return -1;
	errno = 0;
	long long number = strtoll(text, &end, 10);
	return *end || errno ? -1 : number;
}

static void open_watchdog(struct notify *n)
{
	int64_t usec = number_of(getenv("WATCHDOG_USEC"));
	const char *pid = getenv("WATCHDOG_PID");
	if (usec <= 0 || (pid && number_of(pid) != getpid()))
		return;
	/* A third: one may be late. */
	n->ping_ms = usec / 3 / USEC_PER_MS;
	if (n->ping_ms == 0)
		n->ping_ms = 1;
}

void notify_open(struct notify *n)
{
	*n = (struct notify){.address = {.sun_family = AF_UNIX}};
	const char *path = getenv("NOTIFY_SOCKET");
	size_t len = path ? strlen(path) : 0;
	if (len == 0)
		return;
	if ((path[0] != '/' && path[0] != '@') || len >= sizeof(n->address.sun_path)) {
		log_warn("NOTIFY_SOCKET is neither a path nor an abstract address: the service manager is "
			 "told nothing");
		return;
	}
	memcpy(n->address.sun_path, path, len);
	if (path[0] == '@')
		n->address.sun_path[0] = '\0'; /* unix(7): an abstract address, without a NUL at its end */
	n->address_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (path[0] == '/'));
	open_watchdog(n);
}

static bool send_text(const struct notify *n, const struct buf *text)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	ssize_t sent = sendto(fd, text->data, text->len, MSG_NOSIGNAL, (const struct sockaddr *)&n->address,
			      n->address_bytes);
	close(fd);
	return sent == (ssize_t)text->len;
}

static void append_state(struct buf *text, enum notify_state state)
{
	static const char *const words[] = {
	    [NOTIFY_STARTING] = "",
	    [NOTIFY_READY] = "READY=1\n",
	    [NOTIFY_RELOADING] = "RELOADING=1\n",
	    [NOTIFY_STOPPING] = "STOPPING=1\n",
	};
	buf_append_str(text, words[state]);
	/* Type=notify-reload tells by it whether this answers its own SIGHUP. */
	if (state == NOTIFY_RELOADING)
		buf_printf(text, "MONOTONIC_USEC=%lld\n", (long long)clock_monotonic_ns() / NSEC_PER_USEC);
}

void notify_tell(struct notify *n, enum notify_state state, const char *status, int64_t now_ms)
{
	if (n->address_bytes == 0)
		return;
	bool has_state = state != n->told;
	bool has_ping = n->ping_ms && now_ms >= n->next_ping_ms;
	bool has_status = (has_state || now_ms >= n->next_status_ms) && strcmp(status, n->status) != 0;
	if (!has_state && !has_ping && !has_status)
		return;
	struct buf text = BUF_INIT;
	if (has_state)
		append_state(&text, state);
	if (has_status)
		buf_printf(&text, "STATUS=%s\n", status);
	if (has_ping)
		buf_append_str(&text, "WATCHDOG=1\n");
	bool is_sent = send_text(n, &text);
	if (is_sent)
		n->told = state;
	if (has_ping)
		n->next_ping_ms = now_ms + (is_sent ? n->ping_ms : NOTIFY_AGAIN_MS);
	if (is_sent && has_status) {
		(void)snprintf(n->status, sizeof(n->status), "%s", status);
		n->next_status_ms = now_ms + NOTIFY_STATUS_MS;
	}
	buf_release(&text);
}

int64_t notify_wake_ms(const struct notify *n)
{
	return n->ping_ms ? n->next_ping_ms : INT64_MAX;
}

void notify_forget(void)
{
	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
		(void)unsetenv(variables[i]);
}
