#include "ctl/facts.h"

#include "base/utf8.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { FIELDS_MAX = 9 };

enum field_type { FIELD_TEXT, FIELD_NUMBER };

enum kind_shape { KIND_VALUE, KIND_LIST, KIND_OBJECT };

struct field {
	const char *name;
	enum field_type type;
};

/* Every word of the answer, in the order in which it is told. The last field may have blanks in it. */
enum kind {
	KIND_VERSION,
	KIND_PID,
	KIND_STATE,
	KIND_UPTIME,
	KIND_PROGRAM,
	KIND_CONFIGURATION,
	KIND_STORE,
	KIND_CACHE,
	KIND_WORKERS,
	KIND_LISTENER,
	KIND_GENERATION,
	KIND_PROCESS,
	KIND_RELOAD,
	KIND_UPGRADE,
	KINDS,
};

enum { LISTENER_QUEUED, LISTENER_LIMIT, LISTENER_NAME };
enum { GENERATION_NUMBER, GENERATION_STATE, GENERATION_PROCESSES, GENERATION_AGE, GENERATION_LEAVES };
enum {
	PROCESS_KIND,
	PROCESS_INDEX,
	PROCESS_PID,
	PROCESS_GENERATION,
	PROCESS_STATE,
	PROCESS_AGE,
	PROCESS_CONNECTIONS,
	PROCESS_REQUESTS,
	PROCESS_RESIDENT,
};
enum { ATTEMPT_NUMBER, ATTEMPT_OUTCOME, ATTEMPT_ENDED, ATTEMPT_REASON };

#define ATTEMPT_FIELDS                                                                             \
	{                                                                                          \
		{"number", FIELD_NUMBER}, {"outcome", FIELD_TEXT}, {"ended_ms_ago", FIELD_NUMBER}, \
		    {"reason", FIELD_TEXT},                                                        \
	}

/* clang-format off */
static const struct kind_row {
	const char *word;
	const char *name; /* in JSON */
	enum kind_shape shape;
	struct field fields[FIELDS_MAX];
} kinds[KINDS] = {
	[KIND_VERSION] = {"version", "version", KIND_VALUE, {{"", FIELD_TEXT}}},
	[KIND_PID] = {"pid", "pid", KIND_VALUE, {{"", FIELD_NUMBER}}},
	[KIND_STATE] = {"state", "state", KIND_VALUE, {{"", FIELD_TEXT}}},
	[KIND_UPTIME] = {"uptime_ms", "uptime_ms", KIND_VALUE, {{"", FIELD_NUMBER}}},
	[KIND_PROGRAM] = {"program", "program", KIND_VALUE, {{"", FIELD_TEXT}}},
	[KIND_CONFIGURATION] = {"configuration", "configuration", KIND_VALUE, {{"", FIELD_TEXT}}},
	[KIND_STORE] = {"store", "store", KIND_VALUE, {{"", FIELD_TEXT}}},
	[KIND_CACHE] = {"cache", "cache", KIND_VALUE, {{"", FIELD_TEXT}}},
	[KIND_WORKERS] = {"workers", "workers", KIND_VALUE, {{"", FIELD_NUMBER}}},
	[KIND_LISTENER] = {"listener", "listeners", KIND_LIST, {
		{"queued", FIELD_NUMBER}, {"limit", FIELD_NUMBER}, {"name", FIELD_TEXT}}},
	[KIND_GENERATION] = {"generation", "generations", KIND_LIST, {
		{"number", FIELD_NUMBER}, {"state", FIELD_TEXT}, {"processes", FIELD_NUMBER}, {"age_ms", FIELD_NUMBER},
		{"leaves_in_ms", FIELD_NUMBER}}},
	[KIND_PROCESS] = {"process", "processes", KIND_LIST, {
		{"kind", FIELD_TEXT}, {"index", FIELD_NUMBER}, {"pid", FIELD_NUMBER}, {"generation", FIELD_NUMBER},
		{"state", FIELD_TEXT}, {"age_ms", FIELD_NUMBER}, {"connections", FIELD_NUMBER},
		{"requests", FIELD_NUMBER}, {"resident_bytes", FIELD_NUMBER}}},
	[KIND_RELOAD] = {"reload", "reload", KIND_OBJECT, ATTEMPT_FIELDS},
	[KIND_UPGRADE] = {"upgrade", "upgrade", KIND_OBJECT, ATTEMPT_FIELDS},
};
/* clang-format on */

