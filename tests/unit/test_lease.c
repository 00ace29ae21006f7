/*
 * The lease protocol: the form of the page, the arguments, and every script on a real server, between two machines.
 */
#include "redis_fixture.h"

#include "cache/lease.h"

enum { TTL_MS = 3600 * 1000, FRESH_MS = 10 * 1000 };

/* ---- pages */

static void make_page(struct page *page, const char *json)
{
	*page = (struct page){.filled_us = INT64_C(1795415696788076), .state = PAGE_OK};
	buf_append_str(&page->json, json);
	uuid_of_bytes(&page->tag, page->json.data, page->json.len);
}

static void assert_same(const struct page *a, const struct page *b)
{
	assert_int_equal(a->filled_us, b->filled_us);
	assert_int_equal(uuid_compare_to(&a->tag, &b->tag), 0);
	assert_int_equal(a->has_more, b->has_more);
	if (a->has_more) {
		assert_true(a->last.created_at == b->last.created_at);
		assert_int_equal(uuid_compare_to(&a->last.id, &b->last.id), 0);
	}
	assert_true(slice_equal(buf_slice(&a->json), buf_slice(&b->json)));
}

static void assert_round_trip(const struct page *page)
{
	struct buf text = BUF_INIT;
	struct page read = {.source = PAGE_FROM_STORE};
	lease_page_encode(page, &text);
	assert_int_equal(lease_page_decode(buf_slice(&text), &read), 0);
	assert_same(page, &read);
	assert_int_equal(read.source, PAGE_FROM_REDIS);
	assert_int_equal(read.state, PAGE_OK);
	page_release(&read);
	buf_release(&text);
}

static void make_last(struct page *page)
{
	page->has_more = true;
	page->last.created_at = todo_seconds(page->filled_us);
	uuid_make(&page->last.id, page->filled_us);
}

static void test_page(void **state)
{
	(void)state;
	struct page page;
	make_page(&page, "{\"data\": []}");
	assert_round_trip(&page);
	make_last(&page);
	assert_round_trip(&page);
	page.filled_us = 0;
	assert_round_trip(&page);
	page.filled_us = INT64_MAX;
	assert_round_trip(&page);
	while (page.json.len < PAGE_JSON_MAX_BYTES)
		buf_append(&page.json, &(char){(char)page.json.len}, 1);
	uuid_of_bytes(&page.tag, page.json.data, page.json.len);
	assert_round_trip(&page);
	page_release(&page);
}

/* What stands in front of the JSON, with a check of its own: `format` with the tag in it, up to the last space. */
static void append_head(struct buf *out, const char *format, struct slice json)
{
	struct uuid id;
	char text[UUID_TEXT_BYTES + 1] = "";
	size_t start = out->len, place = strcspn(format, "%");
	buf_reserve(out, 1); /* so that it has data, were the format empty */
	uuid_of_bytes(&id, json.data, json.len);
	uuid_to_text(&id, text);
	buf_append(out, format, place);
	if (format[place]) {
		buf_append_str(out, text);
		buf_append_str(out, format + place + 1);
	}
	uuid_of_bytes(&id, out->data + start, out->len - start);
	uuid_to_text(&id, text);
	buf_printf(out, " %s\n", text);
}

static int decode_with_head(const char *format, struct slice json)
{
	struct buf text = BUF_INIT;
	struct page read = {.filled_us = 0};
	append_head(&text, format, json);
	buf_append_slice(&text, json);
	int rc = lease_page_decode(buf_slice(&text), &read);
	buf_release(&text);
	page_release(&read);
	return rc;
}

static void test_page_form(void **state)
{
	(void)state;
	struct page page;
	struct buf text = BUF_INIT, expected = BUF_INIT;
	make_page(&page, "{}");
	lease_page_encode(&page, &text);
	append_head(&expected, "TD2 1795415696788076 % - 2", SLICE("{}"));
	buf_append_str(&expected, "{}");
	assert_true(slice_equal(buf_slice(&text), buf_slice(&expected)));
	buf_release(&text);
	buf_release(&expected);
	page_release(&page);
}

/* Whatever is cut off, put behind or changed. */
static void test_page_damaged(void **state)
{
	(void)state;
	struct page page, read = {.filled_us = 7};
	struct buf text = BUF_INIT;
	make_page(&page, "{\"data\": [1, 2, 3]}");
	make_last(&page);
	lease_page_encode(&page, &text);
	for (size_t len = 0; len < text.len; len++) {
		/* A copy of just that size: a read beyond it shows. */
		char *copy = alloc_zeroed(len, 1);
		memcpy(copy, text.data, len);
		assert_int_equal(lease_page_decode((struct slice){copy, len}, &read), -1);
		free(copy);
	}
	assert_int_equal(read.filled_us, 7);
	for (size_t i = 0; i < text.len; i++)
		for (int change = 1; change < 256; change++) {
			text.data[i] = (char)(text.data[i] ^ change);
			assert_int_equal(lease_page_decode(buf_slice(&text), &read), -1);
			text.data[i] = (char)(text.data[i] ^ change);
		}
	assert_int_equal(lease_page_decode(buf_slice(&text), &read), 0);
	buf_append(&text, "x", 1);
	assert_int_equal(lease_page_decode(buf_slice(&text), &read), -1);
	page_release(&read);
	page_release(&page);
	buf_release(&text);
}

