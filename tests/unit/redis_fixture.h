/*
 * A real redis-server of the test's own, on a unix socket in a directory of its own, and clients of it through
 * cache/redis.h.
 *
 *     struct fixture_server server;
 *     fixture_server_start(&server, (const char *[]){"--databases", "4", NULL});
 *     struct fixture_client client;
 *     fixture_client_open(&client, server.uri);
 *     const struct fixture_reply *reply = FIXTURE_CALL(&client, "GET", "key");
 *
 * Everything here fails the running test when it does not come about in time.
 */
#ifndef TESTS_REDIS_FIXTURE_H
#define TESTS_REDIS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "cache/redis.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FIXTURE_DEADLINE_MS = 20000, FIXTURE_WORDS_MAX = 32 };

/* ---- the server */

struct fixture_server {
	pid_t pid;
	char directory[64], path[80], uri[100];
};

static inline bool fixture_accepts(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t len = strlen(path);
	assert_true(len < sizeof(address.sun_path));
	memcpy(address.sun_path, path, len);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	bool accepts = connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0;
	close(fd);
	return accepts;
}

static inline void fixture_nap(void)
{
	(void)usleep(2000);
}

/* `words`: what redis-server is given beside socket and directory, NULL-terminated. */
static inline void fixture_server_start(struct fixture_server *s, const char *const *words)
{
	const char *parent = getenv("TMPDIR");
	snprintf(s->directory, sizeof(s->directory), "%s/redis-XXXXXX", parent ? parent : "/tmp");
	assert_non_null(mkdtemp(s->directory));
	snprintf(s->path, sizeof(s->path), "%s/socket", s->directory);
	snprintf(s->uri, sizeof(s->uri), "redis+unix://%s", s->path);
	const char *all[FIXTURE_WORDS_MAX] = {"redis-server"};
	size_t count = 1;
	for (; *words; words++)
		all[count++] = *words;
	const char *own[] = {"--port",     "0",         "--unixsocket", s->path,  "--dir",
			     s->directory, "--logfile", "log",          "--save", ""};
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		all[count++] = own[i];
	assert_true(count < FIXTURE_WORDS_MAX);
	pid_t parent_pid = getpid();
	s->pid = fork();
	assert_true(s->pid >= 0);
	if (s->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent_pid)
			execvp("redis-server", (char *const *)(uintptr_t)all);
		_exit(127);
	}
	int64_t deadline_ms = clock_monotonic_ms() + FIXTURE_DEADLINE_MS;
	while (!fixture_accepts(s->path)) {
		if (waitpid(s->pid, NULL, WNOHANG) != 0)
			fail_msg("redis-server did not start");
		assert_true(clock_monotonic_ms() < deadline_ms);
		fixture_nap();
	}
}

static inline void fixture_server_stop(struct fixture_server *s)
{
	char log[80];
	assert_int_equal(kill(s->pid, SIGKILL), 0);
	assert_int_equal(waitpid(s->pid, NULL, 0), s->pid);
	snprintf(log, sizeof(log), "%s/log", s->directory);
	(void)unlink(log);
	(void)unlink(s->path);
	(void)rmdir(s->directory);
}

/* ---- a client */

/* A copy of a reply, one level deep. */
struct fixture_reply {
	bool came;
	bool is_lost; /* the connection ended */
	enum redis_type type;
	int64_t integer;
	size_t count;
	char text[512]; /* or its beginning */
	int64_t integers[8];
	char texts[8][128];
};

struct fixture_client {
	struct redis_address address;
	struct loop loop;
	struct redis *redis;
	unsigned opened, closed, pushed;
	char reason[300];
	struct fixture_reply reply, pushes[16];
	bool (*is_reached)(const struct fixture_client *c);
	int64_t deadline_ms;
};

static inline void fixture_copy_text(char *to, size_t size, struct slice text)
{
	size_t len = text.len < size ? text.len : size - 1;
	if (len)
		memcpy(to, text.data, len);
	to[len] = '\0';
}

static inline void fixture_copy(struct fixture_reply *to, const struct redisReply *reply)
{
	*to = (struct fixture_reply){.came = true, .is_lost = !reply};
	to->type = redis_type(reply);
	to->integer = redis_integer(reply);
	to->count = redis_count(reply);
	fixture_copy_text(to->text, sizeof(to->text), redis_text(reply));
	for (size_t i = 0; i < 8; i++) {
		to->integers[i] = redis_integer(redis_at(reply, i));
		fixture_copy_text(to->texts[i], sizeof(to->texts[i]), redis_text(redis_at(reply, i)));
	}
}

