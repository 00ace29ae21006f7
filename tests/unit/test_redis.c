/*
 * The connection to Redis: on a real server, on one that this file plays, and on none.
 */
#include "redis_fixture.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>

enum { SHORT_MS = 100 };

static struct fixture_server server;

static int start_server(void **state)
{
	(void)state;
	fixture_server_start(&server, (const char *[]){"--databases", "4", NULL});
	return 0;
}

static int stop_server(void **state)
{
	(void)state;
	fixture_server_stop(&server);
	return 0;
}

static void assert_begins_with(const char *text, const char *start)
{
	if (strncmp(text, start, strlen(start)) != 0)
		fail_msg("\"%s\" does not begin with \"%s\"", text, start);
}

/* Connects, and is refused with a reason that begins like this. */
static void expect_refusal(const char *uri, uint32_t connect_ms, const char *reason)
{
	struct fixture_client c;
	fixture_client_init(&c, uri, NULL);
	redis_connect(c.redis, connect_ms);
	assert_false(fixture_is_settled(&c));
	fixture_run_until(&c, fixture_is_settled);
	assert_int_equal(c.opened, 0);
	assert_int_equal(c.closed, 1);
	assert_begins_with(c.reason, reason);
	assert_null(strstr(c.reason, "secret"));
	assert_false(redis_is_open(c.redis));
	assert_int_equal(redis_check_time(c.redis), -1);
	fixture_client_free(&c);
}

/* ---- a server that says the same to everybody */

struct fake {
	int listen_fd;
	char uri[64];
	struct slice answer;
	bool hangs_up;
	pthread_t thread;
};

/* One connection: reads something, answers, and stays until the client has gone. */
static void *run_fake(void *arg)
{
	struct fake *f = arg;
	char bytes[4096];
	int fd = accept(f->listen_fd, NULL, NULL);
	assert_true(fd >= 0);
	ssize_t got = recv(fd, bytes, sizeof(bytes), 0);
	for (size_t sent = 0; got > 0 && sent < f->answer.len;) {
		ssize_t done = send(fd, f->answer.data + sent, f->answer.len - sent, MSG_NOSIGNAL);
		if (done <= 0)
			break;
		sent += (size_t)done;
	}
	while (got > 0 && !f->hangs_up)
		got = recv(fd, bytes, sizeof(bytes), 0);
	close(fd);
	return NULL;
}

static void listen_on_loopback(struct fake *f, const char *host, int backlog)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	f->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(f->listen_fd >= 0);
	assert_int_equal(bind(f->listen_fd, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(f->listen_fd, backlog), 0);
	assert_int_equal(getsockname(f->listen_fd, (struct sockaddr *)&address, &len), 0);
	snprintf(f->uri, sizeof(f->uri), "redis://%s:%u", host, ntohs(address.sin_port));
}

static void fake_start(struct fake *f, const char *host, struct slice answer, bool hangs_up)
{
	*f = (struct fake){.answer = answer, .hangs_up = hangs_up};
	listen_on_loopback(f, host, 4);
	assert_int_equal(pthread_create(&f->thread, NULL, run_fake, f), 0);
}

static void fake_stop(struct fake *f)
{
	assert_int_equal(pthread_join(f->thread, NULL), 0);
	close(f->listen_fd);
}

static void expect_refusal_of(struct slice answer, bool hangs_up, const char *reason)
{
	struct fake f;
	fake_start(&f, "127.0.0.1", answer, hangs_up);
	expect_refusal(f.uri, FIXTURE_DEADLINE_MS, reason);
	fake_stop(&f);
}

/* ---- addresses */