/* A right check does not make a header right. */
static void test_page_refused(void **state)
{
	(void)state;
	static const char *const heads[] = {
	    "TD1 1 % - 2",
	    "TD3 1 % - 2",
	    "TD2 -1 % - 2",
	    "TD2 01 % - 2",
	    "TD2 1 % - 02",
	    "TD2 1 % - 3",
	    "TD2 1 % - 1",
	    "TD2 1 %  2",
	    "TD2  % - 2",
	    "TD2 9223372036854775808 % - 2",
	    "TD2 1 % x 2",
	    "TD2 1 % - 2 ",
	    " TD2 1 % - 2",
	    "TD2 1 % - +2",
	    "TD2 1x % - 2",
	    "TD2 1 % - 2\r",
	    "TD2\t1 % - 2",
	    "TD2 1 % - 18446744073709551618",
	    "TD2 1 01A2071D-6594-5A52-9F0E-3C2F1B6D8A47 - 2",
	    "TD2 1 % - 2 2",
	    "TD2 1 %",
	    "",
	};
	assert_int_equal(decode_with_head("TD2 1 % - 2", SLICE("{}")), 0);
	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
		if (decode_with_head(heads[i], SLICE("{}")) == 0)
			fail_msg("taken: %s", heads[i]);
	struct buf body = BUF_INIT;
	char head[64];
	while (body.len < PAGE_JSON_MAX_BYTES)
		buf_append(&body, "x", 1);
	snprintf(head, sizeof(head), "TD2 1 %% - %zu", body.len);
	assert_int_equal(decode_with_head(head, buf_slice(&body)), 0);
	buf_append(&body, "x", 1);
	snprintf(head, sizeof(head), "TD2 1 %% - %zu", body.len);
	assert_int_equal(decode_with_head(head, buf_slice(&body)), -1);
	buf_release(&body);
}

/* ---- tokens and arguments */

static void test_token(void **state)
{
	(void)state;
	char tokens[50][LEASE_TOKEN_BYTES];
	for (size_t i = 0; i < 50; i++) {
		lease_token(tokens[i]);
		for (size_t j = 0; j < LEASE_TOKEN_BYTES; j++)
			assert_non_null(memchr("0123456789abcdef", tokens[i][j], 16));
		for (size_t j = 0; j < i; j++)
			assert_memory_not_equal(tokens[i], tokens[j], LEASE_TOKEN_BYTES);
	}
}

static void test_scripts_are_named(void **state)
{
	(void)state;
	static const char *const names[] = {"open",  "probe",      "acquire", "fill",
					    "begin", "invalidate", "release"};
	for (size_t i = 0; i < LEASE_SCRIPTS; i++) {
		assert_string_equal(lease_script_name((enum lease_script)i), names[i]);
		assert_true(lease_script_source((enum lease_script)i).len > 100);
	}
}

static int64_t number_of(struct slice text)
{
	int64_t value = 0;
	for (size_t i = 0; i < text.len; i++) {
		assert_true(text.data[i] >= '0' && text.data[i] <= '9');
		value = value * 10 + (text.data[i] - '0');
	}
	return value;
}

/* Every lifetime within its bounds, and spread over them. */
static void test_jitter(void **state)
{
	(void)state;
	enum { RUNS = 2000, WORD_TTL = 7, WORD_FRESH = 8 };
	struct uuid id = {{1}};
	struct lease lease;
	struct page page;
	struct slice words[LEASE_WORDS_MAX];
	struct buf scratch = BUF_INIT;
	int64_t ttl_min = INT64_MAX, ttl_max = 0, fresh_min = INT64_MAX, fresh_max = 0;
	char token[LEASE_TOKEN_BYTES];
	lease_init(&lease, &id, &id, TTL_MS, FRESH_MS, true);
	lease_token(token);
	make_page(&page, "{}");
	for (int i = 0; i < RUNS; i++) {
		assert_int_equal(lease_fill_args(&lease, token, &page, false, words, &scratch), 13);
		int64_t ttl = number_of(words[WORD_TTL]), fresh = number_of(words[WORD_FRESH]);
		ttl_min = ttl < ttl_min ? ttl : ttl_min;
		ttl_max = ttl > ttl_max ? ttl : ttl_max;
		fresh_min = fresh < fresh_min ? fresh : fresh_min;
		fresh_max = fresh > fresh_max ? fresh : fresh_max;
	}
	assert_true(ttl_min >= TTL_MS / 10 * 9 && ttl_min < TTL_MS / 100 * 91);
	assert_true(ttl_max <= TTL_MS / 10 * 11 && ttl_max > TTL_MS / 100 * 109);
	assert_true(fresh_min >= FRESH_MS / 10 * 8 && fresh_min < FRESH_MS / 100 * 82);
	assert_true(fresh_max <= FRESH_MS && fresh_max > FRESH_MS / 100 * 98);
	buf_release(&scratch);
	page_release(&page);
	lease_release(&lease);
}

