#include "master/pidfile.h"

#include "base/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIDFILE_BYTES = 32 }; /* a pid, a line break, and what other daemons may put around them */

static int fail(struct pidfile *p, const char *what, struct err *err)
{
	int code = errno == EACCES || errno == EPERM ? EXIT_CODE_NO_PERMISSION : EXIT_CODE_CANNOT_CREATE;
	return err_set(err, code, "cannot %s the pidfile %s: %s", what, p->path, strerror(errno));
}

/* Reads the text of the file. False when it cannot be the text of a pidfile: then a path was mistyped, and what is
 * there may be precious. */
static bool read_text(int fd, char text[PIDFILE_BYTES + 1])
{
	ssize_t len = pread(fd, text, PIDFILE_BYTES, 0);
	struct stat st;
	if (len < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > PIDFILE_BYTES)
		return false;
	text[len] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return strspn(text, "0123456789 \t") == strlen(text);
}

/* The holder removes the file before it lets go of it: what was opened before may be no file any more. */
static bool is_still_there(const struct pidfile *p)
{
	struct stat opened, found;
	return fstat(p->fd, &opened) == 0 && lstat(p->path, &found) == 0 && opened.st_dev == found.st_dev &&
	       opened.st_ino == found.st_ino;
}

static int lock(struct pidfile *p, struct err *err)
{
	char text[PIDFILE_BYTES + 1];
	p->fd = open(p->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0644);
	if (p->fd < 0)
		return fail(p, "open", err);
	if (!read_text(p->fd, text))
		return err_set(err, EXIT_CODE_CANNOT_CREATE,
			       "%s is no pidfile: what is there is left as it is", p->path);
	if (flock(p->fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno != EWOULDBLOCK)
		return fail(p, "lock", err);
	return err_set(err, EXIT_CODE_ALREADY_RUNNING, "another todod holds the pidfile %s: process %s",
		       p->path, *text ? text : "not named yet");
}

static int write_pid(struct pidfile *p, struct err *err)
{
	char text[PIDFILE_BYTES];
	int len = snprintf(text, sizeof(text), "%d\n", (int)getpid());
	errno = 0; /* a short write sets none */
	if (ftruncate(p->fd, 0) != 0 || pwrite(p->fd, text, (size_t)len, 0) != len) {
		errno = errno ? errno : ENOSPC;
		return fail(p, "write", err);
	}
	return 0;
}

static void let_go(struct pidfile *p)
{
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
}

int pidfile_open(struct pidfile *p, const char *path, struct err *err)
{
	*p = (struct pidfile){.fd = -1, .path = path};
	if (!path)
		return 0;
	int result = lock(p, err);
	while (result == 0 && !is_still_there(p)) {
		let_go(p);
		result = lock(p, err);
	}
	if (result == 0 && write_pid(p, err) == 0)
		return 0;
	if (result == 0)
		pidfile_close(p); /* of no use to anybody */
	let_go(p);
	return -1;
}

void pidfile_close(struct pidfile *p)
{
	if (p->fd >= 0 && is_still_there(p))
		(void)unlink(p->path);
	let_go(p);
}
