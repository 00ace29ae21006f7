/*
 * Files: the one of -c, line by line through libinih, and small ones as a whole. Knows no keys.
 *
 * libinih does not tell its handler the line and passes over empty sections, so the lines are read here,
 * counted, and refused where it would be silent.
 */
#include "config/options.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <unistd.h>

struct file_reader {
	FILE *stream;
	const char *path;
	unsigned line; /* of the last line read, from 1 */
	config_pair *pair;
	void *user;
	struct err *err;
	bool failed; /* *err is set */
};

static char *refuse_line(struct file_reader *r, const char *why)
{
	err_set(r->err, EXIT_CODE_CONFIG, "%.300s:%u: %s", r->path, r->line, why);
	r->failed = true;
	return NULL;
}

/* An ini_reader: like fgets(3), but without the line's end. */
static char *read_line(char *line, int size, void *reader)
{
	struct file_reader *r = reader;
	int len = 0, byte;
	if (r->failed)
		return NULL;
	r->line++;
	while ((byte = getc(r->stream)) != EOF && byte != '\n') {
		if (byte == '\0')
			return refuse_line(r, "a NUL byte");
		if (len == CONFIG_LINE_BYTES || len + 1 >= size)
			return refuse_line(r, "a line of more than 8192 bytes");
		line[len++] = (char)byte;
	}
	if (ferror(r->stream)) {
		err_set(r->err, EXIT_CODE_CONFIG, "%.300s: cannot be read: %s", r->path, strerror(errno));
		r->failed = true;
		return NULL;
	}
	if (byte == EOF && len == 0)
		return NULL;
	line[len] = '\0';
	return line[strspn(line, " \t")] == '['
		   ? refuse_line(r, "there are no [sections] here, only key = value")
		   : line;
}

/* An ini_handler: nonzero goes on. */
static int on_pair(void *reader, const char *section, const char *key, const char *value)
{
	struct file_reader *r = reader;
	/* A section behind a byte order mark gets here. */
	if (!*key || *section)
		refuse_line(r, "expected key = value");
	else
		r->failed = r->pair(r->user, key, value, r->line, r->err) != 0;
	return !r->failed;
}

int config_file_read(const char *path, config_pair *pair, void *user, struct err *err)
{
	struct file_reader r = {.path = path, .pair = pair, .user = user, .err = err};
	r.stream = fopen(path, "re");
	if (!r.stream)
		return err_set(err, EXIT_CODE_CONFIG, "%.300s: cannot be read: %s", path, strerror(errno));
	/* Settings of the library, for the whole process. */
	ini_use_stack = true;
	ini_max_line = CONFIG_LINE_BYTES + 3;
	ini_allow_realloc = false;
	ini_allow_bom = true;
	ini_allow_inline_comments = false; /* a password may hold " ;" */
	ini_allow_multiline = false;
	ini_allow_no_value = false;
	ini_stop_on_first_error = true;
	/* It stops with an error of its own at a line without '=', whose number is known here. */
	int rc = ini_parse_stream(read_line, &r, on_pair, &r);
	if (rc != 0 && !r.failed)
		refuse_line(&r, "expected key = value");
	fclose(r.stream);
	return r.failed ? -1 : 0;
}

int config_file_slurp(const char *path, size_t max, struct buf *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return -1;
	size_t start = out->len;
	for (;;) {
		buf_reserve(out, 4096);
		ssize_t n = read(fd, out->data + out->len, 4096);
		if (n < 0 && errno == EINTR)
			continue;
		if (n > 0)
			out->len += (size_t)n;
		if (n > 0 && out->len - start <= max)
			continue;
		int failure = n < 0 ? errno : EFBIG;
		close(fd);
		errno = failure;
		return n == 0 ? 0 : -1;
	}
}