/* ---- two machines on one server */

enum { MACHINES = 2 };

static struct world {
	struct fixture_server server;
	struct fixture_client client; /* for all */
	struct machine {
		struct lease lease;
		char token[LEASE_TOKEN_BYTES];
	} machines[MACHINES];
	char shas[LEASE_SCRIPTS][41];
	struct page page, got; /* what is stored, what was read */
	struct lease_acquired acquired;
	char why[128];
} w;

#define A (&w.machines[0])
#define B (&w.machines[1])

static const struct fixture_reply *call_script(enum lease_script script, const struct slice *words,
					       size_t count)
{
	struct slice all[LEASE_WORDS_MAX + 2] = {SLICE("EVALSHA"), slice_of(w.shas[script])};
	memcpy(all + 2, words, count * sizeof(*words));
	return fixture_send(&w.client, all, count + 2);
}

#define RUN(script, name, ...)                                                                       \
	do {                                                                                         \
		struct slice words[LEASE_WORDS_MAX];                                                 \
		struct buf scratch = BUF_INIT;                                                       \
		(void)call_script(script, words, lease_##name##_args(__VA_ARGS__, words, &scratch)); \
		buf_release(&scratch);                                                               \
	} while (0)

static const struct fixture_reply *run_open(struct machine *m)
{
	RUN(LEASE_OPEN, open, &m->lease);
	return &w.client.reply;
}

static const struct fixture_reply *run_probe(struct machine *m)
{
	RUN(LEASE_PROBE, probe, &m->lease);
	return &w.client.reply;
}

static const struct fixture_reply *run_fill(struct machine *m, bool dirty)
{
	RUN(LEASE_FILL, fill, &m->lease, m->token, &w.page, dirty);
	return &w.client.reply;
}

static const struct fixture_reply *run_begin(struct machine *m)
{
	RUN(LEASE_BEGIN, begin, &m->lease);
	return &w.client.reply;
}

static const struct fixture_reply *run_invalidate(struct machine *m, bool ends_intent)
{
	RUN(LEASE_INVALIDATE, invalidate, &m->lease, ends_intent);
	return &w.client.reply;
}

static const struct fixture_reply *run_release(struct machine *m)
{
	RUN(LEASE_RELEASE, release, &m->lease, m->token);
	return &w.client.reply;
}

static void on_acquired(void *arg, const struct redisReply *reply)
{
	struct fixture_client *c = arg;
	fixture_copy(&c->reply, reply);
	lease_read_acquire(reply, &w.acquired, &w.got);
	if (w.acquired.why)
		fixture_copy_text(w.why, sizeof(w.why), slice_of(w.acquired.why));
}

/* With a new token. */
static enum lease_verdict run_acquire(struct machine *m)
{
	struct slice words[LEASE_WORDS_MAX + 2] = {SLICE("EVALSHA"), slice_of(w.shas[LEASE_ACQUIRE])};
	struct buf scratch = BUF_INIT;
	lease_token(m->token);
	size_t count = lease_acquire_args(&m->lease, m->token, words + 2, &scratch);
	w.client.reply = (struct fixture_reply){.came = false};
	w.why[0] = '\0';
	redis_send(w.client.redis, words, count + 2, FIXTURE_DEADLINE_MS, on_acquired, &w.client);
	fixture_run_until(&w.client, fixture_is_answered);
	buf_release(&scratch);
	return w.acquired.verdict;
}

static const char *key_of(enum lease_key key)
{
	static char names[LEASE_KEYS][100];
	struct slice name = buf_slice(&A->lease.keys[key]);
	fixture_copy_text(names[key], sizeof(names[key]), name);
	return names[key];
}

static int64_t pttl(enum lease_key key)
{
	return FIXTURE_CALL(&w.client, "PTTL", key_of(key))->integer;
}

static bool exists(enum lease_key key)
{
	return FIXTURE_CALL(&w.client, "EXISTS", key_of(key))->integer == 1;
}

static void fill_by(struct machine *m)
{
	assert_int_equal(run_acquire(m), LEASE_WON);
	assert_true(run_fill(m, w.acquired.dirty)->integer > 0);
}

static void set_up_world(const char *uri)
{
	struct uuid database, machine;
	fixture_client_open(&w.client, uri);
	uuid_make(&database, 1);
	for (size_t i = 0; i < MACHINES; i++) {
		uuid_make(&machine, 2 + (int64_t)i);
		lease_init(&w.machines[i].lease, &database, &machine, TTL_MS, FRESH_MS, true);
	}
	for (size_t i = 0; i < LEASE_SCRIPTS; i++) {
		const struct slice words[] = {SLICE("SCRIPT"), SLICE("LOAD"),
					      lease_script_source((enum lease_script)i)};
		fixture_copy_text(w.shas[i], sizeof(w.shas[i]),
				  slice_of(fixture_send(&w.client, words, 3)->text));
		assert_int_equal(strlen(w.shas[i]), 40);
	}
	make_page(&w.page, "{\"data\": [\"page\"]}");
}

static void tear_down_world(void)
{
	for (size_t i = 0; i < MACHINES; i++)
		lease_release(&w.machines[i].lease);
	page_release(&w.page);
	page_release(&w.got);
	fixture_client_free(&w.client);
}

static int start_world(void **state)
{
	(void)state;
	fixture_server_start(&w.server, (const char *[]){"--maxmemory-policy", "noeviction", NULL});
	set_up_world(w.server.uri);
	return 0;
}

static int stop_world(void **state)
{
	(void)state;
	tear_down_world();
	fixture_server_stop(&w.server);
	return 0;
}

static int empty_world(void **state)
{
	(void)state;
	(void)FIXTURE_CALL(&w.client, "CONFIG", "SET", "maxmemory", "0");
	assert_string_equal(FIXTURE_CALL(&w.client, "FLUSHALL")->text, "OK");
	return 0;
}

/* ---- reading and filling */

static void test_keys(void **state)
{
	(void)state;
	char expected[100];
	static const char *const suffixes[LEASE_KEYS] = {"pg", "fr", "ls", "wi", "ma", "ch"};
	for (size_t i = 0; i < LEASE_KEYS; i++) {
		snprintf(expected, sizeof(expected), "todod:{%s}:%s", A->lease.id, suffixes[i]);
		assert_string_equal(key_of((enum lease_key)i), expected);
	}
	assert_int_equal(strlen(A->lease.id), UUID_TEXT_BYTES);
	assert_string_not_equal(A->lease.machine, B->lease.machine);
}

static void test_miss_fill_hit(void **state)
{
	(void)state;
	assert_int_equal(run_acquire(A), LEASE_WON);
	assert_false(w.acquired.has_page || w.acquired.dirty);
	assert_int_equal(w.acquired.wait_ms, LEASE_MS);
	assert_true(pttl(LEASE_LEASE) > LEASE_MS - 1000 && pttl(LEASE_LEASE) <= LEASE_MS);
	assert_int_equal(run_acquire(B), LEASE_WAIT);
	assert_false(w.acquired.has_page);
	assert_true(w.acquired.wait_ms > LEASE_MS - 1000 && w.acquired.wait_ms <= LEASE_MS);
	int64_t ttl_ms = run_fill(A, false)->integer;
	assert_true(ttl_ms >= TTL_MS / 10 * 9 && ttl_ms <= TTL_MS / 10 * 11);
	assert_true(pttl(LEASE_PAGE) > ttl_ms - 1000 && pttl(LEASE_PAGE) <= ttl_ms);
	assert_true(pttl(LEASE_FRESH) <= FRESH_MS + LEASE_GRACE_MS);
	assert_false(exists(LEASE_LEASE));
	assert_int_equal(run_acquire(B), LEASE_HIT);
	assert_true(w.acquired.has_page);
	assert_same(&w.got, &w.page);
	assert_true(w.acquired.fresh_left_ms > FRESH_MS / 10 * 8 - 1000 &&
		    w.acquired.fresh_left_ms <= FRESH_MS);
	assert_false(exists(LEASE_LEASE));
}

static void test_fill_refused(void **state)
{
	(void)state;
	/* Somebody wrote after A began to read. */
	assert_int_equal(run_acquire(A), LEASE_WON);
	assert_int_equal(run_invalidate(B, false)->count, 2);
	assert_int_equal(run_fill(A, false)->integer, 0);
	assert_false(exists(LEASE_PAGE) || exists(LEASE_FRESH));
	/* A was too slow, and B has the lease. */
	assert_int_equal(run_acquire(A), LEASE_WON);
	assert_int_equal(FIXTURE_CALL(&w.client, "DEL", key_of(LEASE_LEASE))->integer, 1);
	assert_int_equal(run_acquire(B), LEASE_WON);
	assert_int_equal(run_fill(A, false)->integer, 0);
	assert_true(exists(LEASE_LEASE));
	assert_true(run_fill(B, false)->integer > 0);
	assert_int_equal(run_fill(B, false)->integer, 0);
}

static void test_grace(void **state)
{
	(void)state;
	char grace[20];
	fill_by(A);
	snprintf(grace, sizeof(grace), "%d", LEASE_GRACE_MS);
	(void)FIXTURE_CALL(&w.client, "PEXPIRE", key_of(LEASE_FRESH), grace);
	/* No longer fresh: one reads it anew, the others are served. */
	assert_int_equal(run_acquire(A), LEASE_WON);
	assert_true(w.acquired.has_page);
	assert_same(&w.got, &w.page);
	assert_true(w.acquired.fresh_left_ms <= 0 && w.acquired.fresh_left_ms > -LEASE_GRACE_MS);
	assert_int_equal(run_acquire(B), LEASE_SERVE);
	assert_same(&w.got, &w.page);
	assert_true(w.acquired.wait_ms > 0 && w.acquired.wait_ms <= LEASE_MS);
	/* The grace is over. */
	(void)FIXTURE_CALL(&w.client, "DEL", key_of(LEASE_FRESH));
	assert_int_equal(run_acquire(B), LEASE_WAIT);
	assert_int_equal(run_release(A)->integer, 1);
	assert_int_equal(run_acquire(B), LEASE_WON);
	assert_true(w.acquired.has_page && w.acquired.fresh_left_ms <= -LEASE_GRACE_MS);
	assert_true(run_fill(B, false)->integer > 0);
	assert_int_equal(run_acquire(A), LEASE_HIT);
}

static void test_release(void **state)
{
	(void)state;
	assert_int_equal(run_acquire(A), LEASE_WON);
	lease_token(B->token);
	assert_int_equal(run_release(B)->integer, 0);
	assert_true(exists(LEASE_LEASE));
	assert_int_equal(run_release(A)->integer, 1);
	assert_false(exists(LEASE_LEASE));
	assert_int_equal(run_release(A)->integer, 0);
}

/* ---- intents */

static bool is_capped(int64_t ms)
{
	return ms > 0 && ms <= LEASE_INTENT_MS;
}

static void test_begin_caps(void **state)
{
	(void)state;
	fill_by(A);
	assert_int_equal(run_begin(B)->integer, 1);
	assert_true(is_capped(pttl(LEASE_PAGE)));
	assert_true(pttl(LEASE_INTENTS) > 0 && pttl(LEASE_INTENTS) <= 2 * LEASE_INTENT_MS);
	/* Still a hit, but not for longer than the page lives. */
	assert_int_equal(run_acquire(A), LEASE_HIT);
	assert_true(is_capped(w.acquired.fresh_left_ms));
	(void)FIXTURE_CALL(&w.client, "PEXPIRE", key_of(LEASE_PAGE), "3000");
	assert_int_equal(run_begin(B)->integer, 1);
	assert_true(pttl(LEASE_PAGE) <= 3000);
	(void)FIXTURE_CALL(&w.client, "PERSIST", key_of(LEASE_PAGE));
	assert_int_equal(run_begin(B)->integer, 1);
	assert_true(is_capped(pttl(LEASE_PAGE)));
}

static void test_dirty_fill(void **state)
{
	(void)state;
	/* Open when the lease was taken. */
	(void)run_begin(B);
	assert_int_equal(run_acquire(A), LEASE_WON);
	assert_true(w.acquired.dirty);
	(void)FIXTURE_CALL(&w.client, "DEL", key_of(LEASE_INTENTS));
	assert_true(is_capped(run_fill(A, true)->integer));
	assert_true(is_capped(pttl(LEASE_PAGE)));
	assert_true(pttl(LEASE_FRESH) > LEASE_INTENT_MS &&
		    pttl(LEASE_FRESH) <= LEASE_INTENT_MS + LEASE_GRACE_MS);
	/* Open when the page is stored. */
	(void)run_invalidate(B, true);
	assert_int_equal(run_acquire(A), LEASE_WON);
	assert_false(w.acquired.dirty);
	(void)run_begin(B);
	assert_true(is_capped(run_fill(A, false)->integer));
	/* Over, or run out. */
	(void)run_invalidate(B, true);
	assert_false(exists(LEASE_INTENTS));
	(void)FIXTURE_CALL(&w.client, "ZADD", key_of(LEASE_INTENTS), "1000", "dead");
	assert_int_equal(run_acquire(A), LEASE_WON);
	assert_false(w.acquired.dirty);
	assert_true(run_fill(A, false)->integer > LEASE_INTENT_MS);
	(void)run_begin(B);
	assert_int_equal(FIXTURE_CALL(&w.client, "ZSCORE", key_of(LEASE_INTENTS), "dead")->type, REDIS_NIL);
}

static void test_intents_of_two(void **state)
{
	(void)state;
	(void)run_begin(A);
	(void)run_begin(B);
	(void)run_invalidate(B, false);
	assert_int_equal(FIXTURE_CALL(&w.client, "ZCARD", key_of(LEASE_INTENTS))->integer, 2);
	(void)run_invalidate(B, true);
	assert_int_equal(FIXTURE_CALL(&w.client, "ZCARD", key_of(LEASE_INTENTS))->integer, 1);
	assert_int_equal(run_acquire(B), LEASE_WON);
	assert_true(w.acquired.dirty);
}

/* ---- invalidating */

static bool has_heard_all(const struct fixture_client *c)
{
	return c->pushed == 6;
}

static void assert_heard(const struct fixture_reply *push, char letter, const struct machine *m)
{
	char expected[80];
	snprintf(expected, sizeof(expected), "%c %s", letter, m->lease.machine);
	assert_string_equal(push->texts[0], "message");
	assert_string_equal(push->texts[1], key_of(LEASE_CHANNEL));
	assert_string_equal(push->texts[2], expected);
}

static bool has_subscribed(const struct fixture_client *c)
{
	return c->pushed == 1;
}

static void test_channel(void **state)
{
	(void)state;
	struct fixture_client listener;
	const struct slice words[] = {SLICE("SUBSCRIBE"), buf_slice(&A->lease.keys[LEASE_CHANNEL])};
	assert_int_equal(run_open(A)->integers[0], 0);
	fixture_client_open(&listener, w.server.uri);
	redis_send(listener.redis, words, 2, 0, NULL, NULL);
	fixture_run_until(&listener, has_subscribed);
	assert_int_equal(run_open(A)->integers[0], 1);
	fill_by(B);
	(void)run_begin(A);
	assert_int_equal(run_invalidate(A, true)->integers[0], 1);
	assert_int_equal(run_acquire(A), LEASE_WON);
	(void)run_release(A);
	(void)run_release(A);
	(void)run_fill(A, false);
	assert_int_equal(run_invalidate(B, true)->integers[0], 1);
	fixture_run_until(&listener, has_heard_all);
	assert_heard(&listener.pushes[1], 'I', A);
	assert_heard(&listener.pushes[2], 'F', B);
	assert_heard(&listener.pushes[3], 'I', A);
	assert_heard(&listener.pushes[4], 'R', A);
	assert_heard(&listener.pushes[5], 'I', B);
	fixture_client_free(&listener);
}

static void test_machines(void **state)
{
	(void)state;
	assert_int_equal(run_probe(A)->integer, 1);
	assert_true(pttl(LEASE_MACHINES) > LEASE_MACHINE_MS);
	(void)empty_world(NULL);
	/* Whoever asks is one, whether it has said so or not. */
	assert_int_equal(run_invalidate(A, false)->integers[1], 1);
	assert_int_equal(run_open(A)->integers[1], 1);
	assert_int_equal(run_invalidate(A, false)->integers[1], 1);
	assert_int_equal(run_invalidate(B, false)->integers[1], 2);
	assert_int_equal(run_open(B)->integers[1], 2);
	assert_int_equal(run_invalidate(A, false)->integers[1], 2);
	assert_int_equal(run_probe(A)->integer, 2);
	assert_true(pttl(LEASE_MACHINES) > LEASE_MACHINE_MS);
	/* B has said nothing for long. */
	(void)FIXTURE_CALL(&w.client, "ZADD", key_of(LEASE_MACHINES), "1000", B->lease.machine);
	assert_int_equal(run_invalidate(A, false)->integers[1], 1);
	(void)FIXTURE_CALL(&w.client, "ZADD", key_of(LEASE_MACHINES), "1000", B->lease.machine);
	assert_int_equal(run_open(A)->integers[1], 1);
	(void)FIXTURE_CALL(&w.client, "ZADD", key_of(LEASE_MACHINES), "1000", B->lease.machine);
	assert_int_equal(run_probe(A)->integer, 1);
}

static void test_invalidate_deletes(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		fill_by(A);
		(void)FIXTURE_CALL(&w.client, "DEL", key_of(LEASE_FRESH));
		assert_int_equal(run_acquire(A), LEASE_WON);
		(void)FIXTURE_CALL(&w.client, "SET", key_of(LEASE_FRESH), "1", "PX", "9000");
		if (i == 0)
			(void)run_invalidate(B, false);
		else
			(void)run_open(B);
		assert_false(exists(LEASE_PAGE) || exists(LEASE_FRESH) || exists(LEASE_LEASE));
	}
}

