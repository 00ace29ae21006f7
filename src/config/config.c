/*
 * The layers of the configuration. Each is read in turn, from the lowest; a key set in one forgets what lower
 * ones said of it, but what they said is checked all the same. Knows no key by name, but for the sentences at
 * the end about two at once.
 */
#include "config/options.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum layer { LAYER_NONE, LAYER_DEFAULT, LAYER_FILE, LAYER_ENVIRONMENT, LAYER_COMMAND_LINE };

/* One for each row of the table, in its order. */
struct config_origin {
	enum layer layer;
	unsigned line; /* in the file */
	char *place;   /* owned */
};

struct loader {
	struct config *c;
	struct config_sources *s;
	char *const *environment;
};

static struct config_origin *origin_of(const struct config_sources *s, const struct config_key *key)
{
	return &s->origins[key - config_keys];
}

/* A place ends up in a comment of the dump: no control characters. */
static char *make_place(const char *old, const char *place)
{
	struct buf text = BUF_INIT;
	if (old)
		buf_printf(&text, "%s, ", old);
	buf_printf(&text, "%s%c", place, '\0');
	for (size_t i = 0; i + 1 < text.len; i++)
		if (iscntrl((unsigned char)text.data[i]))
			text.data[i] = '?';
	return text.data;
}

/* Sets a key in a layer. In front of an error stands `place`. */
static int assign(struct loader *l, const struct config_key *key, enum layer layer, const char *place,
		  const char *value, struct err *err)
{
	struct config_origin *origin = origin_of(l->s, key);
	bool first = origin->layer != layer;
	struct err inner;
	if (first)
		config_key_clear(key, l->c);
	if (config_key_set(key, l->c, value, &inner)) {
		const char *name = layer == LAYER_FILE ? key->name : "";
		return err_set(err, inner.code, "%.300s: %s%s%s", place, name, *name ? ": " : "", inner.text);
	}
	/* A list from several lines of the file has several places. */
	char *old = origin->place;
	origin->place = make_place(!first && layer == LAYER_FILE ? old : NULL, place);
	origin->layer = layer;
	free(old);
	return 0;
}

/* --- defaults */

static int assign_presets(struct loader *l, struct err *err)
{
	for (size_t i = 0; i < config_key_count; i++)
		if (config_keys[i].preset &&
		    assign(l, &config_keys[i], LAYER_DEFAULT, "default", config_keys[i].preset, err))
			return -1;
	return 0;
}

/* --- the file */

static int assign_from_file(void *user, const char *name, const char *value, unsigned line, struct err *err)
{
	struct loader *l = user;
	const struct config_key *key = config_key_find(slice_of(name));
	if (!key) {
		const char *guess = config_key_guess(name);
		return err_set(err, EXIT_CODE_CONFIG, "%.300s:%u: unknown key \"%.100s\"%s%s%s", l->s->file,
			       line, name, guess ? "; did you mean \"" : "", guess ? guess : "",
			       guess ? "\"?" : "");
	}
	struct config_origin *origin = origin_of(l->s, key);
	if (origin->line && !config_key_is_list(key))
		return err_set(err, EXIT_CODE_CONFIG, "%.300s:%u: %s is already set in line %u", l->s->file,
			       line, name, origin->line);
	struct buf place = BUF_INIT;
	buf_printf(&place, "%s:%u%c", l->s->file, line, '\0');
	int rc = assign(l, key, LAYER_FILE, place.data, value, err);
	origin->line = line;
	buf_release(&place);
	return rc;
}

/* --- the environment */

static const char prefix[] = "TODOD_", file_suffix[] = "_FILE";

/* The value of a variable, or NULL. An empty one counts as none: container systems and unit files set such.
 */
static const char *environment_get(char *const *environment, const char *name)
{
	size_t len = strlen(name);
	for (; *environment; environment++)
		if (strncmp(*environment, name, len) == 0 && (*environment)[len] == '=')
			return (*environment)[len + 1] ? *environment + len + 1 : NULL;
	return NULL;
}

/* NUL-terminated; the NUL counts. */
static void append_variable(struct buf *out, const char *key_name, const char *suffix)
{
	buf_append_str(out, prefix);
	for (const char *c = key_name; *c; c++) {
		char upper = (char)toupper((unsigned char)*c);
		buf_append(out, &upper, 1);
	}
	buf_printf(out, "%s%c", suffix, '\0');
}

