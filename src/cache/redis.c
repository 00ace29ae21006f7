/*
 * The connection of cache/redis.h. What moves it, beside redis_connect and redis_close:
 *
 *     LOOKING_UP -> CONNECTING   lookup_ready
 *     CONNECTING -> GREETING     socket_ready: AUTH, SELECT and PING are sent
 *     GREETING   -> OPEN         ping_answered
 *     (any)      -> CLOSING      redis_close: the socket is gone, those who wait are told
 *     CLOSING    -> CLOSED       redis_close, just before on_closed
 *
 * redis_connect itself may find out that it cannot even begin; redis_check_time tells that (is_doomed).
 *
 * A host name may take its time, so that it is looked up in a thread. The thread and the connection share a
 * struct lookup, freed by whoever is last; a lookup that still runs when its connection was closed serves the
 * next one: a resolver that hangs costs one thread.
 */
#include "cache/redis.h"

#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <hiredis/hiredis.h>

enum {
	READ_BYTES = 64 * 1024,
	REPLY_MAX_BYTES = 1024 * 1024, /* far more than a page */
	REPLY_MAX_ELEMENTS = 1024,     /* of all its arrays */
	QUEUE_FIRST_CAP = 16,
};

enum redis_state { CLOSED, CLOSING, LOOKING_UP, CONNECTING, GREETING, OPEN };

struct lookup {
	_Atomic int users;
	atomic_bool is_done;
	int event_fd; /* readable once done */
	char host[sizeof(((struct redis_address *)0)->host)];
	char port[sizeof(((struct redis_address *)0)->port)];
	int error; /* of getaddrinfo(3) */
	struct addrinfo *found;
};

/* A command that was sent. */
struct waiting {
	redis_done_fn *done;
	void *arg;
	int64_t deadline_ms;
	uint32_t timeout_ms;
};

struct redis {
	struct loop *loop;
	const struct redis_address *address;
	struct redis_events events;
	enum redis_state state;
	uint64_t epoch; /* moves with every end of a connection */

	int64_t deadline_ms; /* until OPEN */
	uint32_t connect_ms;
	struct lookup *lookup;
	struct watch lookup_watch;
	struct addrinfo *addresses, *next; /* owned; the one to try next */
	int64_t attempt_deadline_ms;       /* of the one that is tried, where others follow */
	bool is_doomed;
	struct err why;

	struct watch watch; /* of the socket; fd -1 while there is none */
	uint32_t watched;   /* events */
	redisReader *reader;
	redisReplyObjectFunctions reply_functions;
	void *(*create_array)(const redisReadTask *task, int elements); /* hiredis's own */
	size_t reply_bytes, reply_elements; /* of the reply that is not complete yet */
	struct buf out;
	size_t sent;
	struct waiting *queue;
	size_t queue_head, queue_len, queue_cap; /* from head to len */
	bool is_subscriber;
};

#define TEXT_OF(number)  #number
#define TEXT_OF2(number) TEXT_OF(number)

const char *redis_library(void)
{
	return "hiredis " TEXT_OF2(HIREDIS_MAJOR) "." TEXT_OF2(HIREDIS_MINOR) "." TEXT_OF2(HIREDIS_PATCH);
}

/* ---- addresses */

static int hex_value(char c)
{
	static const char digits[] = "0123456789abcdef0123456789ABCDEF";
	const char *found = memchr(digits, c, sizeof(digits) - 1);
	return found ? (int)(found - digits) % 16 : -1;
}

static int decode(struct slice text, struct buf *out)
{
	for (size_t i = 0; i < text.len; i++) {
		char c = text.data[i];
		if (c == '%') {
			int high = i + 2 < text.len ? hex_value(text.data[i + 1]) : -1;
			int low = i + 2 < text.len ? hex_value(text.data[i + 2]) : -1;
			if (high < 0 || low < 0)
				return -1;
			c = (char)(high << 4 | low);
			i += 2;
		}
		buf_append(out, &c, 1);
	}
	return 0;
}

