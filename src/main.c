/*
 * todod: the table of contents. Reads the configuration, opens what has to be open before any fork, and hands
 * the master the table of the processes that make the service.
 */
#include "base/log.h"
#include "cache/keeper.h"
#include "cache/page_memory.h"
#include "config/config.h"
#include "doctor/doctor.h"
#include "http/coding.h"
#include "master/master.h"
#include "master/pidfile.h"
#include "master/privileges.h"
#include "net/activation.h"
#include "net/census.h"
#include "net/listener.h"
#include "net/rate_limit.h"
#include "store/store.h"
#include "todo/todo_json.h"
#include "worker/access_file.h"
#include "worker/worker.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
	WORKER_BACKOFF_MAX_MS = 30 * 1000,
	SET_UP_BACKOFF_MAX_MS = 500, /* it is awaited by everybody */
	KEEPER_BACKOFF_MAX_MS = 500, /* likewise by writes */
	KEEPER_BEAT_TIMEOUT_MS = 750,
};

static int say(const struct err *err)
{
	fprintf(stderr, "todod: %s\n", err->text);
	return (int)err->code;
}

/* Puts the place of the key in front. */
static int blame(const char *key, const struct config_sources *sources, const struct err *found,
		 struct err *err)
{
	return err_set(err, found->code, "%s: %s: %s", config_place(sources, key), key, found->text);
}

/* What the configuration cannot judge by itself: the store's URI, which its driver parses. */
static int check_store(const struct config *config, const struct config_sources *sources, struct err *err)
{
	struct err found;
	if (store_check(config->store, &found) == 0)
		return 0;
	return blame("store", sources, &found, err);
}

/* Who the processes are, and whose the unix sockets. */
struct names {
	struct privileges privileges;
	struct listener_rights rights;
};

/* What the configuration cannot judge by itself, either: the names, which the system knows. */
static int find_names(struct names *names, const struct config *config, const struct config_sources *sources,
		      struct err *err)
{
	struct privileges *p = &names->privileges;
	struct listener_rights *rights = &names->rights;
	gid_t group = (gid_t)-1;
	struct err found;
	*rights = (struct listener_rights){.mode = config->unix_mode, .uid = (uid_t)-1, .gid = (gid_t)-1};
	if (privileges_find_group(config->group, &group, &found) != 0)
		return blame("group", sources, &found, err);
	if (privileges_find(p, config->user, group, &found) != 0)
		return blame("user", sources, &found, err);
	if (config->user && geteuid() == 0) {
		rights->uid = p->uid;
		rights->gid = p->gid;
	}
	if (privileges_find_group(config->unix_group, &rights->gid, &found) != 0)
		return blame("unix_group", sources, &found, err);
	return 0;
}

static int open_listeners(const struct config *config, const struct listener_rights *rights,
			  struct listener *listeners, size_t *count, struct err *err)
{
	if (activation_adopt(listeners, CONFIG_LISTEN_MAX, count, err) != 0)
		return -1;
	if (*count > 0) {
		log_info("the service manager has passed %zu sockets: they take the place of listen", *count);
		for (size_t i = 0; i < *count; i++)
			log_info("listening on %s", listeners[i].name);
		return 0;
	}
	for (*count = 0; *count < config->listen_count; ++*count) {
		struct listen_address address;
		if (config_parse_listen(&address, config->listen[*count], err) != 0 ||
		    listener_open(&listeners[*count], address.host, address.port,
				  address.is_unix ? address.host : NULL, rights, err) != 0)
			return -1;
		log_info("listening on %s", listeners[*count].name);
	}
	return 0;
}

static void worker_is_reaped(const struct process *p)
{
	const struct worker_shared *shared = p->shared;
	page_reap_worker(shared->pages, p->index);
	if (shared->census)
		census_clear(shared->census, p->index);
	worker_reap(p);
}

/* Workers may not be allowed to make it where this process is. */
static int make_access_log(const struct config *config, const struct privileges *privileges, struct err *err)
{
	bool is_for_another = privileges->user && geteuid() == 0;
	uid_t uid = is_for_another ? privileges->uid : (uid_t)-1;
	gid_t gid = is_for_another ? privileges->gid : (gid_t)-1;
	return config->access_log ? access_file_make(config->access_log, uid, gid, err) : 0;
}

static void reopen(const struct master_settings *settings)
{
	struct err err;
	if (make_access_log(settings->config, settings->privileges, &err) != 0)
		log_warn("%s", err.text);
}

static int run_master(const struct config *config, const struct names *names, unsigned worker_count,
		      struct worker_shared *shared, struct err *err)
{
	const struct process_kind set_up = {
	    .name = "set-up",
	    .run = worker_set_up_store,
	    .count = 1,
	    .once = true,
	    .backoff_max_ms = SET_UP_BACKOFF_MAX_MS,
	};
	const struct process_kind keeper = {
	    .name = "keeper",
	    .run = keeper_run,
	    .count = 1,
	    .beat_timeout_ms = KEEPER_BEAT_TIMEOUT_MS,
	    .backoff_max_ms = KEEPER_BACKOFF_MAX_MS,
	    .shared = shared->pages,
	};
	const struct process_kind worker = {
	    .name = "worker",
	    .run = worker_run,
	    .count = worker_count,
	    .listens = true,
	    .beat_timeout_ms = config->worker_timeout_s * 1000,
	    .backoff_max_ms = WORKER_BACKOFF_MAX_MS,
	    .shared = shared,
	    .reaped = worker_is_reaped,
	};
	const struct process_kind kinds[] = {set_up, keeper, worker};
	struct listener listeners[CONFIG_LISTEN_MAX];
	struct master_settings settings = {
	    .kinds = kinds,
	    .kind_count = sizeof(kinds) / sizeof(kinds[0]),
	    .config = config,
	    .kept_fds = shared->pages->bells,
	    .kept_count = shared->pages->bell_count,
	    .privileges = &names->privileges,
	    .log_level = (enum log_level)config->log_level,
	    .listeners = listeners,
	    .drain_timeout_ms = config->drain_timeout_s * 1000,
	    .reopen = reopen,
	};
	int result = make_access_log(config, &names->privileges, err);
	if (result == 0)
		result = open_listeners(config, &names->rights, listeners, &settings.listener_count, err);
	if (result == 0)
		result = master_run(&settings, err);
	for (size_t i = 0; i < settings.listener_count; i++)
		listener_close(&listeners[i], true);
	return result;
}

