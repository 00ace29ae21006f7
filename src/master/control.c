/*
 * The master's side of the control socket (include/master/control.h). A client's socket is a queue that the kernel keeps: no byte behind
 * the line at hand is read, so there is nothing to remember but that line, and the answer that is on its way out.
 *
 *     (none) -> ASKS     accepted
 *     ASKS   -> ASKS     a line, answered
 *     ASKS   -> AWAITS   await
 *     AWAITS -> ASKS     what it awaits has ended, and it is told how
 *     (any)  -> (none)   it has left, or has to: too slow, too much, too long, not allowed
 *
 * Those that await the end of the process are never closed: the kernel does that, when there is nothing left of it.
 */
#include "master/master_private.h"

#include "base/clock.h"
#include "master/control.h"
#include "master/status.h"
#include "net/listener.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONTROL_FDS = CONTROL_CLIENTS + CONTROL_WAITING };

struct control_client {
	int fd;
	int64_t cut_ms; /* then it has been too slow */
	char line[CONTROL_LINE_BYTES];
	size_t line_len;
	struct buf answer;
	size_t sent;
	unsigned requests;
	bool is_last; /* closed once its answer has gone */

	/* What it awaits: */
	const struct attempt *attempt; /* this one's, */
	uint64_t number;               /* of that number, */
	bool awaits_end;               /* or that of the process */
};

/* ---- clients */

static bool awaits(const struct control_client *c)
{
	return c->attempt || c->awaits_end;
}

static size_t count(const struct control *control, bool awaiting)
{
	size_t n = 0;
	for (size_t i = 0; i < control->count; i++)
		n += awaits(control->clients[i]) == awaiting;
	return n;
}

static void close_client(struct control_client *c)
{
	close(c->fd);
	c->fd = -1; /* the sweep frees it */
}

static void sweep(struct control *control)
{
	size_t kept = 0;
	for (size_t i = 0; i < control->count; i++) {
		struct control_client *c = control->clients[i];
		if (c->fd >= 0) {
			control->clients[kept++] = c;
			continue;
		}
		buf_release(&c->answer);
		free(c);
	}
	control->count = kept;
}

/* ---- answers */

static void ok(struct control_client *c)
{
	buf_append_str(&c->answer, "ok\n\n");
}

static void ok_number(struct control_client *c, uint64_t number)
{
	buf_printf(&c->answer, "ok %" PRIu64 "\n\n", number);
}

static void refuse(struct control_client *c, enum exit_code code, const char *reason)
{
	buf_printf(&c->answer, "error %d ", (int)code);
	status_append_text(&c->answer, reason);
	buf_append_str(&c->answer, "\n\n");
}

static void tell_outcome(struct control_client *c, const struct attempt *a)
{
	if (a->has_succeeded)
		ok(c);
	else
		refuse(c, a->code == EXIT_CODE_CONFIG ? EXIT_CODE_CONFIG : EXIT_CODE_INTERNAL, a->why);
}

/* ---- requests */

static void on_status(struct master *m, struct control_client *c, uint64_t number)
{
	(void)number;
	buf_append_str(&c->answer, "ok\n");
	status_write(m, &c->answer);
	buf_append_str(&c->answer, "\n");
}

static void ask(struct master *m, struct control_client *c, struct attempt *a)
{
	if (m->phase != PHASE_RUN) {
		refuse(c, EXIT_CODE_INTERNAL, "todod is stopping");
		return;
	}
	master_ask(a);
	ok_number(c, a->asked);
}

static void on_reload(struct master *m, struct control_client *c, uint64_t number)
{
	(void)number;
	ask(m, c, &m->reload);
}

static void on_upgrade(struct master *m, struct control_client *c, uint64_t number)
{
	(void)number;
	ask(m, c, &m->upgrade);
}

static bool may_await(const struct master *m, struct control_client *c)
{
	bool has_room = count(&m->control, true) < CONTROL_WAITING;
	if (!has_room)
		refuse(c, EXIT_CODE_ALREADY_RUNNING, "too many wait already");
	return has_room;
}