static struct slice from(struct slice s, size_t offset)
{
	return (struct slice){s.data + offset, s.len - offset};
}

/* Where `c` stands, or the length. */
static size_t find(struct slice s, char c)
{
	const char *found = s.len ? memchr(s.data, c, s.len) : NULL;
	return found ? (size_t)(found - s.data) : s.len;
}

static int copy_text(char *to, size_t size, struct slice text)
{
	if (text.len == 0 || text.len >= size || memchr(text.data, '\0', text.len))
		return -1;
	memcpy(to, text.data, text.len);
	to[text.len] = '\0';
	return 0;
}

static int parse_database(unsigned *database, struct slice text)
{
	unsigned long value = 0;
	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] < '0' || text.data[i] > '9')
			return -1;
		value = value * 10 + (unsigned long)(text.data[i] - '0');
		if (value > INT32_MAX)
			return -1;
	}
	*database = (unsigned)value;
	return 0;
}

static int parse_host_port(struct redis_address *a, struct slice text)
{
	bool has_brackets = text.len && text.data[0] == '[';
	size_t host_len = find(text, has_brackets ? ']' : ':');
	struct slice host = {text.data, host_len}, port = from(text, host_len);
	if (has_brackets) {
		if (port.len == 0)
			return -1;
		host = from(host, 1);
		port = from(port, 1);
	}
	if (copy_text(a->host, sizeof(a->host), host))
		return -1;
	if (port.len == 0)
		return copy_text(a->port, sizeof(a->port), SLICE("6379"));
	return port.data[0] == ':' ? copy_text(a->port, sizeof(a->port), from(port, 1)) : -1;
}

/* "[user:password@]". */
static int parse_credentials(struct redis_address *a, struct slice text)
{
	size_t colon = find(text, ':');
	if (colon == text.len)
		return -1;
	return decode((struct slice){text.data, colon}, &a->user) ||
		       decode(from(text, colon + 1), &a->password)
		   ? -1
		   : 0;
}

static int parse_place(struct redis_address *a, struct slice authority, struct slice path)
{
	if (!a->is_unix)
		return parse_host_port(a, authority) ||
		       parse_database(&a->database, path.len ? from(path, 1) : path);
	static const char option[] = "?db=";
	size_t option_len = sizeof(option) - 1, path_len = find(path, '?');
	struct slice query = from(path, path_len);
	if (authority.len || path_len >= sizeof(((struct sockaddr_un *)0)->sun_path) ||
	    copy_text(a->host, sizeof(a->host), (struct slice){path.data, path_len}))
		return -1;
	if (query.len == 0)
		return 0;
	return query.len > option_len && memcmp(query.data, option, option_len) == 0
		   ? parse_database(&a->database, from(query, option_len))
		   : -1;
}

int redis_address_parse(struct redis_address *a, const char *uri, struct err *err)
{
	static const char tcp[] = "redis://", unix_socket[] = "redis+unix://";
	*a = (struct redis_address){.is_unix = strncmp(uri, unix_socket, sizeof(unix_socket) - 1) == 0};
	const char *scheme = a->is_unix ? unix_socket : tcp;
	int rc = strncmp(uri, scheme, strlen(scheme));
	if (rc == 0) {
		struct slice rest = slice_of(uri + strlen(scheme));
		struct slice path = from(rest, find(rest, '/'));
		struct slice authority = {rest.data, rest.len - path.len};
		size_t at = find(authority, '@');
		if (at < authority.len) {
			rc = parse_credentials(a, (struct slice){authority.data, at});
			authority = from(authority, at + 1);
		}
		rc = rc || parse_place(a, authority, path);
	}
	if (rc == 0)
		return 0;
	redis_address_release(a);
	return err_set(err, EXIT_CODE_CONFIG, "not the address of a Redis");
}

void redis_address_release(struct redis_address *a)
{
	buf_release(&a->user);
	buf_release(&a->password);
}

/* ---- replies */

