#include "ctl/ctl.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "config/config.h"
#include "ctl/dialog.h"
#include "ctl/facts.h"
#include "master/control.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum {
	CTL_ANSWER_MS = CONTROL_PATIENCE_MS, /* for what is answered at once */
	CTL_AGAIN_MS = 50,                   /* between two tries to get through */
	CTL_DIGITS_MAX = 9,                  /* of numbers on the command line */
};

/* That of the service as it is installed (RuntimeDirectory=todod): looked for where the caller's own default leads to nobody. */
static const char system_socket[] = "/run/todod/control.sock";

struct ctl {
	const struct command *command;
	const char *file, *control, *operand; /* of the command line, or NULL */
	bool is_json, waits, is_help;
	int64_t wait_ms; /* until then; INT64_MAX: for ever */
	char *path;      /* owned */
	bool is_default; /* nobody has said that it is this path */
	struct dialog dialog;
};

struct command {
	const char *name;
	const char *operand; /* or NULL */
	bool has_json, has_wait;
	int (*run)(struct ctl *ctl, struct err *err); /* 0, or -1 and *err */
};

/* ---- asking */

static int find_path(struct ctl *ctl, struct err *err)
{
	if (ctl->control) {
		ctl->path = alloc_string(slice_of(ctl->control));
		return 0;
	}
	if (config_find_control(&ctl->path, &ctl->is_default, ctl->file, environ, err) != 0)
		return -1;
	if (strcmp(ctl->path, "off") != 0)
		return 0;
	if (!ctl->is_default)
		return err_set(err, EXIT_CODE_UNAVAILABLE,
			       "control = off: there is no socket to talk to; --control PATH names another");
	free(ctl->path);
	ctl->path = alloc_string(slice_of(system_socket));
	return 0;
}

static void pause_shortly(void)
{
	const struct timespec pause = {.tv_nsec = CTL_AGAIN_MS * 1000 * 1000};
	(void)nanosleep(&pause, NULL);
}

/* In the midst of an upgrade the master hangs up, and has done nothing of what it did not answer. */
static enum dialog_result ask_until(struct ctl *ctl, const char *request, int64_t deadline_ms,
				    struct slice *body, uint64_t *number, struct err *err)
{
	enum dialog_result result;
	while ((result = dialog_ask(&ctl->dialog, request, deadline_ms, body, number, err)) == DIALOG_CUT &&
	       clock_monotonic_ms() < deadline_ms)
		pause_shortly();
	return result;
}

/* Something that is answered at once. Returns 0, or -1 and *err. */
static int ask(struct ctl *ctl, const char *request, struct slice *body, uint64_t *number, struct err *err)
{
	int64_t deadline_ms = clock_monotonic_ms() + CTL_ANSWER_MS;
	struct err other;
	ctl->dialog.path = ctl->path;
	enum dialog_result result = ask_until(ctl, request, deadline_ms, body, number, err);
	if (result != DIALOG_NOBODY || !ctl->is_default || strcmp(ctl->path, system_socket) == 0)
		return result == DIALOG_ANSWERED ? 0 : -1;
	ctl->dialog.path = system_socket;
	result = ask_until(ctl, request, deadline_ms, body, number, &other);
	if (result != DIALOG_ANSWERED && (result != DIALOG_NOBODY || other.code == EXIT_CODE_NO_PERMISSION))
		*err = other; /* there is one, and that is what stands in the way */
	return result == DIALOG_ANSWERED ? 0 : -1;
}

/* ---- commands */

static int run_status(struct ctl *ctl, struct err *err)
{
	struct slice facts;
	struct buf text = BUF_INIT;
	if (ask(ctl, "status", &facts, NULL, err) != 0)
		return -1;
	(ctl->is_json ? facts_to_json : facts_to_table)(facts, &text);
	bool is_written = fwrite(text.data, 1, text.len, stdout) == text.len && fflush(stdout) == 0;
	buf_release(&text);
	return is_written ? 0 : err_set(err, EXIT_CODE_INTERNAL, "stdout cannot be written to");
}

