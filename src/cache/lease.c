#include "cache/lease.h"

#include "cache/scripts.h"

#include <assert.h>
#include <sys/random.h>

enum {
	NUMBER_BYTES = 20,
	JITTER_STEPS = 1000,
};

static const char *const suffixes[LEASE_KEYS] = {"pg", "fr", "ls", "wi", "ma", "ch"};

/* In the order of enum lease_script. */
static const struct {
	const char *name;
	struct slice source;
} scripts[LEASE_SCRIPTS] = {
    {"open",       {open_lua, sizeof(open_lua) - 1}            },
    {"probe",      {probe_lua, sizeof(probe_lua) - 1}          },
    {"acquire",    {acquire_lua, sizeof(acquire_lua) - 1}      },
    {"fill",       {fill_lua, sizeof(fill_lua) - 1}            },
    {"begin",      {begin_lua, sizeof(begin_lua) - 1}          },
    {"invalidate", {invalidate_lua, sizeof(invalidate_lua) - 1}},
    {"release",    {release_lua, sizeof(release_lua) - 1}      },
};

const char *lease_script_name(enum lease_script s)
{
	return scripts[s].name;
}

struct slice lease_script_source(enum lease_script s)
{
	return scripts[s].source;
}

static void uuid_to_string(const struct uuid *u, char text[UUID_TEXT_BYTES + 1])
{
	uuid_to_text(u, text);
	text[UUID_TEXT_BYTES] = '\0';
}

void lease_init(struct lease *l, const struct uuid *database, const struct uuid *machine, uint32_t ttl_ms,
		uint32_t fresh_ms, bool vouches)
{
	*l = (struct lease){.vouches = vouches, .ttl_ms = ttl_ms, .fresh_ms = fresh_ms};
	uuid_to_string(database, l->id);
	uuid_to_string(machine, l->machine);
	/* The braces make Redis Cluster keep the keys together. */
	for (size_t i = 0; i < LEASE_KEYS; i++)
		buf_printf(&l->keys[i], "todod:{%s}:%s", l->id, suffixes[i]);
}

void lease_release(struct lease *l)
{
	for (size_t i = 0; i < LEASE_KEYS; i++)
		buf_release(&l->keys[i]);
}

static void fill_random(void *bytes, size_t len)
{
	/* Up to 256 bytes getrandom(2) gives whole. */
	ssize_t got = getrandom(bytes, len, 0);
	assert(got == (ssize_t)len);
}

void lease_token(char token[LEASE_TOKEN_BYTES])
{
	static const char digits[] = "0123456789abcdef";
	uint8_t bytes[LEASE_TOKEN_BYTES / 2];
	fill_random(bytes, sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++) {
		token[2 * i] = digits[bytes[i] >> 4];
		token[2 * i + 1] = digits[bytes[i] & 15];
	}
}

/* `value` less a random part of at most `spread`. */
static int64_t jitter(int64_t value, int64_t spread)
{
	uint32_t bits;
	fill_random(&bits, sizeof(bits));
	return value - spread * (bits % (JITTER_STEPS + 1)) / JITTER_STEPS;
}

/* ---- arguments */

struct args {
	struct slice *words;
	size_t count;
	struct buf *scratch; /* never moves: words view it */
};

static void add(struct args *a, struct slice word)
{
	assert(a->count < LEASE_WORDS_MAX);
	a->words[a->count++] = word;
}

static void add_number(struct args *a, int64_t number)
{
	assert(number >= 0 && a->scratch->cap - a->scratch->len >= NUMBER_BYTES);
	size_t start = a->scratch->len;
	buf_append_u64(a->scratch, (unsigned long long)number);
	add(a, (struct slice){a->scratch->data + start, a->scratch->len - start});
}

static void add_token(struct args *a, const char *token)
{
	add(a, (struct slice){token, LEASE_TOKEN_BYTES});
}

static void add_channel(struct args *a, const struct lease *l)
{
	add(a, buf_slice(&l->keys[LEASE_CHANNEL]));
	add(a, slice_of(l->machine));
}

/* Begins with the number of keys and the keys, `which`: as many of them as it has bits, in their order. */
static struct args begin_args(const struct lease *l, unsigned which, struct slice *words, struct buf *scratch)
{
	struct args a = {words, 0, scratch};
	buf_clear(scratch);
	buf_reserve(scratch, LEASE_WORDS_MAX * NUMBER_BYTES);
	add_number(&a, __builtin_popcount(which));
	for (size_t i = 0; i < LEASE_KEYS; i++)
		if (which & 1u << i)
			add(&a, buf_slice(&l->keys[i]));
	return a;
}

