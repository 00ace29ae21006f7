/*
 * The configuration: every layer, every sentence about a mistake, conf/todod.conf against the table of keys,
 * and the count of cores. Runs in a directory of its own; conf/todod.conf is read before, from the repository
 * root.
 */
#include "config/options.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

enum { SAMPLE_BYTES = 65536 };

static char directory[4096];
static int root_fd;
static struct buf sample; /* conf/todod.conf, NUL-terminated */

/* --- the frame */

static void write_bytes(const char *path, const char *data, size_t len)
{
	FILE *file = fopen(path, "we");
	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, len, file), len);
	assert_int_equal(fclose(file), 0);
}

static void write_text(const char *path, const char *text)
{
	write_bytes(path, text, strlen(text));
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	return remove(path);
}

static int enter_directory(void **state)
{
	(void)state;
	const char *parent = getenv("TMPDIR");
	snprintf(directory, sizeof(directory), "%s/todod-config-XXXXXX", parent ? parent : "/tmp");
	root_fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (config_file_slurp("conf/todod.conf", SAMPLE_BYTES, &sample)) {
		fprintf(stderr, "conf/todod.conf: %s; run from the repository root\n", strerror(errno));
		return -1;
	}
	buf_append(&sample, "", 1);
	return root_fd >= 0 && mkdtemp(directory) && chdir(directory) == 0 ? 0 : -1;
}

static int leave_directory(void **state)
{
	(void)state;
	buf_release(&sample);
	int rc = fchdir(root_fd);
	close(root_fd);
	return nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS) || rc ? -1 : 0;
}

/* "a|b" into {"a", "b", NULL}. */
static char **cut(const char *head, const char *words)
{
	char **list = alloc_zeroed(strlen(words) + 3, sizeof(*list));
	size_t count = 0;
	if (head)
		list[count++] = alloc_string(slice_of(head));
	while (*words) {
		size_t len = strcspn(words, "|");
		list[count++] = alloc_string((struct slice){words, len});
		words += len;
		if (*words == '|' && !*++words)
			list[count++] = alloc_string(SLICE("")); /* "a|" ends with an empty word */
	}
	return list;
}

static void free_list(char **list)
{
	for (size_t i = 0; list[i]; i++)
		free(list[i]);
	free(list);
}

struct loaded {
	struct config c;
	struct config_sources s;
	enum config_action action;
	struct err err;
	int rc;
	char **argv, **environment;
};

/* `arguments` and `environment` are words between '|'. */
static void load(struct loaded *l, const char *environment, const char *arguments)
{
	int argc = 0;
	l->argv = cut("todod", arguments);
	l->environment = cut(NULL, environment);
	while (l->argv[argc])
		argc++;
	l->err.text[0] = '\0';
	l->rc = config_load(&l->c, &l->s, &l->action, argc, l->argv, l->environment, &l->err);
}

static void release(struct loaded *l)
{
	config_release(&l->c, &l->s);
	free_list(l->argv);
	free_list(l->environment);
}

static void load_well(struct loaded *l, const char *environment, const char *arguments)
{
	load(l, environment, arguments);
	if (l->rc)
		fail_msg("%s: %s", arguments, l->err.text);
}

static void expect_refused(const char *environment, const char *arguments, enum exit_code code,
			   const char *text)
{
	struct loaded l;
	load(&l, environment, arguments);
	if (l.rc == 0)
		fail_msg("%s | %s: accepted", environment, arguments);
	assert_int_equal(l.rc, -1);
	assert_string_equal(l.err.text, text);
	assert_int_equal(l.err.code, code);
	release(&l);
}

static char *dump(const struct loaded *l)
{
	char *text = NULL;
	size_t size = 0;
	FILE *stream = open_memstream(&text, &size);
	assert_non_null(stream);
	config_dump(&l->c, &l->s, stream);
	assert_int_equal(fclose(stream), 0);
	return text;
}

/* --- the layers */

static void test_defaults(void **state)
{
	(void)state;
	struct loaded l;
	load_well(&l, "HOME=/home/ann", "");
	assert_int_equal(l.action, CONFIG_RUN);
	assert_int_equal(l.c.listen_count, 1);
	assert_string_equal(l.c.listen[0], "127.0.0.1:8080");
	assert_string_equal(l.c.store, "sqlite:/home/ann/.local/share/todod/todod.db");
	assert_string_equal(l.c.cache, "local");
	assert_int_equal(l.c.workers, 0);
	assert_int_equal(l.c.store_timeout_ms, 2000);
	assert_int_equal(l.c.cache_mode, CONFIG_CACHE_AUTO);
	assert_int_equal(l.c.cache_ttl_s, 3600);
	assert_int_equal(l.c.cache_fresh_s, 10);
	assert_int_equal(l.c.content_max_bytes, 16384);
	assert_int_equal(l.c.body_max_bytes, 65536);
	assert_int_equal(l.c.start_max, 10000);
	assert_int_equal(l.c.header_timeout_s, 10);
	assert_int_equal(l.c.keepalive_timeout_s, 75);
	assert_int_equal(l.c.write_timeout_s, 10);
	assert_int_equal(l.c.max_connections, 0);
	assert_int_equal(l.c.max_connections_total, 0);
	assert_int_equal(l.c.max_connections_per_address, 0);
	assert_int_equal(l.c.rate_limit, 0);
	assert_int_equal(l.c.rate_burst, 0);
	assert_true(ip_set_is_empty(&l.c.trusted_proxies));
	assert_int_equal(l.c.proxy_header, CONFIG_X_FORWARDED_FOR);
	assert_int_equal(l.c.worker_timeout_s, 2);
	assert_int_equal(l.c.max_requests, 0);
	assert_int_equal(l.c.max_rss_mb, 0);
	assert_int_equal(l.c.log_level, LOG_LEVEL_INFO);
	assert_int_equal(l.c.drain_timeout_s, 30);
	assert_null(l.c.user);
	assert_null(l.c.group);
	assert_null(l.c.pidfile);
	assert_null(l.c.unix_group);
	assert_int_equal(l.c.unix_mode, 0666);
	assert_null(l.c.access_log);
	assert_int_equal(l.c.access_log_format, CONFIG_ACCESS_LOG_COMBINED);
	assert_int_equal(l.c.slow_ms, 0);
	for (size_t i = 0; i < config_key_count; i++)
		assert_string_equal(config_place(&l.s, config_keys[i].name), "default");
	release(&l);
}

/* Every field of the struct belongs to one key, and none to two. */
static void test_table_covers_the_struct(void **state)
{
	(void)state;
	static const char *const texts[] = {"store",   "cache",      "user",       "group",
					    "pidfile", "unix_group", "access_log", "control"};
	size_t covered = 2 * (sizeof(char *) * CONFIG_LISTEN_MAX + sizeof(size_t)) + sizeof(struct ip_set);
	for (size_t i = 0; i < config_key_count; i++) {
		for (size_t j = 0; j < i; j++) {
			assert_int_not_equal(config_keys[i].offset, config_keys[j].offset);
			assert_string_not_equal(config_keys[i].name, config_keys[j].name);
		}
		assert_non_null(config_keys[i].meaning);
		/* TODOD_KEY_FILE would be ambiguous. */
		size_t len = strlen(config_keys[i].name);
		assert_true(len < 5 || strcmp(config_keys[i].name + len - 5, "_file") != 0);
		bool is_text = false;
		for (size_t j = 0; j < sizeof(texts) / sizeof(texts[0]); j++)
			is_text |= strcmp(config_keys[i].name, texts[j]) == 0;
		if (!config_key_is_list(&config_keys[i]))
			covered += is_text ? sizeof(char *) : sizeof(uint32_t);
	}
	assert_true(sizeof(struct config) - covered < _Alignof(struct config));
}

static void test_access_log(void **state)
{
	(void)state;
	struct loaded l;
	load_well(&l, "HOME=/h|TODOD_ACCESS_LOG=/var/log/a b.log", "--access-log-format|json|--slow-ms=250");
	assert_string_equal(l.c.access_log, "/var/log/a b.log");
	assert_int_equal(l.c.access_log_format, CONFIG_ACCESS_LOG_JSON);
	assert_int_equal(l.c.slow_ms, 250);
	char *text = dump(&l);
	assert_non_null(strstr(text, "\naccess_log = /var/log/a b.log\n"));
	assert_non_null(strstr(text, "\naccess_log_format = json\n"));
	free(text);
	release(&l);

	load_well(&l, "HOME=/h|TODOD_ACCESS_LOG=/var/log/a", "--access-log|off");
	assert_null(l.c.access_log);
	text = dump(&l);
	assert_non_null(strstr(text, "\naccess_log = off\n"));
	free(text);
	release(&l);

	expect_refused("HOME=/h", "--access-log| ", EXIT_CODE_CONFIG,
		       "--access-log: \"\" is neither off nor a path");
	expect_refused("HOME=/h", "--access-log-format|common", EXIT_CODE_CONFIG,
		       "--access-log-format: \"common\" is not combined or json");
}

