#include "net/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
	LISTENER_UNSENT_BYTES = 32 * 1024, /* of a connection, in the kernel: see set_tcp_options */
	LISTENER_LOCK_TRIES = 100,
	LISTENER_LOCK_PAUSE_NS = 10 * 1000 * 1000,
};

static void unlink_own(struct listener *l)
{
	struct stat st;
	if (l->path[0] && lstat(l->path, &st) == 0 && st.st_dev == l->device && st.st_ino == l->inode)
		(void)unlink(l->path);
	l->path[0] = '\0'; /* once: a file that is there later is a successor's, whatever its inode */
}

static int fail(struct listener *l, const char *what, struct err *err)
{
	int code = errno == EACCES || errno == EPERM ? EXIT_CODE_NO_PERMISSION : EXIT_CODE_UNAVAILABLE;
	err_set(err, code, "cannot %s %s: %s", what, l->name, strerror(errno));
	unlink_own(l);
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
	return -1;
}

static int set_option(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value));
}

/* Accepted sockets inherit them: system calls less for each. Without a limit the kernel takes megabytes for a client that does not read,
 * and where many do so, TCP on the whole machine runs out of memory. */
static int set_tcp_options(int fd)
{
	return set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1) == 0 &&
		       set_option(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, LISTENER_UNSENT_BYTES) == 0
		   ? 0
		   : -1;
}

/* ---- unix sockets */

/*
 * Looking whether somebody listens, removing the file and making another are three steps, and who is not at the end
 * of them looks dead. A lock on the directory makes them one, and leaves nothing behind. Returns its descriptor; -1
 * where there can be no lock (a directory that may not be read: bind(2) says what else is wrong), -2 when it is
 * held for too long.
 */
static int lock_directory(const char *path)
{
	const struct timespec pause = {0, LISTENER_LOCK_PAUSE_NS};
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 0;
	char directory[sizeof(((struct sockaddr_un *)0)->sun_path)];
	(void)snprintf(directory, sizeof(directory), "%.*s%s", (int)len, path, slash ? "/" : ".");
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0; i++) {
		if (errno == EWOULDBLOCK && i < LISTENER_LOCK_TRIES) {
			(void)nanosleep(&pause, NULL);
			continue;
		}
		int result = errno == EWOULDBLOCK ? -2 : -1;
		close(fd);
		return result;
	}
	return fd;
}

/* A socket file that nobody listens on is what a killed daemon leaves behind. Anything else there is not ours
 * to remove. */
static void remove_stale_socket(const struct sockaddr_un *address)
{
	struct stat st;
	if (lstat(address->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode))
		return;
	int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (probe < 0)
		return;
	if (connect(probe, (const struct sockaddr *)address, sizeof(*address)) != 0 && errno == ECONNREFUSED)
		(void)unlink(address->sun_path); /* bind says what is wrong if it could not be removed */
	close(probe);
}

/* By a descriptor, not by the path: where others may write to the directory, it may name another file by now. */
static int own_file(struct listener *l, const char *path, const struct listener_rights *rights)
{
	struct stat st = {.st_ino = 0};
	int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -1;
	bool is_changed = rights->uid != (uid_t)-1 || rights->gid != (gid_t)-1;
	int result = fstat(fd, &st);
	if (result == 0 && !S_ISSOCK(st.st_mode)) {
		errno = EADDRINUSE;
		result = -1;
	}
	if (result == 0 && is_changed)
		result = fchownat(fd, "", rights->uid, rights->gid, AT_EMPTY_PATH);
	l->device = st.st_dev;
	l->inode = st.st_ino;
	int saved_errno = errno;
	close(fd);
	errno = saved_errno;
	return result;
}

/* Likewise: proc(5) leads to the very file that is open. */
static int change_file(const struct listener *l, const struct listener_rights *rights)
{
	struct stat st;
	char name[32];
	int fd = open(l->path, O_PATH | O_NOFOLLOW | O_CLOEXEC), result = -1;
	if (fd < 0)
		return -1;
	(void)snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	if (fstat(fd, &st) != 0 || st.st_dev != l->device || st.st_ino != l->inode)
		errno = ENOENT; /* ours is gone */
	else
		result = fchownat(fd, "", rights->uid, rights->gid, AT_EMPTY_PATH) == 0
			     ? chmod(name, rights->mode)
			     : -1;
	int saved_errno = errno;
	close(fd);
	errno = saved_errno;
	return result;
}

/* The file is made with the mode of the socket, less the umask: there is no moment in which it has another. */
static int bind_with_mode(const struct listener *l, const struct sockaddr_un *address, mode_t mode)
{
	if (fchmod(l->fd, mode) != 0)
		return -1;
	mode_t mask = umask(0);
	int result = bind(l->fd, (const struct sockaddr *)address, sizeof(*address));
	(void)umask(mask);
	return result;
}

static int open_locked(struct listener *l, const char *path, const struct listener_rights *rights,
		       struct err *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	memcpy(address.sun_path, path, strlen(path));
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd < 0)
		return fail(l, "make a socket for", err);
	remove_stale_socket(&address);
	if (bind_with_mode(l, &address, rights->mode) != 0)
		return fail(l, "bind", err);
	memcpy(l->path, path, strlen(path));
	if (own_file(l, path, rights) != 0)
		return fail(l, "set the owner of", err);
	if (listen(l->fd, LISTENER_BACKLOG) != 0)
		return fail(l, "listen on", err);
	return 0;
}