#define ONLY(key) (1u << (key))
enum {
	PAGE_KEYS = ONLY(LEASE_PAGE) | ONLY(LEASE_FRESH) | ONLY(LEASE_LEASE) | ONLY(LEASE_INTENTS),
	ALL_KEYS = PAGE_KEYS | ONLY(LEASE_MACHINES),
};

size_t lease_open_args(const struct lease *l, struct slice *words, struct buf *scratch)
{
	struct args a = begin_args(l, ALL_KEYS, words, scratch);
	add_channel(&a, l);
	add_number(&a, l->vouches ? LEASE_MACHINE_MS : 0);
	return a.count;
}

size_t lease_probe_args(const struct lease *l, struct slice *words, struct buf *scratch)
{
	struct args a = begin_args(l, ONLY(LEASE_MACHINES), words, scratch);
	add(&a, slice_of(l->machine));
	add_number(&a, l->vouches ? LEASE_MACHINE_MS : 0);
	return a.count;
}

size_t lease_acquire_args(const struct lease *l, const char *token, struct slice *words, struct buf *scratch)
{
	struct args a = begin_args(l, PAGE_KEYS, words, scratch);
	add_token(&a, token);
	add_number(&a, LEASE_MS);
	add_number(&a, LEASE_GRACE_MS);
	return a.count;
}

size_t lease_fill_args(const struct lease *l, const char *token, const struct page *page, bool dirty,
		       struct slice *words, struct buf *scratch)
{
	struct buf text = BUF_INIT;
	lease_page_encode(page, &text);
	buf_clear(scratch);
	buf_reserve(scratch, LEASE_WORDS_MAX * NUMBER_BYTES + text.len);
	struct args a = begin_args(l, PAGE_KEYS, words, scratch);
	add_token(&a, token);
	size_t start = scratch->len;
	buf_append_slice(scratch, buf_slice(&text));
	add(&a, (struct slice){scratch->data + start, text.len});
	buf_release(&text);
	add_number(&a, jitter((int64_t)l->ttl_ms + l->ttl_ms / 10, l->ttl_ms / 5));
	add_number(&a, jitter(l->fresh_ms, l->fresh_ms / 5));
	add_number(&a, LEASE_GRACE_MS);
	if (dirty)
		add_number(&a, LEASE_INTENT_MS);
	else
		add(&a, SLICE(""));
	add_channel(&a, l);
	return a.count;
}

size_t lease_begin_args(const struct lease *l, struct slice *words, struct buf *scratch)
{
	struct args a = begin_args(l, ONLY(LEASE_PAGE) | ONLY(LEASE_INTENTS), words, scratch);
	add(&a, slice_of(l->machine));
	add_number(&a, LEASE_INTENT_MS);
	return a.count;
}

size_t lease_invalidate_args(const struct lease *l, bool ends_intent, struct slice *words,
			     struct buf *scratch)
{
	struct args a = begin_args(l, ALL_KEYS, words, scratch);
	add_channel(&a, l);
	add(&a, ends_intent ? SLICE("1") : SLICE("0"));
	return a.count;
}

size_t lease_release_args(const struct lease *l, const char *token, struct slice *words, struct buf *scratch)
{
	struct args a = begin_args(l, ONLY(LEASE_LEASE), words, scratch);
	add_token(&a, token);
	add_channel(&a, l);
	return a.count;
}

/* ---- what acquire answers: verdict, page or nil, freshness left, the lease's life, is an intent open */

enum { ACQUIRED_VERDICT, ACQUIRED_PAGE, ACQUIRED_FRESH, ACQUIRED_LEASE, ACQUIRED_DIRTY, ACQUIRED_COUNT };

static const struct {
	char letter;
	enum lease_verdict verdict;
	bool needs_page;
} verdicts[] = {
    {'H', LEASE_HIT,   true },
    {'L', LEASE_WON,   false},
    {'S', LEASE_SERVE, true },
    {'W', LEASE_WAIT,  false},
};

static struct lease_acquired broken(const char *why)
{
	return (struct lease_acquired){.verdict = LEASE_BROKEN, .why = why};
}

static bool is_of_form(const struct redisReply *reply)
{
	enum redis_type page = redis_type(redis_at(reply, ACQUIRED_PAGE));
	bool is_form = redis_type(reply) == REDIS_ARRAY && redis_count(reply) == ACQUIRED_COUNT &&
		       redis_text(redis_at(reply, ACQUIRED_VERDICT)).len == 1 &&
		       (page == REDIS_TEXT || page == REDIS_NIL);
	for (size_t i = ACQUIRED_FRESH; i < ACQUIRED_COUNT; i++)
		is_form = is_form && redis_type(redis_at(reply, i)) == REDIS_INTEGER;
	return is_form;
}

