/*
 * What -h prints: examples first, then everything else. The manual is made from the same tables (conf/man).
 */
#include "config/options.h"

enum {
	WIDTH = 80, /* columns */
	TERM_COLUMN = 15,
};

/* clang-format off */
const struct config_term config_examples[] = {
	{"todod", "serve 127.0.0.1:8080 from a SQLite file"},
	{"todod --listen 0.0.0.0:80 --store sqlite:/srv/todo/todod.db", ""},
	{"todod --listen '[::1]:8080' --listen unix:/run/todod.sock --workers 4", ""},
	{"todod -c /etc/todod/todod.conf -t", "check the configuration and stop"},
	{"todod doctor -c /etc/todod/todod.conf", "check what the configuration depends on"},
	{"todod ctl status", "how is the one that runs?"},
	{"todod --dump-config > todod.conf", "a file to start from"},
	{"TODOD_STORE=mongodb://db1,db2/todo?replicaSet=rs0 todod", ""},
	{"TODOD_STORE_FILE=/run/secrets/store todod", ""},
	{NULL, NULL},
};

const struct config_term config_commands[] = {
	{"doctor", "look at the store, the cache, the addresses and the limits of the system, and say of each how it is and what to "
		   "do; exit code 0 when nothing stands in the way of a start"},
	{"ctl", "ask a running todod how it is, or to reload, upgrade or stop, and wait for that; todod ctl --help says more"},
	{NULL, NULL},
};

const struct config_term config_options[] = {
	{"-c FILE", "read FILE (key = value); without -c no file is read"},
	{"-t", "check the configuration, opening nothing that its values name: \"configuration OK\", or what is wrong"},
	{"--dump-config", "print every key, its value and where it came from; passwords are masked"},
	{"-V, --version", "print the version of todod and of its libraries"},
	{"-h, --help", "print a summary of all this"},
	{"--KEY VALUE", "set a key, also as --KEY=VALUE; - and _ are the same; of a key given twice the last value holds, and lists add "
			"up"},
	{NULL, NULL},
};

const struct config_term config_signals[] = {
	{"TERM", "finish the requests in flight, at most drain_timeout_s, and stop"},
	{"INT, QUIT", "stop at once"},
	{"HUP", "read the configuration anew; whatever is wrong with it changes nothing"},
	{"USR2", "become the program that is on disk now, under the same process id"},
	{"USR1", "open the access log again"},
	{"TTIN, TTOU", "one worker more, one less, until the next reload"},
	{NULL, NULL},
};

const struct config_term config_exit_codes[] = {
	{"0", "stopped as asked"},
	{"64", "wrong command line"},
	{"69", "address not available; of doctor: something that it depends on is not"},
	{"70", "a bug in todod"},
	{"71", "the system refused something"},
	{"73", "a file cannot be created"},
	{"75", "another todod holds the store or the pidfile"},
	{"77", "no permission"},
	{"78", "wrong configuration"},
	{NULL, NULL},
};
/* clang-format on */

static const char on_keys[] =
    "\n"
    "A key comes from its option, else from TODOD_KEY in the environment (or from the\n"
    "file that TODOD_KEY_FILE names, for secrets), else from FILE, else its default.\n"
    "So --store-timeout-ms 500 is TODOD_STORE_TIMEOUT_MS=500 and store_timeout_ms = 500.\n"
    "\n"
    "Keys:\n";

/* A name, and from a column on the text, broken between words. */
static void print_term(const char *name, const char *text, int column, FILE *out)
{
	int at = fprintf(out, "  %-*s", column, name) - 2;
	for (size_t len; *text; text += len, text += strspn(text, " ")) {
		len = strcspn(text, " ");
		if (at + 1 + (int)len > WIDTH - 2 && at > column)
			at = fprintf(out, "\n  %-*s", column, "") - 3;
		at += fprintf(out, "%s%.*s", at > column ? " " : "", (int)len, text);
	}
	fputc('\n', out);
}

static void print_terms(const char *title, const struct config_term *terms, int column, FILE *out)
{
	fprintf(out, "\n%s:\n", title);
	for (; terms->name; terms++)
		print_term(terms->name, terms->meaning, column, out);
}

static void print_key(const struct config_key *key, FILE *out)
{
	struct buf allowed = BUF_INIT;
	config_key_allowed(key, &allowed);
	fprintf(out, "  %-28s %.*s\n", key->name, (int)allowed.len, allowed.data);
	fprintf(out, "  %-28s %s\n", "", key->meaning);
	fprintf(out, "  %-28s default: %s\n", "", key->preset ? key->preset : key->preset_words);
	buf_release(&allowed);
}

void config_help(FILE *out)
{
	fputs("todod " TODOD_VERSION ": serves todos over HTTP, from SQLite or MongoDB.\n", out);
	fprintf(out, "\nExamples:\n");
	for (const struct config_term *example = config_examples; example->name; example++)
		fprintf(out, *example->meaning ? "  %-38s %s\n" : "  %s%s\n", example->name,
			example->meaning);
	print_terms("Commands", config_commands, TERM_COLUMN, out);
	print_terms("Options", config_options, TERM_COLUMN, out);
	fputs(on_keys, out);
	for (size_t i = 0; i < config_key_count; i++)
		print_key(&config_keys[i], out);
	print_terms("Signals to the process that was started", config_signals, TERM_COLUMN, out);
	print_terms("Exit codes", config_exit_codes, TERM_COLUMN, out);
}