/* ---- a server or keys that are not as they should be */

static void assert_error(const struct fixture_reply *reply, const char *start)
{
	if (reply->type != REDIS_ERROR || strncmp(reply->text, start, strlen(start)) != 0)
		fail_msg("\"%s\" is not the error %s", reply->text, start);
}

static void test_full(void **state)
{
	(void)state;
	fill_by(A);
	(void)FIXTURE_CALL(&w.client, "CONFIG", "SET", "maxmemory", "1");
	assert_error(run_probe(A), "OOM");
	assert_int_equal(run_acquire(A), LEASE_HIT);
	assert_int_equal(run_invalidate(A, true)->count, 2);
	assert_false(exists(LEASE_PAGE));
	assert_int_equal(run_acquire(A), LEASE_BROKEN);
	assert_error(&w.client.reply, "OOM");
	assert_string_equal(w.why, w.client.reply.text);
	assert_int_equal(run_open(A)->count, 2);
	(void)FIXTURE_CALL(&w.client, "CONFIG", "SET", "maxmemory", "0");
	/* Full between taking the lease and storing the page: nothing has changed. */
	assert_int_equal(run_acquire(A), LEASE_WON);
	(void)FIXTURE_CALL(&w.client, "CONFIG", "SET", "maxmemory", "1");
	assert_error(run_fill(A, false), "OOM");
	assert_true(exists(LEASE_LEASE));
	assert_false(exists(LEASE_PAGE));
	assert_int_equal(run_release(A)->integer, 1);
	(void)FIXTURE_CALL(&w.client, "CONFIG", "SET", "maxmemory", "0");
	/* The page is capped even where the intent does not fit. */
	fill_by(A);
	(void)FIXTURE_CALL(&w.client, "CONFIG", "SET", "maxmemory", "1");
	(void)run_begin(B);
	assert_true(is_capped(pttl(LEASE_PAGE)));
	(void)FIXTURE_CALL(&w.client, "CONFIG", "SET", "maxmemory", "0");
	assert_int_equal(run_probe(A)->type, REDIS_INTEGER);
}

