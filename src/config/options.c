/*
 * The one table of keys, and the types of their values.
 */
#include "config/options.h"

#include <ctype.h>
#include <stdlib.h>
#include <sys/un.h>

struct config_type {
	bool is_list; /* several values of a layer add up */
	int (*set)(const struct config_key *key, struct config *c, const char *value, struct err *err);
	void (*clear)(const struct config_key *key, struct config *c);
	void (*format)(const struct config_key *key, const struct config *c, struct buf *out);
	void (*allowed)(const struct config_key *key, struct buf *out);
};

static const struct config_type type_listen, type_admin_listen, type_store, type_cache, type_number,
    type_auto, type_choice, type_name, type_mode, type_networks, type_control;

static const char *const cache_modes[] = {
    [CONFIG_CACHE_AUTO] = "auto",
    [CONFIG_CACHE_STRICT] = "strict",
    NULL,
};
static const char *const proxy_headers[] = {
    [CONFIG_X_FORWARDED_FOR] = "x-forwarded-for",
    [CONFIG_FORWARDED] = "forwarded",
    NULL,
};
static const char *const log_levels[] = {
    [LOG_LEVEL_ERROR] = "error",
    [LOG_LEVEL_WARN] = "warn",
    [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_DEBUG] = "debug",
    NULL,
};

static const char *const access_log_formats[] = {
    [CONFIG_ACCESS_LOG_COMBINED] = "combined",
    [CONFIG_ACCESS_LOG_JSON] = "json",
    NULL,
};

enum { DAY_S = 86400 };

#define TEXT(field, kind) .name = #field, .type = &(kind), .offset = offsetof(struct config, field)
#define NUMBER(field, kind, value, low, high, unit_name) \
	TEXT(field, kind), .preset = (value), .min = (low), .max = (high), .unit = (unit_name)
#define NAME(field, what)          TEXT(field, type_name), .preset = "none", .unit = (what)
#define CHOICE(field, value, list) TEXT(field, type_choice), .preset = (value), .words = (list)