static int await(struct ctl *ctl, uint64_t number, struct err *err)
{
	char request[64];
	const char *name = ctl->command->name;
	(void)snprintf(request, sizeof(request), "await %s %" PRIu64, name, number);
	switch (ask_until(ctl, request, ctl->wait_ms, NULL, NULL, err)) {
	case DIALOG_ANSWERED: return 0;
	case DIALOG_NOBODY: return err_set(err, EXIT_CODE_INTERNAL, "todod has ended during the %s", name);
	case DIALOG_CUT:
	case DIALOG_LATE:
		return err_set(err, EXIT_CODE_ALREADY_RUNNING, "%s %" PRIu64 " is still under way", name,
			       number);
	case DIALOG_REFUSED: break;
	}
	return -1;
}

/* reload and upgrade */
static int run_attempt(struct ctl *ctl, struct err *err)
{
	uint64_t number;
	const char *name = ctl->command->name;
	if (ask(ctl, name, NULL, &number, err) != 0)
		return -1;
	if (!ctl->waits) {
		printf("%s %" PRIu64 " is under way\n", name, number);
		return 0;
	}
	struct err failure;
	if (await(ctl, number, &failure) != 0)
		return err_set(err, failure.code, "%s", failure.text);
	printf("%s %" PRIu64 " has succeeded\n", name, number);
	return 0;
}

static int run_stop(struct ctl *ctl, struct err *err)
{
	if (ask(ctl, "stop", NULL, NULL, err) != 0)
		return -1;
	if (!ctl->waits) {
		puts("todod is stopping");
		return 0;
	}
	enum dialog_result result = dialog_ask(&ctl->dialog, "await stop", ctl->wait_ms, NULL, NULL, err);
	if (result == DIALOG_LATE)
		return err_set(err, EXIT_CODE_ALREADY_RUNNING, "todod is still stopping");
	if (result != DIALOG_CUT)
		return -1;
	puts("todod has stopped");
	return 0;
}

static int run_workers(struct ctl *ctl, struct err *err)
{
	char request[64];
	(void)snprintf(request, sizeof(request), "workers %s", ctl->operand);
	if (ask(ctl, request, NULL, NULL, err) != 0)
		return -1;
	printf("%s workers wanted\n", ctl->operand);
	return 0;
}

static const struct command commands[] = {
    {"status",  NULL, true,  false, run_status },
    {"reload",  NULL, false, true,  run_attempt},
    {"upgrade", NULL, false, true,  run_attempt},
    {"stop",    NULL, false, true,  run_stop   },
    {"workers", "N",  false, false, run_workers},
};

static const char help[] =
    "todod ctl: asks a running todod how it is, or to do something\n"
    "\n"
    "  todod ctl [-c FILE | --control PATH] COMMAND\n"
    "\n"
    "Commands:\n"
    "  status [--json]            how it is: processes, listeners, the last reload\n"
    "  reload [--wait [SECONDS]]  read the configuration again, as SIGHUP does\n"
    "  upgrade [--wait [SECONDS]] become the program that is on disk now, as SIGUSR2 does\n"
    "  stop [--wait [SECONDS]]    finish the requests in flight and stop, as SIGTERM does\n"
    "  workers N                  so many workers, until the next reload\n"
    "\n"
    "Options:\n"
    "  -c FILE           the file that it was started with: its key control says where it listens\n"
    "  --control PATH    the socket itself; otherwise TODOD_CONTROL, the key, or the default\n"
    "  --wait [SECONDS]  until that has ended, without a number however long, and exit by how it ended\n"
    "  --json            for programs\n"
    "\n"
    "Exit codes:\n"
    "   0  done                      75  still under way when the wait was over\n"
    "  64  wrong command line        77  no permission\n"
    "  69  nobody answers            78  the configuration was refused\n"
    "  70  it failed otherwise\n";

