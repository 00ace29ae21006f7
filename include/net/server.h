/*
 * The connections of one worker: accepting, limits, time-outs, draining. What a request means is the
 * handler's business; the server knows neither todos nor stores. One thread, the loop's; nothing here blocks.
 */
#ifndef NET_SERVER_H
#define NET_SERVER_H

#include "base/ip.h"
#include "http/forwarded.h"
#include "http/request.h"
#include "http/response.h"
#include "net/census.h"
#include "net/loop.h"
#include "net/rate_limit.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct server;

/* Where connections come from. Those of operators are few, and beyond the limits of the others. */
struct server_door {
	int fd;
	bool is_admin;
};

/* Names one request that waits for its answer. Outlives the connection: a ticket whose request has gone is
 * known to be stale. */
struct ticket {
	uint32_t slot, generation;
};

/* Whose request it is. */
struct client {
	struct ip ip;  /* none: somebody who came by a unix socket */
	bool by_proxy; /* the peer is a trusted proxy: what else it says of the request is believed, too */
};

/* How many connections there are. */
struct server_load {
	size_t mean, total; /* per worker, in all */
};

/* A request and its answer, whose bytes have just been made, or whose client has gone before there was one. */
struct exchange {
	const struct response *res;
	const struct client *client; /* where there is no request that could be read: the peer */
	struct slice note;  /* what `note` appended; empty too for what could not be read as a request */
	size_t body_bytes;  /* of the answer, as sent: 0 for HEAD */
	int64_t latency_ns; /* from the wake in which its last byte was read to its answer */
	bool is_admin;      /* came by such a door */
};

/* What the server asks of those who know what requests mean. `arg` is the same everywhere. */
struct server_handler {
	/* A whole request. True: *res is the answer. False: it comes later, by server_answer(ticket), and
	 * *pending (not NULL) stands for it until then. The request's views are valid until this returns. */
	bool (*handle)(void *arg, const struct request *req, bool is_admin, struct ticket ticket,
		       struct response *res, void **pending);

	/* Only the head is here, and the client waits for "100 Continue" before it sends the body. True: *res
	 * refuses it. */
	bool (*refuse)(void *arg, const struct request *req, bool is_admin, struct response *res);

	/* `pending` has waited for pending_timeout_ms. True: *res is the answer, and server_answer will not
	 * be called for it. False: server_answer is about to be called. */
	bool (*expire)(void *arg, void *pending, struct response *res);

	/* Tells the other workers how many connections this one has, operators' aside; returns what all told last. */
	struct server_load (*balance)(void *arg, size_t connections);

	/* A request has come whole, and is about to be handled: what is appended to *note is kept until it is answered. NULL: nothing. */
	void (*note)(void *arg, const struct request *req, const struct client *client, struct buf *note);

	/* Every answer, also those that the server makes itself: to what is no request, or came too slowly; and every request that
	 * was abandoned. */
	void (*answered)(void *arg, const struct exchange *exchange);

	/* The client of `pending` has gone; nobody waits for an answer any more. *res is what `answered` is told. */
	void (*abandon)(void *arg, void *pending, struct response *res);
};

struct server_limits {
	uint32_t header_timeout_ms;    /* from the first byte of a head to its last */
	uint32_t keepalive_timeout_ms; /* without a byte of a request */
	uint32_t write_timeout_ms;     /* without progress of an answer */
	uint32_t pending_timeout_ms;   /* for server_answer */
	uint64_t body_max_bytes;
	size_t
	    max_connections; /* at least 1; at it the connection idle longest makes room. Operators' do not count */
	size_t
	    max_connections_total; /* of all workers, about; likewise, and where none is idle, 503; 0: no limit */
	size_t
	    max_connections_per_address; /* of all workers; at it 429; 0: no limit, else `census` is needed */
	struct census *census;           /* these are borrowed and shared by all workers; of them this is */
	unsigned worker;
	struct rate_limit *rate_limit; /* borrowed; NULL: none; beyond it 429 */
	/* Whose word it is taken for whom a request comes. Exempt from what is limited by address. Borrowed. */
	const struct ip_set *trusted_proxies;
	enum forwarded_field proxy_field;
};

/* Returns owned. The loop is borrowed for the server's life. */
struct server *server_new(struct loop *loop, const struct server_limits *limits,
			  const struct server_handler *handler, void *arg);

/* Closes every connection. */
void server_free(struct server *s);

/* Accepts from these descriptors, which stay open and borrowed until server_drain or server_free. At most SERVER_DOORS_MAX.
 * Returns 0, or -1 and *err. */
enum { SERVER_DOORS_MAX = 32 };
int server_listen(struct server *s, const struct server_door *doors, size_t count, struct err *err);

/* Delivers the answer that `ticket` waits for; a stale ticket is dropped in silence. */
void server_answer(struct server *s, struct ticket ticket, const struct response *res);

/* Takes what waits in the listeners' queues, then accepts no more: the caller may close them. Every further
 * answer ends its connection; connections without a request get one more second. */
void server_drain(struct server *s);

size_t server_connection_count(const struct server *s);

/* The server's part of the loop's hooks. */
void server_tick(struct server *s);
int server_after_events(struct server *s);

#endif
