#include "doctor/checks.h"

#include "base/buf.h"
#include "base/clock.h"
#include "cache/inspect.h"
#include "cache/page_memory.h"
#include "net/listener.h"
#include "net/probe.h"
#include "store/store.h"
#include "worker/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timex.h>
#include <unistd.h>

enum {
	HEALTH_TIMEOUT_MS = 2000,
	HEALTH_ANSWER_BYTES = 1024,
	CONNECTIONS_FEW = 1024, /* a limit that nobody chose, and that a busy day reaches */
};

/* Of any file or certificate that is new: a clock before it has lost its battery. */
static const int64_t clock_sane_us = INT64_C(1735689600) * 1000000; /* 2025-01-01 */

/* ---- store and cache */

static void check_store(const struct config *config, struct report *report)
{
	const struct store_settings settings = {.uri = config->store,
						.timeout_ms = config->store_timeout_ms,
						.process = "doctor"};
	store_inspect(&settings, report);
}

static void check_cache(const struct config *config, struct report *report)
{
	bool is_sqlite = strncmp(config->store, "sqlite:", 7) == 0;
	if (config_has_redis(config))
		cache_inspect(config->cache, config->store_timeout_ms, report);
	else if (strcmp(config->cache, "local") == 0 && !is_sqlite)
		report_warn(
		    report, "cache",
		    "local: right only while no other daemon writes to this MongoDB; else set cache to a "
		    "redis:// address");
	else
		report_ok(report, "cache", "%s", config->cache);
}

/* ---- listen */

static bool answers_as_todod(int fd)
{
	static const char request[] = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
	char answer[HEALTH_ANSWER_BYTES];
	size_t len = 0;
	if (send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) != (ssize_t)sizeof(request) - 1)
		return false;
	for (ssize_t got; len < sizeof(answer); len += (size_t)got)
		if ((got = recv(fd, answer + len, sizeof(answer) - len, 0)) <= 0)
			break;
	static const char status[] = "HTTP/1.1 200 ", body[] = "{\"status\": \"ok\"}";
	return len >= sizeof(status) && memcmp(answer, status, sizeof(status) - 1) == 0 &&
	       memmem(answer, len, body, sizeof(body) - 1);
}

static void check_taken(const char *name, const struct listen_address *a, struct report *report)
{
	int fd = probe_connect(a->host, a->port, a->is_unix ? a->host : NULL, HEALTH_TIMEOUT_MS);
	bool is_todod = fd >= 0 && answers_as_todod(fd);
	if (fd >= 0)
		close(fd);
	if (is_todod)
		report_ok(report, "listen", "%s is served by a todod", name);
	else
		report_fail(
		    report, EXIT_CODE_UNAVAILABLE, "listen",
		    "%s is taken by what does not answer as a todod does; end it, or listen elsewhere", name);
}

static void check_address(const char *name, struct report *report)
{
	struct listen_address a;
	struct err err;
	enum probe probe = PROBE_ERROR;
	if (config_parse_listen(&a, name, &err) == 0)
		probe = probe_listen(a.host, a.port, a.is_unix ? a.host : NULL, &err);
	switch (probe) {
	case PROBE_FREE: report_ok(report, "listen", "%s is free", name); break;
	case PROBE_TAKEN: check_taken(name, &a, report); break;
	case PROBE_ERROR:
		report_fail(report, err.code, "listen", "%s: %s; %s", name, err.text,
			    err.code == EXIT_CODE_NO_PERMISSION
				? "ask as the user that todod runs as, or let a socket unit open it"
			    : a.is_unix ? "see to the directory of the socket"
					: "listen on an address of this machine");
		break;
	}
}

static void check_listen(const struct config *config, struct report *report)
{
	for (size_t i = 0; i < config->listen_count; i++)
		check_address(config->listen[i], report);
}

/* ---- the access log */