/* The content of the file that a TODOD_KEY_FILE names, without one line break at its end. */
static int read_secret(const char *variable, const char *path, struct buf *out, struct err *err)
{
	if (config_file_slurp(path, CONFIG_VALUE_BYTES, out))
		return err_set(err, EXIT_CODE_CONFIG, "%s: %.300s cannot be read: %s", variable, path,
			       strerror(errno));
	if (out->len && out->data[out->len - 1] == '\n')
		out->len--;
	if (out->len && memchr(out->data, '\0', out->len))
		return err_set(err, EXIT_CODE_CONFIG, "%s: %.300s has a NUL byte", variable, path);
	buf_append(out, "", 1);
	return 0;
}

static int assign_from_variables(struct loader *l, const struct config_key *key, struct err *err)
{
	struct buf variable = BUF_INIT, file_variable = BUF_INIT, content = BUF_INIT;
	append_variable(&variable, key->name, "");
	append_variable(&file_variable, key->name, file_suffix);
	const char *value = environment_get(l->environment, variable.data);
	const char *path = environment_get(l->environment, file_variable.data);
	int rc = 0;
	if (value && path) {
		rc = err_set(err, EXIT_CODE_CONFIG, "%s: %s is set too; one of them has to go", variable.data,
			     file_variable.data);
	} else if (value) {
		rc = assign(l, key, LAYER_ENVIRONMENT, variable.data, value, err);
	} else if (path) {
		rc = read_secret(file_variable.data, path, &content, err);
		if (rc == 0)
			rc = assign(l, key, LAYER_ENVIRONMENT, file_variable.data, content.data, err);
	}
	buf_release(&variable);
	buf_release(&file_variable);
	buf_release(&content);
	return rc;
}

static bool is_variable_of(const char *key_name, const char *suffix, struct slice variable)
{
	struct buf own = BUF_INIT;
	append_variable(&own, key_name, suffix);
	bool same = slice_equal(slice_of(own.data), variable);
	buf_release(&own);
	return same;
}

/* Warns of a TODOD_* that means nothing here. Its value may be a secret and is not shown. */
static void warn_if_unknown(struct slice variable)
{
	for (size_t i = 0; i < config_key_count; i++)
		if (is_variable_of(config_keys[i].name, "", variable) ||
		    is_variable_of(config_keys[i].name, file_suffix, variable))
			return;
	struct slice rest = {variable.data + sizeof(prefix) - 1, variable.len - (sizeof(prefix) - 1)};
	size_t suffix_len = sizeof(file_suffix) - 1;
	bool is_file =
	    rest.len > suffix_len && memcmp(rest.data + rest.len - suffix_len, file_suffix, suffix_len) == 0;
	char *name = alloc_string((struct slice){rest.data, rest.len - (is_file ? suffix_len : 0)});
	for (char *c = name; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	const char *guess = config_key_guess(name);
	struct buf meant = BUF_INIT;
	if (guess)
		append_variable(&meant, guess, is_file ? file_suffix : "");
	log_warn("environment: unknown variable %.*s is ignored%s%s%s", (int)variable.len, variable.data,
		 guess ? "; did you mean " : "", guess ? meant.data : "", guess ? "?" : "");
	buf_release(&meant);
	free(name);
}

static int assign_environment(struct loader *l, struct err *err)
{
	for (size_t i = 0; i < config_key_count; i++)
		if (assign_from_variables(l, &config_keys[i], err))
			return -1;
	for (char *const *variable = l->environment; *variable; variable++)
		if (strncmp(*variable, prefix, sizeof(prefix) - 1) == 0)
			warn_if_unknown((struct slice){*variable, strcspn(*variable, "=")});
	return 0;
}

/* --- the command line */

struct command_line {
	enum config_action action;
	const char *file;
	struct {
		const struct config_key *key;
		const char *value; /* a view of argv */
	} * assignments;           /* owned; room for argc of them */
	size_t count;
};

static const struct {
	const char *name;
	enum config_action action;
} flags[] = {
    {"-t",	    CONFIG_TEST   },
    {"-V",            CONFIG_VERSION},
    {"-h",            CONFIG_HELP   },
    {"--version",     CONFIG_VERSION},
    {"--help",        CONFIG_HELP   },
    {"--dump-config", CONFIG_DUMP   },
};

/* What may stand in front of all options. */
static const struct {
	const char *name;
	enum config_action action;
} verbs[] = {
    {"doctor", CONFIG_DOCTOR},
};

/* "--store-timeout-ms" and "store_timeout_ms" into each other. */
static void translate(char *text, char from, char to)
{
	for (; *text; text++)
		if (*text == from)
			*text = to;
}

static char *option_of(const char *key_name)
{
	char *option = alloc_string(slice_of(key_name));
	translate(option, '_', '-');
	return option;
}

static bool is_flag(const char *name, enum config_action *action)
{
	char *plain = alloc_string(slice_of(name));
	if (strncmp(plain, "--", 2) == 0)
		translate(plain, '_', '-');
	bool found = false;
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]) && !found; i++)
		if (strcmp(flags[i].name, plain) == 0) {
			*action = flags[i].action;
			found = true;
		}
	free(plain);
	return found;
}

