/*
 * The configuration of a todod: one value per key, from the command line, else the environment, else the
 * file, else the default. config/options.c holds the one table of keys that all of it, and the help text, is
 * made from.
 */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include "base/err.h"
#include "base/ip.h"
#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { CONFIG_LISTEN_MAX = 16 };

enum config_cache_mode { CONFIG_CACHE_AUTO, CONFIG_CACHE_STRICT };

enum config_access_log_format { CONFIG_ACCESS_LOG_COMBINED, CONFIG_ACCESS_LOG_JSON };

enum config_proxy_header { CONFIG_X_FORWARDED_FOR, CONFIG_FORWARDED };

struct config {
	char *listen[CONFIG_LISTEN_MAX]; /* "HOST:PORT", "[IPv6]:PORT", "unix:PATH": syntax checked */
	size_t listen_count;
	char *admin_listen[CONFIG_LISTEN_MAX]; /* likewise, of this machine alone; none: off */
	size_t admin_listen_count;
	char *store;   /* never NULL after config_load: the default path is filled in */
	char *cache;   /* "local", "off", redis://… or redis+unix://…; the default is filled in */
	char *control; /* an absolute path, or "off"; the default is filled in */
	char *user;    /* NULL: none; so the next three */
	char *group;
	char *pidfile;
	char *unix_group;
	char *access_log; /* a path; NULL: off */
	uint32_t workers; /* 0: auto */
	uint32_t store_timeout_ms;
	uint32_t cache_mode; /* enum config_cache_mode */
	uint32_t cache_ttl_s;
	uint32_t cache_fresh_s;
	uint32_t content_max_bytes;
	uint32_t body_max_bytes;
	uint32_t start_max;
	uint32_t header_timeout_s;
	uint32_t keepalive_timeout_s;
	uint32_t write_timeout_s;
	uint32_t max_connections;             /* 0: auto */
	uint32_t max_connections_total;       /* 0: none */
	uint32_t max_connections_per_address; /* 0: none */
	uint32_t rate_limit;                  /* requests per second and address; 0: none */
	uint32_t rate_burst;                  /* 0: auto */
	struct ip_set trusted_proxies;
	uint32_t proxy_header; /* enum config_proxy_header */
	uint32_t worker_timeout_s;
	uint32_t max_requests;      /* 0: any number */
	uint32_t max_rss_mb;        /* 0: any */
	uint32_t log_level;         /* enum log_level */
	uint32_t access_log_format; /* enum config_access_log_format */
	uint32_t slow_ms;           /* 0: off */
	uint32_t drain_timeout_s;
	uint32_t unix_mode; /* permission bits */
};

/* What the command line asks for besides values. */
enum config_action { CONFIG_RUN, CONFIG_DOCTOR, CONFIG_TEST, CONFIG_DUMP, CONFIG_VERSION, CONFIG_HELP };

struct config_origin; /* where each value came from */

struct config_sources {
	struct config_origin *origins;
	const char *file; /* of -c, a view of argv; NULL without */
};

/*
 * Reads all layers and checks every value and what one value demands of another. `environment` is environ(7).
 * Returns 0, or -1 and *err: EXIT_CODE_USAGE for a wrong command line, EXIT_CODE_CONFIG for a wrong value or
 * file, with the place in front ("FILE:LINE: …", "TODOD_WORKERS: …", "--workers: …"). For CONFIG_HELP and
 * CONFIG_VERSION nothing else is read. Unknown TODOD_* variables are only warned of, in the log. Release with
 * config_release in either case.
 */
int config_load(struct config *c, struct config_sources *s, enum config_action *action, int argc,
		char *const argv[], char *const environment[], struct err *err);
void config_release(struct config *c, struct config_sources *s);

/* The place where the value of `key` was set: "todod.conf:3" (of a list: "todod.conf:3, todod.conf:5"),
 * "TODOD_WORKERS", "--workers" or "default"; a view, valid until config_release. */
const char *config_place(const struct config_sources *s, const char *key);

/* Has nobody set it? */
bool config_is_default(const struct config_sources *s, const char *key);

/* What `control` is for a todod that is started with `-c file` (NULL: none) in this environment. Nothing else of the configuration is
 * looked at: it may be wrong. *path: owned; an absolute path, or "off". Returns 0, or -1 and *err. */
int config_find_control(char **path, bool *is_default, const char *file, char *const environment[],
			struct err *err);

/* Is the first page kept in a Redis? */
bool config_has_redis(const struct config *c);

/* Every key, its value and where it came from, in the format of the file; passwords in URIs are masked. */
void config_dump(const struct config *c, const struct config_sources *s, FILE *out);

/* What -h prints. */
void config_help(FILE *out);

/* `uri` with the password between ':' and '@' of its authority replaced by "***", and so the options of
 * MongoDB's URIs that hold secrets. Of a URI with unescaped '@', '/' or '?' in its password it hides more
 * than that. Returns owned. */
char *config_mask_password(const char *uri);

/* 2 × cores + 1, at most 1024, where cores is what affinity (sched_getaffinity(2)) and the cgroup's CPU quota
 * leave to this process: at least 1. `cgroup_root` is "/sys/fs/cgroup", `proc_cgroup` "/proc/self/cgroup":
 * other paths are for tests. */
uint32_t config_default_workers(const char *cgroup_root, const char *proc_cgroup);

/* One listen address, cut into its parts. */
struct listen_address {
	bool is_unix;
	char host[256]; /* without brackets, or the path */
	char port[6];
};

/* Returns 0, or -1 and *err (EXIT_CODE_CONFIG, without the place). */
int config_parse_listen(struct listen_address *a, const char *text, struct err *err);

#endif