void lease_read_acquire(const struct redisReply *reply, struct lease_acquired *a, struct page *page)
{
	if (redis_type(reply) == REDIS_ERROR) {
		*a = broken(redis_text(reply).data);
		return;
	}
	*a = broken("an answer of another form");
	if (!is_of_form(reply))
		return;
	const struct redisReply *text = redis_at(reply, ACQUIRED_PAGE);
	char letter = redis_text(redis_at(reply, ACQUIRED_VERDICT)).data[0];
	bool has_page = redis_type(text) == REDIS_TEXT;
	for (size_t i = 0; i < sizeof(verdicts) / sizeof(verdicts[0]); i++)
		if (verdicts[i].letter == letter && (has_page || !verdicts[i].needs_page))
			*a = (struct lease_acquired){
			    .verdict = verdicts[i].verdict,
			    .has_page = has_page,
			    .dirty = redis_integer(redis_at(reply, ACQUIRED_DIRTY)) != 0,
			    .fresh_left_ms = redis_integer(redis_at(reply, ACQUIRED_FRESH)),
			    .wait_ms = redis_integer(redis_at(reply, ACQUIRED_LEASE)),
			};
	if (a->verdict != LEASE_BROKEN && has_page && lease_page_decode(redis_text(text), page))
		*a = broken("a page that is not one of this version, or damaged");
}

/* ---- the page's form */

static void append_header(struct buf *out, const struct page *page, size_t json_len)
{
	char tag[UUID_TEXT_BYTES + 1], check_text[UUID_TEXT_BYTES + 1],
	    cursor[TODO_CURSOR_TEXT_BYTES + 1] = "-";
	struct uuid check;
	size_t start = out->len;
	uuid_to_string(&page->tag, tag);
	if (page->has_more)
		todo_cursor_write(&page->last, cursor);
	buf_printf(out, "TD2 %lld %s %s %zu", (long long)page->filled_us, tag, cursor, json_len);
	uuid_of_bytes(&check, out->data + start, out->len - start);
	uuid_to_string(&check, check_text);
	buf_printf(out, " %s\n", check_text);
}

void lease_page_encode(const struct page *page, struct buf *out)
{
	assert(page->json.len <= PAGE_JSON_MAX_BYTES && page->filled_us >= 0);
	append_header(out, page, page->json.len);
	buf_append_slice(out, buf_slice(&page->json));
}

/* Cuts up to the delimiter, which goes. Returns 0, or -1 when there is none. */
static int cut(struct slice *text, char delimiter, struct slice *field)
{
	const char *end = text->len ? memchr(text->data, delimiter, text->len) : NULL;
	if (!end)
		return -1;
	*field = (struct slice){text->data, (size_t)(end - text->data)};
	*text = (struct slice){end + 1, text->len - field->len - 1};
	return 0;
}

/* Digits as they are written: no sign, no leading zero. */
static int read_number(struct slice text, int64_t max, int64_t *value)
{
	*value = 0;
	if (text.len == 0 || (text.len > 1 && text.data[0] == '0'))
		return -1;
	for (size_t i = 0; i < text.len; i++) {
		int digit = text.data[i] - '0';
		if (digit < 0 || digit > 9 || *value > (max - digit) / 10)
			return -1;
		*value = *value * 10 + digit;
	}
	return 0;
}

/* Only one header says what this one says: it is made anew, and has to be the same. */
static bool is_header_of(struct slice header, const struct page *page, size_t json_len)
{
	struct buf again = BUF_INIT;
	append_header(&again, page, json_len);
	again.len--; /* the line's end */
	bool is_same = slice_equal(buf_slice(&again), header);
	buf_release(&again);
	return is_same;
}

int lease_page_decode(struct slice text, struct page *page)
{
	struct slice json = text, header, rest, version, filled, tag, last, length;
	struct page read = {.has_more = false};
	int64_t bytes;
	if (cut(&json, '\n', &header))
		return -1;
	rest = header;
	if (cut(&rest, ' ', &version) || cut(&rest, ' ', &filled) || cut(&rest, ' ', &tag) ||
	    cut(&rest, ' ', &last) || cut(&rest, ' ', &length))
		return -1;
	read.has_more = !slice_equal(last, SLICE("-"));
	if (read_number(filled, INT64_MAX, &read.filled_us) ||
	    (read.has_more && todo_cursor_read(&read.last, last)) ||
	    read_number(length, PAGE_JSON_MAX_BYTES, &bytes) || (size_t)bytes != json.len)
		return -1;
	uuid_of_bytes(&read.tag, json.data, json.len);
	if (!is_header_of(header, &read, json.len))
		return -1;
	page->filled_us = read.filled_us;
	page->tag = read.tag;
	page->has_more = read.has_more;
	page->last = read.last;
	buf_clear(&page->json);
	buf_append_slice(&page->json, json);
	page->source = PAGE_FROM_REDIS;
	page->state = PAGE_OK;
	return 0;
}