/* ---- reading */

struct fact {
	enum kind kind;
	struct slice fields[FIELDS_MAX]; /* empty: not known */
};

static unsigned count_fields(const struct kind_row *row)
{
	unsigned count = 0;
	while (count < FIELDS_MAX && row->fields[count].name)
		count++;
	return count;
}

static struct slice cut_word(struct slice *rest)
{
	const char *blank = rest->len ? memchr(rest->data, ' ', rest->len) : NULL;
	struct slice word = {rest->data, blank ? (size_t)(blank - rest->data) : rest->len};
	size_t used = word.len + (blank != NULL);
	*rest = (struct slice){rest->data + used, rest->len - used};
	return word;
}

/* False when the word is not known. */
static bool read_fact(struct fact *f, struct slice line)
{
	struct slice word = cut_word(&line);
	*f = (struct fact){.kind = 0};
	while (f->kind < KINDS && !slice_equal(word, slice_of(kinds[f->kind].word)))
		f->kind++;
	if (f->kind == KINDS)
		return false;
	unsigned count = count_fields(&kinds[f->kind]);
	for (unsigned i = 0; i < count; i++) {
		struct slice field = i + 1 < count ? cut_word(&line) : line;
		if (!slice_equal(field, SLICE("-")))
			f->fields[i] = field;
	}
	return true;
}

/* The next fact of that kind; *at goes from 0 on. */
static bool next_fact(struct slice facts, size_t *at, enum kind kind, struct fact *f)
{
	while (*at < facts.len) {
		const char *line = facts.data + *at;
		const char *end = memchr(line, '\n', facts.len - *at);
		size_t len = end ? (size_t)(end - line) : facts.len - *at;
		*at += len + 1;
		if (read_fact(f, (struct slice){line, len}) && f->kind == kind)
			return true;
	}
	return false;
}

/* The fields of the first one, or none. */
static struct fact find_fact(struct slice facts, enum kind kind)
{
	struct fact f;
	size_t at = 0;
	return next_fact(facts, &at, kind, &f) ? f : (struct fact){.kind = kind};
}

/* Digits, with a sign perhaps. */
static bool is_number(struct slice s)
{
	size_t i = s.len > 1 && s.data[0] == '-';
	if (s.len == 0 || s.len > 19)
		return false;
	for (; i < s.len; i++)
		if (s.data[i] < '0' || s.data[i] > '9')
			return false;
	return true;
}

static int64_t number_of(struct slice s)
{
	char text[20] = "";
	if (is_number(s))
		memcpy(text, s.data, s.len);
	return strtoll(text, NULL, 10);
}

/* ---- JSON */

/* RFC 8259. Paths may be no UTF-8: then what is not ASCII is shown as '?'. */
static void append_string(struct buf *out, struct slice text)
{
	bool is_utf8 = utf8_is_valid(text);
	buf_append_str(out, "\"");
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.data[i];
		if (c == '"' || c == '\\')
			buf_printf(out, "\\%c", c);
		else if (c < ' ')
			buf_printf(out, "\\u%04x", c);
		else
			buf_append(out, c < 0x80 || is_utf8 ? text.data + i : "?", 1);
	}
	buf_append_str(out, "\"");
}

static void append_value(struct buf *out, const struct field *field, struct slice value)
{
	if (value.len == 0 || (field->type == FIELD_NUMBER && !is_number(value)))
		buf_append_str(out, "null");
	else if (field->type == FIELD_NUMBER)
		buf_printf(out, "%" PRId64, number_of(value));
	else
		append_string(out, value);
}

