/*
 * One client connection.
 *
 *     (any that reads) -> IDLE/HEAD/BODY  conn_settle: what is left in the input says which
 *     (any that reads) -> IDLE            handle: a request has come whole, the next one's time-outs are its own
 *     (any that reads) -> PENDING         conn_settle: the handler will answer later
 *     PENDING -> (goes on)                conn_answer, conn_expire
 *     (any) -> SENDING                    conn_settle: send(2) was short, and nothing pends
 *     SENDING -> (goes on)                send_rest: all was sent
 *     (any) -> LINGERING                  settle_closing: the last answer is sent, and bytes may still arrive
 *     (any) -> CLOSED                     conn_close
 *
 * One wake is: receive, process every whole request that is there, send all answers at once, settle.
 * Edge-triggered, so whoever stops before recv(2) was short keeps may_read and comes back by the ready list or
 * after an answer. Only bytes and the parser's state survive from one wake to the next.
 */
#include "net/conn.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	CONN_REQUESTS_PER_WAKE = 32, /* then it is the others' turn */
	CONN_READS_PER_WAKE = 4,     /* likewise: a chunked body may bring little for much */
	CONN_OUT_PER_WAKE_BYTES = 32 * 1024,
	CONN_OUT_UNREAD_BYTES = 4 * 1024,   /* as much for those who have not read what they got before */
	CONN_OUT_AT_ONCE_BYTES = 64 * 1024, /* more takes a while to arrive */
	CONN_OUT_KEPT_BYTES = 1024 * 1024,  /* of the worker's buffer, after an answer that was larger */
	CONN_READ_BYTES =
	    HTTP_HEAD_MAX_BYTES, /* beyond what is needed: pipelined requests can wait in the socket */
	CONN_LINGER_TOTAL_MS = 5000,
	CONN_LINGER_READS_PER_WAKE = 16,
	CONN_BODY_RATE_BYTES_PER_S = 1024,
};

static const uint32_t read_events = EPOLLIN | EPOLLRDHUP | EPOLLET;

static void conn_ready(struct watch *w, uint32_t events);
static void drop_out(struct conn *c);

void conn_open(struct conn *c, int fd, const struct sockaddr *peer)
{
	struct server *s = c->server;
	c->watch = (struct watch){.ready = conn_ready, .fd = fd};
	c->peer = ip_of_sockaddr(peer);
	c->client = (struct client){c->peer, ip_set_contains(s->limits.trusted_proxies, &c->peer)};
	c->is_exempt = c->client.by_proxy || ip_is_none(&c->peer);
	server_list_append(s, c, CONN_IDLE);
	if (loop_add(s->loop, &c->watch, read_events) != 0)
		conn_close(c, "epoll_ctl failed");
}

static void input_drop(struct conn *c)
{
	if (!c->input)
		return;
	buf_release(&c->input->bytes);
	free(c->input);
	c->input = NULL;
}

static void tell(struct conn *c, const struct response *res, struct slice note, size_t body_bytes,
		 int64_t latency_ns)
{
	struct server *s = c->server;
	const struct exchange exchange = {
	    .res = res,
	    .client = &c->client,
	    .note = note,
	    .body_bytes = body_bytes,
	    .latency_ns = latency_ns,
	    .is_admin = c->is_admin,
	};
	s->handler.answered(s->arg, &exchange);
}

static void abandon(struct conn *c)
{
	struct server *s = c->server;
	response_reset(&s->response);
	s->handler.abandon(s->arg, c->pending, &s->response);
	c->pending = NULL;
	tell(c, &s->response, buf_slice(&c->note), 0, clock_monotonic_ns() - c->asked_ns);
}