static void test_wrong_types(void **state)
{
	(void)state;
	for (enum lease_key key = LEASE_PAGE; key < LEASE_CHANNEL; key++) {
		(void)empty_world(NULL);
		fill_by(A);
		(void)run_begin(B);
		(void)run_probe(B);
		(void)FIXTURE_CALL(&w.client, "DEL", key_of(key));
		assert_int_equal(FIXTURE_CALL(&w.client, "LPUSH", key_of(key), "x")->integer, 1);
		/* Whatever it is, opening repairs it, and what is right stays. */
		assert_int_equal(run_open(A)->count, 2);
		assert_true(run_open(A)->integers[1] >= 1);
		assert_string_not_equal(FIXTURE_CALL(&w.client, "TYPE", key_of(key))->text, "list");
		assert_int_equal(exists(LEASE_INTENTS), key != LEASE_INTENTS);
		fill_by(A);
		assert_int_equal(run_acquire(B), LEASE_HIT);
		assert_int_equal(run_invalidate(A, true)->count, 2);
	}
}

static void push_over(enum lease_key key)
{
	(void)empty_world(NULL);
	assert_int_equal(FIXTURE_CALL(&w.client, "LPUSH", key_of(key), "x")->integer, 1);
}

/* Nobody waits for ever, and nobody takes it for an answer. */
static void test_wrong_types_show(void **state)
{
	(void)state;
	push_over(LEASE_PAGE);
	assert_int_equal(run_acquire(A), LEASE_BROKEN);
	assert_error(&w.client.reply, "WRONGTYPE");
	push_over(LEASE_LEASE);
	assert_int_equal(run_acquire(A), LEASE_BROKEN);
	assert_error(&w.client.reply, "BADLEASE");
	(void)empty_world(NULL);
	(void)FIXTURE_CALL(&w.client, "SET", key_of(LEASE_LEASE), "x", "PX", "1000000");
	assert_int_equal(run_acquire(A), LEASE_BROKEN);
	assert_error(&w.client.reply, "BADLEASE");
	push_over(LEASE_INTENTS);
	assert_int_equal(run_acquire(A), LEASE_BROKEN);
	push_over(LEASE_INTENTS);
	assert_error(run_begin(A), "WRONGTYPE");
	assert_error(run_invalidate(A, true), "WRONGTYPE");
	push_over(LEASE_MACHINES);
	assert_error(run_probe(A), "WRONGTYPE");
	assert_error(run_invalidate(A, true), "WRONGTYPE");
	/* The marker means something only with its time. */
	push_over(LEASE_FRESH);
	fill_by(A);
	assert_int_equal(run_acquire(A), LEASE_HIT);
	(void)FIXTURE_CALL(&w.client, "PERSIST", key_of(LEASE_FRESH));
	assert_int_equal(run_acquire(A), LEASE_WON);
	assert_true(w.acquired.has_page);
}