static void append_object(struct buf *out, const struct fact *f)
{
	const struct kind_row *row = &kinds[f->kind];
	for (unsigned i = 0; i < count_fields(row); i++) {
		buf_printf(out, "%s\"%s\": ", i ? ", " : "{", row->fields[i].name);
		append_value(out, &row->fields[i], f->fields[i]);
	}
	buf_append_str(out, "}");
}

static void append_list(struct buf *out, struct slice facts, enum kind kind)
{
	struct fact f;
	const char *before = "\n    ";
	buf_append_str(out, "[");
	for (size_t at = 0; next_fact(facts, &at, kind, &f); before = ",\n    ") {
		buf_append_str(out, before);
		append_object(out, &f);
	}
	buf_append_str(out, "]");
}

void facts_to_json(struct slice facts, struct buf *out)
{
	for (unsigned kind = 0; kind < KINDS; kind++) {
		const struct kind_row *row = &kinds[kind];
		struct fact f = find_fact(facts, kind);
		buf_printf(out, "%s\"%s\": ", kind ? ",\n  " : "{\n  ", row->name);
		if (row->shape == KIND_LIST)
			append_list(out, facts, kind);
		else if (row->shape == KIND_OBJECT)
			append_object(out, &f);
		else
			append_value(out, &row->fields[0], f.fields[0]);
	}
	buf_append_str(out, "\n}\n");
}

/* ---- the table */

static const char unknown[] = "-";

/* "3 d 4 h", "12 min 5 s", "0.4 s" */
static void format_age(struct slice ms, char *text, size_t size)
{
	int64_t value = number_of(ms), s = value / 1000;
	if (ms.len == 0)
		(void)snprintf(text, size, "%s", unknown);
	else if (s < 10)
		(void)snprintf(text, size, "%" PRId64 ".%d s", s, (int)(value % 1000 / 100));
	else if (s < 60)
		(void)snprintf(text, size, "%" PRId64 " s", s);
	else if (s < 3600)
		(void)snprintf(text, size, "%" PRId64 " min %d s", s / 60, (int)(s % 60));
	else if (s < 24 * 3600)
		(void)snprintf(text, size, "%" PRId64 " h %d min", s / 3600, (int)(s % 3600 / 60));
	else
		(void)snprintf(text, size, "%" PRId64 " d %d h", s / 86400, (int)(s % 86400 / 3600));
}

static void format_memory(struct slice bytes, char *text, size_t size)
{
	if (bytes.len)
		(void)snprintf(text, size, "%.1f MiB", (double)number_of(bytes) / (1024 * 1024));
	else
		(void)snprintf(text, size, "%s", unknown);
}

static struct slice or_unknown(struct slice s)
{
	return s.len ? s : slice_of(unknown);
}

#define SHOWN(slice) (int)or_unknown(slice).len, or_unknown(slice).data

static void append_row(struct buf *out, const char *name, struct slice text)
{
	buf_printf(out, "%-15s%.*s\n", name, SHOWN(text));
}

static void append_listeners(struct buf *out, struct slice facts)
{
	struct fact f;
	for (size_t at = 0; next_fact(facts, &at, KIND_LISTENER, &f);) {
		buf_printf(out, "%-15s%.*s", "listening on", SHOWN(f.fields[LISTENER_NAME]));
		if (f.fields[LISTENER_LIMIT].len)
			buf_printf(out, ", %.*s of %.*s waiting", SHOWN(f.fields[LISTENER_QUEUED]),
				   SHOWN(f.fields[LISTENER_LIMIT]));
		buf_append_str(out, "\n");
	}
}