enum redis_type redis_type(const struct redisReply *reply)
{
	static const enum redis_type types[] = {
	    [REDIS_REPLY_STRING] = REDIS_TEXT,     [REDIS_REPLY_ARRAY] = REDIS_ARRAY,
	    [REDIS_REPLY_INTEGER] = REDIS_INTEGER, [REDIS_REPLY_NIL] = REDIS_NIL,
	    [REDIS_REPLY_STATUS] = REDIS_STATUS,   [REDIS_REPLY_ERROR] = REDIS_ERROR,
	};
	return reply ? types[reply->type] : REDIS_NIL;
}

struct slice redis_text(const struct redisReply *reply)
{
	enum redis_type type = redis_type(reply);
	if (type != REDIS_STATUS && type != REDIS_ERROR && type != REDIS_TEXT)
		return (struct slice){NULL, 0};
	return (struct slice){reply->str, reply->len};
}

int64_t redis_integer(const struct redisReply *reply)
{
	return redis_type(reply) == REDIS_INTEGER ? reply->integer : 0;
}

size_t redis_count(const struct redisReply *reply)
{
	return redis_type(reply) == REDIS_ARRAY ? reply->elements : 0;
}

const struct redisReply *redis_at(const struct redisReply *reply, size_t i)
{
	return i < redis_count(reply) ? reply->element[i] : NULL;
}

/* hiredis allocates an array as soon as its length has come. */
static void *create_array(const redisReadTask *task, int elements)
{
	struct redis *r = task->privdata;
	if (elements < 0 || (size_t)elements > REPLY_MAX_ELEMENTS - r->reply_elements)
		return NULL;
	r->reply_elements += (size_t)elements;
	return r->create_array(task, elements);
}

static void open_reader(struct redis *r)
{
	r->reader = redisReaderCreate();
	if (!r->reader)
		abort(); /* out of memory */
	r->reply_functions = *r->reader->fn;
	r->create_array = r->reply_functions.createArray;
	r->reply_functions.createArray = create_array;
	r->reader->fn = &r->reply_functions;
	r->reader->privdata = r;
	r->reply_bytes = r->reply_elements = 0;
}

/* ---- looking a name up */

static void drop_lookup(struct lookup *l)
{
	if (atomic_fetch_sub(&l->users, 1) > 1)
		return;
	if (l->found)
		freeaddrinfo(l->found);
	close(l->event_fd);
	free(l);
}

static int get_addresses(const char *host, const char *port, int flags, struct addrinfo **found)
{
	struct addrinfo hints = {.ai_flags = flags | AI_NUMERICSERV,
				 .ai_family = AF_UNSPEC,
				 .ai_socktype = SOCK_STREAM};
	return getaddrinfo(host, port, &hints, found);
}

static void *run_lookup(void *arg)
{
	struct lookup *l = arg;
	l->error = get_addresses(l->host, l->port, 0, &l->found);
	atomic_store(&l->is_done, true);
	/* Only a counter at its end could refuse it. */
	(void)!write(l->event_fd, &(uint64_t){1}, sizeof(uint64_t));
	drop_lookup(l);
	return NULL;
}

/* Returns 0, or an error number. */
static int start_thread(void *(*run)(void *arg), void *arg)
{
	pthread_t id;
	pthread_attr_t attributes;
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	int error = pthread_create(&id, &attributes, run, arg);
	pthread_attr_destroy(&attributes);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return error;
}

/* Returns 0, or an error number. */
static int start_lookup(struct redis *r)
{
	int event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (event_fd < 0)
		return errno;
	struct lookup *l = alloc_zeroed(1, sizeof(*l));
	l->users = 2;
	l->event_fd = event_fd;
	memcpy(l->host, r->address->host, sizeof(l->host));
	memcpy(l->port, r->address->port, sizeof(l->port));
	int error = start_thread(run_lookup, l);
	if (error) {
		l->users = 1;
		drop_lookup(l);
		return error;
	}
	r->lookup = l;
	return 0;
}

/* ---- connecting */

