/*
 * From a request to its line: what is noted, which id it gets, and which requests are slow.
 */
#include "worker/request_log.h"

#include "api/api.h"
#include "base/log.h"
#include "http/parser.h"
#include "net/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static struct process_board board;
static struct process_slot slot;
static const struct process process = {.board = &board, .slot = &slot};
static const struct client unix_client;

/* ---- helpers */

/* The views of *req are of `text`. */
static void parse(struct parser *p, char *text)
{
	size_t len = strlen(text);
	parser_init(p, 65536);
	assert_int_equal(parser_feed(p, text, &len), PARSE_DONE);
}

/* Up to its end. */
static char *rest_of(FILE *file)
{
	static char text[65536];
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	return text;
}

/* What the access log says of a request, behind its time; and its note. */
static const char *line_of(struct request_log *log, const char *request, bool is_trusted)
{
	struct parser p;
	struct buf note = BUF_INIT;
	char *text = alloc_string(slice_of(request));
	parse(&p, text);
	request_log_note(log, &p.req, is_trusted, &note);
	memset(text, '!', strlen(text)); /* the bytes are gone */
	struct response res = {.status = 200, .route = API_ROUTE_LIST, .cache = API_CACHE_HIT};
	const struct exchange exchange = {.res = &res,
					  .client = &unix_client,
					  .note = buf_slice(&note),
					  .body_bytes = 5,
					  .latency_ns = 1999};
	request_log_answered(log, &exchange);
	free(text);
	buf_release(&note);
	static char line[20000];
	snprintf(line, sizeof(line), "%.*s", (int)log->access.buf.len - 1, log->access.buf.data + 1);
	log->access.buf.len = 1;
	char *end = strchr(line, ']');
	assert_non_null(end);
	return end + 2;
}

static void open_log(struct request_log *log, struct config *config)
{
	request_log_open(log, config, &process);
	memcpy(log->ids.last, "0123456789abcdef", REQUEST_ID_HALF_BYTES);
}

/* ---- cases */

static void test_notes(void **state)
{
	(void)state;
	char path[] = "/dev/null";
	struct config config = {.access_log = path};
	struct request_log log;
	open_log(&log, &config);
	assert_true(request_log_is_on(&log));
	assert_string_equal(line_of(&log, "GET /todo HTTP/1.1\r\nHost: a\r\n\r\n", false),
			    "\"GET /todo HTTP/1.1\" 200 5 \"-\" \"-\" 0.000001 "
			    "0123456789abcdef0000000000000001 list - hit\n");
	assert_string_equal(line_of(&log,
				    "WHAT * HTTP/1.0\r\nreferer: r\r\nUSER-AGENT: a\r\nuser-agent: b\r\n\r\n",
				    false),
			    "\"WHAT * HTTP/1.0\" 200 5 \"r\" \"a, b\" 0.000001 "
			    "0123456789abcdef0000000000000002 list - hit\n");
	/* What the server could not read has no note. */
	struct response res = {.status = 400};
	const struct exchange exchange = {.res = &res, .client = &unix_client};
	request_log_answered(&log, &exchange);
	assert_non_null(strstr(log.access.buf.data, "] \"-\" 400 0 \"-\" \"-\" 0.000000 - - - -\n"));
	request_log_close(&log);
}