/* ---- the command line */

static bool is_number(const char *text)
{
	size_t len = strspn(text, "0123456789");
	return len > 0 && len <= CTL_DIGITS_MAX && !text[len];
}

/* Reads the option at argv[*at] and its value; *at moves to its last word. */
static int read_option(struct ctl *ctl, int argc, char *const argv[], int *at, struct err *err)
{
	const char *word = argv[*at], *next = *at + 1 < argc ? argv[*at + 1] : NULL;
	const struct {
		const char *name;
		const char **value;
	} texts[] = {
	    {"-c",        &ctl->file   },
            {"--control", &ctl->control}
        };
	const struct {
		const char *name;
		bool *flag;
	} flags[] = {
	    {"--json", &ctl->is_json},
            {"-h",     &ctl->is_help},
            {"--help", &ctl->is_help}
        };
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (strcmp(word, texts[i].name) == 0) {
			if (!next || !*next || *next == '-')
				return err_set(err, EXIT_CODE_USAGE, "%s needs a value", word);
			*texts[i].value = next;
			++*at;
			return 0;
		}
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (strcmp(word, flags[i].name) == 0) {
			*flags[i].flag = true;
			return 0;
		}
	if (strcmp(word, "--wait") != 0)
		return err_set(err, EXIT_CODE_USAGE, "unknown option \"%.100s\"; todod ctl --help lists them",
			       word);
	ctl->waits = true;
	if (next && is_number(next)) {
		ctl->wait_ms = clock_monotonic_ms() + 1000 * strtoll(next, NULL, 10);
		++*at;
	}
	return 0;
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

static int read_word(struct ctl *ctl, const char *word, struct err *err)
{
	if (!ctl->command) {
		ctl->command = find_command(word);
		if (!ctl->command)
			return err_set(err, EXIT_CODE_USAGE,
				       "\"%.100s\" is no command; todod ctl --help lists them", word);
	} else if (ctl->command->operand && !ctl->operand) {
		ctl->operand = word;
	} else {
		return err_set(err, EXIT_CODE_USAGE, "\"%.100s\" is one word too many", word);
	}
	return 0;
}

static int check(const struct ctl *ctl, struct err *err)
{
	const struct command *command = ctl->command;
	if (!command)
		return err_set(err, EXIT_CODE_USAGE, "no command; todod ctl --help lists them");
	if (ctl->waits && !command->has_wait)
		return err_set(err, EXIT_CODE_USAGE, "%s has nothing to wait for", command->name);
	if (ctl->is_json && !command->has_json)
		return err_set(err, EXIT_CODE_USAGE, "%s has no --json", command->name);
	if (command->operand && (!ctl->operand || !is_number(ctl->operand)))
		return err_set(err, EXIT_CODE_USAGE, "%s needs a whole number", command->name);
	return 0;
}

static int read_command_line(struct ctl *ctl, int argc, char *const argv[], struct err *err)
{
	for (int at = 1; at < argc; at++) {
		bool is_option = argv[at][0] == '-';
		if ((is_option ? read_option(ctl, argc, argv, &at, err) : read_word(ctl, argv[at], err)) != 0)
			return -1;
	}
	return ctl->is_help ? 0 : check(ctl, err);
}

int ctl_run(int argc, char *const argv[])
{
	struct ctl ctl = {.wait_ms = INT64_MAX, .dialog = {.fd = -1}};
	struct err err;
	int result = read_command_line(&ctl, argc, argv, &err);
	if (result == 0 && ctl.is_help)
		fputs(help, stdout);
	else if (result == 0 && (result = find_path(&ctl, &err)) == 0)
		result = ctl.command->run(&ctl, &err);
	if (result != 0)
		fprintf(stderr, "todod ctl: %s\n", err.text);
	dialog_close(&ctl.dialog);
	free(ctl.path);
	return result == 0 ? EXIT_CODE_OK : (int)err.code;
}