/* clang-format off */
const struct config_key config_keys[] = {
	{TEXT(listen, type_listen), .preset = "127.0.0.1:8080",
	 .meaning = "where to serve; several with commas, or the key repeated"},
	{TEXT(admin_listen, type_admin_listen), .preset = "off",
	 .meaning = "where operators find /metrics, /healthz and /readyz in detail"},
	{TEXT(store, type_store),
	 .preset_words = "sqlite:todod.db in $STATE_DIRECTORY, else in ${XDG_DATA_HOME:-$HOME/.local/share}/todod",
	 .meaning = "where the todos are kept"},
	{TEXT(cache, type_cache), .preset_words = "local with SQLite, off with MongoDB",
	 .meaning = "local: no other daemon writes to the store; off: ask the store each time"},
	{NUMBER(workers, type_auto, "auto", 1, 1024, ""),
	 .meaning = "processes that serve; auto: 2 x cores + 1, by affinity and cgroup quota"},
	{NUMBER(store_timeout_ms, type_number, "2000", 100, 60000, "ms"),
	 .meaning = "a store that takes longer: the client gets 503 or 504"},
	{CHOICE(cache_mode, "auto", cache_modes),
	 .meaning = "strict: ask Redis for every page"},
	{NUMBER(cache_ttl_s, type_number, "3600", 1, 30 * DAY_S, "s"),
	 .meaning = "life of the page in Redis, give or take 10 %"},
	{NUMBER(cache_fresh_s, type_number, "10", 1, 3600, "s"),
	 .meaning = "a page this old is read anew while it is still served"},
	{NUMBER(content_max_bytes, type_number, "16384", 1, 1048576, "bytes"),
	 .meaning = "longest content of a todo; at most body_max_bytes"},
	{NUMBER(body_max_bytes, type_number, "65536", 1024, 16777216, "bytes"),
	 .meaning = "longest body of a request"},
	{NUMBER(start_max, type_number, "10000", 0, 1000000, ""),
	 .meaning = "deepest GET /todo?start=; after= goes deeper at no cost"},
	{NUMBER(header_timeout_s, type_number, "10", 1, 3600, "s"),
	 .meaning = "from the first byte of a request to the end of its head"},
	{NUMBER(keepalive_timeout_s, type_number, "75", 1, 3600, "s"),
	 .meaning = "an idle connection is closed after that"},
	{NUMBER(write_timeout_s, type_number, "10", 1, 3600, "s"),
	 .meaning = "a client that reads nothing of its answer for so long is cut"},
	{NUMBER(max_connections, type_auto, "auto", 1, 1048576, ""),
	 .meaning = "per worker; auto: the hard limit of descriptors, less 64"},
	{NUMBER(max_connections_total, type_auto, "auto", 1, 16777216, ""),
	 .meaning = "of all workers together; beyond it 503; auto: no limit but that of each"},
	{NUMBER(max_connections_per_address, type_number, "0", 0, 1048576, ""),
	 .meaning = "from one client address (IPv6: one /64); beyond it 429; 0: no limit"},
	{NUMBER(rate_limit, type_number, "0", 0, 10000, "per second"),
	 .meaning = "requests of one client address (IPv6: one /64); beyond it 429; 0: no limit"},
	{NUMBER(rate_burst, type_auto, "auto", 1, 1000000, ""),
	 .meaning = "requests that may come at once after a pause; auto: 2 x rate_limit"},
	{TEXT(trusted_proxies, type_networks), .preset = "none",
	 .meaning = "who may say on whose behalf a request comes"},
	{CHOICE(proxy_header, "x-forwarded-for", proxy_headers),
	 .meaning = "the one that the trusted proxies set; the other is not looked at"},
	{NUMBER(worker_timeout_s, type_number, "2", 1, 600, "s"),
	 .meaning = "a worker whose loop stands still that long is replaced"},
	{NUMBER(max_requests, type_number, "0", 0, 4000000000, ""),
	 .meaning = "after so many (10 % more or less) a worker is replaced; 0: never"},
	{NUMBER(max_rss_mb, type_number, "0", 0, 1048576, "MiB"),
	 .meaning = "a worker that has grown beyond that is replaced; 0: never"},
	{CHOICE(log_level, "info", log_levels),
	 .meaning = "the least severe kind of line that is logged"},
	{TEXT(access_log, type_name), .preset = "off", .unit = "a path",
	 .meaning = "a line per request goes to this file"},
	{CHOICE(access_log_format, "combined", access_log_formats),
	 .meaning = "the lines of Apache and nginx with more at their end, or JSON"},
	{NUMBER(slow_ms, type_number, "0", 0, 3600000, "ms"),
	 .meaning = "a request that took longer is logged, with where its time went; 0: none is"},
	{NUMBER(drain_timeout_s, type_number, "30", 0, 3600, "s"),
	 .meaning = "a stop, a reload or an upgrade waits that long for requests in flight"},
	{TEXT(control, type_control),
	 .preset_words = "control.sock in $RUNTIME_DIRECTORY, else in /run/todod for root, else in $XDG_RUNTIME_DIR/todod, else off",
	 .meaning = "the unix socket of todod ctl"},
	{NAME(user, "a user"),
	 .meaning = "who the processes run as, where root starts them; the master stays root"},
	{NAME(group, "a group"), .meaning = "their group; none: that of user"},
	{NAME(pidfile, "a path"),
	 .meaning = "locked while the master runs, with its process id; a second one exits 75"},
	{NAME(unix_group, "a group"), .meaning = "whose unix sockets are; none: that of the processes"},
	{TEXT(unix_mode, type_mode), .preset = "0666",
	 .meaning = "who may connect to unix sockets, as for chmod; 0660: user and unix_group"},
};
/* clang-format on */

const size_t config_key_count = sizeof(config_keys) / sizeof(config_keys[0]);

const struct config_key *config_key_find(struct slice name)
{
	for (size_t i = 0; i < config_key_count; i++)
		if (slice_equal(slice_of(config_keys[i].name), name))
			return &config_keys[i];
	return NULL;
}

/* Optimal string alignment, on three rows of the usual matrix. Longer texts are no typos of anything here. */
enum { EDIT_MAX = 64 };

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