static void append_attempt(struct buf *out, struct slice facts, enum kind kind, const char *name)
{
	char ended[32];
	struct fact f = find_fact(facts, kind);
	buf_printf(out, "%-15s%.*s", name, SHOWN(f.fields[ATTEMPT_OUTCOME]));
	if (f.fields[ATTEMPT_ENDED].len) {
		format_age(f.fields[ATTEMPT_ENDED], ended, sizeof(ended));
		buf_printf(out, " %s ago", ended);
	}
	if (f.fields[ATTEMPT_REASON].len)
		buf_printf(out, ": %.*s", SHOWN(f.fields[ATTEMPT_REASON]));
	buf_append_str(out, "\n");
}

static void append_generations(struct buf *out, struct slice facts)
{
	struct fact f;
	char age[32], leaves[32];
	buf_printf(out, "\n%-12s %-8s %-13s %10s  %s\n", "GENERATION", "STATE", "AGE", "PROCESSES",
		   "LEAVES WITHIN");
	for (size_t at = 0; next_fact(facts, &at, KIND_GENERATION, &f);) {
		format_age(f.fields[GENERATION_AGE], age, sizeof(age));
		format_age(f.fields[GENERATION_LEAVES], leaves, sizeof(leaves));
		buf_printf(out, "%-12.*s %-8.*s %-13s %10.*s  %s\n", SHOWN(f.fields[GENERATION_NUMBER]),
			   SHOWN(f.fields[GENERATION_STATE]), age, SHOWN(f.fields[GENERATION_PROCESSES]),
			   leaves);
	}
}

static void append_processes(struct buf *out, struct slice facts)
{
	struct fact f;
	char age[32], memory[32], name[64];
	buf_printf(out, "\n%-12s %-8s %-13s %10s  %7s %11s %11s %11s\n", "PROCESS", "STATE", "AGE", "PID",
		   "OF", "CONNECTIONS", "REQUESTS", "MEMORY");
	for (size_t at = 0; next_fact(facts, &at, KIND_PROCESS, &f);) {
		format_age(f.fields[PROCESS_AGE], age, sizeof(age));
		format_memory(f.fields[PROCESS_RESIDENT], memory, sizeof(memory));
		(void)snprintf(name, sizeof(name), "%.*s %.*s", SHOWN(f.fields[PROCESS_KIND]),
			       SHOWN(f.fields[PROCESS_INDEX]));
		buf_printf(out, "%-12s %-8.*s %-13s %10.*s  %7.*s %11.*s %11.*s %11s\n", name,
			   SHOWN(f.fields[PROCESS_STATE]), age, SHOWN(f.fields[PROCESS_PID]),
			   SHOWN(f.fields[PROCESS_GENERATION]), SHOWN(f.fields[PROCESS_CONNECTIONS]),
			   SHOWN(f.fields[PROCESS_REQUESTS]), memory);
	}
}

void facts_to_table(struct slice facts, struct buf *out)
{
	char uptime[32];
	struct fact version = find_fact(facts, KIND_VERSION), pid = find_fact(facts, KIND_PID);
	struct fact state = find_fact(facts, KIND_STATE);
	format_age(find_fact(facts, KIND_UPTIME).fields[0], uptime, sizeof(uptime));
	buf_printf(out, "todod %.*s, process %.*s, %.*s, up for %s\n\n", SHOWN(version.fields[0]),
		   SHOWN(pid.fields[0]), SHOWN(state.fields[0]), uptime);
	append_row(out, "program", find_fact(facts, KIND_PROGRAM).fields[0]);
	append_row(out, "configuration", find_fact(facts, KIND_CONFIGURATION).fields[0]);
	append_row(out, "store", find_fact(facts, KIND_STORE).fields[0]);
	append_row(out, "cache", find_fact(facts, KIND_CACHE).fields[0]);
	append_row(out, "workers wanted", find_fact(facts, KIND_WORKERS).fields[0]);
	append_listeners(out, facts);
	append_attempt(out, facts, KIND_RELOAD, "last reload");
	append_attempt(out, facts, KIND_UPGRADE, "last upgrade");
	append_generations(out, facts);
	append_processes(out, facts);
}