void conn_close(struct conn *c, const char *reason)
{
	struct server *s = c->server;
	if (c->state == CONN_CLOSED)
		return;
	log_debug("connection %llu: closed, %s", (unsigned long long)c->number, reason);
	if (!c->is_admin)
		counter_add(&metrics_own()->closed, 1);
	if (c->pending)
		abandon(c);
	c->is_ready = false;
	c->generation++;
	input_drop(c);
	drop_out(c);
	buf_release(&c->note);
	loop_remove(s->loop, &c->watch);
	close(c->watch.fd);
	c->watch.fd = -1;
	server_list_remove(s, c);
	c->state = CONN_CLOSED;
	server_forget(s, c);
}

/* ---- answers */

static void append_answer(struct conn *c, const struct response *res, struct slice note, int64_t latency_ns)
{
	struct server *s = c->server;
	struct response_context context = {
	    .date = s->date,
	    .head_only = c->head_only,
	    .minor = c->minor,
	    .keep_alive = c->keep_alive && !s->draining,
	};
	size_t body_bytes = response_write(res, &context, &s->out);
	tell(c, res, note, body_bytes, latency_ns);
	if (res->close || !context.keep_alive)
		c->closing = true;
	c->lingers |= s->draining && c->keep_alive; /* it may be sending its next request already */
}

/* The request cannot be told from what follows it, or was refused before its body came: answer, and read no
 * further. */
static void append_refusal(struct conn *c, struct response *res, struct slice note)
{
	res->close = true;
	append_answer(c, res, note, 0);
	c->lingers = true;
}

/* One send(2). Adds what the socket took to *sent. Returns false when the connection died of it. */
static bool send_some(struct conn *c, const char *data, size_t len, size_t *sent)
{
	ssize_t n;
	do
		n = send(c->watch.fd, data, len, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
		conn_close(c, "send failed");
		return false;
	}
	if (n > 0) {
		*sent += (size_t)n;
		if (!c->is_admin)
			counter_add(&metrics_own()->sent_bytes, (uint64_t)n);
	}
	return true;
}

/* What the socket holds and the client has not confirmed: whether it falls tells a slow reader from a dead one. */
static uint32_t unsent_in_socket(const struct conn *c)
{
	int bytes = 0;
	return ioctl(c->watch.fd, SIOCOUTQ, &bytes) == 0 && bytes > 0 ? (uint32_t)bytes : 0;
}

/* Keeps what the socket did not take. */
static void keep_out(struct conn *c, const char *data, size_t len)
{
	if (c->out.len == 0)
		c->unsent_bytes = unsent_in_socket(c);
	size_t had = c->out.cap;
	buf_append(&c->out, data, len);
	server_count_unsent(c->server, c->out.cap - had);
}

static void drop_out(struct conn *c)
{
	server_uncount_unsent(c->server, c->out.cap);
	buf_release(&c->out);
	c->out_sent = 0;
}

/* Sends what s->out holds, behind what was kept earlier. Returns false when that closed the connection. */
static bool flush(struct conn *c)
{
	struct server *s = c->server;
	size_t sent = 0;
	bool lives = c->out.len > 0 || send_some(c, s->out.data, s->out.len, &sent);
	if (lives && sent < s->out.len)
		keep_out(c, s->out.data + sent, s->out.len - sent);
	c->lingers |= s->out.len > CONN_OUT_AT_ONCE_BYTES;
	buf_clear(&s->out);
	if (s->out.cap > CONN_OUT_KEPT_BYTES)
		buf_release(&s->out);
	return c->state != CONN_CLOSED; /* keeping more may have cost the connection itself */
}

/* ---- requests */

static void begin_answer(struct conn *c, const struct request *req)
{
	const struct server_limits *limits = &c->server->limits;
	c->keep_alive = req->keep_alive;
	c->head_only = req->method == HTTP_HEAD;
	c->minor = req->minor;
	if (c->client.by_proxy) {
		c->client.ip = c->peer;
		c->is_exempt =
		    !forwarded_client(req, limits->proxy_field, limits->trusted_proxies, &c->client.ip);
	}
}

/* What is answered there is no request that could be read. */
static void begin_refusal(struct conn *c, bool head_only)
{
	c->client.ip = c->peer;
	c->keep_alive = false;
	c->head_only = head_only;
	c->minor = 1;
}