static void socket_ready(struct watch *w, uint32_t events);
static void lookup_ready(struct watch *w, uint32_t events);

/* Why it ends, or will; always -1. */
#define EXPLAIN(r, ...) err_set(&(r)->why, EXIT_CODE_UNAVAILABLE, __VA_ARGS__)

static void watch_for(struct redis *r, uint32_t events)
{
	/* It can fail for want of kernel memory alone, and then the time-outs end the connection. */
	if (events != r->watched && loop_modify(r->loop, &r->watch, events) == 0)
		r->watched = events;
}

static void close_socket(struct redis *r)
{
	if (r->watch.fd < 0)
		return;
	loop_remove(r->loop, &r->watch);
	close(r->watch.fd);
	r->watch.fd = -1;
}

/* Begins to connect: socket_ready hears of it. Returns 0, or -1 and r->why. */
static int open_socket(struct redis *r, const struct sockaddr *address, socklen_t len)
{
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
	if (fd < 0)
		return EXPLAIN(r, "cannot make a socket: %s", strerror(errno));
	if (address->sa_family != AF_UNIX)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on,
				 sizeof(on)); /* slower without, that is all */
	r->watch = (struct watch){.ready = socket_ready, .fd = fd};
	r->watched = EPOLLOUT;
	if ((connect(fd, address, len) != 0 && errno != EINPROGRESS) ||
	    loop_add(r->loop, &r->watch, r->watched) != 0) {
		EXPLAIN(r, "cannot connect: %s", strerror(errno));
		close_socket(r);
		return -1;
	}
	r->state = CONNECTING;
	return 0;
}

/* The next address that is there to be tried. Returns 0, or -1 and r->why, that of the last. */
static int connect_next(struct redis *r)
{
	close_socket(r);
	while (r->next) {
		int64_t now_ms = clock_monotonic_ms(), left = 0;
		for (const struct addrinfo *rest = r->next; rest; rest = rest->ai_next)
			left++;
		/* Each gets its share: one that does not answer must not hide the others. */
		r->attempt_deadline_ms = now_ms + (r->deadline_ms - now_ms) / left;
		const struct addrinfo *address = r->next;
		r->next = address->ai_next;
		if (open_socket(r, address->ai_addr, address->ai_addrlen) == 0)
			return 0;
	}
	return -1;
}

static int connect_unix(struct redis *r)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t len = strnlen(r->address->host, sizeof(r->address->host));
	if (len >= sizeof(address.sun_path))
		return EXPLAIN(r, "cannot connect: %s", strerror(ENAMETOOLONG));
	memcpy(address.sun_path, r->address->host, len);
	return open_socket(r, (const struct sockaddr *)&address, sizeof(address));
}

static int connect_name(struct redis *r)
{
	if (r->lookup && atomic_load(&r->lookup->is_done)) { /* of a connection that was closed */
		drop_lookup(r->lookup);
		r->lookup = NULL;
	}
	int error = r->lookup ? 0 : start_lookup(r);
	if (error)
		return EXPLAIN(r, "cannot look the host up: %s", strerror(error));
	r->lookup_watch = (struct watch){.ready = lookup_ready, .fd = r->lookup->event_fd};
	if (loop_add(r->loop, &r->lookup_watch, EPOLLIN) != 0)
		return EXPLAIN(r, "cannot look the host up: %s", strerror(errno));
	return 0;
}

void redis_connect(struct redis *r, uint32_t connect_ms)
{
	assert(r->state == CLOSED);
	r->state = LOOKING_UP;
	r->connect_ms = connect_ms;
	r->deadline_ms = clock_monotonic_ms() + connect_ms;
	int rc;
	if (r->address->is_unix) {
		rc = connect_unix(r);
	} else if (get_addresses(r->address->host, r->address->port, AI_NUMERICHOST, &r->addresses) == 0) {
		r->next = r->addresses;
		rc = connect_next(r);
	} else {
		r->addresses = NULL;
		rc = connect_name(r);
	}
	r->is_doomed = rc != 0;
}

