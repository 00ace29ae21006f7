#include "net/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { PROBE_CONNECT_MS = 1000 };

static enum exit_code code_of(int error)
{
	return error == EACCES || error == EPERM ? EXIT_CODE_NO_PERMISSION : EXIT_CODE_UNAVAILABLE;
}

/* Returns 0, or -1 with errno. */
static int unix_address(struct sockaddr_un *address, const char *path)
{
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(address->sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(address->sun_path, path, strlen(path));
	return 0;
}

/* Returns a socket, or -1 with errno. */
static int connect_to(const struct sockaddr *address, socklen_t len, unsigned timeout_ms)
{
	const struct timeval timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	if (connect(fd, address, len) == 0)
		return fd;
	int error = errno;
	close(fd);
	errno = error;
	return -1;
}

static int connect_unix(const char *path, unsigned timeout_ms)
{
	struct sockaddr_un address;
	if (unix_address(&address, path) != 0)
		return -1;
	return connect_to((const struct sockaddr *)&address, sizeof(address), timeout_ms);
}

static enum probe probe_directory(const char *path, struct err *err)
{
	struct sockaddr_un copy;
	if (unix_address(&copy, path) == 0) {
		const char *directory = dirname(copy.sun_path);
		if (faccessat(AT_FDCWD, directory, W_OK | X_OK, AT_EACCESS) == 0)
			return PROBE_FREE;
	}
	return (enum probe)err_set(err, code_of(errno), "%s cannot be made: %s", path, strerror(errno));
}

static enum probe probe_unix(const char *path, struct err *err)
{
	struct stat st;
	if (lstat(path, &st) != 0)
		return probe_directory(path, err);
	if (!S_ISSOCK(st.st_mode))
		return (enum probe)err_set(err, EXIT_CODE_UNAVAILABLE, "%s is there, and is no socket", path);
	int fd = connect_unix(path, PROBE_CONNECT_MS);
	if (fd >= 0)
		close(fd);
	if (fd >= 0 || errno == EAGAIN) /* its queue is full */
		return PROBE_TAKEN;
	if (errno == ECONNREFUSED) /* left behind by one that was killed: it is replaced */
		return probe_directory(path, err);
	return (enum probe)err_set(err, code_of(errno), "%s: %s", path, strerror(errno));
}

static struct addrinfo *look_up(const char *host, const char *port, int flags, int *status)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC,
				 .ai_socktype = SOCK_STREAM,
				 .ai_flags = flags | AI_NUMERICSERV};
	struct addrinfo *found = NULL;
	*status = getaddrinfo(host, port, &hints, &found);
	return *status == 0 ? found : NULL;
}

/* Bound as a listener is: with SO_REUSEADDR only another listener is in the way. */
static int bind_once(const struct addrinfo *address)
{
	int on = 1, fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (address->ai_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	int result = bind(fd, address->ai_addr, address->ai_addrlen), error = errno;
	close(fd);
	errno = error;
	return result;
}

enum probe probe_listen(const char *host, const char *port, const char *path, struct err *err)
{
	if (path)
		return probe_unix(path, err);
	int status;
	struct addrinfo *found = look_up(host, port, AI_PASSIVE, &status);
	if (!found)
		return (enum probe)err_set(err, EXIT_CODE_UNAVAILABLE, "%s cannot be resolved: %s", host,
					   gai_strerror(status));
	int result = bind_once(found), error = errno;
	freeaddrinfo(found);
	if (result == 0)
		return PROBE_FREE;
	if (error == EADDRINUSE)
		return PROBE_TAKEN;
	return (enum probe)err_set(err, code_of(error), "it cannot be bound: %s", strerror(error));
}

static int connect_tcp(const char *host, const char *port, unsigned timeout_ms)
{
	int status;
	struct addrinfo *found = look_up(host, port, 0, &status);
	if (!found) {
		errno = EHOSTUNREACH;
		return -1;
	}
	int fd = connect_to(found->ai_addr, found->ai_addrlen, timeout_ms), error = errno;
	freeaddrinfo(found);
	errno = error;
	return fd;
}

int probe_connect(const char *host, const char *port, const char *path, unsigned timeout_ms)
{
	return path ? connect_unix(path, timeout_ms) : connect_tcp(host, port, timeout_ms);
}