static void refuse_bad(struct conn *c, const struct parser *p)
{
	struct server *s = c->server;
	/* HEAD as soon as that is known: its client expects no body. */
	begin_refusal(c, p->req.method == HTTP_HEAD);
	response_reset(&s->response);
	response_problem(&s->response, p->status, p->detail);
	append_refusal(c, &s->response, SLICE(""));
}

/* Valid until the next one is taken. */
static struct slice take_note(struct conn *c, const struct request *req)
{
	struct server *s = c->server;
	buf_clear(&s->note);
	if (s->handler.note)
		s->handler.note(s->arg, req, &c->client, &s->note);
	return buf_slice(&s->note);
}

/* The head is here and asks whether the body may come (RFC 9110 section 10.1.1). */
static void answer_expectation(struct conn *c, const struct request *req)
{
	struct server *s = c->server;
	response_reset(&s->response);
	if (s->handler.refuse(s->arg, req, c->is_admin, &s->response)) {
		begin_answer(c, req);
		append_refusal(c, &s->response, take_note(c, req));
		return;
	}
	buf_append_slice(&s->out, SLICE("HTTP/1.1 100 Continue\r\n\r\n"));
	c->continued = true;
}

static bool admits(const struct conn *c)
{
	const struct server *s = c->server;
	return !s->limits.rate_limit || c->is_exempt || c->is_admin ||
	       rate_limit_admit(s->limits.rate_limit, &c->client.ip, s->loop->now_ns / 1000);
}

static void handle(struct conn *c, const struct request *req)
{
	struct server *s = c->server;
	begin_answer(c, req);
	if (c->state != CONN_IDLE)
		server_list_append(s, c, CONN_IDLE); /* each request has time-outs of its own */
	struct slice note = take_note(c, req);
	if (!admits(c)) {
		append_answer(c, &s->too_many_requests, note, s->processed_ns - s->loop->now_ns);
		return;
	}
	response_reset(&s->response);
	struct ticket ticket = {c->slot, ++c->generation};
	if (s->handler.handle(s->arg, req, c->is_admin, ticket, &s->response, &c->pending)) {
		append_answer(c, &s->response, note, s->processed_ns - s->loop->now_ns);
		return;
	}
	assert(c->pending);
	buf_append_slice(&c->note, note);
	c->asked_ns = s->loop->now_ns;
}

/* Keeps the bytes of the message at `msg`, which the parser has seen (or not begun). */
static void keep_input(struct conn *c, const char *msg, size_t len, const struct parser *p)
{
	struct input *in = c->input;
	if (in) { /* they are in there already */
		in->start = (size_t)(msg - in->bytes.data);
		in->bytes.len = in->start + len;
		return;
	}
	in = c->input = alloc_zeroed(1, sizeof(*in));
	in->parser = *p;
	buf_append(&in->bytes, msg, len);
}

/* Parses and handles what is in [data, data + len), and keeps what is left. */
static void process(struct conn *c, char *data, size_t len)
{
	struct server *s = c->server;
	struct parser *p = c->input ? &c->input->parser : &s->parser;
	if (!c->input)
		parser_init(p, s->limits.body_max_bytes);
	s->processed_ns = clock_monotonic_ns();
	char *msg = data, *end = data + len;
	bool blocked = false; /* bytes are left that could be parsed, but not now */
	for (int requests = 0; msg < end && !c->closing && !blocked;) {
		size_t rest = (size_t)(end - msg);
		enum parse_result result = parser_feed(p, msg, &rest);
		if (result == PARSE_BAD) {
			refuse_bad(c, p);
			break;
		}
		if (result == PARSE_MORE) {
			end = msg + rest;
			if (!c->continued && parser_awaits_continue(p, rest))
				answer_expectation(c, &p->req);
			break;
		}
		size_t had = s->out.len;
		handle(c, &p->req);
		msg += p->consumed;
		c->continued = false;
		parser_init(p, s->limits.body_max_bytes);
		blocked = c->pending || ++requests == CONN_REQUESTS_PER_WAKE ||
			  s->out.len >= CONN_OUT_PER_WAKE_BYTES ||
			  (msg < end && had < CONN_OUT_UNREAD_BYTES && s->out.len >= CONN_OUT_UNREAD_BYTES &&
			   unsent_in_socket(c) > 0);
	}
	if (c->closing) {
		c->lingers |= msg < end || c->may_read;
		input_drop(c);
	} else if (msg < end) {
		keep_input(c, msg, (size_t)(end - msg), p);
		if (blocked && !c->pending)
			server_mark_ready(s, c);
	} else {
		input_drop(c);
	}
}