static void await(struct master *m, struct control_client *c, const struct attempt *a, uint64_t number)
{
	if (number > a->asked || number == 0) {
		refuse(c, EXIT_CODE_USAGE, "nobody has asked for one of that number");
	} else if (may_await(m, c)) {
		c->attempt = a;
		c->number = number;
	}
}

static void on_await_reload(struct master *m, struct control_client *c, uint64_t number)
{
	await(m, c, &m->reload, number);
}

static void on_await_upgrade(struct master *m, struct control_client *c, uint64_t number)
{
	await(m, c, &m->upgrade, number);
}

static void on_await_stop(struct master *m, struct control_client *c, uint64_t number)
{
	(void)number;
	c->awaits_end = may_await(m, c);
}

static void on_workers(struct master *m, struct control_client *c, uint64_t number)
{
	struct err err;
	if (master_set_workers(m, number < UINT_MAX ? (unsigned)number : UINT_MAX, &err) == 0)
		ok(c);
	else
		refuse(c, err.code, err.text);
}

static void on_stop(struct master *m, struct control_client *c, uint64_t number)
{
	(void)number;
	log_info("a stop was asked for on the control socket");
	master_drain(m);
	ok(c);
}

static const struct request_row {
	const char *words;
	bool has_number;
	void (*act)(struct master *m, struct control_client *c, uint64_t number);
} request_table[] = {
    {"status",        false, on_status       },
    {"reload",        false, on_reload       },
    {"upgrade",       false, on_upgrade      },
    {"await reload",  true,  on_await_reload },
    {"await upgrade", true,  on_await_upgrade},
    {"await stop",    false, on_await_stop   },
    {"workers",       true,  on_workers      },
    {"stop",          false, on_stop         },
};

enum { NUMBER_DIGITS = 19 }; /* always fit */

/* The number behind the words, where the row wants one. False when the line is not that row's. */
static bool match(const struct request_row *row, const char *line, uint64_t *number)
{
	size_t len = strlen(row->words);
	*number = 0;
	if (strncmp(line, row->words, len) != 0)
		return false;
	line += len;
	if (!row->has_number)
		return *line == '\0';
	size_t digits = *line == ' ' ? strspn(line + 1, "0123456789") : 0;
	if (digits == 0 || digits > NUMBER_DIGITS || line[1 + digits])
		return false;
	*number = strtoull(line + 1, NULL, 10);
	return true;
}

static void handle(struct master *m, struct control_client *c, const char *line)
{
	uint64_t number;
	for (size_t i = 0; i < sizeof(request_table) / sizeof(request_table[0]); i++)
		if (match(&request_table[i], line, &number)) {
			request_table[i].act(m, c, number);
			return;
		}
	refuse(c, EXIT_CODE_USAGE, "no such request");
}

/* ---- bytes */

/* Returns true once all of the answer has gone. */
static bool flush(struct control_client *c)
{
	while (c->sent < c->answer.len) {
		ssize_t n = send(c->fd, c->answer.data + c->sent, c->answer.len - c->sent,
				 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n <= 0) {
			if (n < 0 && errno == EAGAIN)
				return false;
			close_client(c);
			return false;
		}
		c->sent += (size_t)n;
	}
	buf_clear(&c->answer);
	c->sent = 0;
	if (c->is_last && !awaits(c))
		close_client(c);
	return c->fd >= 0;
}

/* Returns true when c->line is whole: its line break is a NUL then. What stands behind it stays in the socket. */
static bool read_line(struct control_client *c)
{
	char *at = c->line + c->line_len;
	size_t room = sizeof(c->line) - c->line_len;
	ssize_t seen = recv(c->fd, at, room, MSG_PEEK | MSG_DONTWAIT);
	if (seen < 0 && errno == EAGAIN)
		return false;
	if (seen <= 0) {
		close_client(c);
		return false;
	}
	const char *end = memchr(at, '\n', (size_t)seen);
	size_t len = end ? (size_t)(end - at) + 1 : (size_t)seen;
	if (recv(c->fd, at, len, MSG_DONTWAIT) != (ssize_t)len) {
		close_client(c);
		return false;
	}
	c->line_len += len;
	if (end) {
		c->line[c->line_len - 1] = '\0';
		return true;
	}
	if (c->line_len == sizeof(c->line)) {
		c->is_last = true;
		refuse(c, EXIT_CODE_USAGE, "a request of more than 256 bytes");
		(void)flush(c);
	}
	return false;
}

