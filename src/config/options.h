/*
 * What the files of this room share: the one table of keys, and the readers of files and addresses that stand
 * beside it. Whoever adds a key adds a row to the table, a field to struct config and a block to
 * conf/todod.conf; nothing else knows key names, but for the few sentences about what two keys demand of each
 * other.
 */
#ifndef CONFIG_OPTIONS_H
#define CONFIG_OPTIONS_H

#include "config/config.h"
#include "base/buf.h"

/* No value is longer, and no line of a file. A dumped line ("key = value") fits, too. */
enum { CONFIG_LINE_BYTES = 8192, CONFIG_VALUE_BYTES = CONFIG_LINE_BYTES - 64 };

struct config_type; /* how values of one kind are read, written and described */

struct config_key {
	const char *name;
	const struct config_type *type;
	size_t offset;      /* of the field in struct config */
	const char *preset; /* the default as it would be written; NULL where it depends on other things, */
	const char *preset_words; /* and then these words say on which */
	uint32_t min, max;        /* of numbers */
	const char *unit;         /* of numbers, or ""; of names, what they are the names of */
	const char *const *words; /* of choices, NULL-terminated; a value is stored as its index */
	const char *meaning;      /* one line */
};

extern const struct config_key config_keys[];
extern const size_t config_key_count;

/* What the help text and the manual say of what is no key: a name, and what it does. The last one's name is NULL. */
struct config_term {
	const char *name, *meaning;
};

extern const struct config_term config_examples[]; /* command lines; not all need a word */
extern const struct config_term config_commands[]; /* what may stand in front of the options */
extern const struct config_term config_options[];
extern const struct config_term config_signals[];
extern const struct config_term config_exit_codes[];

/* NULL when there is none. */
const struct config_key *config_key_find(struct slice name);

/* The name that was meant by `typo`, a literal, or NULL when nothing is near. */
const char *config_key_guess(const char *typo);

/* The smallest number of single changes, insertions, removals and swaps of neighbours between two texts. */
size_t config_edit_distance(const char *a, const char *b);

/* Whether the key may be given several times, its values adding up. */
bool config_key_is_list(const struct config_key *key);

/* Checks `text` and stores it; blanks around it do not count. For a list: appends. Returns 0, or -1 and *err,
 * a sentence about the value alone. */
int config_key_set(const struct config_key *key, struct config *c, const char *text, struct err *err);

/* Empties a list, frees a text. */
void config_key_clear(const struct config_key *key, struct config *c);

/* The value as one could write it in the file. Secrets are masked. */
void config_key_format(const struct config_key *key, const struct config *c, struct buf *out);

/* "100 to 60000 ms", "auto, or 1 to 1024", "auto or strict". */
void config_key_allowed(const struct config_key *key, struct buf *out);

/* Called for every "key = value" of a file. Returns 0, or -1 and *err. */
typedef int config_pair(void *user, const char *key, const char *value, unsigned line, struct err *err);

/* Returns 0, or -1 and *err: the first error of the file, with "FILE: " or "FILE:LINE: " in front, or that of
 * `pair` as it is. */
int config_file_read(const char *path, config_pair *pair, void *user, struct err *err);

/* Appends the file's bytes. Returns 0, or -1 with errno; EFBIG when there are more than `max`. */
int config_file_slurp(const char *path, size_t max, struct buf *out);

/* Whether only this machine can connect to it: a unix socket, localhost, or a loopback address (RFC 1122 section 3.2.1.3, RFC 4291
 * section 2.5.3). */
bool config_is_local(const struct listen_address *a);

/* The syntax of a `cache` other than local and off. Returns 0, or -1 and *err, without the place. */
int config_check_cache_uri(const char *uri, struct err *err);

/* Digits only, and a value from min to max. Returns 0, or -1 and leaves *value untouched. */
int config_parse_number(struct slice text, uint32_t min, uint32_t max, uint32_t *value);

#endif
