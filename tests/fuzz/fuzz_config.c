/*
 * The configuration: a file, a command line, an environment. It is refused with a sentence, or every value lies in its range, a dump of it
 * loads again, and dumps the same. No secret comes out.
 */
#include "check.h"

#include "config/options.h"

#include <sys/mman.h>
#include <unistd.h>

enum { WORDS_MAX = 16, PATH_BYTES = 32 };

struct loaded {
	struct config c;
	struct config_sources s;
	enum config_action action;
	int rc;
};

/* execve(2) takes none that are constant. */
static char program[] = "todod", option_file[] = "-c", option_test[] = "-t", environment_home[] = "HOME=/h";

/* A file in memory, at /proc/self/fd/N. */
static int open_file(const char *data, size_t size, char path[PATH_BYTES])
{
	int fd = memfd_create("todod.conf", MFD_CLOEXEC);
	CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	snprintf(path, PATH_BYTES, "/proc/self/fd/%d", fd);
	return fd;
}

static bool is_number(const struct config_key *key)
{
	return key->max > 0;
}

/* What -h, -V, wrong words and wrong values leave behind is released like the rest. */
static void load(struct loaded *l, int argc, char *const argv[], char *const environment[])
{
	struct err err = {.code = EXIT_CODE_OK};
	l->rc = config_load(&l->c, &l->s, &l->action, argc, argv, environment, &err);
	CHECK(l->rc == 0 || l->rc == -1);
	if (l->rc == -1) {
		CHECK(err.code == EXIT_CODE_USAGE || err.code == EXIT_CODE_CONFIG);
		CHECK(err.text[0] && strlen(err.text) < sizeof(err.text));
		return;
	}
	CHECK(err.code == EXIT_CODE_OK);
	if (l->action >= CONFIG_VERSION)
		return;
	CHECK(l->c.store && l->c.cache && l->c.listen_count >= 1 && l->c.listen_count <= CONFIG_LISTEN_MAX);
	CHECK(l->c.content_max_bytes <= l->c.body_max_bytes);
	for (size_t i = 0; i < config_key_count; i++) {
		const struct config_key *key = &config_keys[i];
		uint32_t value;
		CHECK(config_place(&l->s, key->name)[0]);
		if (!is_number(key))
			continue;
		memcpy(&value, (const char *)&l->c + key->offset, sizeof(value));
		bool is_auto = key->preset && strcmp(key->preset, "auto") == 0 && value == 0;
		CHECK(is_auto || (value >= key->min && value <= key->max));
	}
}

static char *dump(const struct loaded *l, size_t *size)
{
	char *text = NULL;
	FILE *stream = open_memstream(&text, size);
	CHECK(stream);
	config_dump(&l->c, &l->s, stream);
	CHECK(fclose(stream) == 0);
	return text;
}

/* Without the comments, which say where each value came from. */
static void keep_values(char *text, size_t *size)
{
	char *to = text, *end = text + *size;
	for (char *line = text, *next; line < end; line = next) {
		next = (char *)memchr(line, '\n', (size_t)(end - line)) + 1;
		if (*line == '#')
			continue;
		memmove(to, line, (size_t)(next - line));
		to += next - line;
	}
	*size = (size_t)(to - text);
}

static void check_dump(const struct loaded *first)
{
	char path[PATH_BYTES], *argv[] = {program, option_file, path, NULL}, *environment[] = {NULL};
	size_t size, again_size;
	struct loaded second;
	char *text = dump(first, &size);
	int fd = open_file(text, size, path);
	load(&second, 3, argv, environment);
	if (second.rc != 0)
		fprintf(stderr, "%.*s", (int)size, text);
	CHECK(second.rc == 0);
	char *again = dump(&second, &again_size);
	keep_values(text, &size);
	keep_values(again, &again_size);
	CHECK(size == again_size && memcmp(text, again, size) == 0);
	close(fd);
	free(text);
	free(again);
	config_release(&second.c, &second.s);
}

/* What is masked stays so, and a password in its place does not show. */
static void check_mask(const char *uri)
{
	static const char secret[] = "sesame";
	char *masked = config_mask_password(uri), *again = config_mask_password(masked);
	CHECK(strcmp(masked, again) == 0);
	free(again);
	free(masked);
	struct buf with = BUF_INIT;
	if (strstr(uri, secret) || strchr(uri, '@') || strstr(uri, "://"))
		return;
	buf_printf(&with, "redis://%s:%s@%s%c", uri, secret, uri, '\0');
	masked = config_mask_password(with.data);
	CHECK(!strstr(masked, secret));
	free(masked);
	buf_release(&with);
}

static void load_and_check(int argc, char *const argv[], char *const environment[])
{
	struct loaded l;
	load(&l, argc, argv, environment);
	if (l.rc == 0 && l.action < CONFIG_VERSION) {
		check_dump(&l);
		check_mask(l.c.store);
		check_mask(l.c.cache);
	}
	config_release(&l.c, &l.s);
}

static void load_file(char *text, size_t size)
{
	char path[PATH_BYTES], *argv[] = {program, option_file, path, NULL},
			       *environment[] = {environment_home, NULL};
	int fd = open_file(text, size, path);
	load_and_check(3, argv, environment);
	close(fd);
}

/* Words, each ended by a line break. No file but ours is read: a word of the environment may not name one. */
static size_t cut_words(char *text, size_t size, char *words[WORDS_MAX + 1])
{
	size_t count = 0;
	for (char *at = text, *end = text + size; at < end && count < WORDS_MAX; at += strlen(at) + 1) {
		char *line_end = memchr(at, '\n', (size_t)(end - at));
		*(line_end ? line_end : end) = '\0';
		words[count++] = at;
	}
	words[count] = NULL;
	return count;
}

static void load_command_line(char *text, size_t size)
{
	char *words[WORDS_MAX + 1], *argv[WORDS_MAX + 2] = {program},
						      *environment[] = {environment_home, NULL};
	size_t count = cut_words(text, size, words);
	for (size_t i = 0; i < count; i++)
		argv[i + 1] = strcmp(words[i], "-c") == 0 ? option_test : words[i];
	load_and_check((int)count + 1, argv, environment);
}

static void load_environment(char *text, size_t size)
{
	char *words[WORDS_MAX + 1], *argv[] = {program, NULL},
				    *environment[WORDS_MAX + 2] = {environment_home};
	size_t count = cut_words(text, size, words), used = 1;
	for (size_t i = 0; i < count; i++)
		if (!memmem(words[i], strcspn(words[i], "="), "_FILE", strlen("_FILE")))
			environment[used++] = words[i];
	environment[used] = NULL;
	load_and_check(1, argv, environment);
}

static void read_address(char *text, size_t size)
{
	struct listen_address a;
	struct err err;
	(void)size;
	if (config_parse_listen(&a, text, &err) == 0)
		CHECK(memchr(a.host, '\0', sizeof(a.host)) &&
		      (a.is_unix || memchr(a.port, '\0', sizeof(a.port))));
	check_mask(text);
}

static void (*const readings[])(char *text, size_t size) = {load_file, load_command_line, load_environment,
							    read_address};

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	log_init("fuzz", LOG_LEVEL_ERROR); /* it warns of variables */
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t reading = take_byte(&data, &size);
	char *text = alloc_string((struct slice){(const char *)data, size});
	readings[reading % (sizeof(readings) / sizeof(readings[0]))](text, size);
	free(text);
	return 0;
}