/* `key_name` is what stood behind "--", with '_' for '-'. */
static int unknown_option(const char *option, const char *key_name, struct err *err)
{
	const char *guess = NULL;
	if (strncmp(option, "--", 2) == 0) {
		guess = config_key_guess(key_name);
		for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
			if (flags[i].name[1] == '-' && config_edit_distance(flags[i].name, option) <= 2)
				guess = flags[i].name + 2;
	}
	char *shown = option_of(guess ? guess : "");
	err_set(err, EXIT_CODE_USAGE, "unknown option \"%.100s\"; %s%s%s", option,
		guess ? "did you mean \"--" : "", guess ? shown : "todod --help lists them",
		guess ? "\"?" : "");
	free(shown);
	return -1;
}

/* Reads the option at argv[*at] and what belongs to it; *at moves to its last word. */
static int read_option(struct command_line *line, int argc, char *const argv[], int *at, struct err *err)
{
	const char *word = argv[*at];
	if (word[0] != '-' || !word[1])
		return err_set(err, EXIT_CODE_USAGE, "\"%.100s\" is no option; keys are set with --KEY VALUE",
			       word);
	bool is_file = strcmp(word, "-c") == 0;
	bool is_long = strncmp(word, "--", 2) == 0;
	char *option = alloc_string((struct slice){word, is_long ? strcspn(word, "=") : strlen(word)});
	char *name = alloc_string(slice_of(is_long ? option + 2 : ""));
	translate(name, '-', '_');
	const char *value = word[strlen(option)] ? word + strlen(option) + 1 : NULL;
	const struct config_key *key = config_key_find(slice_of(name));
	enum config_action action;
	int rc = 0;
	if (is_flag(option, &action)) {
		if (value)
			rc = err_set(err, EXIT_CODE_USAGE, "%s takes no value", option);
		else if (action > line->action)
			line->action = action;
	} else if (!key && !is_file) {
		rc = unknown_option(option, name, err);
	} else {
		/* No value starts with '-', so what does is the next option. */
		if (!value && *at + 1 < argc && argv[*at + 1][0] != '-')
			value = argv[++*at];
		if (!value || (is_file && !*value))
			rc = err_set(err, EXIT_CODE_USAGE, "%s needs a value", option);
		else if (is_file)
			line->file = value;
		else {
			line->assignments[line->count].key = key;
			line->assignments[line->count++].value = value;
		}
	}
	free(option);
	free(name);
	return rc;
}

static bool is_verb(const char *word, enum config_action *action)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (strcmp(verbs[i].name, word) == 0) {
			*action = verbs[i].action;
			return true;
		}
	return false;
}

static int read_command_line(struct command_line *line, int argc, char *const argv[], struct err *err)
{
	*line = (struct command_line){.action = CONFIG_RUN};
	line->assignments = alloc_zeroed((size_t)argc, sizeof(*line->assignments));
	int at = argc > 1 && is_verb(argv[1], &line->action) ? 2 : 1;
	/* Whoever asks for help or the version gets it, whatever stands behind. */
	for (; at < argc && line->action < CONFIG_VERSION; at++)
		if (read_option(line, argc, argv, &at, err))
			return -1;
	return 0;
}

static int assign_command_line(struct loader *l, const struct command_line *line, struct err *err)
{
	int rc = 0;
	for (size_t i = 0; i < line->count && rc == 0; i++) {
		const struct config_key *key = line->assignments[i].key;
		char *option = option_of(key->name);
		struct buf place = BUF_INIT;
		buf_printf(&place, "--%s%c", option, '\0');
		rc = assign(l, key, LAYER_COMMAND_LINE, place.data, line->assignments[i].value, err);
		buf_release(&place);
		free(option);
	}
	return rc;
}

