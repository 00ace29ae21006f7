#include "master/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HANDOVER_FORMAT = 1, HANDOVER_MAX_BYTES = 4 * 1024 * 1024 };

/* Taken away before the configuration is read, which warns of what it does not know. */
static const char variable[] = "TODOD_HANDOVER";
static const char accepted_word[] = "accepted";

static void set_cloexec(const struct handover *h, int flag)
{
	for (size_t i = 0; i < h->fd_count; i++)
		if (h->fds[i] >= 0)
			(void)fcntl(h->fds[i], F_SETFD, flag);
	(void)fcntl(h->fd, F_SETFD, flag);
}

/* ---- the old program */

int handover_open(struct handover *h, struct err *err)
{
	*h = (struct handover){.fd = memfd_create("todod-handover", MFD_CLOEXEC)};
	if (h->fd < 0)
		return err_set(err, EXIT_CODE_OS, "memfd_create: %s", strerror(errno));
	handover_add(h, "todod %d", HANDOVER_FORMAT);
	return 0;
}

void handover_add(struct handover *h, const char *format, ...)
{
	char *line = NULL;
	va_list args;
	va_start(args, format);
	if (vasprintf(&line, format, args) < 0)
		abort();
	va_end(args);
	buf_append_str(&h->text, line);
	buf_append(&h->text, "\n", 1);
	free(line);
}

int handover_fd(struct handover *h, int fd)
{
	h->fds = alloc_resize(h->fds, h->fd_count + 1, sizeof(*h->fds));
	h->fds[h->fd_count++] = fd;
	return fd;
}

static void add_fds(struct handover *h)
{
	buf_append_str(&h->text, "fds");
	for (size_t i = 0; i < h->fd_count; i++)
		buf_printf(&h->text, " %d", h->fds[i]);
	buf_append(&h->text, "\n", 1);
}

int handover_write(struct handover *h, bool with_fds, struct err *err)
{
	if (with_fds)
		add_fds(h);
	size_t done = 0;
	while (done < h->text.len) {
		ssize_t n = pwrite(h->fd, h->text.data + done, h->text.len - done, (off_t)done);
		if (n <= 0)
			return err_set(err, EXIT_CODE_OS, "cannot write what is handed over: %s",
				       strerror(errno));
		done += (size_t)n;
	}
	if (with_fds)
		set_cloexec(h, 0);
	return 0;
}

void handover_take_back(struct handover *h)
{
	set_cloexec(h, FD_CLOEXEC);
}

void handover_name(const struct handover *h)
{
	char number[16];
	(void)snprintf(number, sizeof(number), "%d", h->fd);
	(void)setenv(variable, number, 1);
}

void handover_unname(void)
{
	(void)unsetenv(variable);
}

/* ---- reading */

/* All of it, NUL-terminated, into h->text. */
static int slurp(struct handover *h, struct err *err)
{
	struct stat st;
	if (fstat(h->fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > HANDOVER_MAX_BYTES)
		return err_set(err, EXIT_CODE_INTERNAL, "descriptor %d holds nothing that was handed over",
			       h->fd);
	buf_clear(&h->text);
	buf_reserve(&h->text, (size_t)st.st_size + 1);
	ssize_t n = pread(h->fd, h->text.data, (size_t)st.st_size, 0);
	if (n != st.st_size)
		return err_set(err, EXIT_CODE_INTERNAL, "cannot read what was handed over");
	h->text.data[n] = '\0';
	h->text.len = (size_t)n;
	return 0;
}

static void split_lines(struct handover *h)
{
	h->line_count = 0;
	for (char *line = h->text.data, *end; (end = strchr(line, '\n')); line = end + 1) {
		*end = '\0';
		h->lines = alloc_resize(h->lines, h->line_count + 1, sizeof(*h->lines));
		h->lines[h->line_count++] = line;
	}
}

const char *handover_line(const struct handover *h, size_t i, const char *word)
{
	size_t len = strlen(word);
	const char *line = h->lines[i];
	return strncmp(line, word, len) == 0 && line[len] == ' ' ? line + len + 1 : NULL;
}

const char *handover_accepted(struct handover *h)
{
	struct err err;
	if (slurp(h, &err) != 0)
		return NULL;
	split_lines(h);
	return h->line_count > 0 ? handover_line(h, h->line_count - 1, accepted_word) : NULL;
}

/* ---- the new program */

static bool has_fd(const struct handover *h, int fd)
{
	for (size_t i = 0; i < h->fd_count; i++)
		if (h->fds[i] == fd)
			return true;
	return false;
}

/* Each once: what somebody has taken is not closed behind him. */
static void read_fds(struct handover *h)
{
	for (size_t i = 0; i < h->line_count; i++) {
		const char *at = handover_line(h, i, "fds");
		int fd, len;
		while (at && sscanf(at, "%d%n", &fd, &len) == 1) {
			if (!has_fd(h, fd))
				(void)handover_fd(h, fd);
			at += len;
		}
	}
}

static int receive(struct handover *h, const char *number, struct err *err)
{
	int format, found = sscanf(number, "%d", &h->fd);
	if (found != 1)
		return err_set(err, EXIT_CODE_INTERNAL, "%s names no descriptor", variable);
	if (slurp(h, err) != 0)
		return -1;
	if (h->text.len == 0 || strlen(h->text.data) != h->text.len || h->text.data[h->text.len - 1] != '\n')
		return err_set(err, EXIT_CODE_INTERNAL, "what was handed over is not whole");
	split_lines(h);
	const char *first = h->line_count > 0 ? handover_line(h, 0, "todod") : NULL;
	if (!first || sscanf(first, "%d", &format) != 1 || format != HANDOVER_FORMAT)
		return err_set(
		    err, EXIT_CODE_INTERNAL,
		    "what the running todod hands over is of another format: it has to be restarted");
	h->is_received = true;
	read_fds(h);
	set_cloexec(h, FD_CLOEXEC);
	return 0;
}

int handover_receive(struct handover *h, struct err *err)
{
	*h = (struct handover){.fd = -1};
	const char *number = getenv(variable);
	if (!number)
		return 0;
	int result = receive(h, number, err);
	handover_unname();
	if (result != 0)
		handover_close(h);
	return result == 0 ? 1 : -1;
}

void handover_accept(struct handover *h, const char *version)
{
	FILE *file = fdopen(h->fd, "a");
	if (!file)
		return;
	fprintf(file, "%s %s\n", accepted_word, version);
	(void)fclose(file);
	h->fd = -1;
}

int handover_take(struct handover *h, int fd)
{
	for (size_t i = 0; i < h->fd_count; i++)
		if (h->fds[i] == fd) {
			h->fds[i] = -1;
			return fd;
		}
	return -1;
}

void handover_close(struct handover *h)
{
	if (h->fd >= 0)
		close(h->fd);
	for (size_t i = 0; i < h->fd_count; i++)
		if (h->is_received && h->fds[i] >= 0)
			close(h->fds[i]);
	buf_release(&h->text);
	free(h->fds);
	free(h->lines);
	*h = (struct handover){.fd = -1};
}