size_t config_edit_distance(const char *a, const char *b)
{
	size_t rows[3][EDIT_MAX + 1], a_len = strlen(a), b_len = strlen(b);
	size_t *before = rows[0], *last = rows[1], *row = rows[2];
	if (a_len > EDIT_MAX || b_len > EDIT_MAX)
		return EDIT_MAX;
	for (size_t j = 0; j <= b_len; j++)
		last[j] = before[j] = j;
	for (size_t i = 1; i <= a_len; i++) {
		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			row[j] = last[j - 1] + (a[i - 1] != b[j - 1]);
			row[j] = least(row[j], least(last[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = least(row[j], before[j - 2] + 1);
		}
		size_t *spare = before;
		before = last;
		last = row;
		row = spare;
	}
	return last[b_len];
}

const char *config_key_guess(const char *typo)
{
	const char *best = NULL;
	size_t best_distance = SIZE_MAX, len = strlen(typo);
	for (size_t i = 0; i < config_key_count; i++) {
		const char *name = config_keys[i].name;
		/* A name that was only cut short ("log") is nearer than any typo. */
		size_t distance =
		    len >= 3 && strncmp(name, typo, len) == 0 ? 0 : config_edit_distance(name, typo);
		if (distance < best_distance && (distance <= 2 || distance <= strlen(name) / 3)) {
			best = name;
			best_distance = distance;
		}
	}
	return best;
}

static void *field_of(const struct config_key *key, struct config *c)
{
	return (char *)c + key->offset;
}

static const void *const_field_of(const struct config_key *key, const struct config *c)
{
	return (const char *)c + key->offset;
}

/* A short secret is shorter than its mask, and a dump has to load. */
static int check_masked_length(const char *value, struct err *err)
{
	char *masked = config_mask_password(value);
	size_t len = strlen(masked);
	free(masked);
	if (len <= CONFIG_VALUE_BYTES)
		return 0;
	return err_set(
	    err, EXIT_CODE_CONFIG,
	    "the value is too long: it has %zu bytes once its secrets are masked; at most %d are allowed",
	    len, CONFIG_VALUE_BYTES);
}

int config_key_set(const struct config_key *key, struct config *c, const char *text, struct err *err)
{
	struct slice trimmed = slice_trim(slice_of(text));
	if (trimmed.len > CONFIG_VALUE_BYTES)
		return err_set(err, EXIT_CODE_CONFIG,
			       "a value of %zu bytes is too long; at most %d are allowed", trimmed.len,
			       CONFIG_VALUE_BYTES);
	/* None has a use for them, and a dump with line breaks in values would not load. */
	for (size_t i = 0; i < trimmed.len; i++)
		if (iscntrl((unsigned char)trimmed.data[i]))
			return err_set(err, EXIT_CODE_CONFIG, "the value has a control character at byte %zu",
				       i + 1);
	char *value = alloc_string(trimmed);
	int rc = check_masked_length(value, err);
	if (rc == 0)
		rc = key->type->set(key, c, value, err);
	free(value);
	return rc;
}

bool config_key_is_list(const struct config_key *key)
{
	return key->type->is_list;
}

void config_key_clear(const struct config_key *key, struct config *c)
{
	if (key->type->clear)
		key->type->clear(key, c);
}

void config_key_format(const struct config_key *key, const struct config *c, struct buf *out)
{
	key->type->format(key, c, out);
}

void config_key_allowed(const struct config_key *key, struct buf *out)
{
	key->type->allowed(key, out);
}

/* --- listen and admin_listen: lists. */

struct addresses {
	char **items; /* of CONFIG_LISTEN_MAX */
	size_t *count;
};

static struct addresses addresses_of(const struct config_key *key, struct config *c)
{
	return key->type == &type_listen ? (struct addresses){c->listen, &c->listen_count}
					 : (struct addresses){c->admin_listen, &c->admin_listen_count};
}

static bool address_equal(const struct listen_address *a, const struct listen_address *b)
{
	if (a->is_unix || b->is_unix)
		return a->is_unix && b->is_unix && strcmp(a->host, b->host) == 0;
	/* Port 0 is another port each time. */
	return slice_equal_nocase(slice_of(a->host), slice_of(b->host)) && strcmp(a->port, b->port) == 0 &&
	       strcmp(a->port, "0") != 0;
}

static int listen_append(struct addresses list, struct slice text, bool is_admin, struct err *err)
{
	char *copy = alloc_string(text);
	struct listen_address address, other;
	int rc = config_parse_listen(&address, copy, err);
	if (rc == 0 && is_admin && !config_is_local(&address))
		rc = err_set(
		    err, EXIT_CODE_CONFIG,
		    "\"%.100s\" could be reached from other machines; it has to be a loopback address or "
		    "unix:PATH",
		    copy);
	if (rc == 0 && *list.count == CONFIG_LISTEN_MAX)
		rc = err_set(err, EXIT_CODE_CONFIG,
			     "\"%.100s\" is one too many; at most %d addresses are allowed", copy,
			     CONFIG_LISTEN_MAX);
	struct err ignored;
	for (size_t i = 0; rc == 0 && i < *list.count; i++)
		if (config_parse_listen(&other, list.items[i], &ignored) == 0 &&
		    address_equal(&address, &other))
			rc = err_set(err, EXIT_CODE_CONFIG, "\"%.100s\" is given twice", copy);
	if (rc == 0)
		list.items[(*list.count)++] = copy;
	else
		free(copy);
	return rc;
}

static int listen_set(const struct config_key *key, struct config *c, const char *value, struct err *err)
{
	bool is_admin = key->type == &type_admin_listen;
	if (is_admin && strcmp(value, "off") == 0)
		return 0;
	for (const char *rest = value;; rest++) {
		size_t len = strcspn(rest, ",");
		if (listen_append(addresses_of(key, c), slice_trim((struct slice){rest, len}), is_admin, err))
			return -1;
		rest += len;
		if (!*rest)
			return 0;
	}
}

static void listen_clear(const struct config_key *key, struct config *c)
{
	struct addresses list = addresses_of(key, c);
	while (*list.count)
		free(list.items[--*list.count]);
}

static void listen_format(const struct config_key *key, const struct config *c, struct buf *out)
{
	char *const *items = const_field_of(key, c);
	size_t count = key->type == &type_listen ? c->listen_count : c->admin_listen_count;
	for (size_t i = 0; i < count; i++)
		buf_printf(out, "%s%s", i ? ", " : "", items[i]);
	if (count == 0)
		buf_append_str(out, "off");
}

static void listen_allowed(const struct config_key *key, struct buf *out)
{
	(void)key;
	buf_append_str(out, "HOST:PORT, [IPv6]:PORT or unix:PATH");
}

static const struct config_type type_listen = {true, listen_set, listen_clear, listen_format, listen_allowed};

/* --- trusted_proxies: a list, too. */

static int network_append(struct ip_set *set, struct slice text, struct err *err)
{
	struct ip_net net;
	if (slice_equal(text, SLICE("none")))
		return 0;
	if (slice_equal(text, SLICE("unix:"))) {
		set->has_none = true;
		return 0;
	}
	int len = text.len < 100 ? (int)text.len : 100;
	if (!ip_net_parse(text, &net))
		return err_set(
		    err, EXIT_CODE_CONFIG,
		    "\"%.*s\" is neither an address nor a network (192.0.2.0/24: nothing set behind the "
		    "prefix) nor unix: nor none",
		    len, text.data);
	if (set->count == IP_SET_MAX)
		return err_set(err, EXIT_CODE_CONFIG,
			       "\"%.*s\" is one too many; at most %d networks are allowed", len, text.data,
			       IP_SET_MAX);
	set->nets[set->count++] = net;
	return 0;
}

static int networks_set(const struct config_key *key, struct config *c, const char *value, struct err *err)
{
	for (const char *rest = value;; rest++) {
		size_t len = strcspn(rest, ",");
		if (network_append(field_of(key, c), slice_trim((struct slice){rest, len}), err))
			return -1;
		rest += len;
		if (!*rest)
			return 0;
	}
}

static void networks_clear(const struct config_key *key, struct config *c)
{
	struct ip_set *set = field_of(key, c);
	set->count = 0;
	set->has_none = false;
}

static void networks_format(const struct config_key *key, const struct config *c, struct buf *out)
{
	const struct ip_set *set = const_field_of(key, c);
	char text[IP_NET_TEXT_BYTES];
	for (size_t i = 0; i < set->count; i++) {
		ip_net_to_text(&set->nets[i], text);
		buf_printf(out, "%s%s", i ? ", " : "", text);
	}
	if (set->has_none)
		buf_append_str(out, set->count ? ", unix:" : "unix:");
	if (ip_set_is_empty(set))
		buf_append_str(out, "none");
}

static void networks_allowed(const struct config_key *key, struct buf *out)
{
	(void)key;
	buf_append_str(out, "none, or addresses, networks (10.0.0.0/8) and unix:");
}

static const struct config_type type_networks = {true, networks_set, networks_clear, networks_format,
						 networks_allowed};

static void admin_listen_allowed(const struct config_key *key, struct buf *out)
{
	(void)key;
	buf_append_str(out, "off, a loopback HOST:PORT or [IPv6]:PORT, or unix:PATH");
}

static const struct config_type type_admin_listen = {true, listen_set, listen_clear, listen_format,
						     admin_listen_allowed};

/* --- store and cache: texts that may hold a password. */

static void text_clear(const struct config_key *key, struct config *c)
{
	char **text = field_of(key, c);
	free(*text);
	*text = NULL;
}

static void text_replace(const struct config_key *key, struct config *c, const char *value)
{
	text_clear(key, c);
	*(char **)field_of(key, c) = alloc_string(slice_of(value));
}

static void text_format(const struct config_key *key, const struct config *c, struct buf *out)
{
	char *const *text = const_field_of(key, c);
	if (!*text)
		return;
	char *masked = config_mask_password(*text);
	buf_append_str(out, masked);
	free(masked);
}

static int store_set(const struct config_key *key, struct config *c, const char *value, struct err *err)
{
	static const char *const schemes[] = {"sqlite:", "mongodb://", "mongodb+srv://"};
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		size_t len = strlen(schemes[i]);
		if (strncmp(value, schemes[i], len) == 0 && value[len]) {
			text_replace(key, c, value);
			return 0;
		}
	}
	char *masked = config_mask_password(value);
	err_set(err, EXIT_CODE_CONFIG,
		"\"%.100s\" is neither sqlite:PATH nor mongodb://... nor mongodb+srv://...", masked);
	free(masked);
	return -1;
}

static void store_allowed(const struct config_key *key, struct buf *out)
{
	(void)key;
	buf_append_str(out, "sqlite:PATH, or a mongodb:// or mongodb+srv:// URI");
}

static const struct config_type type_store = {false, store_set, text_clear, text_format, store_allowed};

static int cache_set(const struct config_key *key, struct config *c, const char *value, struct err *err)
{
	if (strcmp(value, "local") != 0 && strcmp(value, "off") != 0 && config_check_cache_uri(value, err))
		return -1;
	text_replace(key, c, value);
	return 0;
}

static void cache_allowed(const struct config_key *key, struct buf *out)
{
	(void)key;
	buf_append_str(out, "local, off, redis://[[user]:password@]host[:port][/db] or "
			    "redis+unix:///path[?db=N]");
}

static const struct config_type type_cache = {false, cache_set, text_clear, text_format, cache_allowed};

/* --- names: of users, groups and files; NULL stands for the word of the preset. */

static int name_set(const struct config_key *key, struct config *c, const char *value, struct err *err)
{
	if (!*value)
		return err_set(err, EXIT_CODE_CONFIG, "\"\" is neither %s nor %s", key->preset, key->unit);
	if (strcmp(value, key->preset) == 0)
		text_clear(key, c);
	else
		text_replace(key, c, value);
	return 0;
}

static void name_format(const struct config_key *key, const struct config *c, struct buf *out)
{
	char *const *text = const_field_of(key, c);
	buf_append_str(out, *text ? *text : key->preset);
}

static void name_allowed(const struct config_key *key, struct buf *out)
{
	buf_printf(out, "%s, or %s", key->preset, key->unit);
}

static const struct config_type type_name = {false, name_set, text_clear, name_format, name_allowed};

/* --- the control socket: a path that means the same to whoever looks for it. */

static int control_set(const struct config_key *key, struct config *c, const char *value, struct err *err)
{
	enum { PATH_MAX_BYTES = sizeof(((struct sockaddr_un *)0)->sun_path) - 1 };
	if (strcmp(value, "off") != 0 && *value != '/')
		return err_set(err, EXIT_CODE_CONFIG, "\"%.100s\" is neither off nor an absolute path",
			       value);
	if (strlen(value) > PATH_MAX_BYTES)
		return err_set(err, EXIT_CODE_CONFIG, "the path of a unix socket is limited to %d bytes",
			       (int)PATH_MAX_BYTES);
	text_replace(key, c, value);
	return 0;
}

static void control_format(const struct config_key *key, const struct config *c, struct buf *out)
{
	char *const *text = const_field_of(key, c);
	buf_append_str(out, *text ? *text : "");
}

static void control_allowed(const struct config_key *key, struct buf *out)
{
	(void)key;
	buf_append_str(out, "off, or an absolute path");
}

static const struct config_type type_control = {false, control_set, text_clear, control_format,
						control_allowed};

/* --- permission bits, in octal digits. */

static int mode_set(const struct config_key *key, struct config *c, const char *value, struct err *err)
{
	uint32_t *mode = field_of(key, c);
	size_t len = strspn(value, "01234567");
	if (len < 3 || len > 4 || value[len] || (len == 4 && value[0] != '0'))
		return err_set(err, EXIT_CODE_CONFIG, "\"%.100s\" is not a mode from 000 to 777", value);
	*mode = (uint32_t)strtoul(value, NULL, 8);
	return 0;
}

static void mode_format(const struct config_key *key, const struct config *c, struct buf *out)
{
	const uint32_t *mode = const_field_of(key, c);
	buf_printf(out, "%04o", *mode);
}

static void mode_allowed(const struct config_key *key, struct buf *out)
{
	(void)key;
	buf_append_str(out, "000 to 777, octal");
}

static const struct config_type type_mode = {false, mode_set, NULL, mode_format, mode_allowed};

/* --- numbers. */

int config_parse_number(struct slice text, uint32_t min, uint32_t max, uint32_t *value)
{
	uint64_t number = 0;
	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] < '0' || text.data[i] > '9')
			return -1;
		number = number * 10 + (uint64_t)(text.data[i] - '0');
		if (number > max)
			return -1;
	}
	if (text.len == 0 || number < min)
		return -1;
	*value = (uint32_t)number;
	return 0;
}

