/*
 * todod: the table of contents. Reads the configuration, opens what has to be open before any fork, and hands
 * the master the table of the processes that make the service.
 */
#include "base/log.h"
#include "config/config.h"
#include "master/master.h"
#include "net/listener.h"
#include "store/store.h"
#include "todo/todo_json.h"
#include "worker/worker.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int say(const struct err *err)
{
	fprintf(stderr, "todod: %s\n", err->text);
	return (int)err->code;
}

/* What the configuration cannot judge by itself: the store's URI, which its driver parses. */
static int check_store(const struct config *config, const struct config_sources *sources, struct err *err)
{
	struct err found;
	if (store_check(config->store, &found) == 0)
		return 0;
	return err_set(err, found.code, "%s: store: %s", config_place(sources, "store"), found.text);
}

static int open_listeners(const struct config *config, struct listener *listeners, size_t *count,
			  struct err *err)
{
	for (*count = 0; *count < config->listen_count; ++*count) {
		struct listen_address address;
		if (config_parse_listen(&address, config->listen[*count], err) != 0 ||
		    listener_open(&listeners[*count], address.host, address.port,
				  address.is_unix ? address.host : NULL, err) != 0)
			return -1;
		log_info("listening on %s", listeners[*count].name);
	}
	return 0;
}

static int serve(const struct config *config, struct err *err)
{
	struct listener listeners[CONFIG_LISTEN_MAX];
	size_t listener_count = 0;
	const struct process_kind kinds[] = {
	    {.name = "set-up",  .run = worker_set_up_store,                      .count = 1,           .once = true},
	    { .name = "worker",
	     .run = worker_run,
	     .count = config->workers ? config->workers
				      : config_default_workers("/sys/fs/cgroup", "/proc/self/cgroup"),
	     .listens = true},
	};
	struct master_settings settings = {
	    .kinds = kinds,
	    .kind_count = sizeof(kinds) / sizeof(kinds[0]),
	    .config = config,
	    .log_level = (enum log_level)config->log_level,
	    .listeners = listeners,
	    .worker_timeout_ms = config->worker_timeout_s * 1000,
	    .drain_timeout_ms = config->drain_timeout_s * 1000,
	};
	char *store = config_mask_password(config->store);
	log_info("todod %s, store %s, %u workers", TODOD_VERSION, store, kinds[1].count);
	free(store);
	if (strcmp(config->cache, "off") != 0)
		log_info(
		    "cache %s is accepted, and behaves as off: the first page is not cached by this version",
		    config->cache[0] == 'l' ? "local" : "redis");
	int claim = store_claim(config->store, err), result = -1;
	if (claim != -1 && open_listeners(config, listeners, &listener_count, err) == 0) {
		settings.listener_count = listener_count;
		result = master_run(&settings, err);
	}
	for (size_t i = 0; i < listener_count; i++)
		listener_close(&listeners[i], true);
	if (claim >= 0)
		close(claim);
	return result;
}

static void print_versions(void)
{
	puts("todod " TODOD_VERSION);
	for (size_t i = 0; store_library(i); i++)
		puts(store_library(i));
	puts(todo_json_library());
}

static int act(enum config_action action, const struct config *config, const struct config_sources *sources,
	       struct err *err)
{
	switch (action) {
	case CONFIG_HELP: config_help(stdout); return 0;
	case CONFIG_VERSION: print_versions(); return 0;
	case CONFIG_DUMP: config_dump(config, sources, stdout); return 0;
	case CONFIG_TEST:
		if (check_store(config, sources, err) != 0)
			return -1;
		puts("configuration OK");
		return 0;
	case CONFIG_RUN: break;
	}
	log_init("master", (enum log_level)config->log_level);
	return check_store(config, sources, err) != 0 ? -1 : serve(config, err);
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