static void lookup_ready(struct watch *w, uint32_t events)
{
	struct redis *r = WATCH_OWNER(w, struct redis, lookup_watch);
	struct lookup *l = r->lookup;
	(void)events;
	if (!atomic_load(&l->is_done))
		return;
	int error = l->error;
	r->addresses = r->next = l->found;
	l->found = NULL;
	loop_remove(r->loop, w);
	drop_lookup(l);
	r->lookup = NULL;
	if (error) {
		EXPLAIN(r, "the host is not known: %s", gai_strerror(error));
		redis_close(r, r->why.text);
	} else if (connect_next(r)) {
		redis_close(r, r->why.text);
	}
}

/* ---- greeting */

static void queue_command(struct redis *r, const struct slice *words, size_t count, struct waiting waiting);

/* Ends the connection when the server refused. Its words may repeat ours (an unknown command's arguments
 * are quoted), and so are cut before the first quote; nothing but the first word is shown if the password
 * is in them all the same. */
static bool is_refused(struct redis *r, const struct redisReply *reply)
{
	if (redis_type(reply) != REDIS_ERROR)
		return false;
	struct slice text = redis_text(reply), password = buf_slice(&r->address->password);
	size_t len = strcspn(text.data, "'`\"");
	if (password.len && memmem(text.data, len, password.data, password.len))
		len = strcspn(text.data, " ");
	EXPLAIN(r, "refused: %.*s", (int)(len < 200 ? len : 200), text.data);
	redis_close(r, r->why.text);
	return true;
}

static void step_answered(void *arg, const struct redisReply *reply)
{
	if (reply)
		(void)is_refused(arg, reply);
}

static void ping_answered(void *arg, const struct redisReply *reply)
{
	struct redis *r = arg;
	if (!reply || is_refused(r, reply))
		return;
	if (!slice_equal(redis_text(reply), SLICE("PONG"))) {
		redis_close(r, "not a Redis: it does not answer PING with PONG");
		return;
	}
	r->state = OPEN;
	r->events.on_open(r->events.arg);
}

static void greet(struct redis *r)
{
	const struct redis_address *a = r->address;
	struct waiting step = {step_answered, r, r->deadline_ms, r->connect_ms};
	struct buf number = BUF_INIT;
	r->state = GREETING;
	open_reader(r);
	if (a->password.len) {
		struct slice words[] = {SLICE("AUTH"), buf_slice(&a->user), buf_slice(&a->password)};
		if (a->user.len == 0) /* before Redis 6 AUTH knows no user */
			words[1] = words[2];
		queue_command(r, words, a->user.len ? 3 : 2, step);
	}
	if (a->database) {
		buf_append_u64(&number, a->database);
		queue_command(r, (struct slice[]){SLICE("SELECT"), buf_slice(&number)}, 2, step);
		buf_release(&number);
	}
	/* Shows whether a password is missing, and that it is a Redis which can serve. */
	step.done = ping_answered;
	queue_command(r, (struct slice[]){SLICE("PING")}, 1, step);
	redis_flush(r);
}