static int number_set(const struct config_key *key, struct config *c, const char *value, struct err *err)
{
	if (config_parse_number(slice_of(value), key->min, key->max, field_of(key, c)))
		return err_set(err, EXIT_CODE_CONFIG, "\"%.100s\" is not a whole number from %u to %u", value,
			       key->min, key->max);
	return 0;
}

static void number_format(const struct config_key *key, const struct config *c, struct buf *out)
{
	const uint32_t *number = const_field_of(key, c);
	buf_append_u64(out, *number);
}

static void number_allowed(const struct config_key *key, struct buf *out)
{
	buf_printf(out, "%u to %u%s%s", key->min, key->max, *key->unit ? " " : "", key->unit);
}

static const struct config_type type_number = {false, number_set, NULL, number_format, number_allowed};

static int auto_set(const struct config_key *key, struct config *c, const char *value, struct err *err)
{
	uint32_t *number = field_of(key, c);
	if (strcmp(value, "auto") == 0)
		*number = 0;
	else if (config_parse_number(slice_of(value), key->min, key->max, number))
		return err_set(err, EXIT_CODE_CONFIG,
			       "\"%.100s\" is neither auto nor a whole number from %u to %u", value, key->min,
			       key->max);
	return 0;
}

static void auto_format(const struct config_key *key, const struct config *c, struct buf *out)
{
	const uint32_t *number = const_field_of(key, c);
	if (*number)
		buf_append_u64(out, *number);
	else
		buf_append_str(out, "auto");
}

