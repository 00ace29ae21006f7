#include "worker/access_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static const int append = O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;

static int fail(const char *path, struct err *err)
{
	return err_set(err, EXIT_CODE_CANNOT_CREATE, "access_log: cannot open %s: %s", path,
		       errno == ENXIO ? "nobody reads it" : strerror(errno));
}

int access_file_open(const char *path, struct err *err)
{
	int fd = open(path, append | O_CREAT, 0640);
	return fd < 0 ? fail(path, err) : fd;
}

int access_file_make(const char *path, uid_t uid, gid_t gid, struct err *err)
{
	int fd = open(path, append | O_CREAT | O_EXCL, 0640), result = 0;
	if (fd >= 0)
		result = fchown(fd, uid, gid);
	else if (errno == EEXIST)
		fd = open(path, append);
	if (fd < 0 || result != 0)
		result = fail(path, err);
	if (fd >= 0)
		close(fd);
	return result;
}