/* --- what depends on other things */

/* The directory of the default SQLite file. False when nothing says where. */
static bool append_state_directory(char *const *environment, struct buf *out)
{
	/* systemd.exec(5): several are separated by colons. */
	const char *state = environment_get(environment, "STATE_DIRECTORY");
	const char *data = environment_get(environment, "XDG_DATA_HOME");
	const char *home = environment_get(environment, "HOME");
	size_t state_len = state ? strcspn(state, ":") : 0;
	if (state_len)
		buf_append(out, state, state_len);
	else if (data && data[0] == '/') /* the XDG specification: a relative one is to be ignored */
		buf_printf(out, "%s/todod", data);
	else if (home)
		buf_printf(out, "%s/.local/share/todod", home);
	return out->len > 0;
}

static int complete_store(struct loader *l, struct err *err)
{
	struct buf directory = BUF_INIT, store = BUF_INIT;
	if (!append_state_directory(l->environment, &directory))
		return err_set(
		    err, EXIT_CODE_CONFIG,
		    "store: neither STATE_DIRECTORY nor HOME says where todos could be kept; say it with "
		    "--store sqlite:PATH");
	buf_printf(&store, "sqlite:%.*s/todod.db%c", (int)directory.len, directory.data, '\0');
	int rc = assign(l, config_key_find(SLICE("store")), LAYER_DEFAULT, "default", store.data, err);
	buf_release(&directory);
	buf_release(&store);
	return rc;
}

/* systemd.exec(5): of several the first. The XDG specification: a relative one is to be ignored. */
static void append_control(char *const *environment, struct buf *out)
{
	const char *runtime = environment_get(environment, "RUNTIME_DIRECTORY");
	const char *user = environment_get(environment, "XDG_RUNTIME_DIR");
	size_t len = runtime ? strcspn(runtime, ":") : 0;
	if (len)
		buf_printf(out, "%.*s/control.sock", (int)len, runtime);
	else if (geteuid() == 0)
		buf_append_str(out, "/run/todod/control.sock");
	else if (user && user[0] == '/')
		buf_printf(out, "%s/todod/control.sock", user);
	else
		buf_append_str(out, "off");
	buf_append(out, "", 1);
}

static int complete_control(struct loader *l, struct err *err)
{
	struct buf path = BUF_INIT;
	append_control(l->environment, &path);
	const struct config_key *key = config_key_find(SLICE("control"));
	struct err ignored;
	/* Whoever has not asked for one does not fail for want of it: such a directory is as good as none. */
	int rc = assign(l, key, LAYER_DEFAULT, "default", path.data, &ignored);
	buf_release(&path);
	return rc == 0 ? 0 : assign(l, key, LAYER_DEFAULT, "default", "off", err);
}

static int complete(struct loader *l, struct err *err)
{
	if (!l->c->store && complete_store(l, err))
		return -1;
	if (!l->c->control && complete_control(l, err))
		return -1;
	if (l->c->cache)
		return 0;
	const char *cache = strncmp(l->c->store, "sqlite:", 7) == 0 ? "local" : "off";
	return assign(l, config_key_find(SLICE("cache")), LAYER_DEFAULT, "default", cache, err);
}

/* The kernel would refuse the second of them, in words that name no key. Port 0 is another each time. */
static int check_listen(const struct config *c, const struct config_sources *s, struct err *err)
{
	for (size_t i = 0; i < c->admin_listen_count; i++)
		for (size_t j = 0; j < c->listen_count; j++) {
			struct slice address = slice_of(c->admin_listen[i]);
			bool is_port_0 = address.len > 2 && strcmp(address.data + address.len - 2, ":0") == 0;
			if (slice_equal_nocase(address, slice_of(c->listen[j])) && !is_port_0)
				return err_set(err, EXIT_CODE_CONFIG,
					       "%.150s: admin_listen: \"%.100s\" is in listen (%.150s), too",
					       config_place(s, "admin_listen"), address.data,
					       config_place(s, "listen"));
		}
	return 0;
}