static void test_garbage(void **state)
{
	(void)state;
	static const char *const garbage[] = {"", "x", "TD2 1 2 3 4 5\n", "TD1 1 - 2\n{}", "{\"data\": []}"};
	for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
		(void)empty_world(NULL);
		(void)FIXTURE_CALL(&w.client, "SET", key_of(LEASE_PAGE), garbage[i]);
		assert_int_equal(run_acquire(A), LEASE_BROKEN);
		assert_non_null(strstr(w.why, "page"));
		(void)FIXTURE_CALL(&w.client, "SET", key_of(LEASE_FRESH), "1", "PX", "9000");
		assert_int_equal(run_acquire(A), LEASE_BROKEN);
		(void)run_invalidate(A, false);
		fill_by(A);
		assert_int_equal(run_acquire(B), LEASE_HIT);
	}
}

/* Answers that none of our scripts gives. */
static void test_strange_answers(void **state)
{
	(void)state;
	static const char *const scripts[] = {
	    "return 1",
	    "return {}",
	    "return {'H', 'x', 1, 1}",
	    "return {'H', false, 1, 1, 0}",
	    "return {'S', false, 1, 1, 0}",
	    "return {'X', false, 1, 1, 0}",
	    "return {'', false, 1, 1, 0}",
	    "return {'L', 7, 1, 1, 0}",
	    "return {'L', false, 'x', 1, 0}",
	    "return {'W', false, 1, 1, 0, 0}",
	    "return {{}, false, 1, 1, 0}",
	    "return redis.error_reply('NO thanks')",
	};
	for (size_t i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++) {
		const struct slice words[] = {SLICE("EVAL"), slice_of(scripts[i]), SLICE("0")};
		w.client.reply = (struct fixture_reply){.came = false};
		redis_send(w.client.redis, words, 3, FIXTURE_DEADLINE_MS, on_acquired, &w.client);
		fixture_run_until(&w.client, fixture_is_answered);
		assert_int_equal(w.acquired.verdict, LEASE_BROKEN);
		assert_non_null(w.acquired.why);
	}
	lease_read_acquire(NULL, &w.acquired, &w.got);
	assert_int_equal(w.acquired.verdict, LEASE_BROKEN);
}