static void test_address(void **state)
{
	(void)state;
	static const struct {
		const char *uri;
		bool is_unix;
		const char *host, *port;
		unsigned database;
		const char *user, *password;
	} good[] = {
	    {"redis://h",			  false, "h",            "6379",  0,  "",   ""     },
	    {"redis://h/",                         false, "h",            "6379",  0,  "",   ""     },
	    {"redis://h:1/15",                     false, "h",            "1",     15, "",   ""     },
	    {"redis://:p%3a@h",                    false, "h",            "6379",  0,  "",   "p:"   },
	    {"redis://u%40:p%2Fw:x@[::1]:65535/2", false, "::1",          "65535", 2,  "u@", "p/w:x"},
	    {"redis://[fe80::1%eth0]",             false, "fe80::1%eth0", "6379",  0,  "",   ""     },
	    {"redis+unix:///run/r",                true,  "/run/r",       "",      0,  "",   ""     },
	    {"redis+unix:///run/a:b@c",            true,  "/run/a:b@c",   "",      0,  "",   ""     },
	    {"redis+unix://:pw@/run/r?db=3",       true,  "/run/r",       "",      3,  "",   "pw"   },
	    {"redis+unix://u:p%25@/run/r%20",      true,  "/run/r%20",    "",      0,  "u",  "p%"   },
	};
	struct redis_address a;
	struct err err;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(redis_address_parse(&a, good[i].uri, &err), 0);
		assert_int_equal(a.is_unix, good[i].is_unix);
		assert_string_equal(a.host, good[i].host);
		assert_string_equal(a.port, good[i].port);
		assert_int_equal(a.database, good[i].database);
		assert_true(slice_equal(buf_slice(&a.user), slice_of(good[i].user)));
		assert_true(slice_equal(buf_slice(&a.password), slice_of(good[i].password)));
		redis_address_release(&a);
	}
	static const char *const bad[] = {
	    "",
	    "http://h",
	    "redis://",
	    "redis://[::1",
	    "redis://h:",
	    "redis://h/x",
	    "redis://pw@h",
	    "redis://:p%4@h",
	    "redis://:p%zz@h",
	    "redis://h/99999999999",
	    "redis+unix://",
	    "redis+unix://h/run",
	    "redis+unix:///r?db=",
	    "redis+unix:///r?db=x",
	    "redis+unix:///r?x=1",
	    "redis://[::1]x",
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (redis_address_parse(&a, bad[i], &err) == 0)
			fail_msg("%s is taken", bad[i]);
	char path[200] = "redis+unix://";
	memset(path + strlen(path), '/', 108);
	assert_int_equal(redis_address_parse(&a, path, &err), -1);
}

static void test_library(void **state)
{
	(void)state;
	assert_begins_with(redis_library(), "hiredis ");
}

/* ---- opening */

static void test_open(void **state)
{
	(void)state;
	struct fixture_client c;
	fixture_client_init(&c, server.uri, NULL);
	assert_int_equal(redis_check_time(c.redis), -1);
	redis_connect(c.redis, FIXTURE_DEADLINE_MS);
	assert_false(fixture_is_settled(&c));
	assert_false(redis_is_open(c.redis));
	fixture_run_until(&c, fixture_is_settled);
	assert_int_equal(c.opened, 1);
	assert_true(redis_is_open(c.redis));
	assert_int_equal(redis_check_time(c.redis), -1);
	assert_string_equal(FIXTURE_CALL(&c, "SET", "key", "value")->text, "OK");
	assert_int_equal(c.reply.type, REDIS_STATUS);
	assert_string_equal(FIXTURE_CALL(&c, "GET", "key")->text, "value");
	assert_int_equal(c.reply.type, REDIS_TEXT);
	assert_int_equal(FIXTURE_CALL(&c, "GET", "none")->type, REDIS_NIL);
	assert_false(c.reply.is_lost);
	assert_int_equal(FIXTURE_CALL(&c, "INCR", "key")->type, REDIS_ERROR);
	assert_int_equal(FIXTURE_CALL(&c, "DEL", "key")->integer, 1);
	assert_int_equal(FIXTURE_CALL(&c, "MGET", "a", "b")->count, 2);
	fixture_client_free(&c);
}

static void test_database(void **state)
{
	(void)state;
	struct fixture_client first, third;
	char uri[120];
	snprintf(uri, sizeof(uri), "%s?db=3", server.uri);
	fixture_client_open(&first, server.uri);
	fixture_client_open(&third, uri);
	(void)FIXTURE_CALL(&third, "SET", "where", "3");
	assert_int_equal(FIXTURE_CALL(&first, "GET", "where")->type, REDIS_NIL);
	(void)FIXTURE_CALL(&third, "DEL", "where");
	fixture_client_free(&first);
	fixture_client_free(&third);
	snprintf(uri, sizeof(uri), "%s?db=4", server.uri);
	expect_refusal(uri, FIXTURE_DEADLINE_MS, "refused: ERR DB index is out of range");
}