static void test_ids(void **state)
{
	(void)state;
	static const struct {
		const char *sent, *taken; /* NULL: one of its own */
	} rows[] = {
	    {"abc-123_X.y",						       "abc-123_X.y"},
	    {"0123456789012345678901234567890123456789012345678901234567890123",
	     "0123456789012345678901234567890123456789012345678901234567890123"                },
	    {"01234567890123456789012345678901234567890123456789012345678901234", NULL         },
	    {"a b",							       NULL         },
	    {"a\"b",							      NULL         },
	    {"",								  NULL         },
	    {"a\r\nX-Request-Id: b",					      NULL         },
	    {"\xc3\xa9",							  NULL         },
	    {"a/b",							       NULL         },
	};
	char path[] = "/dev/null", wanted[200], request[400];
	struct config config = {.access_log = path};
	struct request_log log;
	open_log(&log, &config);
	unsigned made = 0;
	for (size_t i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
		bool is_trusted = i % 2;
		const char *taken = is_trusted ? rows[i / 2].taken : NULL;
		snprintf(request, sizeof(request), "GET / HTTP/1.1\r\nHost: a\r\nX-Request-ID: %s\r\n\r\n",
			 rows[i / 2].sent);
		if (taken)
			snprintf(wanted, sizeof(wanted), " %s list - hit\n", taken);
		else
			snprintf(wanted, sizeof(wanted), " 0123456789abcdef%016x list - hit\n", ++made);
		const char *line = line_of(&log, request, is_trusted);
		if (!strstr(line, wanted))
			fail_msg("row %zu: %s", i, line);
	}
	request_log_close(&log);
	/* Two processes do not count alike. */
	struct request_ids one, other;
	request_ids_init(&one);
	request_ids_init(&other);
	assert_memory_not_equal(one.last, other.last, REQUEST_ID_HALF_BYTES);
	for (unsigned count = 1; count < 70000; count++) {
		char counted[REQUEST_ID_HALF_BYTES + 1];
		snprintf(counted, sizeof(counted), "%016x", count);
		struct slice id = request_ids_next(&one);
		assert_int_equal(id.len, REQUEST_ID_BYTES);
		if (memcmp(id.data + REQUEST_ID_HALF_BYTES, counted, REQUEST_ID_HALF_BYTES) != 0)
			fail_msg("%.*s, not %s", (int)id.len, id.data, counted);
	}
}

static void test_off(void **state)
{
	(void)state;
	struct config config = {.listen_count = 0};
	struct request_log log;
	open_log(&log, &config);
	assert_false(request_log_is_on(&log));
	struct response res = {.status = 200};
	const struct exchange exchange = {.res = &res, .client = &unix_client, .latency_ns = INT64_MAX};
	request_log_answered(&log, &exchange);
	request_log_tick(&log, 1000);
	request_log_reopen(&log);
	request_log_close(&log);
}

static void test_slow_requests(void **state)
{
	(void)state;
	struct config config = {.slow_ms = 100};
	struct request_log log;
	FILE *file = tmpfile();
	int before = dup(STDERR_FILENO);
	assert_non_null(file);
	assert_true(before >= 0 && dup2(fileno(file), STDERR_FILENO) >= 0);
	open_log(&log, &config);
	char text[] = "POST /todo?secret HTTP/1.1\r\nHost: a\r\nUser-Agent: secret\r\n\r\n";
	struct parser p;
	struct buf note = BUF_INIT;
	parse(&p, text);
	request_log_note(&log, &p.req, false, &note);
	struct response res = {.status = 200, .route = API_ROUTE_CREATE, .store = API_STORE_OK};
	struct exchange exchange = {.res = &res,
				    .client = &unix_client,
				    .note = buf_slice(&note),
				    .latency_ns = 100000000};
	request_log_answered(&log, &exchange); /* not slower than that */
	exchange.latency_ns++;
	request_log_answered(&log, &exchange);
	res.queued_us = 12;
	res.took_us = 2500000;
	res.batch = 7;
	exchange.note = SLICE("");
	for (int i = 1; i < SLOW_LOG_LINES_PER_S + 5; i++)
		request_log_answered(&log, &exchange);
	request_log_tick(&log, 5000);
	request_log_answered(&log, &exchange);
	request_log_tick(&log, 5999);
	request_log_tick(&log, 6000);
	request_log_tick(&log, 7000);
	assert_true(dup2(before, STDERR_FILENO) >= 0);
	close(before);
	rewind(file);

	char *lines = rest_of(file);
	static const char first[] =
	    "slow request: id=0123456789abcdef0000000000000001 route=create status=200 time=0.100000 "
	    "store=ok queued=- took=- batch=- cache=-\n";
	static const char further[] = "slow request: id=- route=create status=200 time=0.100000 store=ok "
				      "queued=0.000012 took=2.500000 batch=7 cache=-\n";
	assert_non_null(strstr(lines, first));
	int found = 0;
	for (char *at = lines; (at = strstr(at, further)); at++)
		found++;
	assert_int_equal(found, SLOW_LOG_LINES_PER_S - 1 + 1);
	assert_non_null(strstr(lines, "slow requests: 5 more within a second\n"));
	assert_null(strstr(strstr(lines, " more within") + 1, " more within"));
	assert_null(strstr(lines, "secret"));
	request_log_close(&log);
	buf_release(&note);
	fclose(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_notes),
	    cmocka_unit_test(test_ids),
	    cmocka_unit_test(test_off),
	    cmocka_unit_test(test_slow_requests),
	};
	return cmocka_run_group_tests_name("request_log", tests, NULL, NULL);
}