/* ---- reading */

/* What the message at hand may still need, and not much more: what else has come would have to be kept. */
static size_t wanted_bytes(const struct conn *c)
{
	const struct input *in = c->input;
	if (!in || (in->parser.head_len > 0 && in->parser.req.chunked))
		return CONN_READ_BYTES;
	size_t kept = in->bytes.len - in->start;
	if (in->parser.head_len == 0) {
		assert(kept < CONN_READ_BYTES); /* or the parser would have refused it */
		return CONN_READ_BYTES - kept;
	}
	size_t wanted = in->parser.head_len + in->parser.req.content_length - kept + CONN_READ_BYTES;
	return wanted < SERVER_RECEIVE_BYTES ? wanted : SERVER_RECEIVE_BYTES;
}

/* What has come, behind what is kept. Kept is only what has come: a message that never ends takes no more than it sent. */
static void process_received(struct conn *c, size_t len)
{
	struct server *s = c->server;
	struct input *in = c->input;
	if (!in) {
		process(c, s->receive, len);
		return;
	}
	if (in->start) {
		in->bytes.len -= in->start;
		memmove(in->bytes.data, in->bytes.data + in->start, in->bytes.len);
		in->start = 0;
	}
	buf_append(&in->bytes, s->receive, len);
	process(c, in->bytes.data, in->bytes.len);
}

/* One recv(2) and what it brought. */
static void receive(struct conn *c)
{
	struct server *s = c->server;
	size_t room = wanted_bytes(c);
	ssize_t n = recv(c->watch.fd, s->receive, room, 0);
	if (n < 0 && errno == EINTR)
		return;
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
		c->may_read = false;
		return;
	}
	if (n < 0) {
		conn_close(c, "reset by the client");
		return;
	}
	if (n == 0) {
		c->may_read = false;
		c->peer_closed = true;
		return;
	}
	if (!c->is_admin)
		counter_add(&metrics_own()->received_bytes, (uint64_t)n);
	/* Short: the socket is empty, and the next byte is a new edge. Not so the end of a half-closed one:
	 * its edge has been. */
	c->may_read = (size_t)n == room || c->peer_half_closed;
	process_received(c, (size_t)n);
}

static void linger(struct conn *c)
{
	struct server *s = c->server;
	for (int reads = 0; reads < CONN_LINGER_READS_PER_WAKE; reads++) {
		ssize_t n = recv(c->watch.fd, s->receive, sizeof(s->receive), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			c->may_read = false;
			break;
		}
		if (n <= 0) {
			conn_close(c, n == 0 ? "after lingering" : "reset by the client");
			return;
		}
	}
	if (s->loop->now_ms - c->started_ms >= CONN_LINGER_TOTAL_MS) {
		conn_close(c, "lingering took too long");
		return;
	}
	if (c->may_read)
		server_mark_ready(s, c);
	server_list_append(s, c, CONN_LINGERING);
}

/* ---- the end of a wake */

