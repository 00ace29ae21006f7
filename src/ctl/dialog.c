#include "ctl/dialog.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { DIALOG_READ_BYTES = 16 * 1024 };

void dialog_close(struct dialog *d)
{
	if (d->fd >= 0)
		close(d->fd);
	d->fd = -1;
	buf_release(&d->text);
}

/* ---- connecting */

static enum dialog_result fail_to_connect(struct dialog *d, struct err *err)
{
	int failure = errno;
	if (d->fd >= 0)
		close(d->fd);
	d->fd = -1;
	if (failure == EAGAIN) {
		err_set(err, EXIT_CODE_UNAVAILABLE, "%s: nobody answers: its queue is full", d->path);
		return DIALOG_LATE;
	}
	if (failure == EACCES || failure == EPERM)
		err_set(err, EXIT_CODE_NO_PERMISSION,
			"%s: %s; only root and the user that todod runs as may control it", d->path,
			strerror(failure));
	else
		err_set(err, EXIT_CODE_UNAVAILABLE, "%s: no todod answers: %s", d->path, strerror(failure));
	return DIALOG_NOBODY;
}

/* Never blocks: a full queue is EAGAIN. */
static enum dialog_result open_socket(struct dialog *d, struct err *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t len = strlen(d->path);
	if (len >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		return fail_to_connect(d, err);
	}
	memcpy(address.sun_path, d->path, len);
	d->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (d->fd < 0 || connect(d->fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
		return fail_to_connect(d, err);
	return DIALOG_ANSWERED;
}

/* ---- asking */

static enum dialog_result cut(struct dialog *d, struct err *err)
{
	close(d->fd);
	d->fd = -1;
	err_set(err, EXIT_CODE_UNAVAILABLE, "%s: todod has hung up without an answer", d->path);
	return DIALOG_CUT;
}

static int patience_ms(int64_t deadline_ms)
{
	int64_t left_ms = deadline_ms - clock_monotonic_ms();
	if (left_ms > 60 * 1000)
		return 60 * 1000; /* and then looks again */
	return left_ms > 0 ? (int)left_ms : 0;
}

static bool is_whole(const struct buf *text)
{
	return text->len >= 2 && memcmp(text->data + text->len - 2, "\n\n", 2) == 0;
}

static enum dialog_result read_answer(struct dialog *d, int64_t deadline_ms, struct err *err)
{
	struct pollfd pollfd = {.fd = d->fd, .events = POLLIN};
	buf_clear(&d->text);
	while (!is_whole(&d->text)) {
		if (poll(&pollfd, 1, patience_ms(deadline_ms)) == 0) {
			if (clock_monotonic_ms() < deadline_ms)
				continue;
			err_set(err, EXIT_CODE_UNAVAILABLE, "%s: todod does not answer", d->path);
			return DIALOG_LATE;
		}
		buf_reserve(&d->text, DIALOG_READ_BYTES);
		ssize_t n = recv(d->fd, d->text.data + d->text.len, DIALOG_READ_BYTES, 0);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			return cut(d, err);
		d->text.len += (size_t)n;
	}
	return DIALOG_ANSWERED;
}

/* "error CODE REASON" */
static enum dialog_result read_refusal(const char *line, struct err *err)
{
	char *reason;
	long code = strtol(line + strlen("error "), &reason, 10);
	bool is_known = code > 0 && code < 256 && *reason == ' ';
	err_set(err, is_known ? (enum exit_code)code : EXIT_CODE_INTERNAL, "%s",
		is_known ? reason + 1 : "an answer that cannot be read");
	return DIALOG_REFUSED;
}

static enum dialog_result judge(struct dialog *d, struct slice *body, uint64_t *number, struct err *err)
{
	char *line = d->text.data;
	char *end = memchr(line, '\n', d->text.len);
	*end = '\0';
	if (strncmp(line, "error ", strlen("error ")) == 0)
		return read_refusal(line, err);
	if (strcmp(line, "ok") != 0 && strncmp(line, "ok ", strlen("ok ")) != 0)
		return read_refusal("error ?", err);
	if (number)
		*number = strtoull(line + strlen("ok"), NULL, 10);
	if (body)
		*body = (struct slice){end + 1, (size_t)(line + d->text.len - 1 - (end + 1))};
	return DIALOG_ANSWERED;
}

enum dialog_result dialog_ask(struct dialog *d, const char *request, int64_t deadline_ms, struct slice *body,
			      uint64_t *number, struct err *err)
{
	char line[256];
	enum dialog_result result = d->fd >= 0 ? DIALOG_ANSWERED : open_socket(d, err);
	if (result != DIALOG_ANSWERED)
		return result;
	int len = snprintf(line, sizeof(line), "%s\n", request);
	/* A socket that was just made has room for a line. Who was refused is told so, though it is not read: hence what was sent counts as
	 * sent, and the answer decides. */
	(void)send(d->fd, line, (size_t)len, MSG_NOSIGNAL);
	result = read_answer(d, deadline_ms, err);
	return result == DIALOG_ANSWERED ? judge(d, body, number, err) : result;
}