/* True: it is connected. */
static bool finish_connect(struct redis *r)
{
	int error = 0;
	socklen_t len = sizeof(error);
	struct sockaddr_storage peer;
	if (getsockopt(r->watch.fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
		error = errno;
	if (error) {
		EXPLAIN(r, "cannot connect: %s", strerror(error));
		if (connect_next(r))
			redis_close(r, r->why.text);
		return false;
	}
	/* Else the event is still one of a socket before. */
	len = sizeof(peer);
	return getpeername(r->watch.fd, (struct sockaddr *)&peer, &len) == 0;
}

/* ---- commands and replies */

static void queue_command(struct redis *r, const struct slice *words, size_t count, struct waiting waiting)
{
	buf_printf(&r->out, "*%zu\r\n", count);
	for (size_t i = 0; i < count; i++) {
		buf_printf(&r->out, "$%zu\r\n", words[i].len);
		buf_append_slice(&r->out, words[i]);
		buf_append(&r->out, "\r\n", 2);
	}
	if (!waiting.done)
		return;
	if (r->queue_len == r->queue_cap && r->queue_head > 0) {
		r->queue_len -= r->queue_head;
		memmove(r->queue, r->queue + r->queue_head, r->queue_len * sizeof(*r->queue));
		r->queue_head = 0;
	} else if (r->queue_len == r->queue_cap) {
		r->queue_cap = r->queue_cap ? 2 * r->queue_cap : QUEUE_FIRST_CAP;
		r->queue = alloc_resize(r->queue, r->queue_cap, sizeof(*r->queue));
	}
	r->queue[r->queue_len++] = waiting;
}

void redis_send(struct redis *r, const struct slice *words, size_t count, uint32_t timeout_ms,
		redis_done_fn *done, void *arg)
{
	if (r->state != OPEN) {
		if (done)
			done(arg, NULL);
		return;
	}
	assert(!done || !r->is_subscriber);
	r->is_subscriber = !done;
	queue_command(r, words, count,
		      (struct waiting){done, arg, clock_monotonic_ms() + timeout_ms, timeout_ms});
}

void redis_flush(struct redis *r)
{
	if (r->state < GREETING)
		return;
	while (r->sent < r->out.len) {
		ssize_t done = send(r->watch.fd, r->out.data + r->sent, r->out.len - r->sent, MSG_NOSIGNAL);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0) {
			/* What is wrong with the socket is told by reading it. */
			watch_for(r, EPOLLIN | (errno == EAGAIN ? EPOLLOUT : 0));
			return;
		}
		r->sent += (size_t)done;
	}
	r->sent = 0;
	buf_clear(&r->out);
	watch_for(r, EPOLLIN);
}

static void hand_out(struct redis *r, const struct redisReply *reply)
{
	if (r->queue_head < r->queue_len) {
		struct waiting first = r->queue[r->queue_head++];
		first.done(first.arg, reply);
	} else if (r->is_subscriber) {
		r->events.on_push(r->events.arg, reply);
	} else {
		redis_close(r, "a reply that nothing asked for");
	}
}

static void hand_out_all(struct redis *r)
{
	uint64_t epoch = r->epoch;
	void *reply;
	while (redisReaderGetReply(r->reader, &reply) == REDIS_OK && reply) {
		r->reply_bytes = r->reader->len - r->reader->pos;
		r->reply_elements = 0;
		hand_out(r, reply);
		freeReplyObject(reply);
		if (r->epoch != epoch)
			return;
	}
	if (r->reply_bytes > REPLY_MAX_BYTES || r->reader->err == REDIS_ERR_OOM) {
		redis_close(r, "a reply that is too large");
	} else if (r->reader->err) {
		EXPLAIN(r, "not a Redis: %s", r->reader->errstr);
		redis_close(r, r->why.text);
	}
}

/* Returns false when nothing was there, or the connection has ended. */
static bool receive(struct redis *r)
{
	char bytes[READ_BYTES];
	uint64_t epoch = r->epoch;
	ssize_t got = recv(r->watch.fd, bytes, sizeof(bytes), 0);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (got <= 0) {
		EXPLAIN(r, "%s", got == 0 ? "closed by the server" : strerror(errno));
		redis_close(r, r->why.text);
		return false;
	}
	r->reply_bytes += (size_t)got;
	/* What it cannot take shows when the reply is asked for. */
	(void)redisReaderFeed(r->reader, bytes, (size_t)got);
	hand_out_all(r);
	return r->epoch == epoch;
}

static void socket_ready(struct watch *w, uint32_t events)
{
	struct redis *r = WATCH_OWNER(w, struct redis, watch);
	if (r->state == CONNECTING) {
		if (finish_connect(r))
			greet(r);
		return;
	}
	if (events & EPOLLOUT)
		redis_flush(r);
	if (events & ~(uint32_t)EPOLLOUT)
		(void)receive(r);
}

/* ---- the rest of its life */

struct redis *redis_new(struct loop *loop, const struct redis_address *address,
			const struct redis_events *events)
{
	struct redis *r = alloc_zeroed(1, sizeof(*r));
	r->loop = loop;
	r->address = address;
	r->events = *events;
	r->watch.fd = -1;
	return r;
}

static void take_down(struct redis *r)
{
	r->epoch++;
	close_socket(r);
	if (r->state == LOOKING_UP && r->lookup)
		loop_remove(r->loop, &r->lookup_watch);
	if (r->addresses)
		freeaddrinfo(r->addresses);
	r->addresses = r->next = NULL;
	if (r->reader)
		redisReaderFree(r->reader);
	r->reader = NULL;
	r->is_subscriber = false;
	r->sent = 0;
	buf_clear(&r->out);
}

void redis_free(struct redis *r)
{
	take_down(r);
	if (r->lookup)
		drop_lookup(r->lookup);
	buf_release(&r->out);
	free(r->queue);
	free(r);
}

void redis_close(struct redis *r, const char *reason)
{
	if (r->state == CLOSED || r->state == CLOSING)
		return;
	struct err why; /* `reason` may be part of what goes now */
	err_set(&why, EXIT_CODE_UNAVAILABLE, "%s", reason);
	take_down(r);
	r->state = CLOSING;
	while (r->queue_head < r->queue_len) {
		struct waiting first = r->queue[r->queue_head++];
		first.done(first.arg, NULL);
	}
	r->state = CLOSED;
	r->events.on_closed(r->events.arg, why.text);
}

bool redis_is_open(const struct redis *r)
{
	return r->state == OPEN;
}

/* The first deadline of all commands; they may have been given different times. */
static const struct waiting *most_urgent(const struct redis *r)
{
	const struct waiting *first = NULL;
	for (size_t i = r->queue_head; i < r->queue_len; i++)
		if (!first || r->queue[i].deadline_ms < first->deadline_ms)
			first = &r->queue[i];
	return first;
}

static void check_connecting(struct redis *r, int64_t now_ms)
{
	if (!r->is_doomed && now_ms >= r->deadline_ms)
		r->is_doomed = EXPLAIN(r, "no connection within %u ms", r->connect_ms);
	else if (!r->is_doomed && r->next && now_ms >= r->attempt_deadline_ms)
		r->is_doomed = connect_next(r);
	if (r->is_doomed)
		redis_close(r, r->why.text);
}

static bool is_late(const struct redis *r, int64_t now_ms)
{
	const struct waiting *first = most_urgent(r);
	return first && now_ms >= first->deadline_ms;
}

static void check_commands(struct redis *r, int64_t now_ms)
{
	uint64_t epoch = r->epoch;
	/* The reply may lie here already, and this process have been stopped, not Redis. */
	while (is_late(r, now_ms) && receive(r))
		;
	if (r->epoch != epoch || !is_late(r, now_ms))
		return;
	EXPLAIN(r, "no reply within %u ms", most_urgent(r)->timeout_ms);
	redis_close(r, r->why.text);
}

/* INT64_MAX: none. */
static int64_t next_deadline_ms(const struct redis *r)
{
	if (r->state >= GREETING) {
		const struct waiting *first = most_urgent(r);
		return first ? first->deadline_ms : INT64_MAX;
	}
	if (r->state < LOOKING_UP)
		return INT64_MAX;
	if (r->is_doomed)
		return 0;
	return r->next ? r->attempt_deadline_ms : r->deadline_ms;
}

int redis_check_time(struct redis *r)
{
	int64_t now_ms = r->loop->now_ms;
	if (r->state >= GREETING)
		check_commands(r, now_ms);
	else if (r->state >= LOOKING_UP)
		check_connecting(r, now_ms);
	int64_t deadline_ms = next_deadline_ms(r);
	if (deadline_ms == INT64_MAX)
		return -1;
	int64_t left_ms = deadline_ms - now_ms;
	return left_ms < 0 ? 0 : left_ms > INT_MAX ? INT_MAX : (int)left_ms;
}
