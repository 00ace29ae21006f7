/*
 * What conn.c (one connection) and server.c (all of them) share.
 */
#ifndef NET_CONN_H
#define NET_CONN_H

#include "http/parser.h"
#include "net/server.h"

/* A connection is in one state, and in that state's list: oldest first, since every state has one time-out.
 */
enum conn_state {
	CONN_IDLE,      /* no byte of a request is here */
	CONN_HEAD,      /* part of a head */
	CONN_BODY,      /* the head, part of the body */
	CONN_PENDING,   /* a request waits for server_answer; nothing is read */
	CONN_SENDING,   /* the socket took only part of the answers; nothing is read */
	CONN_LINGERING, /* answered and shut down for writing: what still arrives is read and dropped */
	CONN_CLOSED,    /* free, or about to be */
	CONN_STATES,
};

/* Bytes of an incomplete request, or of requests that have to wait. Exists only while there are any. */
struct input {
	struct parser parser; /* of the message that starts at `start` */
	struct buf bytes;
	size_t start;
};

struct conn {
	struct watch watch; /* first: conn.c finds the connection from it */
	struct server *server;
	struct conn *prev, *next; /* in the list of its state */
	int64_t since_ms;         /* when it came to its place in that list */
	int64_t started_ms;       /* of the body, or of lingering */
	uint64_t number;          /* counts from 1 per worker: for the log */
	uint32_t slot;
	uint32_t generation; /* of the request that pends: see struct ticket */
	struct input *input; /* owned; NULL when nothing has to be kept */
	struct buf out;      /* what the socket did not take, from out_sent on */
	size_t out_sent;
	void *pending;    /* the handler's, while CONN_PENDING; */
	int64_t asked_ns; /* since when, */
	struct buf note;  /* and what the handler wants to know again then */
	struct ip peer;
	struct client client;  /* of the request at hand; the peer while there is none */
	uint32_t unsent_bytes; /* in the socket, when SENDING was last looked at */
	uint8_t state;
	uint8_t minor;
	bool keep_alive : 1, head_only : 1; /* of the request being answered */
	bool may_read : 1;                  /* edge-triggered: bytes, or the end, may be there to be read */
	bool peer_closed : 1;      /* the end was read: no further request, but answers are still sent */
	bool peer_half_closed : 1; /* epoll said so: one more recv has to look for the end */
	bool closing : 1;          /* the last answer is made: nothing more is parsed */
	bool lingers : 1;          /* see settle_closing */
	bool continued : 1;        /* "100 Continue" was sent for the request in `input` */
	bool is_ready : 1;         /* in the server's ready list */
	bool wants_write : 1;      /* EPOLLOUT is armed */
	bool is_exempt : 1;        /* `client` is not limited: a trusted proxy, or a unix socket */
	bool is_counted : 1;       /* in the census */
	bool is_refused : 1;       /* one too many: it only lingers */
	bool is_admin : 1;         /* of an operator */
};

struct conn_list {
	struct conn *head, *tail;
	uint32_t timeout_ms;
};

struct server_listener {
	struct watch watch;
	struct server *server;
	bool is_admin;
};

enum {
	SERVER_RECEIVE_BYTES = 64 * 1024,
	CONN_SLAB = 64, /* connections per allocation */
};

/* Connections are allocated in slabs, and those in the slab of the lowest number are used first: so the others come free, and are freed,
 * once there are fewer. */
struct conn_slab {
	struct conn *conns; /* CONN_SLAB of them; NULL: freed */
	struct conn *free;  /* through next */
	size_t used;
	uint32_t generation; /* of those to come: above that of any ticket that names a slot in here */
};

struct server {
	struct loop *loop;
	struct server_limits limits;
	struct server_handler handler;
	void *arg;
	struct conn_list lists[CONN_STATES];
	struct conn_slab *slabs;
	size_t slab_count;
	size_t first_free;     /* all slabs before are full */
	struct conn *closed;   /* this batch: free after it, since epoll may still report them */
	uint32_t *ready_slots; /* more to do without a new event */
	size_t ready_count, ready_cap;
	size_t count;         /* those that are refused included, and operators' */
	size_t admin_count;   /* of those: operators' */
	size_t refused_count; /* that linger */
	size_t most;          /* of `count`, since memory was given back */
	uint64_t accepted;
	struct server_listener listeners[SERVER_DOORS_MAX];
	size_t listener_count;
	size_t unsent_bytes; /* of all connections: see SERVER_UNSENT_MAX_BYTES */
	bool is_patient;     /* it has waited for the others: the next connection is its own */
	bool parked;         /* the listeners are not watched */
	int64_t parked_until_ms;
	int64_t descriptor_warning_ms;
	bool draining;
	char date[HTTP_DATE_BYTES];
	struct parser parser; /* for requests that are whole in `receive`: most */
	struct response response;
	struct response too_many_requests; /* these are made once */
	struct response too_many_from_address, too_many_connections;
	struct buf too_many_requests_bytes; /* its `ready` */
	int64_t processed_ns;               /* since when what was read is being processed */
	struct buf note;                    /* of the request at hand */
	struct buf out;                     /* the answers of this wake, for one connection at a time */
	char receive[SERVER_RECEIVE_BYTES];
};

/* server.c */
void server_list_append(struct server *s, struct conn *c, enum conn_state state);
void server_list_remove(struct server *s, struct conn *c);
void server_forget(struct server *s, struct conn *c); /* conn_close calls it last */
void server_mark_ready(struct server *s, struct conn *c);

/* The memory that answers take which clients do not read: beyond a limit whoever has not read for longest is closed. */
void server_count_unsent(struct server *s, size_t bytes);
void server_uncount_unsent(struct server *s, size_t bytes);

/* conn.c */
void conn_open(struct conn *c, int fd, const struct sockaddr *peer);

/* Answers unasked, and ends it; where it lingers so that the answer arrives. */
void conn_refuse(struct conn *c, struct response *res, bool lingers);

/* The only end of a connection. `reason` is a literal, for the log. */
void conn_close(struct conn *c, const char *reason);

/* Goes on with what is in `input`, then with what can be read. */
void conn_resume(struct conn *c);

void conn_answer(struct conn *c, const struct response *res);

/* Its state has lasted as long as it may. */
void conn_expire(struct conn *c);

#endif