static void test_auth(void **state)
{
	(void)state;
	struct fixture_server guarded;
	struct fixture_client c;
	char uri[200];
	fixture_server_start(&guarded, (const char *[]){"--requirepass", "secret word", "--user", "ann", "on",
							">secret%", "~*", "&*", "+@all", NULL});
	expect_refusal(guarded.uri, FIXTURE_DEADLINE_MS, "refused: NOAUTH");
	snprintf(uri, sizeof(uri), "redis+unix://:secret@%s", guarded.path);
	expect_refusal(uri, FIXTURE_DEADLINE_MS, "refused: WRONGPASS");
	snprintf(uri, sizeof(uri), "redis+unix://ann:secret%%20word@%s", guarded.path);
	expect_refusal(uri, FIXTURE_DEADLINE_MS, "refused: WRONGPASS");
	snprintf(uri, sizeof(uri), "redis+unix://:secret%%20word@%s?db=1", guarded.path);
	fixture_client_open(&c, uri);
	fixture_client_free(&c);
	snprintf(uri, sizeof(uri), "redis+unix://ann:secret%%25@%s", guarded.path);
	fixture_client_open(&c, uri);
	assert_string_equal(FIXTURE_CALL(&c, "ACL", "WHOAMI")->text, "ann");
	fixture_client_free(&c);
	fixture_server_stop(&guarded);
}

/* Redis quotes the arguments of a command that it does not know. */
static void test_auth_repeated(void **state)
{
	(void)state;
	struct fixture_server renamed;
	char uri[200];
	fixture_server_start(&renamed, (const char *[]){"--rename-command", "AUTH", "", NULL});
	snprintf(uri, sizeof(uri), "redis+unix://:secret@%s", renamed.path);
	expect_refusal(uri, FIXTURE_DEADLINE_MS, "refused: ERR unknown command");
	fixture_server_stop(&renamed);
	struct fake f;
	fake_start(&f, "u:secret@127.0.0.1", SLICE("-ERR not secret\r\n"), false);
	expect_refusal(f.uri, FIXTURE_DEADLINE_MS, "refused: ERR");
	fake_stop(&f);
}

static void test_nobody_there(void **state)
{
	(void)state;
	struct fake f;
	expect_refusal("redis+unix:///nonexistent/socket", FIXTURE_DEADLINE_MS,
		       "cannot connect: No such file or directory");
	listen_on_loopback(&f, "127.0.0.1", 1);
	close(f.listen_fd);
	expect_refusal(f.uri, FIXTURE_DEADLINE_MS, "cannot connect: Connection refused");
}

/* Nobody accepts there: once the queue is full, the kernel drops who else comes. */
static void fill_queue(const struct sockaddr_in *address, int *fillers, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		assert_true(fillers[i] >= 0);
		(void)!connect(fillers[i], (const struct sockaddr *)address, sizeof(*address));
	}
}

static void test_black_hole(void **state)
{
	(void)state;
	struct fake f;
	struct sockaddr_in address;
	socklen_t len = sizeof(address);
	int fillers[4];
	listen_on_loopback(&f, "127.0.0.1", 0);
	assert_int_equal(getsockname(f.listen_fd, (struct sockaddr *)&address, &len), 0);
	fill_queue(&address, fillers, 4);
	expect_refusal(f.uri, SHORT_MS, "no connection within 100 ms");
	for (size_t i = 0; i < 4; i++)
		close(fillers[i]);
	close(f.listen_fd);
}

static void test_silent(void **state)
{
	(void)state;
	struct fake f;
	fake_start(&f, "127.0.0.1", SLICE(""), false);
	expect_refusal(f.uri, SHORT_MS, "no reply within 100 ms");
	fake_stop(&f);
}

static void test_not_a_redis(void **state)
{
	(void)state;
	expect_refusal_of(SLICE("HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n"), false, "not a Redis: ");
	expect_refusal_of(SLICE("SSH-2.0-OpenSSH_9.2\r\n"), true, "not a Redis: ");
	expect_refusal_of(SLICE("+OK\r\n"), false, "not a Redis: it does not answer PING with PONG");
	expect_refusal_of(SLICE("$4\r\n"), true, "closed by the server");
	expect_refusal_of(SLICE("-LOADING Redis is loading\r\n"), false, "refused: LOADING");
	expect_refusal_of(SLICE(""), true, "closed by the server");
}