static void auto_allowed(const struct config_key *key, struct buf *out)
{
	buf_append_str(out, "auto, or ");
	number_allowed(key, out);
}

static const struct config_type type_auto = {false, auto_set, NULL, auto_format, auto_allowed};

/* --- choices. */

static void choice_allowed(const struct config_key *key, struct buf *out)
{
	for (const char *const *word = key->words; *word; word++)
		buf_printf(out, "%s%s", word == key->words ? "" : word[1] ? ", " : " or ", *word);
}

static int choice_set(const struct config_key *key, struct config *c, const char *value, struct err *err)
{
	uint32_t *index = field_of(key, c);
	for (uint32_t i = 0; key->words[i]; i++)
		if (strcmp(key->words[i], value) == 0) {
			*index = i;
			return 0;
		}
	struct buf allowed = BUF_INIT;
	choice_allowed(key, &allowed);
	err_set(err, EXIT_CODE_CONFIG, "\"%.100s\" is not %.*s", value, (int)allowed.len, allowed.data);
	buf_release(&allowed);
	return -1;
}

static void choice_format(const struct config_key *key, const struct config *c, struct buf *out)
{
	const uint32_t *index = const_field_of(key, c);
	buf_append_str(out, key->words[*index]);
}

static const struct config_type type_choice = {false, choice_set, NULL, choice_format, choice_allowed};
