/*
 * What -h prints: examples first, then everything else.
 */
#include "config/options.h"

static const char examples[] =
    "todod " TODOD_VERSION ": serves todos over HTTP, from SQLite or MongoDB.\n"
    "\n"
    "Examples:\n"
    "  todod                                  serve 127.0.0.1:8080 from a SQLite file\n"
    "  todod --listen 0.0.0.0:80 --store sqlite:/srv/todo/todod.db\n"
    "  todod --listen '[::1]:8080' --listen unix:/run/todod.sock --workers 4\n"
    "  todod -c /etc/todod.conf -t            check the configuration and stop\n"
    "  todod --dump-config > todod.conf       a file to start from\n"
    "  TODOD_STORE=mongodb://db1,db2/todo?replicaSet=rs0 todod\n"
    "  TODOD_STORE_FILE=/run/secrets/store todod\n"
    "\n"
    "Options:\n"
    "  -c FILE          read FILE (key = value); without -c no file is read\n"
    "  -t               check the configuration: \"configuration OK\", or what is wrong\n"
    "  --dump-config    print every key, its value and where it came from; passwords\n"
    "                   are masked\n"
    "  -V, --version    print the version of todod and of its libraries\n"
    "  -h, --help       print this\n"
    "  --KEY VALUE      set a key, also as --KEY=VALUE; - and _ are the same; of a key\n"
    "                   given twice the last value holds, and --listen adds up\n"
    "\n"
    "A key comes from its option, else from TODOD_KEY in the environment (or from the\n"
    "file that TODOD_KEY_FILE names, for secrets), else from FILE, else its default.\n"
    "So --store-timeout-ms 500 is TODOD_STORE_TIMEOUT_MS=500 and store_timeout_ms = 500.\n"
    "\n"
    "Keys:\n";

static const char signals_and_codes[] =
    "\n"
    "Signals to the process that was started:\n"
    "  TERM         finish the requests in flight, at most drain_timeout_s, and stop\n"
    "  INT, QUIT    stop at once\n"
    "\n"
    "Exit codes:\n"
    "   0  stopped as asked               73  a file cannot be created\n"
    "  64  wrong command line             75  another todod holds the store or pidfile\n"
    "  69  address not available          77  no permission\n"
    "  70  a bug in todod                 78  wrong configuration\n"
    "  71  the system refused something\n";

static void print_key(const struct config_key *key, FILE *out)
{
	struct buf allowed = BUF_INIT;
	config_key_allowed(key, &allowed);
	fprintf(out, "  %-20s %.*s\n", key->name, (int)allowed.len, allowed.data);
	fprintf(out, "  %-20s %s\n", "", key->meaning);
	fprintf(out, "  %-20s default: %s\n", "", key->preset ? key->preset : key->preset_words);
	buf_release(&allowed);
}

void config_help(FILE *out)
{
	fputs(examples, out);
	for (size_t i = 0; i < config_key_count; i++)
		print_key(&config_keys[i], out);
	fputs(signals_and_codes, out);
}