static void test_too_large(void **state)
{
	(void)state;
	enum { BYTES = 3 * 1024 * 1024 };
	struct buf bulk = BUF_INIT;
	buf_printf(&bulk, "$%d\r\n", BYTES);
	size_t head = bulk.len;
	buf_reserve(&bulk, BYTES);
	memset(bulk.data + head, 'x', BYTES);
	bulk.len += BYTES;
	expect_refusal_of(buf_slice(&bulk), false, "a reply that is too large");
	buf_release(&bulk);
	expect_refusal_of(SLICE("*2147483647\r\n"), false, "a reply that is too large");
	expect_refusal_of(SLICE("*1000\r\n*1000\r\n"), false, "a reply that is too large");
}

static void test_unasked(void **state)
{
	(void)state;
	struct fake f;
	struct fixture_client c;
	fake_start(&f, "127.0.0.1", SLICE("+PONG\r\n+PONG\r\n"), false);
	fixture_client_init(&c, f.uri, NULL);
	redis_connect(c.redis, FIXTURE_DEADLINE_MS);
	while (!c.closed) {
		c.opened = 0;
		fixture_run_until(&c, fixture_is_settled);
	}
	assert_string_equal(c.reason, "a reply that nothing asked for");
	fixture_client_free(&c);
	fake_stop(&f);
}

/* ---- names */

static void test_name(void **state)
{
	(void)state;
	struct fake f;
	struct fixture_client c;
	fake_start(&f, "here.test", SLICE("+PONG\r\n"), false);
	fixture_client_open(&c, f.uri);
	fixture_client_free(&c);
	fake_stop(&f);
}

/* Names of this file's own, with several addresses each: the last one is where somebody is. */
static const struct {
	const char *name, *addresses[3];
} names[] = {
    {"here.test",    {"127.0.0.1"}				},
    {"refused.test", {"127.0.0.2", "255.255.255.255", "127.0.0.1"}},
    {"slow.test",    {"127.0.0.2", "127.0.0.1"}                   },
};

int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **found)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) = NULL;
	*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(host, names[i].name) != 0 || (hints->ai_flags & AI_NUMERICHOST))
			continue;
		for (size_t j = 0; j < 3 && names[i].addresses[j]; j++) {
			int error = real(names[i].addresses[j], port, hints, found);
			if (error)
				return error;
			found = &(*found)->ai_next;
		}
		return 0;
	}
	return real(host, port, hints, found);
}

static void test_several_addresses(void **state)
{
	(void)state;
	struct fake f;
	struct fixture_client c;
	fake_start(&f, "refused.test", SLICE("+PONG\r\n"), false);
	fixture_client_open(&c, f.uri);
	fixture_client_free(&c);
	fake_stop(&f);
}