static void settle_incomplete(struct conn *c)
{
	struct server *s = c->server;
	const struct input *in = c->input;
	bool has_head = in->parser.head_len > 0;
	/* The empty line that may stand before a request is no part of one yet (RFC 9112 section 2.2). */
	bool has_begun = in->bytes.len - in->start > 2 || in->bytes.data[in->start] != '\r';
	enum conn_state state = has_head ? CONN_BODY : has_begun ? CONN_HEAD : CONN_IDLE;
	if (c->state == state)
		return; /* the time-outs of a request are absolute: further bytes do not extend them */
	if (has_head)
		c->started_ms = s->loop->now_ms;
	server_list_append(s, c, state);
}

/* Unread bytes, here or still to come, would turn close(2) into a reset, which takes along what the client has not got yet
 * (RFC 9112 section 9.6). A client that has asked for the end is believed to send no more, unless it has, or the answer is
 * long on its way: to wait for the end of each would take a fifth more time for every such connection. */
static void settle_closing(struct conn *c)
{
	struct server *s = c->server;
	if (!(c->lingers || c->may_read) || c->peer_closed) {
		conn_close(c, "answered");
		return;
	}
	if (shutdown(c->watch.fd, SHUT_WR) != 0) {
		conn_close(c, "reset by the client");
		return;
	}
	c->started_ms = s->loop->now_ms;
	c->may_read = true;
	linger(c);
}

/* Sends the answers of this wake and puts the connection into the state that its input and output call for.
 */
static void conn_settle(struct conn *c)
{
	struct server *s = c->server;
	if (c->state == CONN_CLOSED || (s->out.len > 0 && !flush(c)))
		return;
	if (c->out.len > 0 && !c->wants_write)
		c->wants_write = loop_modify(s->loop, &c->watch, read_events | EPOLLOUT) == 0;
	if (c->pending) {
		if (c->state !=
		    CONN_PENDING) /* also when answers are unsent: the deadline of the request counts */
			server_list_append(s, c, CONN_PENDING);
	} else if (c->out.len > 0) {
		server_list_append(s, c, CONN_SENDING);
	} else if (c->closing) {
		settle_closing(c);
	} else if (c->input) {
		if (c->peer_closed && !c->is_ready)
			conn_close(c, "closed by the client");
		else
			settle_incomplete(c);
	} else if (c->peer_closed) {
		conn_close(c, "closed by the client");
	} else if (c->state != CONN_IDLE || c->since_ms + LOOP_TICK_MS <= s->loop->now_ms) {
		/* A busy connection moves to the end of the idle list once a tick, not with each request. */
		server_list_append(s, c, CONN_IDLE);
	}
}

/* May another request be handled now? */
static bool may_go_on(const struct conn *c)
{
	return c->state != CONN_CLOSED && !c->closing && !c->pending && c->out.len == 0;
}

void conn_resume(struct conn *c)
{
	if (c->state == CONN_LINGERING) {
		linger(c);
		return;
	}
	if (may_go_on(c) && c->input)
		process(c, c->input->bytes.data + c->input->start, c->input->bytes.len - c->input->start);
	for (int reads = 0; reads < CONN_READS_PER_WAKE && may_go_on(c) && c->may_read && !c->is_ready &&
			    c->server->out.len < CONN_OUT_PER_WAKE_BYTES;
	     reads++)
		receive(c);
	if (may_go_on(c) && c->may_read)
		server_mark_ready(c->server, c); /* nobody will announce again what is there */
	conn_settle(c);
}

static void send_rest(struct conn *c)
{
	struct server *s = c->server;
	size_t sent = 0;
	if (!send_some(c, c->out.data + c->out_sent, c->out.len - c->out_sent, &sent))
		return;
	c->out_sent += sent;
	if (c->out_sent < c->out.len) {
		if (sent > 0 && c->state == CONN_SENDING)
			server_list_append(s, c, CONN_SENDING); /* progress: the time-out starts anew */
		return;
	}
	drop_out(c);
	if (c->wants_write)
		c->wants_write = loop_modify(s->loop, &c->watch, read_events) != 0;
	conn_resume(c);
}

