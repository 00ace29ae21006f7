/*
 * todod: the table of contents. Reads the command line and the configuration, and does what they ask for.
 */
#include "base/log.h"
#include "cache/keeper.h"
#include "config/config.h"
#include "ctl/ctl.h"
#include "doctor/doctor.h"
#include "http/coding.h"
#include "master/handover.h"
#include "service/service.h"
#include "store/store.h"
#include "todo/todo_json.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int say(const struct err *err)
{
	fprintf(stderr, "todod: %s\n", err->text);
	return (int)err->code;
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

/* For an upgrade it is going to be read once more. */
static int test(const struct service_settings *settings, struct err *err)
{
	if (settings->from && service_check_again(settings->sources, err) != 0)
		return -1;
	puts("configuration OK");
	if (settings->from)
		handover_accept(settings->from, TODOD_VERSION);
	return 0;
}

/* What the configuration names is looked for. */
static int check(enum config_action action, const struct service_settings *settings, struct err *err)
{
	struct service_names names = {.privileges = {.groups = NULL}};
	int result = service_check(&names, settings->config, settings->sources, err);
	if (result == 0)
		result = action == CONFIG_TEST ? test(settings, err)
					       : (int)doctor_run(settings->config, settings->sources,
								 &names.privileges, stdout);
	privileges_release(&names.privileges);
	return result;
}

static int serve(const struct service_settings *settings, struct err *err)
{
	const struct config *config = settings->config;
	log_init("master", config ? (enum log_level)config->log_level : LOG_LEVEL_INFO);
	return service_run(settings, err);
}

static int act(enum config_action action, const struct service_settings *settings, struct err *err)
{
	switch (action) {
	case CONFIG_HELP: config_help(stdout); return 0;
	case CONFIG_VERSION: print_versions(); return 0;
	case CONFIG_DUMP: config_dump(settings->config, settings->sources, stdout); return 0;
	case CONFIG_TEST:
	case CONFIG_DOCTOR: return check(action, settings, err);
	case CONFIG_RUN: break;
	}
	return serve(settings, err);
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
	struct handover from;
	enum config_action action;
	struct err err;
	struct service_settings settings = {
	    .argc = argc,
	    .argv = argv,
	    .config = &config,
	    .sources = &sources,
	};
	open_stdio();
	log_init("todod", LOG_LEVEL_INFO);
	if (argc > 1 && strcmp(argv[1], "ctl") == 0)
		return ctl_run(argc - 1, argv + 1);
	int received = handover_receive(&from, &err);
	if (received < 0)
		return say(&err);
	settings.from = received > 0 ? &from : NULL;
	int result = config_load(&config, &sources, &action, argc, argv, environ, &err);
	/* In the midst of an upgrade there are workers to look after: the next reload may bring a better one. */
	if (result != 0 && settings.from && action == CONFIG_RUN) {
		say(&err);
		settings.config = NULL;
		result = 0;
	}
	if (result == 0)
		result = act(action, &settings, &err);
	if (result < 0)
		result = say(&err);
	config_release(&config, &sources);
	if (settings.from)
		handover_close(&from);
	return result;
}