/* One that swallows everything leaves time for the next. */
static void test_slow_address(void **state)
{
	(void)state;
	enum { FILLERS = 4, CONNECT_MS = 20 * SHORT_MS };
	struct fake f;
	struct fixture_client c;
	struct sockaddr_in address;
	socklen_t len = sizeof(address);
	int fillers[FILLERS], hole = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fake_start(&f, "slow.test", SLICE("+PONG\r\n"), false);
	assert_int_equal(getsockname(f.listen_fd, (struct sockaddr *)&address, &len), 0);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
	assert_int_equal(bind(hole, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(hole, 0), 0);
	fill_queue(&address, fillers, FILLERS);
	fixture_client_init(&c, f.uri, NULL);
	int64_t begun_ms = clock_monotonic_ms();
	redis_connect(c.redis, CONNECT_MS);
	fixture_run_until(&c, fixture_is_settled);
	assert_int_equal(c.opened, 1);
	assert_true(clock_monotonic_ms() - begun_ms >= CONNECT_MS / 2);
	fixture_client_free(&c);
	for (size_t i = 0; i < FILLERS; i++)
		close(fillers[i]);
	close(hole);
	fake_stop(&f);
}

static void test_unknown_name(void **state)
{
	(void)state;
	/* One byte more than a label may have, so that no server is asked. */
	char uri[100] = "redis://";
	memset(uri + strlen(uri), 'x', 64);
	expect_refusal(uri, FIXTURE_DEADLINE_MS, "the host is not known: ");
}

static void test_close_while_looking_up(void **state)
{
	(void)state;
	struct fake f;
	struct fixture_client c;
	fake_start(&f, "here.test", SLICE("+PONG\r\n"), false);
	fixture_client_init(&c, f.uri, NULL);
	for (unsigned i = 1; i <= 20; i++) {
		redis_connect(c.redis, FIXTURE_DEADLINE_MS);
		redis_close(c.redis, "not now");
		assert_int_equal(c.closed, i);
	}
	c.closed = 0;
	redis_connect(c.redis, FIXTURE_DEADLINE_MS);
	fixture_run_until(&c, fixture_is_settled);
	assert_int_equal(c.opened, 1);
	redis_close(c.redis, "again");
	redis_connect(c.redis, FIXTURE_DEADLINE_MS);
	fixture_client_free(&c);
	fake_stop(&f);
}

/* ---- commands */

struct series {
	struct fixture_client *client;
	int64_t expected;
	unsigned lost;
};

static void on_next(void *arg, const struct redisReply *reply)
{
	struct series *s = arg;
	if (reply)
		assert_int_equal(redis_integer(reply), ++s->expected);
	else
		s->lost++;
}

static void send_incr(struct redis *r, redis_done_fn *done, void *arg)
{
	const struct slice words[] = {SLICE("INCR"), SLICE("counter")};
	redis_send(r, words, 2, FIXTURE_DEADLINE_MS, done, arg);
}

static void test_pipeline(void **state)
{
	(void)state;
	enum { COMMANDS = 3000, ROUNDS = 3 };
	struct fixture_client c;
	fixture_client_open(&c, server.uri);
	struct series series = {&c, 0, 0};
	(void)FIXTURE_CALL(&c, "DEL", "counter");
	for (int round = 1; round <= ROUNDS; round++) {
		for (int i = 0; i < COMMANDS; i++)
			send_incr(c.redis, on_next, &series);
		assert_string_equal(FIXTURE_CALL(&c, "PING")->text, "PONG");
		assert_int_equal(series.expected, round * COMMANDS);
	}
	fixture_client_free(&c);
	assert_int_equal(series.lost, 0);
}

enum { CHAIN_AT_ONCE = 10, CHAIN_COMMANDS = 500 };

/* Each reply brings the next command, so that the queue is never empty. */
static void on_link(void *arg, const struct redisReply *reply)
{
	struct series *s = arg;
	on_next(s, reply);
	if (s->expected <= CHAIN_COMMANDS - CHAIN_AT_ONCE)
		send_incr(s->client->redis, on_link, s);
	redis_flush(s->client->redis);
}

static void test_chain(void **state)
{
	(void)state;
	struct fixture_client c;
	fixture_client_open(&c, server.uri);
	(void)FIXTURE_CALL(&c, "DEL", "counter");
	struct series series = {&c, 0, 0};
	for (int i = 0; i < CHAIN_AT_ONCE; i++)
		send_incr(c.redis, on_link, &series);
	while (series.expected < CHAIN_COMMANDS)
		assert_string_equal(FIXTURE_CALL(&c, "PING")->text, "PONG");
	assert_int_equal(series.expected, CHAIN_COMMANDS);
	fixture_client_free(&c);
	assert_int_equal(series.lost, 0);
}

static void ignore(void *arg, const struct redisReply *reply)
{
	(void)arg;
	(void)reply;
}

/* More than a socket takes at once, both ways; all bytes of a value pass. */
static void test_large(void **state)
{
	(void)state;
	enum { BYTES = 900 * 1024 };
	struct fixture_client c;
	struct buf value = BUF_INIT;
	fixture_client_open(&c, server.uri);
	for (int i = 0; i < BYTES; i++)
		buf_append(&value, &(char){(char)i}, 1);
	const struct slice words[] = {SLICE("SET"), SLICE("large"), buf_slice(&value)};
	for (int i = 0; i < 4; i++)
		redis_send(c.redis, words, 3, FIXTURE_DEADLINE_MS, ignore, NULL);
	assert_string_equal(fixture_send(&c, words, 3)->text, "OK");
	assert_int_equal(FIXTURE_CALL(&c, "STRLEN", "large")->integer, BYTES);
	assert_int_equal(FIXTURE_CALL(&c, "GET", "large")->type, REDIS_TEXT);
	assert_string_equal(FIXTURE_CALL(&c, "PING")->text, "PONG");
	(void)FIXTURE_CALL(&c, "DEL", "large");
	buf_release(&value);
	fixture_client_free(&c);
}

static void test_send_when_closed(void **state)
{
	(void)state;
	struct fixture_client c;
	struct series series = {&c, 0, 0};
	fixture_client_init(&c, server.uri, NULL);
	send_incr(c.redis, on_next, &series);
	assert_int_equal(series.lost, 1);
	redis_connect(c.redis, FIXTURE_DEADLINE_MS);
	send_incr(c.redis, on_next, &series);
	assert_int_equal(series.lost, 2);
	redis_close(c.redis, "enough");
	redis_close(c.redis, "more than enough");
	assert_int_equal(c.closed, 1);
	assert_string_equal(c.reason, "enough");
	/* What was queued and not sent stays behind. */
	c.closed = 0;
	redis_connect(c.redis, FIXTURE_DEADLINE_MS);
	fixture_run_until(&c, fixture_is_settled);
	(void)FIXTURE_CALL(&c, "DEL", "counter");
	send_incr(c.redis, on_next, &series);
	redis_close(c.redis, "enough");
	assert_int_equal(series.lost, 3);
	c.opened = c.closed = 0;
	redis_connect(c.redis, FIXTURE_DEADLINE_MS);
	fixture_run_until(&c, fixture_is_settled);
	assert_int_equal(c.opened, 1);
	assert_int_equal(FIXTURE_CALL(&c, "GET", "counter")->type, REDIS_NIL);
	fixture_client_free(&c);
}

static bool is_closed(const struct fixture_client *c)
{
	return c->closed > 0;
}

static void test_server_dies(void **state)
{
	(void)state;
	struct fixture_server mortal;
	struct fixture_client c;
	fixture_server_start(&mortal, (const char *[]){NULL});
	fixture_client_open(&c, mortal.uri);
	struct series series = {&c, 0, 0};
	assert_int_equal(kill(mortal.pid, SIGSTOP), 0);
	for (int i = 0; i < 3; i++)
		send_incr(c.redis, on_next, &series);
	redis_flush(c.redis);
	assert_int_equal(kill(mortal.pid, SIGKILL), 0);
	fixture_run_until(&c, is_closed);
	assert_int_equal(series.lost, 3);
	assert_int_equal(series.expected, 0);
	assert_int_equal(c.closed, 1);
	assert_true(strcmp(c.reason, "closed by the server") == 0 ||
		    strcmp(c.reason, "Connection reset by peer") == 0);
	fixture_client_free(&c);
	fixture_server_stop(&mortal);
}

/* The command that was sent last has the least time. */
static void test_time_out(void **state)
{
	(void)state;
	struct fixture_client c;
	struct series series = {&c, 0, 0};
	const struct slice words[] = {SLICE("INCR"), SLICE("counter")};
	fixture_client_open(&c, server.uri);
	assert_int_equal(kill(server.pid, SIGSTOP), 0);
	int64_t begun_ms = clock_monotonic_ms();
	send_incr(c.redis, on_next, &series);
	redis_send(c.redis, words, 2, 80, on_next, &series);
	fixture_run_until(&c, is_closed);
	int64_t took_ms = clock_monotonic_ms() - begun_ms;
	assert_int_equal(kill(server.pid, SIGCONT), 0);
	assert_string_equal(c.reason, "no reply within 80 ms");
	assert_int_equal(series.lost, 2);
	assert_true(took_ms >= 80 && took_ms < FIXTURE_DEADLINE_MS / 2);
	fixture_client_free(&c);
}

/* This process was stopped for long, and the reply has come meanwhile. */
static void test_late_process(void **state)
{
	(void)state;
	struct fixture_client c, other;
	fixture_client_open(&c, server.uri);
	fixture_client_open(&other, server.uri);
	(void)FIXTURE_CALL(&other, "DEL", "counter");
	struct series series = {&c, 0, 0};
	send_incr(c.redis, on_next, &series);
	redis_flush(c.redis);
	int64_t deadline_ms = clock_monotonic_ms() + FIXTURE_DEADLINE_MS;
	while (strcmp(FIXTURE_CALL(&other, "GET", "counter")->text, "1") != 0)
		assert_true(clock_monotonic_ms() < deadline_ms);
	/* Redis answers after a turn of its loop: by the second one, the first one's replies are out. */
	(void)FIXTURE_CALL(&other, "PING");
	c.loop.now_ms += 2 * FIXTURE_DEADLINE_MS;
	assert_int_equal(redis_check_time(c.redis), -1);
	assert_int_equal(series.expected, 1);
	assert_true(redis_is_open(c.redis));
	/* Without a reply it is late. */
	assert_int_equal(kill(server.pid, SIGSTOP), 0);
	send_incr(c.redis, on_next, &series);
	assert_true(redis_check_time(c.redis) == 0 || c.closed);
	assert_int_equal(kill(server.pid, SIGCONT), 0);
	assert_int_equal(c.closed, 1);
	assert_int_equal(series.lost, 1);
	fixture_client_free(&c);
	fixture_client_free(&other);
}

/* ---- ends from within */

static void close_at_once(void *arg, const struct redisReply *reply)
{
	struct series *s = arg;
	on_next(s, reply);
	redis_close(s->client->redis, "from within");
	send_incr(s->client->redis, on_next, s);
}

static void test_close_within_reply(void **state)
{
	(void)state;
	struct fixture_client c;
	fixture_client_open(&c, server.uri);
	(void)FIXTURE_CALL(&c, "DEL", "counter");
	struct series series = {&c, 0, 0};
	send_incr(c.redis, on_next, &series);
	send_incr(c.redis, close_at_once, &series);
	send_incr(c.redis, close_at_once, &series);
	send_incr(c.redis, on_next, &series);
	fixture_run_until(&c, is_closed);
	assert_int_equal(series.expected, 2);
	/* Two that waited, and the one that each of the closing ones sent too late. */
	assert_int_equal(series.lost, 4);
	assert_int_equal(c.closed, 1);
	assert_string_equal(c.reason, "from within");
	fixture_client_free(&c);
}

static void close_on_open(void *arg)
{
	struct fixture_client *c = arg;
	fixture_on_open(c);
	redis_close(c->redis, "from within");
}

static void connect_on_closed(void *arg, const char *reason)
{
	struct fixture_client *c = arg;
	fixture_on_closed(c, reason);
	if (c->closed < 5)
		redis_connect(c->redis, FIXTURE_DEADLINE_MS);
}

static bool is_closed_often(const struct fixture_client *c)
{
	return c->closed == 5;
}

static void test_close_within_open(void **state)
{
	(void)state;
	struct fixture_client c;
	struct redis_events events = {close_on_open, connect_on_closed, fixture_on_push, &c};
	fixture_client_init(&c, server.uri, &events);
	redis_connect(c.redis, FIXTURE_DEADLINE_MS);
	fixture_run_until(&c, is_closed_often);
	assert_int_equal(c.opened, 5);
	fixture_client_free(&c);
	/* Where it cannot even begin. */
	fixture_client_init(&c, "redis+unix:///nonexistent/socket", &events);
	redis_connect(c.redis, FIXTURE_DEADLINE_MS);
	fixture_run_until(&c, is_closed_often);
	assert_int_equal(c.opened, 0);
	fixture_client_free(&c);
}

static void close_on_push(void *arg, const struct redisReply *reply)
{
	struct fixture_client *c = arg;
	fixture_on_push(c, reply);
	redis_close(c->redis, "from within");
}

static void test_close_within_push(void **state)
{
	(void)state;
	struct fixture_client c;
	struct redis_events events = {fixture_on_open, fixture_on_closed, close_on_push, &c};
	const struct slice words[] = {SLICE("SUBSCRIBE"), SLICE("a"), SLICE("b")};
	fixture_client_init(&c, server.uri, &events);
	redis_connect(c.redis, FIXTURE_DEADLINE_MS);
	fixture_run_until(&c, fixture_is_settled);
	redis_send(c.redis, words, 3, 0, NULL, NULL);
	fixture_run_until(&c, is_closed);
	assert_int_equal(c.pushed, 1);
	fixture_client_free(&c);
}

/* ---- subscribing */

static bool is_pushed_once(const struct fixture_client *c)
{
	return c->pushed >= 1;
}

static bool is_pushed_four_times(const struct fixture_client *c)
{
	return c->pushed >= 4;
}

static void assert_push(const struct fixture_reply *push, const char *kind, const char *channel,
			const char *text)
{
	assert_int_equal(push->type, REDIS_ARRAY);
	assert_string_equal(push->texts[0], kind);
	assert_string_equal(push->texts[1], channel);
	assert_string_equal(push->texts[2], text);
}

static void test_subscribe(void **state)
{
	(void)state;
	struct fixture_client c, other;
	struct series series = {&c, 0, 0};
	const struct slice subscribe[] = {SLICE("SUBSCRIBE"), SLICE("news")}, ping[] = {SLICE("PING")};
	fixture_client_open(&c, server.uri);
	fixture_client_open(&other, server.uri);
	(void)FIXTURE_CALL(&other, "DEL", "counter");
	/* What was asked before still gets its reply. */
	send_incr(c.redis, on_next, &series);
	redis_send(c.redis, subscribe, 2, 0, NULL, NULL);
	fixture_run_until(&c, is_pushed_once);
	assert_int_equal(series.expected, 1);
	assert_push(&c.pushes[0], "subscribe", "news", "");
	assert_int_equal(FIXTURE_CALL(&other, "PUBLISH", "news", "one")->integer, 1);
	redis_send(c.redis, ping, 1, 0, NULL, NULL);
	/* No deadline: whoever sends such commands watches them. */
	assert_int_equal(redis_check_time(c.redis), -1);
	redis_flush(c.redis);
	fixture_run_until(&c, is_pushed_once);
	assert_int_equal(FIXTURE_CALL(&other, "PUBLISH", "news", "two")->integer, 1);
	fixture_run_until(&c, is_pushed_four_times);
	assert_push(&c.pushes[1], "message", "news", "one");
	bool pong_first = strcmp(c.pushes[2].texts[0], "pong") == 0;
	assert_push(&c.pushes[pong_first ? 2 : 3], "pong", "", "");
	assert_push(&c.pushes[pong_first ? 3 : 2], "message", "news", "two");
	/* The next connection is nobody's subscriber. */
	redis_close(c.redis, "anew");
	c.opened = c.closed = 0;
	redis_connect(c.redis, FIXTURE_DEADLINE_MS);
	fixture_run_until(&c, fixture_is_settled);
	assert_string_equal(FIXTURE_CALL(&c, "PING")->text, "PONG");
	fixture_client_free(&c);
	fixture_client_free(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_address),
	    cmocka_unit_test(test_library),
	    cmocka_unit_test(test_open),
	    cmocka_unit_test(test_database),
	    cmocka_unit_test(test_auth),
	    cmocka_unit_test(test_auth_repeated),
	    cmocka_unit_test(test_nobody_there),
	    cmocka_unit_test(test_black_hole),
	    cmocka_unit_test(test_silent),
	    cmocka_unit_test(test_not_a_redis),
	    cmocka_unit_test(test_too_large),
	    cmocka_unit_test(test_unasked),
	    cmocka_unit_test(test_name),
	    cmocka_unit_test(test_several_addresses),
	    cmocka_unit_test(test_slow_address),
	    cmocka_unit_test(test_unknown_name),
	    cmocka_unit_test(test_close_while_looking_up),
	    cmocka_unit_test(test_pipeline),
	    cmocka_unit_test(test_chain),
	    cmocka_unit_test(test_large),
	    cmocka_unit_test(test_send_when_closed),
	    cmocka_unit_test(test_server_dies),
	    cmocka_unit_test(test_time_out),
	    cmocka_unit_test(test_late_process),
	    cmocka_unit_test(test_close_within_reply),
	    cmocka_unit_test(test_close_within_open),
	    cmocka_unit_test(test_close_within_push),
	    cmocka_unit_test(test_subscribe),
	};
	return cmocka_run_group_tests(tests, start_server, stop_server);
}