/* Until it is there, who makes it is the master. */
static void check_access_log(const struct config *config, struct report *report)
{
	const char *path = config->access_log;
	if (!path)
		return;
	if (access(path, W_OK) == 0) {
		report_ok(report, "access log", "%s can be written to", path);
		return;
	}
	if (errno != ENOENT) {
		report_fail(report, EXIT_CODE_CANNOT_CREATE, "access log",
			    "%s: %s; give it to the user of the processes", path, strerror(errno));
		return;
	}
	char *directory = alloc_string(slice_of(path));
	char *slash = strrchr(directory, '/');
	const char *name = !slash ? "." : slash == directory ? "/" : directory;
	if (slash)
		*slash = '\0';
	if (access(name, X_OK) != 0)
		report_fail(
		    report, EXIT_CODE_CANNOT_CREATE, "access log",
		    "%s cannot be made, its directory: %s; make it, and give it to the user of the processes",
		    path, strerror(errno));
	else if (access(name, W_OK) != 0)
		report_warn(report, "access log",
			    "%s is not there, and only a master that runs as root can make it", path);
	else
		report_ok(report, "access log", "%s is made by the start", path);
	free(directory);
}

/* ---- limits of the system */

static void check_descriptors(const struct config *config, struct report *report)
{
	struct rlimit limit;
	unsigned workers =
	    config->workers ? config->workers : config_default_workers("/sys/fs/cgroup", "/proc/self/cgroup");
	size_t spare = WORKER_SPARE_DESCRIPTORS + page_bells(page_places(workers));
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	size_t hard = (size_t)limit.rlim_max, room = hard > spare ? hard - spare : 0;
	if (config->max_connections > room)
		report_warn(report, "descriptors",
			    "at most %zu here, room for %zu connections per worker, not for max_connections "
			    "= %u; raise "
			    "the hard limit (LimitNOFILE=, ulimit -Hn)",
			    hard, room, config->max_connections);
	else if (room < CONNECTIONS_FEW)
		report_warn(report, "descriptors",
			    "at most %zu here, room for %zu connections per worker; raise the hard limit "
			    "(LimitNOFILE=, ulimit -Hn)",
			    hard, room);
	else
		report_ok(report, "descriptors", "at most %zu here, room for %zu connections per worker",
			  hard, config->max_connections ? (size_t)config->max_connections : room);
}

static void check_backlog(const struct config *config, struct report *report)
{
	unsigned limit = 0;
	FILE *file = fopen("/proc/sys/net/core/somaxconn", "re");
	bool is_read = file && fscanf(file, "%u", &limit) == 1;
	(void)config;
	if (file)
		(void)fclose(file);
	if (!is_read)
		report_warn(report, "backlog", "net.core.somaxconn cannot be read");
	else if (limit < LISTENER_BACKLOG)
		report_warn(report, "backlog",
			    "net.core.somaxconn is %u: more new connections at once are dropped; sysctl -w "
			    "net.core.somaxconn=%d",
			    limit, LISTENER_BACKLOG);
	else
		report_ok(report, "backlog", "net.core.somaxconn is %u", limit);
}

static void check_clock(const struct config *config, struct report *report)
{
	struct timex clock = {.modes = 0}; /* asks, sets nothing */
	(void)config;
	int state = adjtimex(&clock);
	if (clock_wall_us() < clock_sane_us)
		report_fail(
		    report, EXIT_CODE_OS, "clock",
		    "it is before 2025; set it: todos are stamped with it, and the newest come first");
	else if (state < 0)
		report_warn(report, "clock", "whether it is synchronised cannot be asked: %s",
			    strerror(errno));
	else if (state == TIME_ERROR || clock.status & STA_UNSYNC)
		report_warn(report, "clock",
			    "it is not synchronised, says the kernel; run chrony or systemd-timesyncd: todos "
			    "are stamped "
			    "with it");
	else
		report_ok(report, "clock", "synchronised");
}

const struct check checks[] = {
    {"store",       check_store,       true,  "see whether the server, the disk or a name server hangs"},
    {"cache",       check_cache,       true,  "see whether Redis or a name server hangs"               },
    {"listen",      check_listen,      false, "see whether a name server hangs"                        },
    {"access log",  check_access_log,  true,  "see whether its disk hangs"                             },
    {"descriptors", check_descriptors, false, ""						       },
    {"backlog",     check_backlog,     false, ""						       },
    {"clock",       check_clock,       false, ""						       },
};
const size_t check_count = sizeof(checks) / sizeof(checks[0]);