/* ---- conf/redis.conf */

static char configuration[200]; /* its path, from the directory where the tests were started */

/* A world of its own, in place of the others'. */
static void test_configuration(void **state)
{
	(void)state;
	struct fixture_client listener;
	struct world whole = w;
	char uri[200];
	fixture_server_start(&w.server, (const char *[]){configuration, NULL});
	snprintf(uri, sizeof(uri), "redis+unix://todod:change-me@%s?db=1", w.server.path);
	w.got = (struct page){.filled_us = 0};
	set_up_world(uri);
	assert_string_equal(FIXTURE_CALL(&w.client, "INFO", "replication")->type == REDIS_TEXT ? "text"
											       : "error",
			    "text");
	assert_int_equal(run_open(A)->count, 2);
	assert_int_equal(run_probe(A)->integer, 1);
	fill_by(A);
	(void)run_begin(B);
	assert_int_equal(w.client.reply.type, REDIS_INTEGER);
	assert_int_equal(run_acquire(A), LEASE_HIT);
	assert_int_equal(run_invalidate(B, true)->count, 2);
	assert_int_equal(run_acquire(A), LEASE_WON);
	assert_int_equal(run_release(A)->integer, 1);
	fixture_client_open(&listener, uri);
	const struct slice subscribe[] = {SLICE("SUBSCRIBE"), buf_slice(&A->lease.keys[LEASE_CHANNEL])};
	redis_send(listener.redis, subscribe, 2, 0, NULL, NULL);
	fixture_run_until(&listener, has_subscribed);
	assert_string_equal(listener.pushes[0].texts[0], "subscribe");
	assert_int_equal(run_invalidate(B, true)->integers[0], 1);
	fixture_client_free(&listener);
	/* And nothing else. */
	assert_error(FIXTURE_CALL(&w.client, "GET", "other"), "NOPERM");
	assert_error(FIXTURE_CALL(&w.client, "PUBLISH", "other", "x"), "NOPERM");
	assert_error(FIXTURE_CALL(&w.client, "FLUSHALL"), "NOPERM");
	assert_error(FIXTURE_CALL(&w.client, "KEYS", "*"), "NOPERM");
	assert_error(FIXTURE_CALL(&w.client, "CONFIG", "GET", "save"), "NOPERM");
	assert_error(FIXTURE_CALL(&w.client, "SCRIPT", "FLUSH"), "NOPERM");
	assert_error(FIXTURE_CALL(&w.client, "EVAL", "return 1", "0"), "NOPERM");
	tear_down_world();
	/* What the file says of memory and disk has been taken. */
	struct fixture_client admin;
	fixture_client_open(&admin, w.server.uri);
	assert_string_equal(FIXTURE_CALL(&admin, "CONFIG", "GET", "maxmemory-policy")->texts[1],
			    "allkeys-lru");
	assert_string_equal(FIXTURE_CALL(&admin, "CONFIG", "GET", "stop-writes-on-bgsave-error")->texts[1],
			    "no");
	assert_string_equal(FIXTURE_CALL(&admin, "CONFIG", "GET", "appendonly")->texts[1], "no");
	assert_string_equal(FIXTURE_CALL(&admin, "CONFIG", "GET", "save")->texts[1], "");
	fixture_client_free(&admin);
	fixture_server_stop(&w.server);
	w = whole;
}