static int open_unix(struct listener *l, const char *path, const struct listener_rights *rights,
		     struct err *err)
{
	if (strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return err_set(err, EXIT_CODE_CONFIG, "the path of a unix socket is limited to %zu bytes: %s",
			       sizeof(((struct sockaddr_un *)0)->sun_path) - 1, path);
	int lock = lock_directory(path);
	if (lock == -2)
		return err_set(err, EXIT_CODE_UNAVAILABLE,
			       "cannot bind %s: somebody else holds a lock on its directory", l->name);
	int result = open_locked(l, path, rights, err);
	if (lock >= 0)
		close(lock);
	return result;
}

/* ---- TCP */

void listener_name(int fd, char *name, size_t size)
{
	union {
		struct sockaddr any;
		struct sockaddr_un unix_path;
		struct sockaddr_storage storage;
	} bound = {.storage = {.ss_family = AF_UNSPEC}};
	socklen_t len = sizeof(bound);
	char host[NI_MAXHOST], port[NI_MAXSERV];
	if (getsockname(fd, &bound.any, &len) != 0)
		return;
	if (bound.any.sa_family == AF_UNIX) /* an abstract one begins with a NUL */
		(void)snprintf(name, size, "unix:%s%.107s", bound.unix_path.sun_path[0] ? "" : "@",
			       bound.unix_path.sun_path + !bound.unix_path.sun_path[0]);
	else if (getnameinfo(&bound.any, len, host, sizeof(host), port, sizeof(port),
			     NI_NUMERICHOST | NI_NUMERICSERV) == 0)
		(void)snprintf(name, size, strchr(host, ':') ? "[%.200s]:%.8s" : "%.200s:%.8s", host, port);
}

bool listener_queue(int fd, uint32_t *length, uint32_t *limit)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
		return false;
	*length = info.tcpi_unacked;
	*limit = info.tcpi_sacked;
	return true;
}

/* Port 0 lets the kernel pick, and a socket may come from somebody else: the log has to say which address it is. */
static void name_bound_address(struct listener *l)
{
	listener_name(l->fd, l->name, sizeof(l->name));
}

static int open_tcp(struct listener *l, const char *host, const char *port, struct err *err)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC,
				 .ai_socktype = SOCK_STREAM,
				 .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	struct addrinfo *found = NULL;
	int status = getaddrinfo(host, port, &hints, &found);
	if (status != 0)
		return err_set(err, EXIT_CODE_UNAVAILABLE, "cannot resolve %s: %s", l->name,
			       gai_strerror(status));
	l->fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* An IPv6 listener takes IPv6 only, so that the same port on 0.0.0.0 is free for another. */
	bool bound = l->fd >= 0 && set_option(l->fd, SOL_SOCKET, SO_REUSEADDR, 1) == 0 &&
		     set_tcp_options(l->fd) == 0 &&
		     (found->ai_family != AF_INET6 || set_option(l->fd, IPPROTO_IPV6, IPV6_V6ONLY, 1) == 0) &&
		     bind(l->fd, found->ai_addr, found->ai_addrlen) == 0 &&
		     listen(l->fd, LISTENER_BACKLOG) == 0;
	int saved_errno = errno;
	freeaddrinfo(found);
	errno = saved_errno;
	if (!bound)
		return fail(l, "listen on", err);
	name_bound_address(l);
	return 0;
}

/* ---- the whole */

int listener_open(struct listener *l, const char *host, const char *port, const char *path,
		  const struct listener_rights *rights, struct err *err)
{
	*l = (struct listener){.fd = -1};
	if (path) {
		(void)snprintf(l->name, sizeof(l->name), "unix:%.250s", path);
		return open_unix(l, path, rights, err);
	}
	(void)snprintf(l->name, sizeof(l->name), strchr(host, ':') ? "[%.250s]:%.8s" : "%.250s:%.8s", host,
		       port);
	return open_tcp(l, host, port, err);
}

int listener_adopt(struct listener *l, int fd, struct err *err)
{
	int type = 0, listens = 0;
	socklen_t len = sizeof(int);
	*l = (struct listener){.fd = -1};
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) != 0 || type != SOCK_STREAM ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) != 0 || !listens)
		return err_set(err, EXIT_CODE_CONFIG, "descriptor %d is no listening stream socket", fd);
	/* The state is that of the socket, whoever else has it: one that blocks would hold a worker's loop. */
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
		return err_set(err, EXIT_CODE_OS, "fcntl on descriptor %d: %s", fd, strerror(errno));
	(void)set_tcp_options(fd); /* no unix socket has them */
	l->fd = fd;
	name_bound_address(l);
	return 0;
}

int listener_set_rights(const struct listener *l, const struct listener_rights *rights, struct err *err)
{
	if (!l->path[0] || change_file(l, rights) == 0)
		return 0;
	return err_set(err, EXIT_CODE_NO_PERMISSION, "cannot set the rights of %s: %s", l->name,
		       strerror(errno));
}

void listener_close(struct listener *l, bool unlink_file)
{
	/* The file first: one on which nobody listens would be for others to remove. */
	if (unlink_file)
		unlink_own(l);
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
}