/* To its hard limit, for this process and what it forks: connections, and a bell for each worker. What it is
 * then counts, whether this worked or not. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

static void log_start(const struct config *config, unsigned worker_count)
{
	char *store = config_mask_password(config->store), *cache = config_mask_password(config->cache);
	log_info("todod %s, store %s, cache %s, %u workers", TODOD_VERSION, store, cache, worker_count);
	free(store);
	free(cache);
}

/* What is made for the store is made by the user who will write to it. */
static int claim_store(const struct config *config, const struct privileges *privileges, struct err *err)
{
	struct privileges_kept own;
	struct err found;
	if (privileges_suspend(privileges, &own, err) != 0)
		return -1;
	int claim = store_claim(config->store, &found);
	privileges_resume(&own);
	if (claim == -1)
		err_set(err, found.code, "%s%s%s", found.text, config->user ? ", as user " : "",
			config->user ? config->user : "");
	return claim;
}

/* What limits need of the memory that workers share: nothing where there are none. */
static int open_limits(const struct config *config, unsigned worker_count, struct worker_shared *shared,
		       struct rate_limit *rate_limit, struct census *census, struct err *err)
{
	uint32_t rate = config->rate_limit, burst = config->rate_burst ? config->rate_burst : 2 * rate;
	if (rate > 0) {
		if (rate_limit_open(rate_limit, rate, burst, err) != 0)
			return -1;
		shared->rate_limit = rate_limit;
	}
	if (config->max_connections_per_address > 0) {
		if (census_open(census, worker_count, err) != 0)
			return -1;
		shared->census = census;
	}
	return 0;
}

static void close_limits(struct worker_shared *shared)
{
	if (shared->rate_limit)
		rate_limit_close(shared->rate_limit);
	if (shared->census)
		census_close(shared->census);
}

static int serve(const struct config *config, const struct names *names, struct err *err)
{
	const struct store_settings store = {.uri = config->store, .timeout_ms = config->store_timeout_ms};
	unsigned worker_count =
	    config->workers ? config->workers : config_default_workers("/sys/fs/cgroup", "/proc/self/cgroup");
	log_start(config, worker_count);
	raise_descriptor_limit();
	struct pidfile pidfile;
	if (privileges_check(&names->privileges, err) != 0 ||
	    pidfile_open(&pidfile, config->pidfile, err) != 0)
		return -1;
	int claim = claim_store(config, &names->privileges, err), result = -1;
	struct page_memory memory;
	struct rate_limit rate_limit;
	struct census census;
	struct worker_shared shared = {.pages = &memory};
	if (claim != -1 && page_memory_open(&memory, worker_count, store_doubt_ms(&store), err) == 0) {
		if (open_limits(config, worker_count, &shared, &rate_limit, &census, err) == 0)
			result = run_master(config, names, worker_count, &shared, err);
		close_limits(&shared);
		page_memory_close(&memory);
	}
	if (claim >= 0)
		close(claim);
	pidfile_close(&pidfile);
	return result;
}

static void print_versions(void)
{
	puts("todod " TODOD_VERSION);
	for (size_t i = 0; store_library(i); i++)
		puts(store_library(i));
	puts(todo_json_library());
	puts(keeper_library());
	puts(coding_library());
}

static int act(enum config_action action, const struct config *config, const struct config_sources *sources,
	       struct err *err)
{
	switch (action) {
	case CONFIG_HELP: config_help(stdout); return 0;
	case CONFIG_VERSION: print_versions(); return 0;
	case CONFIG_DUMP: config_dump(config, sources, stdout); return 0;
	case CONFIG_TEST:
	case CONFIG_DOCTOR:
	case CONFIG_RUN: break;
	}
	struct names names = {.privileges = {.groups = NULL}};
	int result = -1;
	if (check_store(config, sources, err) == 0 && find_names(&names, config, sources, err) == 0) {
		if (action == CONFIG_RUN) {
			log_init("master", (enum log_level)config->log_level);
			result = serve(config, &names, err);
		} else if (action == CONFIG_DOCTOR) {
			result = (int)doctor_run(config, sources, &names.privileges, stdout);
		} else {
			puts("configuration OK");
			result = 0;
		}
	}
	privileges_release(&names.privileges);
	return result;
}

/* Started with a closed stdin, stdout or stderr, the next descriptor would take its place, and the log would be written into
 * whatever that is. */
static void open_stdio(void)
{
	int fd;
	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
}

int main(int argc, char *argv[])
{
	struct config config;
	struct config_sources sources;
	enum config_action action;
	struct err err;
	open_stdio();
	log_init("todod", LOG_LEVEL_INFO);
	int result = config_load(&config, &sources, &action, argc, argv, environ, &err);
	if (result == 0)
		result = act(action, &config, &sources, &err);
	if (result < 0)
		result = say(&err);
	config_release(&config, &sources);
	return result;
}