static void conn_ready(struct watch *w, uint32_t events)
{
	struct conn *c = WATCH_OWNER(w, struct conn, watch);
	if (events & (EPOLLIN | EPOLLRDHUP))
		c->may_read = true;
	if (events & EPOLLRDHUP)
		c->peer_half_closed = true;
	if (c->state == CONN_LINGERING) {
		linger(
		    c); /* both sides are shut once the client has closed: EPOLLHUP, and yet there may be bytes to read */
	} else if (events & (EPOLLERR | EPOLLHUP)) {
		conn_close(c, "reset by the client");
	} else if (c->out.len > 0) {
		if (events & EPOLLOUT)
			send_rest(c);
	} else if (!c->pending && c->may_read) {
		conn_resume(c);
	}
}

void conn_answer(struct conn *c, const struct response *res)
{
	c->pending = NULL;
	c->generation++;
	append_answer(c, res, buf_slice(&c->note), clock_monotonic_ns() - c->asked_ns);
	buf_release(&c->note);
	if (c->closing) {
		c->lingers |= c->input || c->may_read;
		input_drop(c);
	}
	conn_resume(c);
}

void conn_refuse(struct conn *c, struct response *res, bool lingers)
{
	begin_refusal(c, false);
	append_refusal(c, res, SLICE(""));
	c->lingers = lingers;
	conn_settle(c);
}

/* ---- time-outs */

static void answer_408(struct conn *c, const char *detail)
{
	struct server *s = c->server;
	response_reset(&s->response);
	begin_refusal(c, false);
	response_problem(&s->response, 408, detail);
	append_refusal(c, &s->response, SLICE(""));
	input_drop(c);
	conn_settle(c);
}

static void expire_body(struct conn *c)
{
	struct server *s = c->server;
	const struct input *in = c->input;
	int64_t grace_ms = s->limits.header_timeout_ms;
	int64_t late_ms = s->loop->now_ms - c->started_ms - grace_ms;
	size_t received = in->bytes.len - in->start - in->parser.head_len;
	if (late_ms > 0 && received < (uint64_t)late_ms * CONN_BODY_RATE_BYTES_PER_S / 1000)
		answer_408(c, "the body came slower than 1 KiB a second");
	else
		server_list_append(s, c, CONN_BODY); /* look again after another interval */
}

static void expire_pending(struct conn *c)
{
	struct server *s = c->server;
	response_reset(&s->response);
	if (s->handler.expire(s->arg, c->pending, &s->response))
		conn_answer(c, &s->response);
	else
		server_list_append(s, c, CONN_PENDING);
}

/* EPOLLOUT comes only when a good part of the socket's buffer is free: a reader may be slow and yet read. */
static void expire_sending(struct conn *c)
{
	uint32_t unsent_bytes = unsent_in_socket(c);
	if (unsent_bytes < c->unsent_bytes)
		server_list_append(c->server, c, CONN_SENDING);
	else
		conn_close(c, "the client does not read");
	c->unsent_bytes = unsent_bytes;
}

/* Its time is over, unless a request has come that nobody has told of yet: to close it now would be to drop that unread. */
static void expire_idle(struct conn *c)
{
	int unread_bytes = 0;
	if (ioctl(c->watch.fd, FIONREAD, &unread_bytes) != 0 || unread_bytes == 0) {
		conn_close(c, "idle for too long");
		return;
	}
	c->may_read = true;
	server_list_append(c->server, c, CONN_IDLE);
	server_mark_ready(c->server, c);
}

void conn_expire(struct conn *c)
{
	switch ((enum conn_state)c->state) {
	case CONN_IDLE: expire_idle(c); break;
	case CONN_HEAD: answer_408(c, "the head of the request took too long"); break;
	case CONN_BODY: expire_body(c); break;
	case CONN_PENDING: expire_pending(c); break;
	case CONN_SENDING: expire_sending(c); break;
	case CONN_LINGERING: conn_close(c, "lingering took too long"); break;
	case CONN_CLOSED:
	case CONN_STATES: assert(0);
	}
}