static inline void fixture_on_reply(void *arg, const struct redisReply *reply)
{
	struct fixture_client *c = arg;
	fixture_copy(&c->reply, reply);
}

static inline void fixture_on_open(void *arg)
{
	struct fixture_client *c = arg;
	c->opened++;
}

static inline void fixture_on_closed(void *arg, const char *reason)
{
	struct fixture_client *c = arg;
	c->closed++;
	fixture_copy_text(c->reason, sizeof(c->reason), slice_of(reason));
}

static inline void fixture_on_push(void *arg, const struct redisReply *reply)
{
	struct fixture_client *c = arg;
	assert_true(c->pushed < sizeof(c->pushes) / sizeof(c->pushes[0]));
	fixture_copy(&c->pushes[c->pushed++], reply);
}

static inline void fixture_tick(void *arg)
{
	(void)arg;
}

static inline int fixture_after_events(void *arg)
{
	struct fixture_client *c = arg;
	int sleep_ms = redis_check_time(c->redis);
	if (c->is_reached(c) || c->loop.now_ms > c->deadline_ms)
		loop_stop(&c->loop);
	return sleep_ms;
}

/* A client that does not connect yet. `events` NULL: those above. */
static inline void fixture_client_init(struct fixture_client *c, const char *uri,
				       const struct redis_events *events)
{
	struct err err;
	struct redis_events own = {fixture_on_open, fixture_on_closed, fixture_on_push, c};
	struct loop_hooks hooks = {fixture_tick, fixture_after_events, c};
	*c = (struct fixture_client){.opened = 0};
	if (redis_address_parse(&c->address, uri, &err))
		fail_msg("%s", err.text);
	assert_int_equal(loop_init(&c->loop, &hooks, &err), 0);
	c->redis = redis_new(&c->loop, &c->address, events ? events : &own);
}

static inline void fixture_client_free(struct fixture_client *c)
{
	redis_free(c->redis);
	loop_release(&c->loop);
	redis_address_release(&c->address);
}

/* Runs the client's loop. */
static inline void fixture_run_until(struct fixture_client *c,
				     bool (*is_reached)(const struct fixture_client *c))
{
	c->is_reached = is_reached;
	c->deadline_ms = clock_monotonic_ms() + FIXTURE_DEADLINE_MS;
	c->loop.stopped = false;
	redis_flush(c->redis);
	loop_run(&c->loop);
	if (!is_reached(c))
		fail_msg("not in time; the connection %s%s", c->closed ? "was closed: " : "is there",
			 c->reason);
}

static inline bool fixture_is_settled(const struct fixture_client *c)
{
	return c->opened + c->closed > 0;
}

static inline bool fixture_is_answered(const struct fixture_client *c)
{
	return c->reply.came;
}

static inline void fixture_client_open(struct fixture_client *c, const char *uri)
{
	fixture_client_init(c, uri, NULL);
	redis_connect(c->redis, FIXTURE_DEADLINE_MS);
	fixture_run_until(c, fixture_is_settled);
	if (c->closed)
		fail_msg("%s", c->reason);
}

/* Sends and waits for the reply, which is valid until the next call. */
static inline const struct fixture_reply *fixture_send(struct fixture_client *c, const struct slice *words,
						       size_t count)
{
	c->reply = (struct fixture_reply){.came = false};
	redis_send(c->redis, words, count, FIXTURE_DEADLINE_MS, fixture_on_reply, c);
	fixture_run_until(c, fixture_is_answered);
	return &c->reply;
}

static inline const struct fixture_reply *fixture_call(struct fixture_client *c, const char *const *texts,
						       size_t count)
{
	struct slice words[FIXTURE_WORDS_MAX];
	assert_true(count <= FIXTURE_WORDS_MAX);
	for (size_t i = 0; i < count; i++)
		words[i] = slice_of(texts[i]);
	return fixture_send(c, words, count);
}

#define FIXTURE_CALL(client, ...)                                \
	fixture_call(client, (const char *const[]){__VA_ARGS__}, \
		     sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

#endif
