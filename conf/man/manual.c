/*
 * manual TEMPLATE SAMPLE: a manual page, in mdoc(7), on stdout. A program of the build, not of the product.
 *
 * Lines of the template go through as they are, but for those that are one of the names in `parts`: there stands what the
 * program knows by itself (config/options.h), so that the manual cannot forget a key or a signal. What a key is good for, at length,
 * is told by the comments of SAMPLE, conf/todod.conf, which tests/unit/test_config.c holds to the table.
 */
#include "config/options.h"

#include <errno.h>
#include <stdlib.h>

enum { SOURCE_MAX_BYTES = 1 << 20, LINE_COLUMNS = 78 };

static void die(const char *what, const char *why)
{
	fprintf(stderr, "manual: %s: %s\n", what, why);
	exit(1);
}

/* ---- mdoc */

static void print_escaped(struct slice text)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.data[i] == '\\')
			fputs("\\e", stdout);
		else
			putchar(text.data[i]);
}

/* An argument of a macro: what mdoc takes for a macro's name, or for punctuation, has to be hidden from it. */
static void print_argument(struct slice text)
{
	fputs(" \"\\&", stdout);
	for (size_t i = 0; i < text.len; i++)
		if (text.data[i] == '"')
			fputs("\\(dq", stdout);
		else
			print_escaped((struct slice){text.data + i, 1});
	putchar('"');
}

static bool ends_sentence(struct slice word)
{
	while (word.len && strchr(")\"", word.data[word.len - 1]))
		word.len--;
	return word.len && strchr(".?!", word.data[word.len - 1]);
}

/* Running text: a sentence begins a line, and no line is long. */
static void print_text(struct slice text)
{
	size_t column = 0;
	for (const char *at = text.data, *end = text.data + text.len; at < end;) {
		const char *space = memchr(at, ' ', (size_t)(end - at));
		struct slice word = {at, (size_t)((space ? space : end) - at)};
		at += word.len + (space != NULL);
		if (word.len == 0)
			continue;
		if (column && column + 1 + word.len > LINE_COLUMNS) {
			putchar('\n');
			column = 0;
		}
		if (column)
			putchar(' ');
		else if (strchr(".'", word.data[0]))
			fputs("\\&", stdout);
		print_escaped(word);
		column += (column > 0) + word.len;
		if (ends_sentence(word)) {
			putchar('\n');
			column = 0;
		}
	}
	if (column)
		putchar('\n');
}

static void print_terms(const struct config_term *terms)
{
	for (; terms->name; terms++) {
		fputs(".It Ic", stdout);
		print_argument(slice_of(terms->name));
		putchar('\n');
		print_text(slice_of(terms->meaning));
	}
}

/* ---- the sample configuration: a block of comments above "# KEY = VALUE", for each key */

static struct buf sample;

static struct slice next_line(struct slice *rest)
{
	const char *end = memchr(rest->data, '\n', rest->len);
	struct slice line = {rest->data, end ? (size_t)(end - rest->data) : rest->len};
	size_t skip = line.len + (end != NULL);
	*rest = (struct slice){rest->data + skip, rest->len - skip};
	return line;
}

static bool is_setting_of(const struct config_key *key, struct slice line)
{
	size_t len = strlen(key->name);
	return line.len > len + 5 && memcmp(line.data, "# ", 2) == 0 &&
	       memcmp(line.data + 2, key->name, len) == 0 && memcmp(line.data + 2 + len, " = ", 3) == 0;
}

/* The comments of a key, as one line. */
static void find_prose(const struct config_key *key, struct buf *prose)
{
	struct slice rest = buf_slice(&sample);
	while (rest.len) {
		struct slice line = next_line(&rest);
		if (is_setting_of(key, line))
			return;
		if (line.len < 2)
			buf_clear(prose);
		else
			buf_append(prose, line.data + 1, line.len - 1);
	}
	die(key->name, "not in the sample configuration");
}

static void print_keys(void)
{
	for (size_t i = 0; i < config_key_count; i++) {
		struct buf prose = BUF_INIT;
		find_prose(&config_keys[i], &prose);
		printf(".It Ic %s", config_keys[i].name);
		if (config_keys[i].preset) {
			fputs(" No = Ar", stdout);
			print_argument(slice_of(config_keys[i].preset));
		}
		putchar('\n');
		print_text(buf_slice(&prose));
		buf_release(&prose);
	}
}

/* ---- the template */

static void print_examples(void)
{
	for (const struct config_term *example = config_examples; example->name; example++) {
		fputs(".It", stdout);
		print_argument(slice_of(example->name));
		putchar('\n');
		print_text(slice_of(example->meaning));
	}
}

static void print_commands(void)
{
	print_terms(config_commands);
}

static void print_options(void)
{
	print_terms(config_options);
}

static void print_signals(void)
{
	print_terms(config_signals);
}

static void print_exit_codes(void)
{
	print_terms(config_exit_codes);
}

static const struct {
	const char *name;
	void (*print)(void);
} parts[] = {
    {"@KEYS@",       print_keys      },
    {"@EXAMPLES@",   print_examples  },
    {"@COMMANDS@",   print_commands  },
    {"@OPTIONS@",    print_options   },
    {"@SIGNALS@",    print_signals   },
    {"@EXIT_CODES@", print_exit_codes},
};

static void print_line(struct slice line)
{
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (slice_equal(line, slice_of(parts[i].name))) {
			parts[i].print();
			return;
		}
	if (line.len && line.data[0] == '@')
		die("template", "an unknown part");
	printf("%.*s\n", (int)line.len, line.data);
}

int main(int argc, char *argv[])
{
	struct buf template = BUF_INIT;
	if (argc != 3)
		die("usage", "manual TEMPLATE SAMPLE");
	if (config_file_slurp(argv[1], SOURCE_MAX_BYTES, &template))
		die(argv[1], strerror(errno));
	if (config_file_slurp(argv[2], SOURCE_MAX_BYTES, &sample))
		die(argv[2], strerror(errno));
	struct slice rest = buf_slice(&template);
	while (rest.len)
		print_line(next_line(&rest));
	buf_release(&template);
	buf_release(&sample);
	return ferror(stdout) || fclose(stdout) ? 1 : 0;
}