static void test_default_store(void **state)
{
	(void)state;
	static const struct {
		const char *environment, *store;
	} cases[] = {
	    {"HOME=/h|STATE_DIRECTORY=/var/lib/todod",        "sqlite:/var/lib/todod/todod.db"       },
	    {"HOME=/h|STATE_DIRECTORY=/var/lib/a:/var/lib/b", "sqlite:/var/lib/a/todod.db"           },
	    {"HOME=/h|STATE_DIRECTORY=|XDG_DATA_HOME=/data",  "sqlite:/data/todod/todod.db"          },
	    {"HOME=/h|XDG_DATA_HOME=relative",                "sqlite:/h/.local/share/todod/todod.db"},
	    {"HOME=/h|TODOD_STORE=",                          "sqlite:/h/.local/share/todod/todod.db"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct loaded l;
		load_well(&l, cases[i].environment, "");
		assert_string_equal(l.c.store, cases[i].store);
		release(&l);
	}
	static const char nowhere[] =
	    "store: neither STATE_DIRECTORY nor HOME says where todos could be kept; say it "
	    "with --store sqlite:PATH";
	expect_refused("", "", EXIT_CODE_CONFIG, nowhere);
	expect_refused("HOME=", "-t", EXIT_CODE_CONFIG, nowhere);
	expect_refused("HOME=/a\nb", "", EXIT_CODE_CONFIG,
		       "default: the value has a control character at byte 10");
	struct loaded l;
	load_well(&l, "", "--store|sqlite:here.db");
	release(&l);
}

static void test_default_control(void **state)
{
	(void)state;
	const char *of_user = geteuid() == 0 ? "/run/todod/control.sock" : "/run/user/7/todod/control.sock";
	const char *of_nobody = geteuid() == 0 ? "/run/todod/control.sock" : "off";
	char *directory_too_long = alloc_zeroed(200, 1);
	snprintf(directory_too_long, 200, "HOME=/h|RUNTIME_DIRECTORY=/%0100d", 0);
	const struct {
		const char *environment, *control;
	} cases[] = {
	    {"HOME=/h|RUNTIME_DIRECTORY=/run/todod|XDG_RUNTIME_DIR=/x", "/run/todod/control.sock"},
	    {"HOME=/h|RUNTIME_DIRECTORY=/run/a:/run/b",                 "/run/a/control.sock"    },
	    {"HOME=/h|RUNTIME_DIRECTORY=|XDG_RUNTIME_DIR=/run/user/7",  of_user                  },
	    {"HOME=/h|XDG_RUNTIME_DIR=relative",                        of_nobody                },
	    {"HOME=/h|RUNTIME_DIRECTORY=relative",                      "off"                    },
	    {directory_too_long,					"off"                    },
	    {"HOME=/h|TODOD_CONTROL=/c",                                "/c"                     },
	    {"HOME=/h|TODOD_CONTROL=off",                               "off"                    },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct loaded l;
		load_well(&l, cases[i].environment, "");
		assert_string_equal(l.c.control, cases[i].control);
		assert_int_equal(config_is_default(&l.s, "control"), i < 6);
		release(&l);
	}
	free(directory_too_long);
}

/* Whoever looks for the socket of a daemon needs no more of its configuration. */
static void test_find_control(void **state)
{
	(void)state;
	static const struct {
		const char *environment, *file, *control;
		bool is_default;
	} cases[] = {
	    {"RUNTIME_DIRECTORY=/r",                NULL,                                      "/r/control.sock", true },
	    {"RUNTIME_DIRECTORY=/r",                "workers = many\nwhat = 1\n",              "/r/control.sock", true },
	    {"RUNTIME_DIRECTORY=/r",                "workers = many\ncontrol = /f\nno pair\n", "/f",              false},
	    {"RUNTIME_DIRECTORY=/r",                "control = off\n",                         "off",             false},
	    {"TODOD_CONTROL=/e|TODOD_WORKERS=many", "control = /f\n",                          "/e",              false},
	    {"TODOD_CONTROL=/e",                    "[section]\n",                             "/e",              false},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct err err;
		char *path = NULL, **environment = cut(NULL, cases[i].environment);
		bool is_default = !cases[i].is_default;
		if (cases[i].file)
			write_text("control.conf", cases[i].file);
		assert_int_equal(config_find_control(&path, &is_default,
						     cases[i].file ? "control.conf" : NULL, environment,
						     &err),
				 0);
		assert_string_equal(path, cases[i].control);
		assert_int_equal(is_default, cases[i].is_default);
		free(path);
		free_list(environment);
	}
}

static void test_find_no_control(void **state)
{
	(void)state;
	static const struct {
		const char *environment, *file, *text;
	} cases[] = {
	    {"A=b",             "no pair\ncontrol = /f\n", "control.conf:1: expected key = value"                              },
	    {"A=b",             "control = f\n",           "control.conf:1: control: \"f\" is neither off nor an absolute path"},
	    {"TODOD_CONTROL=f", "",                        "TODOD_CONTROL: \"f\" is neither off nor an absolute path"          },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct err err = {.text = ""};
		bool is_default;
		char *path, **environment = cut(NULL, cases[i].environment);
		write_text("control.conf", cases[i].file);
		assert_int_equal(config_find_control(&path, &is_default, "control.conf", environment, &err),
				 -1);
		assert_string_equal(err.text, cases[i].text);
		assert_int_equal(err.code, EXIT_CODE_CONFIG);
		free_list(environment);
	}
}

static void test_default_cache(void **state)
{
	(void)state;
	static const struct {
		const char *arguments, *cache;
	} cases[] = {
	    {"--store|sqlite:x",                   "local"},
            {"--store|mongodb://db1,db2/todo",     "off"  },
	    {"--store|mongodb+srv://db",           "off"  },
            {"--store|mongodb://db|--cache|local", "local"},
	    {"--store|sqlite:x|--cache|off",       "off"  },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct loaded l;
		load_well(&l, "", cases[i].arguments);
		assert_string_equal(l.c.cache, cases[i].cache);
		release(&l);
	}
}

static void test_precedence(void **state)
{
	(void)state;
	struct loaded l;
	write_text("todod.conf",
		   "workers = 2\nstore_timeout_ms = 200\nstart_max = 20\nlisten = 127.0.0.1:2\n");
	load_well(&l, "HOME=/h|TODOD_WORKERS=3|TODOD_STORE_TIMEOUT_MS=300|TODOD_LISTEN=127.0.0.1:3",
		  "-c|todod.conf|--workers|4|--listen|127.0.0.1:4|--listen=127.0.0.1:5");
	assert_string_equal(l.s.file, "todod.conf");
	assert_int_equal(l.c.workers, 4);
	assert_string_equal(config_place(&l.s, "workers"), "--workers");
	assert_int_equal(l.c.store_timeout_ms, 300);
	assert_string_equal(config_place(&l.s, "store_timeout_ms"), "TODOD_STORE_TIMEOUT_MS");
	assert_int_equal(l.c.start_max, 20);
	assert_string_equal(config_place(&l.s, "start_max"), "todod.conf:3");
	assert_int_equal(l.c.drain_timeout_s, 30);
	assert_string_equal(config_place(&l.s, "drain_timeout_s"), "default");
	/* A layer replaces the list below; within one it grows. */
	assert_int_equal(l.c.listen_count, 2);
	assert_string_equal(l.c.listen[0], "127.0.0.1:4");
	assert_string_equal(l.c.listen[1], "127.0.0.1:5");
	assert_string_equal(config_place(&l.s, "listen"), "--listen");
	release(&l);

	load_well(&l, "HOME=/h|TODOD_LISTEN=127.0.0.1:3, [::1]:4", "-c|todod.conf");
	assert_int_equal(l.c.listen_count, 2);
	assert_string_equal(l.c.listen[1], "[::1]:4");
	release(&l);
	assert_int_equal(l.c.listen_count, 0);
}

static void test_command_line(void **state)
{
	(void)state;
	static const struct {
		const char *arguments;
		enum config_action action;
	} cases[] = {
	    {"doctor",             CONFIG_DOCTOR },
	    {"doctor|--workers|2", CONFIG_DOCTOR },
	    {"doctor|-t",          CONFIG_TEST   },
	    {"doctor|-h",          CONFIG_HELP   },
	    {"-t",                 CONFIG_TEST   },
	    {"--dump-config",      CONFIG_DUMP   },
	    {"--dump_config",      CONFIG_DUMP   },
	    {"-t|--dump-config",   CONFIG_DUMP   },
	    {"--dump-config|-t",   CONFIG_DUMP   },
	    {"-V",                 CONFIG_VERSION},
	    {"--version",          CONFIG_VERSION},
	    {"-h",                 CONFIG_HELP   },
	    {"--help",             CONFIG_HELP   },
	    {"-h|--nonsense",      CONFIG_HELP   },
	    {"-t|-V|-c|/nowhere",  CONFIG_VERSION},
	    {"-c|/nowhere|-h",     CONFIG_HELP   },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct loaded l;
		load_well(&l, "HOME=/h", cases[i].arguments);
		assert_int_equal(l.action, cases[i].action);
		release(&l);
	}
	struct loaded l;
	load_well(
	    &l, "HOME=/h",
	    "--store_timeout-ms=500|--log-level|debug|--workers|2|--workers|auto|--cache=redis://:a=b@c");
	assert_int_equal(l.c.store_timeout_ms, 500);
	assert_int_equal(l.c.log_level, LOG_LEVEL_DEBUG);
	assert_int_equal(l.c.workers, 0);
	assert_string_equal(l.c.cache, "redis://:a=b@c");
	assert_string_equal(config_place(&l.s, "store_timeout_ms"), "--store-timeout-ms");
	release(&l);
}

static void test_wrong_command_line(void **state)
{
	(void)state;
	static const struct {
		const char *arguments, *text;
	} cases[] = {
	    {"--lisen|x",                  "unknown option \"--lisen\"; did you mean \"--listen\"?"                  },
	    {"--wrokers=4",                "unknown option \"--wrokers\"; did you mean \"--workers\"?"               },
	    {"--store-timeout|4",          "unknown option \"--store-timeout\"; did you mean \"--store-timeout-ms\"?"},
	    {"--hlep",                     "unknown option \"--hlep\"; did you mean \"--help\"?"                     },
	    {"--dump-conf",                "unknown option \"--dump-conf\"; did you mean \"--dump-config\"?"         },
	    {"--quite-another",            "unknown option \"--quite-another\"; todod --help lists them"             },
	    {"--",			 "unknown option \"--\"; todod --help lists them"                          },
	    {"--=4",		       "unknown option \"--\"; todod --help lists them"                          },
	    {"-x",			 "unknown option \"-x\"; todod --help lists them"                          },
	    {"-workers|4",                 "unknown option \"-workers\"; todod --help lists them"                    },
	    {"--cahce=redis://:secret@h",  "unknown option \"--cahce\"; did you mean \"--cache\"?"                   },
	    {"--workers",                  "--workers needs a value"                                                 },
	    {"--workers|--log-level|info", "--workers needs a value"                                                 },
	    {"-c",			 "-c needs a value"							},
	    {"-c|",			"-c needs a value"							},
	    {"-c|-t",		      "-c needs a value"							},
	    {"--version=3",                "--version takes no value"                                                },
	    {"-t|todod.conf",              "\"todod.conf\" is no option; keys are set with --KEY VALUE"              },
	    {"start",		      "\"start\" is no option; keys are set with --KEY VALUE"                   },
	    {"-t|doctor",                  "\"doctor\" is no option; keys are set with --KEY VALUE"                  },
	    {"-",			  "\"-\" is no option; keys are set with --KEY VALUE"                       },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect_refused("HOME=/h", cases[i].arguments, EXIT_CODE_USAGE, cases[i].text);
}

static void test_wrong_values(void **state)
{
	(void)state;
	static const struct {
		const char *environment, *arguments, *text;
	} cases[] = {
	    {"",			  "--workers|many",                   "--workers: \"many\" is neither auto nor a whole number from 1 to 1024"},
	    {"",			  "--workers=0",                      "--workers: \"0\" is neither auto nor a whole number from 1 to 1024"   },
	    {"",			  "--workers=1025",                   "--workers: \"1025\" is neither auto nor a whole number from 1 to 1024"},
	    {"",			  "--workers=",                       "--workers: \"\" is neither auto nor a whole number from 1 to 1024"    },
	    {"TODOD_WORKERS=-1",          "",
	     "TODOD_WORKERS: \"-1\" is neither auto nor a whole number from 1 to 1024"                                                               },
	    {"TODOD_WORKERS=x",           "--workers|2",
	     "TODOD_WORKERS: \"x\" is neither auto nor a whole number from 1 to 1024"                                                                },
	    {"",			  "--store-timeout-ms|2s",
	     "--store-timeout-ms: \"2s\" is not a whole number from 100 to 60000"                                                                    },
	    {"",			  "--store-timeout-ms|99",
	     "--store-timeout-ms: \"99\" is not a whole number from 100 to 60000"                                                                    },
	    {"",			  "--start-max|18446744073709551617",
	     "--start-max: \"18446744073709551617\" is not a whole number from 0 to 1000000"                                                         },
	    {"",			  "--start-max|0x10",                 "--start-max: \"0x10\" is not a whole number from 0 to 1000000"        },
	    {"",			  "--log-level|loud",                 "--log-level: \"loud\" is not error, warn, info or debug"              },
	    {"",			  "--cache-mode|Auto",                "--cache-mode: \"Auto\" is not auto or strict"                         },
	    {"",			  "--listen|8080",                    "--listen: \"8080\" is not HOST:PORT, [IPv6]:PORT or unix:PATH"        },
	    {"",			  "--store|postgres://u:pw@h/d",
	     "--store: \"postgres://u:***@h/d\" is neither sqlite:PATH nor mongodb://... nor "
	     "mongodb+srv://..."														     },
	    {"",			  "--store|sqlite:",
	     "--store: \"sqlite:\" is neither sqlite:PATH nor mongodb://... nor mongodb+srv://..."                                                   },
	    {"TODOD_STORE=sqlite:a\nb",   "",                                 "TODOD_STORE: the value has a control character at byte 9"             },
	    {"",			  "--unix-mode|0888",                 "--unix-mode: \"0888\" is not a mode from 000 to 777"                  },
	    {"",			  "--unix-mode|1777",                 "--unix-mode: \"1777\" is not a mode from 000 to 777"                  },
	    {"",			  "--unix-mode|66",                   "--unix-mode: \"66\" is not a mode from 000 to 777"                    },
	    {"",			  "--unix-mode|0o66",                 "--unix-mode: \"0o66\" is not a mode from 000 to 777"                  },
	    {"",			  "--pidfile=",                       "--pidfile: \"\" is neither none nor a path"                           },
	    {"",			  "--control|c.sock",                 "--control: \"c.sock\" is neither off nor an absolute path"            },
	    {"",			  "--control=",                       "--control: \"\" is neither off nor an absolute path"                  },
	    {"",			  "--user=",                          "--user: \"\" is neither none nor a user"                              },
	    {"",			  "--group|daemon",                   "--group: group = daemon is of no use without user"                    },
	    {"",			  "--content-max-bytes|70000",
	     "--content-max-bytes: content_max_bytes = 70000 (--content-max-bytes) does not fit into "
	     "body_max_bytes = 65536 (default)"												      },
	    {"TODOD_BODY_MAX_BYTES=4096", "",
	     "TODOD_BODY_MAX_BYTES: content_max_bytes = 16384 (default) does not fit into "
	     "body_max_bytes = 4096 (TODOD_BODY_MAX_BYTES)"											  },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char environment[256];
		snprintf(environment, sizeof(environment), "HOME=/h|%s", cases[i].environment);
		expect_refused(environment, cases[i].arguments, EXIT_CODE_CONFIG, cases[i].text);
	}
	struct loaded l;
	load_well(&l, "HOME=/h", "--content-max-bytes|4096|--body-max-bytes|4096|--workers| 7\t");
	assert_int_equal(l.c.workers, 7);
	release(&l);
	/* A layer can take back what a lower one names. */
	load_well(&l, "HOME=/h|TODOD_PIDFILE=/run/todod.pid|TODOD_USER=ann", "--pidfile|none");
	assert_null(l.c.pidfile);
	assert_string_equal(l.c.user, "ann");
	release(&l);
}

/* Both ends of every range are taken, what lies beyond is not. */
static void test_ranges(void **state)
{
	(void)state;
	for (size_t i = 0; i < config_key_count; i++) {
		const struct config_key *key = &config_keys[i];
		if (!key->max)
			continue;
		struct config c = {.listen_count = 0};
		struct err err;
		const uint64_t values[] = {key->min, key->max, (uint64_t)key->min - 1,
					   (uint64_t)key->max + 1};
		for (size_t v = 0; v < 4; v++) {
			char text[32];
			snprintf(text, sizeof(text), "%llu", (unsigned long long)values[v]);
			assert_int_equal(config_key_set(key, &c, text, &err), v < 2 ? 0 : -1);
		}
	}
}

/* --- the file */

static void expect_file_refused(const char *content, const char *text)
{
	write_text("todod.conf", content);
	expect_refused("HOME=/h", "-c|todod.conf", EXIT_CODE_CONFIG, text);
}

static void test_file(void **state)
{
	(void)state;
	struct loaded l;
	write_text("todod.conf", "\xef\xbb\xbf# comment\n; comment\n\n  workers=3\r\n"
				 "listen = 127.0.0.1:1, unix:/run/a.sock\nlisten = [::1]:2\n"
				 "cache = redis://:pass ;word#1@h ; x\nstart_max = 5");
	load(&l, "HOME=/h", "-c|todod.conf");
	assert_string_equal(
	    l.err.text, "todod.conf:7: cache: \"redis://:***@h ; x\" has a ? or #; none is taken here, and "
			"in a password they are written %3F and %23");
	release(&l);
	write_text("todod.conf", "\xef\xbb\xbf# comment\n; comment\n\n  workers=3\r\n"
				 "listen = 127.0.0.1:1, unix:/run/a.sock\nlisten = [::1]:2\n"
				 "cache = redis://:pass ;word=1@h\nstart_max = 5");
	load_well(&l, "HOME=/h", "-c|todod.conf");
	assert_int_equal(l.c.workers, 3);
	assert_int_equal(l.c.start_max, 5);
	assert_string_equal(l.c.cache, "redis://:pass ;word=1@h");
	assert_int_equal(l.c.listen_count, 3);
	assert_string_equal(l.c.listen[2], "[::1]:2");
	assert_string_equal(config_place(&l.s, "workers"), "todod.conf:4");
	assert_string_equal(config_place(&l.s, "listen"), "todod.conf:5, todod.conf:6");
	assert_string_equal(config_place(&l.s, "start_max"), "todod.conf:8");
	release(&l);
}

static void test_wrong_files(void **state)
{
	(void)state;
	expect_file_refused("\n\nworkers = many\n",
			    "todod.conf:3: workers: \"many\" is neither auto nor a whole number "
			    "from 1 to 1024");
	expect_file_refused("lisen = 127.0.0.1:80\n",
			    "todod.conf:1: unknown key \"lisen\"; did you mean \"listen\"?");
	expect_file_refused("timeout = 3\n", "todod.conf:1: unknown key \"timeout\"");
	expect_file_refused(
	    "store-timeout-ms = 3\n",
	    "todod.conf:1: unknown key \"store-timeout-ms\"; did you mean \"store_timeout_ms\"?");
	expect_file_refused("workers = 2\n\n# x\nworkers = 2\n",
			    "todod.conf:4: workers is already set in line 1");
	expect_file_refused("listen = 127.0.0.1:1\nlisten = 127.0.0.1:2, 127.0.0.1:01\n",
			    "todod.conf:2: listen: \"127.0.0.1:01\" is given twice");
	expect_file_refused("workers = 2\n[todod]\n",
			    "todod.conf:2: there are no [sections] here, only key = value");
	expect_file_refused(" [todod]\n", "todod.conf:1: there are no [sections] here, only key = value");
	expect_file_refused("\xef\xbb\xbf[todod]\nworkers = 2\n", "todod.conf:2: expected key = value");
	expect_file_refused("workers\n", "todod.conf:1: expected key = value");
	expect_file_refused("\n= 3\n", "todod.conf:2: expected key = value");
	expect_file_refused("workers =\n",
			    "todod.conf:1: workers: \"\" is neither auto nor a whole number from 1 to 1024");
	expect_file_refused("workers = 2\n  3\n", "todod.conf:2: expected key = value");
	expect_file_refused(
	    "content_max_bytes = 5000\nbody_max_bytes = 2000\n",
	    "todod.conf:1: content_max_bytes = 5000 (todod.conf:1) does not fit into body_max_bytes = 2000 "
	    "(todod.conf:2)");
	/* What a higher layer replaces is checked all the same. */
	write_text("todod.conf", "workers = 0\n");
	expect_refused("HOME=/h", "-c|todod.conf|--workers|2", EXIT_CODE_CONFIG,
		       "todod.conf:1: workers: \"0\" is neither auto nor a whole number from 1 to 1024");

	write_bytes("todod.conf", "workers = 2\n\0\n", 14);
	expect_refused("HOME=/h", "-c|todod.conf", EXIT_CODE_CONFIG, "todod.conf:2: a NUL byte");
	expect_refused("HOME=/h", "-c|missing", EXIT_CODE_CONFIG,
		       "missing: cannot be read: No such file or directory");
	expect_refused("HOME=/h", "-c|.", EXIT_CODE_CONFIG, ".: cannot be read: Is a directory");
	expect_refused("HOME=/h", "-c|todod.conf/x", EXIT_CODE_CONFIG,
		       "todod.conf/x: cannot be read: Not a directory");
	/* Readable, but reading it fails: even root gets EIO from its own memory at address 0. */
	expect_refused("HOME=/h", "-c|/proc/self/mem", EXIT_CODE_CONFIG,
		       "/proc/self/mem: cannot be read: Input/output error");
}

static void test_long_lines(void **state)
{
	(void)state;
	struct loaded l;
	struct buf text = BUF_INIT;
	buf_append_str(&text, "\nstore = mongodb://");
	while (text.len < 1 + 8000)
		buf_append_str(&text, "a");
	buf_append(&text, "", 1);
	write_text("todod.conf", text.data);
	load_well(&l, "HOME=/h", "-c|todod.conf");
	assert_int_equal(strlen(l.c.store), 8000 - strlen("store = "));
	release(&l);

	text.len--;
	while (text.len < 1 + CONFIG_LINE_BYTES)
		buf_append_str(&text, "b");
	write_bytes("todod.conf", text.data, text.len);
	expect_refused("HOME=/h", "-c|todod.conf", EXIT_CODE_CONFIG,
		       "todod.conf:2: store: a value of 8184 bytes is too long; at most 8128 are allowed");
	buf_append_str(&text, "c");
	write_bytes("todod.conf", text.data, text.len);
	expect_refused("HOME=/h", "-c|todod.conf", EXIT_CODE_CONFIG,
		       "todod.conf:2: a line of more than 8192 bytes");
	buf_release(&text);
}

/* "mongodb://u:PASSWORD@hhh…" of the largest size that a value may have. */
static void set_long_store(struct buf *store, const char *password)
{
	buf_clear(store);
	buf_printf(store, "mongodb://u:%s@", password);
	while (store->len < CONFIG_VALUE_BYTES)
		buf_append_str(store, "h");
	buf_append(store, "", 1);
}

/* What is dumped of it may not be longer than what may be loaded. */
static void test_long_secrets(void **state)
{
	(void)state;
	struct loaded first, second;
	struct buf store = BUF_INIT, words = BUF_INIT;
	set_long_store(&store, "abc");
	buf_printf(&words, "--store|%s%c", store.data, '\0');
	load_well(&first, "HOME=/h", words.data);
	char *text = dump(&first);
	write_text("dumped.conf", text);
	load_well(&second, "", "-c|dumped.conf");
	assert_int_equal(strlen(second.c.store), CONFIG_VALUE_BYTES);
	release(&first);
	release(&second);
	free(text);

	set_long_store(&store, "a");
	buf_clear(&words);
	buf_printf(&words, "--store|%s%c", store.data, '\0');
	expect_refused(
	    "HOME=/h", words.data, EXIT_CODE_CONFIG,
	    "--store: the value is too long: it has 8130 bytes once its secrets are masked; at most 8128 are "
	    "allowed");
	buf_release(&store);
	buf_release(&words);
}

/* --- the environment */

static void test_environment_files(void **state)
{
	(void)state;
	struct loaded l;
	write_text("secret", "mongodb://u:pw@h/todo\n");
	load_well(&l, "TODOD_STORE_FILE=secret", "");
	assert_string_equal(l.c.store, "mongodb://u:pw@h/todo");
	assert_string_equal(config_place(&l.s, "store"), "TODOD_STORE_FILE");
	release(&l);
	load_well(&l, "TODOD_STORE_FILE=secret|TODOD_STORE=", "");
	assert_string_equal(l.c.store, "mongodb://u:pw@h/todo");
	release(&l);
	load_well(&l, "TODOD_STORE_FILE=|TODOD_STORE=sqlite:x", "");
	assert_string_equal(l.c.store, "sqlite:x");
	release(&l);

	expect_refused("TODOD_STORE_FILE=secret|TODOD_STORE=sqlite:x", "", EXIT_CODE_CONFIG,
		       "TODOD_STORE: TODOD_STORE_FILE is set too; one of them has to go");
	expect_refused("TODOD_STORE_FILE=missing", "", EXIT_CODE_CONFIG,
		       "TODOD_STORE_FILE: missing cannot be read: No such file or directory");
	expect_refused("TODOD_STORE_FILE=.", "", EXIT_CODE_CONFIG,
		       "TODOD_STORE_FILE: . cannot be read: Is a directory");
	expect_refused("TODOD_STORE_FILE=/dev/zero", "", EXIT_CODE_CONFIG,
		       "TODOD_STORE_FILE: /dev/zero cannot be read: File too large");
	write_text("secret", "sqlite:x\n\n");
	expect_refused("TODOD_STORE_FILE=secret", "", EXIT_CODE_CONFIG,
		       "TODOD_STORE_FILE: the value has a control character at byte 9");
	write_bytes("secret", "sqlite:x\0y", 10);
	expect_refused("TODOD_STORE_FILE=secret", "", EXIT_CODE_CONFIG,
		       "TODOD_STORE_FILE: secret has a NUL byte");
	write_text("secret", "x");
	expect_refused("HOME=/h|TODOD_WORKERS_FILE=secret", "", EXIT_CODE_CONFIG,
		       "TODOD_WORKERS_FILE: \"x\" is neither auto nor a whole number from 1 to 1024");
	write_text("secret", "");
	expect_refused(
	    "TODOD_STORE_FILE=secret", "", EXIT_CODE_CONFIG,
	    "TODOD_STORE_FILE: \"\" is neither sqlite:PATH nor mongodb://... nor mongodb+srv://...");
}

static void test_unknown_variables(void **state)
{
	(void)state;
	struct loaded l;
	struct buf log = BUF_INIT;
	int saved = dup(STDERR_FILENO), fd = open("log", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(saved >= 0 && fd >= 0);
	assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	load(&l,
	     "HOME=/"
	     "h|TODOD_WROKERS=secret|TODOD_STOER_FILE=secret|TODOD_PORT_8080_TCP=secret|TODOD_FILE=secret|"
	     "TODODX=1|"
	     "TODOD_LOG_LEVEL=warn|TODOD_DRAIN_TIMEOUT_S=1|TODOD_=|TODOD_workers=9",
	     "");
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(fd);
	assert_int_equal(config_file_slurp("log", SAMPLE_BYTES, &log), 0);
	buf_append(&log, "", 1);
	assert_int_equal(l.rc, 0);
	assert_non_null(strstr(log.data,
			       "environment: unknown variable TODOD_WROKERS is ignored; did you mean "
			       "TODOD_WORKERS?\n"));
	assert_non_null(strstr(log.data,
			       "environment: unknown variable TODOD_STOER_FILE is ignored; did you mean "
			       "TODOD_STORE_FILE?\n"));
	assert_non_null(strstr(log.data, "environment: unknown variable TODOD_PORT_8080_TCP is ignored\n"));
	assert_non_null(strstr(log.data,
			       "environment: unknown variable TODOD_workers is ignored; did you mean "
			       "TODOD_WORKERS?\n"));
	assert_null(strstr(log.data, "secret"));
	assert_null(strstr(log.data, "TODODX"));
	assert_null(strstr(log.data, "TODOD_LOG_LEVEL"));
	assert_int_equal(l.c.workers, 0);
	buf_release(&log);
	release(&l);
}

/* --- did you mean */

static void test_guess(void **state)
{
	(void)state;
	assert_int_equal(config_edit_distance("", ""), 0);
	assert_int_equal(config_edit_distance("", "abc"), 3);
	assert_int_equal(config_edit_distance("lisen", "listen"), 1);
	assert_int_equal(config_edit_distance("wrokers", "workers"), 1);
	assert_int_equal(config_edit_distance("cash", "cache"), 2);
	char longer[200];
	memset(longer, 'a', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_true(config_edit_distance(longer, "a") > 2);

	static const struct {
		const char *typo, *meant;
	} cases[] = {
	    {"lisen",              "listen"             },
	    {"log",                "log_level"          },
	    {"start",              "start_max"          },
	    {"store_timeout_s",    "store_timeout_ms"   },
	    {"worker",             "workers"            },
	    {"keep_alive_timeout", "keepalive_timeout_s"},
	    {"maxconnections",     "max_connections"    },
	    {"",		   NULL                 },
	    {"x",		  NULL                 },
	    {"verbose",            NULL                 },
	    {"database",           NULL                 },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *guess = config_key_guess(cases[i].typo);
		if (cases[i].meant) {
			assert_non_null(guess);
			assert_string_equal(guess, cases[i].meant);
		} else {
			assert_null(guess);
		}
	}
}

/* --- addresses */

static void test_listen(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		struct listen_address address;
	} cases[] = {
	    {"127.0.0.1:8080",        {false, "127.0.0.1", "8080"}      },
	    {"0.0.0.0:0",             {false, "0.0.0.0", "0"}           },
	    {"localhost:65535",       {false, "localhost", "65535"}     },
	    {"my-host_1.example:080", {false, "my-host_1.example", "80"}},
	    {"[::1]:80",              {false, "::1", "80"}              },
	    {"[::]:80",               {false, "::", "80"}               },
	    {"[fe80::1%eth0]:80",     {false, "fe80::1%eth0", "80"}     },
	    {"[::ffff:127.0.0.1]:80", {false, "::ffff:127.0.0.1", "80"} },
	    {"unix:/run/todod.sock",  {true, "/run/todod.sock", ""}     },
	    {"unix:here:there",       {true, "here:there", ""}          },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct listen_address address;
		struct err err;
		assert_int_equal(config_parse_listen(&address, cases[i].text, &err), 0);
		assert_int_equal(address.is_unix, cases[i].address.is_unix);
		assert_string_equal(address.host, cases[i].address.host);
		assert_string_equal(address.port, cases[i].address.port);
	}
}

static void expect_listen_refused(const char *text, const char *sentence)
{
	struct listen_address address;
	struct err err;
	assert_int_equal(config_parse_listen(&address, text, &err), -1);
	assert_string_equal(err.text, sentence);
	assert_int_equal(err.code, EXIT_CODE_CONFIG);
}

static void test_wrong_listen(void **state)
{
	(void)state;
	static const struct {
		const char *text, *sentence;
	} cases[] = {
	    {"",               "\"\" is not HOST:PORT, [IPv6]:PORT or unix:PATH"                                      },
	    {":80",            "\":80\" names no host; 0.0.0.0 stands for every IPv4 address, [::] for every IPv6 one"},
	    {"::1:80",
	     "\"::1:80\" has more than one colon; an IPv6 address needs brackets, as in [::1]:8080"                   },
	    {"[::1",           "\"[::1\" has no closing bracket"						      },
	    {"[::1]",          "\"[::1]\" has no port from 0 to 65535"                                                },
	    {"[::1]80",        "\"[::1]80\" has something other than a port behind its bracket"                       },
	    {"[zz]:80",        "\"[zz]:80\" has no IPv6 address in its brackets"                                      },
	    {"[]:80",          "\"[]:80\" has no IPv6 address in its brackets"                                        },
	    {"[::1%]:80",      "\"[::1%]:80\" has no IPv6 address in its brackets"                                    },
	    {"[127.0.0.1]:80", "\"[127.0.0.1]:80\" has no IPv6 address in its brackets"                               },
	    {"host:",          "\"host:\" has no port from 0 to 65535"                                                },
	    {"host:http",      "\"host:http\" has no port from 0 to 65535"                                            },
	    {"host:65536",     "\"host:65536\" has no port from 0 to 65535"                                           },
	    {"host:-1",        "\"host:-1\" has no port from 0 to 65535"                                              },
	    {"*:80",           "\"*:80\" has neither a host name nor an address in front of its port"                 },
	    {"a b:80",         "\"a b:80\" has neither a host name nor an address in front of its port"               },
	    {"256.0.0.1:80",   "\"256.0.0.1:80\" has neither a host name nor an address in front of its port"         },
	    {"http://host:80",
	     "\"http://host:80\" has more than one colon; an IPv6 address needs brackets, as in [::1]:8080"           },
	    {"unix:",          "\"unix:\" names no path"							      },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect_listen_refused(cases[i].text, cases[i].sentence);

	/* The longest path that fits beside its NUL, and one byte more. */
	enum { FITS = sizeof(((struct sockaddr_un *)0)->sun_path) - 1 };
	char path[] =
	    "unix:/"
	    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	    "aaaaaaaaaaaaaaaaaaaaaaaaa";
	struct listen_address address;
	struct err err;
	path[5 + FITS + 1] = '\0';
	assert_int_equal(config_parse_listen(&address, path, &err), -1);
	assert_non_null(strstr(err.text, "has a path of 108 bytes; a unix socket takes 107"));
	path[5 + FITS] = '\0';
	assert_int_equal(config_parse_listen(&address, path, &err), 0);
	assert_string_equal(address.host, path + 5);
}

static void test_listen_lists(void **state)
{
	(void)state;
	struct loaded l;
	/* Port 0 is a new port each time; a host is another beside a path of the same name. */
	load_well(&l, "HOME=/h", "--listen|127.0.0.1:0,127.0.0.1:0,a:1,A:2,unix:a,unix:A");
	assert_int_equal(l.c.listen_count, 6);
	release(&l);
	expect_refused("HOME=/h", "--listen|a:1|--listen|A:1", EXIT_CODE_CONFIG,
		       "--listen: \"A:1\" is given twice");
	expect_refused("HOME=/h", "--listen|unix:a, unix:a", EXIT_CODE_CONFIG,
		       "--listen: \"unix:a\" is given twice");
	expect_refused("HOME=/h", "--listen|a:1,", EXIT_CODE_CONFIG,
		       "--listen: \"\" is not HOST:PORT, [IPv6]:PORT or unix:PATH");
	expect_refused("HOME=/h",
		       "--listen|a:1,a:2,a:3,a:4,a:5,a:6,a:7,a:8,a:9,a:10,a:11,a:12,a:13,a:14,a:15,a:16,a:17",
		       EXIT_CODE_CONFIG,
		       "--listen: \"a:17\" is one too many; at most 16 addresses are allowed");
}

static void expect_proxies(const char *environment, const char *arguments, const char *expected)
{
	struct loaded l;
	struct buf text = BUF_INIT;
	load_well(&l, environment, arguments);
	config_key_format(config_key_find(SLICE("trusted_proxies")), &l.c, &text);
	assert_true(slice_equal(buf_slice(&text), slice_of(expected)));
	buf_release(&text);
	release(&l);
}

static void test_trusted_proxies(void **state)
{
	(void)state;
	write_text("proxies.conf", "trusted_proxies = 10.0.0.0/8, ::1\ntrusted_proxies = unix:\n");
	expect_proxies("HOME=/h", "-c|proxies.conf", "10.0.0.0/8, ::1, unix:");
	expect_proxies("HOME=/h", "-c|proxies.conf|--trusted-proxies|::/0,0.0.0.0/0,192.0.2.1/32",
		       "::/0, 0.0.0.0/0, 192.0.2.1");
	expect_proxies("HOME=/h", "-c|proxies.conf|--trusted-proxies|none", "none");
	expect_proxies("HOME=/h|TODOD_TRUSTED_PROXIES=127.0.0.1", "-c|proxies.conf", "127.0.0.1");
	expect_proxies("HOME=/h", "--trusted-proxies|127.0.0.1|--trusted-proxies|::ffff:10.0.0.1",
		       "127.0.0.1, 10.0.0.1");
	static const char *const wrong[] = {
	    "",          "10.0.0.1/8", "10.0.0.0/33", "::1/129",     "nginx.example",
	    "10.0.0.1,", "[::1]",      "unix",        "unix:/run/x", "10.0.0.1:80",
	    "0.0.0.0",   "::",         "10.0.0.0/",   "10.0.0.0/+8", "fe80::1%eth0"};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct loaded l;
		char arguments[64];
		snprintf(arguments, sizeof(arguments), "--trusted-proxies=%s", wrong[i]);
		load(&l, "HOME=/h", arguments);
		assert_int_equal(l.rc, -1);
		assert_int_equal(l.err.code, EXIT_CODE_CONFIG);
		assert_non_null(strstr(l.err.text, "is neither an address nor a network"));
		release(&l);
	}
	struct config c = {.listen_count = 0};
	struct err err;
	const struct config_key *key = config_key_find(SLICE("trusted_proxies"));
	for (int i = 0; i < IP_SET_MAX; i++)
		assert_int_equal(config_key_set(key, &c, "10.0.0.1", &err), 0);
	assert_int_equal(config_key_set(key, &c, "10.0.0.1", &err), -1);
	assert_string_equal(err.text, "\"10.0.0.1\" is one too many; at most 256 networks are allowed");
}

static void test_admin_listen(void **state)
{
	(void)state;
	struct loaded l;
	load_well(&l, "HOME=/h", "");
	assert_int_equal(l.c.admin_listen_count, 0);
	release(&l);
	load_well(
	    &l, "HOME=/h",
	    "--admin-listen|127.0.0.1:9,127.255.3.4:9,[::1]:9,LocalHost:9|--admin-listen|unix:/run/a.sock");
	assert_int_equal(l.c.admin_listen_count, 5);
	assert_string_equal(l.c.admin_listen[4], "unix:/run/a.sock");
	assert_int_equal(l.c.listen_count, 1);
	release(&l);
	/* A layer replaces the one below. */
	load_well(&l, "HOME=/h|TODOD_ADMIN_LISTEN=127.0.0.1:9", "--admin-listen|off");
	assert_int_equal(l.c.admin_listen_count, 0);
	release(&l);
	static const char *const open_to_others[] = {
	    "0.0.0.0:9", "[::]:9", "192.0.2.1:9", "128.0.0.1:9", "[::2]:9", "h:9", "127.0.0.1.example.com:9"};
	for (size_t i = 0; i < sizeof(open_to_others) / sizeof(open_to_others[0]); i++) {
		char words[128], sentence[256];
		snprintf(words, sizeof(words), "--admin-listen|%s", open_to_others[i]);
		snprintf(
		    sentence, sizeof(sentence),
		    "--admin-listen: \"%s\" could be reached from other machines; it has to be a loopback "
		    "address or unix:PATH",
		    open_to_others[i]);
		expect_refused("HOME=/h", words, EXIT_CODE_CONFIG, sentence);
	}
	expect_refused("HOME=/h", "--admin-listen|unix:a, unix:a", EXIT_CODE_CONFIG,
		       "--admin-listen: \"unix:a\" is given twice");
	expect_refused("HOME=/h", "--listen|127.0.0.1:8,unix:a|--admin-listen|127.0.0.1:7,unix:a",
		       EXIT_CODE_CONFIG,
		       "--admin-listen: admin_listen: \"unix:a\" is in listen (--listen), too");
	load_well(&l, "HOME=/h", "--listen|127.0.0.1:0|--admin-listen|127.0.0.1:0");
	release(&l);
}

static void test_cache(void **state)
{
	(void)state;
	static const char *const good[] = {
	    "local",
	    "off",
	    "redis://h",
	    "redis://h:1",
	    "redis://h:65535/0",
	    "redis://h/",
	    "redis://h/15",
	    "redis://:pw@h",
	    "redis://user:p%40w@h:6379/3",
	    "redis://[::1]:6379",
	    "redis://[::1]",
	    "redis://127.0.0.1",
	    "redis://user:pw@h",
	    "redis+unix:///run/redis.sock",
	    "redis+unix:///run/a:b@c",
	    "redis+unix:///run/redis.sock?db=0",
	    "redis+unix://:pw@/run/redis.sock",
	    "redis+unix://user:p%40%2Fw@/run/redis.sock?db=15",
	};
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct config c = {.listen_count = 0};
		struct err err;
		const struct config_key *key = config_key_find(SLICE("cache"));
		if (config_key_set(key, &c, good[i], &err))
			fail_msg("%s", err.text);
		assert_string_equal(c.cache, good[i]);
		config_key_clear(key, &c);
	}
	static const struct {
		const char *text, *sentence;
	} cases[] = {
	    {"",		   "\"\" is neither local nor off nor redis://... nor redis+unix:///path"       },
	    {"memcached://h",
	     "\"memcached://h\" is neither local nor off nor redis://... nor redis+unix:///path"                },
	    {"redis:h",            "\"redis:h\" is neither local nor off nor redis://... nor redis+unix:///path"},
	    {"rediss://:pw@h",
	     "\"rediss://:***@h\" asks for TLS, which todod does not speak to Redis; use a tunnel such as "
	     "stunnel and redis://, or a unix socket and redis+unix:///path"                                    },
	    {"redis://",           "\"redis://\" names no host"                                                 },
	    {"redis://:6379",      "\"redis://:6379\" names no host"                                            },
	    {"redis://h:0",        "\"redis://h:0\" has no port from 1 to 65535"                                },
	    {"redis://h:",         "\"redis://h:\" has no port from 1 to 65535"                                 },
	    {"redis://h:65536/1",  "\"redis://h:65536/1\" has no port from 1 to 65535"                          },
	    {"redis://h/db",
	     "\"redis://h/db\" has something other than the number of a database behind its /"                  },
	    {"redis://h/1/2",
	     "\"redis://h/1/2\" has something other than the number of a database behind its /"                 },
	    {"redis://h?x=1",      "\"redis://h?x=1\" has a ? or #; none is taken here, and in a password they "
			      "are written %3F and %23"                            },
	    {"redis://pw@h",
	     "\"redis://pw@h\" has no password in front of its @; it is written redis://:password@host"         },
	    {"redis://:@h",
	     "\"redis://:***@h\" has no password in front of its @; it is written redis://:password@host"       },
	    {"redis://:p%4@h",     "\"redis://:***@h\" has a broken % escape; a % in a password is written %25" },
	    {"redis://:p@w@h",     "\"redis://:***@h\" has more than one @; in a password it is written %40"    },
	    {"redis://:p/w@h",
	     "\"redis://:***@h\" has a / in front of its @; in a password it is written %2F"                    },
	    {"redis+unix://run/x", "\"redis+unix://run/x\" is not redis+unix:///path"                           },
	    {"redis+unix:///",     "\"redis+unix:///\" is not redis+unix:///path"                               },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct err err;
		assert_int_equal(config_check_cache_uri(cases[i].text, &err), -1);
		assert_string_equal(err.text, cases[i].sentence);
	}
	static const char *const parts[][2] = {
	    {"redis+unix://",                  "is not redis+unix:///path"                                 },
	    {"redis+unix://:secret@",          "is not redis+unix:///path"                                 },
	    {"redis+unix://:secret@h/run/x",   "is not redis+unix:///path"                                 },
	    {"redis+unix:///?db=1",            "is not redis+unix:///path"                                 },
	    {"redis+unix://u:secret?w@/run/x", "has a ? or # in front of its path; in a password they are" },
	    {"redis+unix:///run/x?db=",        "has something other than ?db= and the number of a database"},
	    {"redis+unix:///run/x?db=-1",      "has something other than ?db= and the number of a database"},
	    {"redis+unix:///run/x?DB=1",       "has something other than ?db= and the number of a database"},
	    {"redis+unix:///run/x?db=1&x=2",   "has something other than ?db= and the number of a database"},
	    {"redis+unix://u:secret/w@/run/x", "has a / in front of its @; in a password it is written %2F"},
	    {"redis+unix://u:secret@w@/run/x", "has more than one @; in a password it is written %40"      },
	    {"redis+unix://u:secret%4@/run/x", "has a broken % escape; a % in a password is written %25"   },
	    {"redis+unix://u:@/run/x",         "has no password in front of its @"                         },
	};
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		struct err err;
		assert_int_equal(config_check_cache_uri(parts[i][0], &err), -1);
		assert_non_null(strstr(err.text, parts[i][1]));
		assert_null(strstr(err.text, "secret"));
	}
	char path[300] = "redis+unix://u:p@";
	size_t prefix = strlen(path);
	memset(path + prefix, '/', 108);
	struct err err;
	assert_int_equal(config_check_cache_uri(path, &err), -1);
	assert_non_null(strstr(err.text, "has a path that is too long for a unix socket"));
	memcpy(path + prefix + 107, "?db=1", sizeof("?db=1"));
	assert_int_equal(config_check_cache_uri(path, &err), 0);
}

/* --- secrets, dump and help */

static void test_mask(void **state)
{
	(void)state;
	static const struct {
		const char *uri, *masked;
	} cases[] = {
	    {"",							      ""				    },
	    {"local",							 "local"			       },
	    {"sqlite:/a:b@c",						 "sqlite:/a:b@c"                       },
	    {"redis://h:6379/1",					      "redis://h:6379/1"                    },
	    {"redis://:pw@h:6379/1",					  "redis://:***@h:6379/1"               },
	    {"redis://user:pw@h",					     "redis://user:***@h"                  },
	    {"redis+unix://:pw@/run/r.sock?db=1",                             "redis+unix://:***@/run/r.sock?db=1"  },
	    {"redis+unix://user:p%40w@/run/r.sock",                           "redis+unix://user:***@/run/r.sock"   },
	    {"redis+unix:///run/a@b?db=1",                                    "redis+unix:///run/a@b?db=1"          },
	    {"redis+unix://user:pw@/run/a@b",                                 "redis+unix://user:***@b"             },
	    {"redis+unix://user:p/w@/run/r",                                  "redis+unix://user:***@/run/r"        },
	    {"redis+unix://user:p?w@/run/r",                                  "redis+unix://user:***@/run/r"        },
	    {"mongodb://user@h:27017",					"mongodb://user@h:27017"              },
	    {"mongodb://u:pw@a:1,b:2/todo?w=1",                               "mongodb://u:***@a:1,b:2/todo?w=1"    },
	    {"mongodb://u:p:w@h/todo?appName=a@b:c",                          "mongodb://u:***@h/todo?appName=a@b:c"},
 /* Unescaped passwords: never a part of them. */
	    {"mongodb://u:p@w@h/",					    "mongodb://u:***@h/"                  },
	    {"mongodb://u:p/w@h/",					    "mongodb://u:***@h/"                  },
	    {"mongodb://u:p?w@h/",					    "mongodb://u:***@h/"                  },
	    {"mongodb+srv://u:p%40w@h",                                       "mongodb+srv://u:***@h"               },
	    {"mongodb://h/?tlsCertificateKeyFilePassword=pw&w=1",
	     "mongodb://h/?tlsCertificateKeyFilePassword=***&w=1"                                                   },
	    {"mongodb://h/?w=1&AUTHMECHANISMPROPERTIES=AWS_SESSION_TOKEN:pw",
	     "mongodb://h/?w=1&AUTHMECHANISMPROPERTIES=***"                                                         },
	    {"mongodb://h/?a&b=1&",					   "mongodb://h/?a&b=1&"                 },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *masked = config_mask_password(cases[i].uri);
		assert_string_equal(masked, cases[i].masked);
		free(masked);
	}
}

static void test_dump(void **state)
{
	(void)state;
	struct loaded l;
	write_text("odd\nname", "start_max = 7\n");
	load_well(
	    &l, "HOME=/h|TODOD_CACHE=redis://:secret@h/1",
	    "-c|odd\nname|--listen|a:1|--listen|unix:b|--dump-config|--store|mongodb://u:secret@h/todo");
	char *text = dump(&l);
	assert_non_null(strstr(text, "# --listen\nlisten = a:1, unix:b\n"));
	assert_non_null(strstr(text, "# --store\nstore = mongodb://u:***@h/todo\n"));
	assert_non_null(strstr(text, "# TODOD_CACHE\ncache = redis://:***@h/1\n"));
	assert_non_null(strstr(text, "# default\nworkers = auto\n"));
	assert_non_null(strstr(text, "# odd?name:1\nstart_max = 7\n"));
	assert_null(strstr(text, "secret"));
	free(text);
	release(&l);
}

/* What a dump says without its comments. */
static char *values_of(const struct loaded *l)
{
	char *text = dump(l), *to = text;
	for (const char *line = text; *line;) {
		size_t len = strcspn(line, "\n") + 1;
		if (*line != '#') {
			memmove(to, line, len);
			to += len;
		}
		line += len;
	}
	*to = '\0';
	return text;
}

static void test_dump_loads(void **state)
{
	(void)state;
	struct loaded first, second;
	load_well(&first, "HOME=/h",
		  "--listen|127.0.0.1:1,[::1]:2,unix:/x "
		  "y|--admin-listen|[::1]:3,unix:/y|--store|sqlite:/with ; and # in "
		  "it|--cache|off|--workers|3|"
		  "--store-timeout-ms|101|--cache-mode|strict|--cache-ttl-s|5|--cache-fresh-s|6|--content-"
		  "max-bytes|7|"
		  "--body-max-bytes|2000|--start-max|0|--header-timeout-s|8|--keepalive-timeout-s|9|--write-"
		  "timeout-s|11|"
		  "--max-connections|12|--max-connections-total|14|--max-connections-per-address|15|--rate-"
		  "limit|16|--rate-burst|17|"
		  "--trusted-proxies|unix:,10.0.0.0/8,2001:db8::/"
		  "32,::1|--proxy-header|forwarded|--worker-timeout-s|13|--max-requests|18|--max-rss-mb|19|--"
		  "log-level|error|--drain-timeout-s|"
		  "0|--user|u|"
		  "--group|g|--pidfile|/p|--control|/c|"
		  "--unix-group|x|--unix-mode|660|--access-log|/with ; and # in "
		  "it|--access-log-format|json|--slow-ms|14");
	assert_int_equal(first.c.unix_mode, 0660);
	for (size_t i = 0; i < config_key_count; i++)
		assert_string_not_equal(config_place(&first.s, config_keys[i].name), "default");
	char *text = dump(&first);
	write_text("dumped.conf", text);
	free(text);
	load_well(&second, "", "-c|dumped.conf");
	char *a = values_of(&first), *b = values_of(&second);
	assert_string_equal(a, b);
	assert_string_equal(config_place(&second.s, "listen"), "dumped.conf:2");
	free(a);
	free(b);
	release(&first);
	release(&second);
}

static void test_help(void **state)
{
	(void)state;
	char *text = NULL;
	size_t size = 0;
	FILE *stream = open_memstream(&text, &size);
	assert_non_null(stream);
	config_help(stream);
	assert_int_equal(fclose(stream), 0);
	for (size_t i = 0; i < config_key_count; i++) {
		const struct config_key *key = &config_keys[i];
		struct buf entry = BUF_INIT;
		buf_printf(&entry, "\n  %-28s ", key->name);
		config_key_allowed(key, &entry);
		buf_printf(&entry, "\n  %-28s %s\n  %-28s default: %s\n%c", "", key->meaning, "",
			   key->preset ? key->preset : key->preset_words, '\0');
		if (!strstr(text, entry.data))
			fail_msg("not in the help:%s", entry.data);
		buf_release(&entry);
	}
	assert_true(strstr(text, "Examples:") < strstr(text, "Options:"));
	static const char *const needed[] = {"-c FILE",
					     "-t ",
					     "--dump-config",
					     "-V, --version",
					     "-h, --help",
					     "TODOD_KEY_FILE",
					     "TERM",
					     "INT, QUIT",
					     "64",
					     "78"};
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
		assert_non_null(strstr(text, needed[i]));
	free(text);
}

/* --- conf/todod.conf */

/* Cuts the next line, without its end, off *text. */
static struct slice next_line(const char **text)
{
	struct slice line = {*text, strcspn(*text, "\n")};
	*text += line.len + ((*text)[line.len] == '\n');
	return line;
}

/* "# key = value" of a line that is a key when uncommented; the rest is prose. */
static bool is_setting(struct slice line, struct slice *key, struct slice *value)
{
	if (line.len < 2 || memcmp(line.data, "# ", 2) != 0)
		return false;
	const char *at = line.data + 2;
	size_t len = strspn(at, "abcdefghijklmnopqrstuvwxyz_");
	if (len == 0 || len + 5 >= line.len || memcmp(at + len, " = ", 3) != 0)
		return false;
	*key = (struct slice){at, len};
	*value = (struct slice){at + len + 3, line.len - len - 5};
	return true;
}

static bool has(struct buf *prose, const char *phrase)
{
	return memmem(prose->data, prose->len, phrase, strlen(phrase)) != NULL;
}

/* The keys of the sample are those of the table, in its order, each with its default, range and some words.
 */
static void test_sample_agrees(void **state)
{
	(void)state;
	const char *rest = sample.data;
	struct buf prose = BUF_INIT;
	size_t next = 0;
	while (*rest) {
		struct slice line = next_line(&rest), name, value;
		if (line.len == 0) {
			buf_clear(&prose);
			continue;
		}
		if (line.data[0] != '#')
			fail_msg("not commented out: %.*s", (int)line.len, line.data);
		if (!is_setting(line, &name, &value)) {
			buf_append(&prose, line.data + 1, line.len - 1);
			continue;
		}
		assert_true(next < config_key_count);
		const struct config_key *key = &config_keys[next++];
		if (!slice_equal(name, slice_of(key->name)))
			fail_msg("%s: expected, but there stands %.*s", key->name, (int)name.len, name.data);
		if (key->preset && !slice_equal(value, slice_of(key->preset)))
			fail_msg("%s: its default is %s", key->name, key->preset);
		if (!key->preset && !has(&prose, key->preset_words))
			fail_msg("%s: without \"%s\"", key->name, key->preset_words);
		struct buf allowed = BUF_INIT;
		config_key_allowed(key, &allowed);
		buf_append(&allowed, "", 1);
		if (!has(&prose, allowed.data))
			fail_msg("%s: without \"%s\"", key->name, allowed.data);
		if (prose.len < allowed.len + 20)
			fail_msg("%s: without a why", key->name);
		buf_release(&allowed);
	}
	assert_int_equal(next, config_key_count);
	buf_release(&prose);
}

/* As it is, and with every line uncommented, it loads and changes nothing but the path of the store. */
static void test_sample_loads(void **state)
{
	(void)state;
	struct loaded plain, as_is, uncommented;
	struct buf text = BUF_INIT;
	const char *rest = sample.data;
	while (*rest) {
		struct slice line = next_line(&rest), name, value;
		size_t skip = is_setting(line, &name, &value) ? 2 : 0;
		buf_append(&text, line.data + skip, line.len - skip);
		buf_append_str(&text, "\n");
	}
	write_bytes("uncommented.conf", text.data, text.len);
	buf_release(&text);
	write_text("sample.conf", sample.data);
	static const char home[] = "HOME=/h|STATE_DIRECTORY=/var/lib/todod";
	load_well(&plain, home, "");
	load_well(&as_is, home, "-c|sample.conf");
	load_well(&uncommented, home, "-c|uncommented.conf");
	char *a = dump(&plain), *b = dump(&as_is);
	assert_string_equal(a, b);
	free(a);
	free(b);
	a = values_of(&plain);
	b = values_of(&uncommented);
	assert_string_equal(a, b);
	for (size_t i = 0; i < config_key_count; i++)
		assert_string_not_equal(config_place(&uncommented.s, config_keys[i].name), "default");
	free(a);
	free(b);
	release(&plain);
	release(&as_is);
	release(&uncommented);
}

/* --- cores */

static uint32_t affinity(void)
{
	cpu_set_t set;
	assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
	return (uint32_t)CPU_COUNT(&set);
}

static uint32_t workers_for(uint32_t cores)
{
	return 2 * (cores < affinity() ? cores : affinity()) + 1;
}

/* Writes files, "path=content|path=content", below a fresh directory `name`. */
static void plant(const char *name, const char *files)
{
	char **list = cut(NULL, files);
	assert_int_equal(mkdir(name, 0700), 0);
	for (size_t i = 0; list[i]; i++) {
		char path[512], *content = strchr(list[i], '=');
		assert_non_null(content);
		*content++ = '\0';
		snprintf(path, sizeof(path), "%s/%s", name, list[i]);
		for (char *slash = path + strlen(name) + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
			*slash = '\0';
			assert_true(mkdir(path, 0700) == 0 || errno == EEXIST);
		}
		write_text(path, content);
	}
	free_list(list);
}

static void test_cores(void **state)
{
	(void)state;
	enum { ALL = 1 << 20 };
	static const struct {
		const char *files;
		uint32_t cores;
	} cases[] = {
	    {"proc=0::/\n|cpu.max=150000 100000\n",						     2  },
	    {"proc=0::/\n|cpu.max=50000 100000\n",						      1  },
	    {"proc=0::/\n|cpu.max=100000 100000\n",						     1  },
	    {"proc=0::/\n|cpu.max=100001 100000\n",						     2  },
	    {"proc=0::/\n|cpu.max=max 100000\n",							ALL},
	    {"proc=0::/\n|cpu.max=100000 0\n",							  ALL},
	    {"proc=0::/\n|cpu.max=\n",								  ALL},
	    {"proc=0::/\n|cpu.max=4294967295 1\n",						      ALL},
 /* nested: the smallest counts, wherever it stands */
	    {"proc=0::/a/b\n|cpu.max=max 100000|a/cpu.max=100000 100000\n|a/b/cpu.max=900000 100000\n", 1  },
	    {"proc=0::/a/b\n|a/cpu.max=900000 100000\n|a/b/cpu.max=50000 100000\n",                     1  },
	    {"proc=0::/a/b\n|cpu.max=100000 100000\n|a/b/cpu.max=max 100000\n",                         1  },
 /* the group's directory is not mounted here, as in a container with the host's cgroup names */
	    {"proc=0::/docker/abc\n|cpu.max=100000 100000\n",                                           1  },
	    {"proc=0::/../other\n|cpu.max=100000 100000\n",                                             1  },
 /* not a path of this process */
	    {"proc=0::/a\n|ab/cpu.max=100000 100000\n|b/cpu.max=100000 100000\n",                       ALL},
 /* version 1: controllers are a list */
	    {"proc=4:memory:/m\n3:cpu,cpuacct:/a\n|cpu/a/cpu.cfs_quota_us=50000\n|cpu/a/"
	     "cpu.cfs_period_us=100000\n",						 1  },
	    {"proc=3:cpuacct,cpu:/a\n|cpu/cpu.cfs_quota_us=100000\n|cpu/cpu.cfs_period_us=100000\n|"
	     "cpu/a/cpu.cfs_quota_us=-1\n|cpu/a/cpu.cfs_period_us=100000\n",	       1  },
	    {"proc=3:cpuacct:/a\n2:cpuset:/a\n|cpu/a/cpu.cfs_quota_us=50000\n|cpu/a/"
	     "cpu.cfs_period_us=100000\n",						 ALL},
	    {"proc=3:cpu:/\n|cpu/cpu.cfs_quota_us=-1\n|cpu/cpu.cfs_period_us=100000\n",                 ALL},
	    {"proc=3:cpu:/\n|cpu/cpu.cfs_quota_us=50000\n",                                             ALL},
 /* both versions mounted */
	    {"proc=1:cpu:/\n0::/\n|cpu/cpu.cfs_quota_us=50000\n|cpu/cpu.cfs_period_us=100000\n",        1  },
 /* nothing there, or nonsense */
	    {"proc=0::/\n",									     ALL},
	    {"proc=nonsense\n:\n0:x\n|cpu.max=50000 100000\n",                                          ALL},
	    {"cpu.max=50000 100000\n",								  ALL},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char root[32], proc[64];
		snprintf(root, sizeof(root), "cgroup-%zu", i);
		snprintf(proc, sizeof(proc), "%s/proc", root);
		plant(root, cases[i].files);
		uint32_t workers = config_default_workers(root, proc);
		if (workers != workers_for(cases[i].cores))
			fail_msg("%s: %u workers", cases[i].files, workers);
	}
	assert_int_equal(config_default_workers("missing", "missing"), workers_for(ALL));
	/* A group outside of what is mounted: nothing beside the root is looked at. */
	plant("outside", "root/proc=0::/../other\n|other/cpu.max=50000 100000\n");
	assert_int_equal(config_default_workers("outside/root", "outside/root/proc"), workers_for(ALL));
}

static void test_cores_by_affinity(void **state)
{
	(void)state;
	cpu_set_t all, one;
	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	CPU_ZERO(&one);
	for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; cpu++)
		if (CPU_ISSET(cpu, &all))
			CPU_SET(cpu, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	uint32_t workers = config_default_workers("missing", "missing");
	assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
	assert_int_equal(workers, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_defaults),
	    cmocka_unit_test(test_table_covers_the_struct),
	    cmocka_unit_test(test_access_log),
	    cmocka_unit_test(test_default_store),
	    cmocka_unit_test(test_default_control),
	    cmocka_unit_test(test_find_control),
	    cmocka_unit_test(test_find_no_control),
	    cmocka_unit_test(test_default_cache),
	    cmocka_unit_test(test_precedence),
	    cmocka_unit_test(test_command_line),
	    cmocka_unit_test(test_wrong_command_line),
	    cmocka_unit_test(test_wrong_values),
	    cmocka_unit_test(test_ranges),
	    cmocka_unit_test(test_file),
	    cmocka_unit_test(test_wrong_files),
	    cmocka_unit_test(test_long_lines),
	    cmocka_unit_test(test_long_secrets),
	    cmocka_unit_test(test_environment_files),
	    cmocka_unit_test(test_unknown_variables),
	    cmocka_unit_test(test_guess),
	    cmocka_unit_test(test_listen),
	    cmocka_unit_test(test_wrong_listen),
	    cmocka_unit_test(test_listen_lists),
	    cmocka_unit_test(test_trusted_proxies),
	    cmocka_unit_test(test_admin_listen),
	    cmocka_unit_test(test_cache),
	    cmocka_unit_test(test_mask),
	    cmocka_unit_test(test_dump),
	    cmocka_unit_test(test_dump_loads),
	    cmocka_unit_test(test_help),
	    cmocka_unit_test(test_sample_agrees),
	    cmocka_unit_test(test_sample_loads),
	    cmocka_unit_test(test_cores),
	    cmocka_unit_test(test_cores_by_affinity),
	};
	return cmocka_run_group_tests(tests, enter_directory, leave_directory);
}