static int check_together(const struct config *c, const struct config_sources *s, struct err *err)
{
	if (c->group && !c->user)
		return err_set(err, EXIT_CODE_CONFIG, "%.150s: group = %.100s is of no use without user",
			       config_place(s, "group"), c->group);
	if (check_listen(c, s, err) != 0)
		return -1;
	if (c->content_max_bytes <= c->body_max_bytes)
		return 0;
	const char *content_place = config_place(s, "content_max_bytes");
	const char *body_place = config_place(s, "body_max_bytes");
	bool content_is_set =
	    origin_of(s, config_key_find(SLICE("content_max_bytes")))->layer > LAYER_DEFAULT;
	return err_set(
	    err, EXIT_CODE_CONFIG,
	    "%.150s: content_max_bytes = %u (%.150s) does not fit into body_max_bytes = %u (%.150s)",
	    content_is_set ? content_place : body_place, c->content_max_bytes, content_place,
	    c->body_max_bytes, body_place);
}

/* --- the whole */

static int load_layers(struct loader *l, const struct command_line *line, struct err *err)
{
	if (assign_presets(l, err))
		return -1;
	if (line->file && config_file_read(line->file, assign_from_file, l, err))
		return -1;
	if (assign_environment(l, err) || assign_command_line(l, line, err))
		return -1;
	return complete(l, err) || check_together(l->c, l->s, err) ? -1 : 0;
}

int config_load(struct config *c, struct config_sources *s, enum config_action *action, int argc,
		char *const argv[], char *const environment[], struct err *err)
{
	*c = (struct config){.listen_count = 0};
	*s = (struct config_sources){.origins = alloc_zeroed(config_key_count, sizeof(*s->origins))};
	struct loader l = {c, s, environment};
	struct command_line line;
	int rc = read_command_line(&line, argc, argv, err);
	*action = line.action;
	s->file = line.file;
	if (rc == 0 && line.action < CONFIG_VERSION)
		rc = load_layers(&l, &line, err);
	free(line.assignments);
	return rc;
}

/* ---- one key alone */

static int assign_control_from_file(void *user, const char *name, const char *value, unsigned line,
				    struct err *err)
{
	return strcmp(name, "control") == 0 ? assign_from_file(user, name, value, line, err) : 0;
}

int config_find_control(char **path, bool *is_default, const char *file, char *const environment[],
			struct err *err)
{
	struct config c = {.listen_count = 0};
	struct config_sources s = {alloc_zeroed(config_key_count, sizeof(*s.origins)), file};
	struct loader l = {&c, &s, environment};
	int rc = assign_from_variables(&l, config_key_find(SLICE("control")), err);
	if (rc == 0 && !c.control && file)
		rc = config_file_read(file, assign_control_from_file, &l, err);
	/* What is wrong in a file that has said it is the daemon's to tell. */
	if (c.control)
		rc = 0;
	else if (rc == 0)
		rc = complete_control(&l, err);
	if (rc == 0) {
		*path = alloc_string(slice_of(c.control));
		*is_default = config_is_default(&s, "control");
	}
	config_release(&c, &s);
	return rc;
}

/* ---- what was loaded */

void config_release(struct config *c, struct config_sources *s)
{
	for (size_t i = 0; i < config_key_count; i++) {
		config_key_clear(&config_keys[i], c);
		if (s->origins)
			free(s->origins[i].place);
	}
	free(s->origins);
	s->origins = NULL;
}

const char *config_place(const struct config_sources *s, const char *name)
{
	const struct config_key *key = config_key_find(slice_of(name));
	const char *place = key ? origin_of(s, key)->place : NULL;
	return place ? place : "default";
}

bool config_is_default(const struct config_sources *s, const char *name)
{
	const struct config_key *key = config_key_find(slice_of(name));
	return !key || origin_of(s, key)->layer == LAYER_DEFAULT;
}

void config_dump(const struct config *c, const struct config_sources *s, FILE *out)
{
	for (size_t i = 0; i < config_key_count; i++) {
		struct buf value = BUF_INIT;
		config_key_format(&config_keys[i], c, &value);
		fprintf(out, "# %s\n%s = %.*s\n", config_place(s, config_keys[i].name), config_keys[i].name,
			(int)value.len, value.data);
		buf_release(&value);
	}
}

bool config_has_redis(const struct config *c)
{
	return strcmp(c->cache, "local") != 0 && strcmp(c->cache, "off") != 0;
}