#define WORLD_TEST(test) cmocka_unit_test_setup(test, empty_world)

int main(void)
{
	char *here = realpath("conf/redis.conf", NULL);
	if (!here) {
		fprintf(stderr, "run it from the repository root\n");
		return 1;
	}
	snprintf(configuration, sizeof(configuration), "%s", here);
	free(here);
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_page),
	    cmocka_unit_test(test_page_form),
	    cmocka_unit_test(test_page_damaged),
	    cmocka_unit_test(test_page_refused),
	    cmocka_unit_test(test_token),
	    cmocka_unit_test(test_scripts_are_named),
	    cmocka_unit_test(test_jitter),
	    WORLD_TEST(test_keys),
	    WORLD_TEST(test_miss_fill_hit),
	    WORLD_TEST(test_fill_refused),
	    WORLD_TEST(test_grace),
	    WORLD_TEST(test_release),
	    WORLD_TEST(test_begin_caps),
	    WORLD_TEST(test_dirty_fill),
	    WORLD_TEST(test_intents_of_two),
	    WORLD_TEST(test_channel),
	    WORLD_TEST(test_machines),
	    WORLD_TEST(test_invalidate_deletes),
	    WORLD_TEST(test_full),
	    WORLD_TEST(test_wrong_types),
	    WORLD_TEST(test_wrong_types_show),
	    WORLD_TEST(test_garbage),
	    WORLD_TEST(test_strange_answers),
	    cmocka_unit_test(test_configuration),
	};
	return cmocka_run_group_tests(tests, start_world, stop_world);
}