/* Who awaits something has nothing to say meanwhile. */
static void watch_silence(struct control_client *c)
{
	char byte;
	if (recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN)
		close_client(c);
}

static void begin_turn(struct control_client *c, int64_t now_ms)
{
	c->line_len = 0;
	c->cut_ms = now_ms + CONTROL_PATIENCE_MS;
	c->is_last |= ++c->requests >= CONTROL_REQUESTS;
}

/* One request at most: a client that never stops asking must not keep the master from its rounds. */
static void serve_client(struct master *m, struct control_client *c, int64_t now_ms)
{
	if (!awaits(c) && now_ms >= c->cut_ms)
		close_client(c);
	if (c->fd < 0 || !flush(c))
		return;
	if (awaits(c)) {
		watch_silence(c);
	} else if (read_line(c)) {
		/* A NUL in the midst of it would hide the rest. */
		bool is_text = strlen(c->line) == c->line_len - 1;
		begin_turn(c, now_ms);
		handle(m, c, is_text ? c->line : "");
		(void)flush(c);
	}
}

/* Right after the rounds in which it has ended. */
static void tell_if_ended(struct control_client *c, int64_t now_ms)
{
	if (!c->attempt || c->attempt->ended < c->number)
		return;
	tell_outcome(c, c->attempt);
	c->attempt = NULL;
	c->cut_ms = now_ms + CONTROL_PATIENCE_MS;
	(void)flush(c);
}

/* ---- accepting */

static bool is_allowed(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);
	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
	       (peer.uid == 0 || peer.uid == geteuid());
}

static bool accept_client(struct control *control, int listener, int64_t now_ms)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return false;
	struct control_client *c = alloc_zeroed(1, sizeof(*c));
	c->fd = fd;
	c->cut_ms = now_ms + CONTROL_PATIENCE_MS;
	if (!is_allowed(fd)) {
		refuse(c, EXIT_CODE_NO_PERMISSION, "only root and the user that todod runs as are heard");
		c->is_last = true;
	}
	control->clients[control->count++] = c;
	return true;
}

/* That of the generation that serves; while todod stops, that of the last one which did. -1: none. */
static int listener_of(const struct master *m)
{
	const struct generation *g = m->serving ? m->serving : m->generations;
	while (g && g->state == GENERATION_BOOTS)
		g = g->next;
	return g ? g->plan.control_fd : -1;
}

static bool has_room(const struct control *control)
{
	return count(control, false) < CONTROL_CLIENTS;
}

/* ---- the whole */

void control_open(struct control *control)
{
	control->clients = alloc_zeroed(CONTROL_FDS, sizeof(struct control_client *));
}

void control_close(struct control *control)
{
	for (size_t i = 0; i < control->count; i++) {
		buf_release(&control->clients[i]->answer);
		free(control->clients[i]);
	}
	free(control->clients);
}

size_t control_poll(const struct master *m, struct pollfd fds[CONTROL_FDS + 1])
{
	const struct control *control = &m->control;
	size_t n = 0;
	int listener = listener_of(m);
	if (listener >= 0 && has_room(control))
		fds[n++] = (struct pollfd){.fd = listener, .events = POLLIN};
	for (size_t i = 0; i < control->count; i++) {
		const struct control_client *c = control->clients[i];
		short events = c->sent < c->answer.len ? POLLOUT : POLLIN;
		fds[n++] = (struct pollfd){.fd = c->fd, .events = events};
	}
	return n;
}

void control_tell(struct master *m, int64_t now_ms)
{
	for (size_t i = 0; i < m->control.count; i++)
		tell_if_ended(m->control.clients[i], now_ms);
	sweep(&m->control);
}

void control_serve(struct master *m, int64_t now_ms)
{
	struct control *control = &m->control;
	int listener = listener_of(m);
	while (listener >= 0 && has_room(control) && accept_client(control, listener, now_ms))
		;
	for (size_t i = 0; i < control->count; i++)
		serve_client(m, control->clients[i], now_ms);
	sweep(control);
}
