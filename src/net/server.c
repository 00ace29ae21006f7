#include "net/conn.h"

#include "base/log.h"
#include "base/metrics.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	SERVER_BALANCE_MS = 1,                    /* for workers with fewer connections to be faster */
	SERVER_PARK_MS = 100,                     /* without descriptors, until the next try */
	SERVER_DESCRIPTOR_WARNING_MS = 10 * 1000, /* said at most that often */
	SERVER_LINGER_IDLE_MS = 2000,
	SERVER_RETRY_AFTER_S = 1,
	SERVER_READY_PER_ROUND = 16,
	SERVER_BODY_CHECK_MS = 1000,
	SERVER_DRAIN_IDLE_MS = 1000,
	SERVER_REFUSED_MAX = 256, /* refused connections that linger, for up to SERVER_LINGER_IDLE_MS each */
	SERVER_ADMIN_MAX = 16, /* operators' connections; of the descriptors that are kept for other uses */
	/* What answers may take that clients do not read. */
	SERVER_UNSENT_PER_CONNECTION_BYTES = 6 * 1024,
	SERVER_UNSENT_MIN_BYTES = 8 * 1024 * 1024,
	SERVER_UNSENT_MAX_BYTES = 64 * 1024 * 1024,
	SLABS_FIRST = 16,
	SERVER_MANY = 32, /* connections: their memory is worth to be given back */
};

static_assert(sizeof(struct conn) <= 256, "10,000 idle connections have to stay below 4 MB");

/* ---- lists: one per state, oldest first */

void server_list_remove(struct server *s, struct conn *c)
{
	struct conn_list *list = &s->lists[c->state];
	*(c->prev ? &c->prev->next : &list->head) = c->next;
	*(c->next ? &c->next->prev : &list->tail) = c->prev;
	c->prev = c->next = NULL;
}

void server_list_append(struct server *s, struct conn *c, enum conn_state state)
{
	if (c->state != CONN_CLOSED)
		server_list_remove(s, c);
	struct conn_list *list = &s->lists[state];
	c->state = (uint8_t)state;
	c->since_ms = s->loop->now_ms;
	c->prev = list->tail;
	*(c->prev ? &c->prev->next : &list->head) = c;
	list->tail = c;
}

static void expire_lists(struct server *s)
{
	for (int state = 0; state < CONN_CLOSED; state++) {
		struct conn_list *list = &s->lists[state];
		/* Whoever stays in the list comes back to its end with a new time. */
		while (list->head && list->head->since_ms + list->timeout_ms <= s->loop->now_ms)
			conn_expire(list->head);
	}
}

/* ---- the connections' memory */

static void fill_slab(struct conn_slab *slab, size_t number)
{
	slab->conns = alloc_zeroed(CONN_SLAB, sizeof(struct conn));
	for (size_t i = CONN_SLAB; i-- > 0;) {
		struct conn *c = &slab->conns[i];
		*c = (struct conn){.state = CONN_CLOSED, .generation = slab->generation, .next = slab->free};
		c->slot = (uint32_t)(number * CONN_SLAB + i);
		slab->free = c;
	}
}

static void empty_slab(struct conn_slab *slab)
{
	for (size_t i = 0; i < CONN_SLAB; i++)
		if (slab->conns[i].generation > slab->generation)
			slab->generation = slab->conns[i].generation;
	free(slab->conns);
	slab->conns = slab->free = NULL;
}

static void add_slabs(struct server *s)
{
	size_t count = s->slab_count ? 2 * s->slab_count : SLABS_FIRST;
	s->slabs = alloc_resize(s->slabs, count, sizeof(struct conn_slab));
	memset(s->slabs + s->slab_count, 0, (count - s->slab_count) * sizeof(struct conn_slab));
	s->slab_count = count;
}

static struct conn *take_conn(struct server *s)
{
	while (s->first_free < s->slab_count && s->slabs[s->first_free].used == CONN_SLAB)
		s->first_free++;
	if (s->first_free == s->slab_count)
		add_slabs(s);
	struct conn_slab *slab = &s->slabs[s->first_free];
	if (!slab->conns)
		fill_slab(slab, s->first_free);
	struct conn *c = slab->free;
	slab->free = c->next;
	slab->used++;
	*c = (struct conn){.server = s, .slot = c->slot, .generation = c->generation, .state = CONN_CLOSED};
	return c;
}

static void give_conn(struct server *s, struct conn *c)
{
	size_t number = c->slot / CONN_SLAB;
	struct conn_slab *slab = &s->slabs[number];
	c->next = slab->free;
	slab->free = c;
	slab->used--;
	if (number < s->first_free)
		s->first_free = number;
}

static void release_closed(struct server *s)
{
	while (s->closed) {
		struct conn *c = s->closed;
		s->closed = c->next;
		give_conn(s, c);
	}
}

/* NULL: there is none any more. */
static struct conn *find_conn(const struct server *s, uint32_t slot)
{
	size_t number = slot / CONN_SLAB;
	return number < s->slab_count && s->slabs[number].conns ? &s->slabs[number].conns[slot % CONN_SLAB]
								: NULL;
}

/* Once half of many connections have gone, their memory goes back to the kernel. */
static void give_back_memory(struct server *s)
{
	if (s->count > s->most)
		s->most = s->count;
	if (s->most < SERVER_MANY || s->count > s->most / 2)
		return;
	s->most = s->count;
	for (size_t i = 0; i < s->slab_count; i++)
		if (s->slabs[i].conns && s->slabs[i].used == 0)
			empty_slab(&s->slabs[i]);
	alloc_trim();
}

void server_forget(struct server *s, struct conn *c)
{
	s->count--;
	s->refused_count -= c->is_refused;
	if (c->is_counted)
		census_leave(s->limits.census, s->limits.worker, &c->peer);
	s->admin_count -= c->is_admin;
	c->next = s->closed;
	s->closed = c;
}

void server_mark_ready(struct server *s, struct conn *c)
{
	if (c->is_ready)
		return;
	if (s->ready_count == s->ready_cap) {
		s->ready_cap = s->ready_cap ? 2 * s->ready_cap : CONN_SLAB;
		s->ready_slots = alloc_resize(s->ready_slots, s->ready_cap, sizeof(*s->ready_slots));
	}
	c->is_ready = true;
	s->ready_slots[s->ready_count++] = c->slot;
}

void server_count_unsent(struct server *s, size_t bytes)
{
	size_t max = s->count * SERVER_UNSENT_PER_CONNECTION_BYTES;
	max = max < SERVER_UNSENT_MIN_BYTES ? SERVER_UNSENT_MIN_BYTES : max;
	max = max < SERVER_UNSENT_MAX_BYTES ? max : SERVER_UNSENT_MAX_BYTES;
	s->unsent_bytes += bytes;
	while (s->unsent_bytes > max && s->lists[CONN_SENDING].head)
		conn_close(s->lists[CONN_SENDING].head, "unread answers take too much memory");
}

void server_uncount_unsent(struct server *s, size_t bytes)
{
	s->unsent_bytes -= bytes;
}

/* ---- accepting */

static void accept_ready(struct watch *w, uint32_t events);

/* Accepts nothing for a moment. Operators are let in even where there are too many others: then above all. */
static void park(struct server *s, bool from_all, int64_t ms)
{
	for (size_t i = 0; i < s->listener_count; i++)
		if (from_all || !s->listeners[i].is_admin)
			loop_remove(s->loop, &s->listeners[i].watch);
	s->parked = true;
	s->parked_until_ms = s->loop->now_ms + ms;
}

static void watch_listeners(struct server *s)
{
	for (size_t i = 0; i < s->listener_count; i++) {
		struct server_listener *l = &s->listeners[i];
		if (l->watch.ready)
			continue;
		l->watch.ready = accept_ready;
		if (loop_add(s->loop, &l->watch, EPOLLIN | EPOLLEXCLUSIVE) != 0) {
			park(s, true, SERVER_PARK_MS); /* the tick tries again */
			return;
		}
	}
}

static void unpark(struct server *s)
{
	s->parked = false;
	watch_listeners(s);
}

/* A client's, or an operator's. */
static bool close_oldest_idle(struct server *s, bool is_admin, const char *reason)
{
	struct conn *oldest = s->lists[CONN_IDLE].head;
	while (oldest && (oldest->is_ready ||
			  oldest->is_admin != is_admin)) /* ready: requests of it are here already */
		oldest = oldest->next;
	if (!oldest)
		return false;
	conn_close(oldest, reason);
	if (!is_admin)
		counter_add(&metrics_own()->evicted, 1);
	return true;
}

/* Level-triggered and never accepted, it would spin: the listener rests, and a connection that does nothing
 * makes room. */
static void out_of_descriptors(struct server *s, int error)
{
	counter_add(&metrics_own()->accept_failures, 1);
	if (s->loop->now_ms >= s->descriptor_warning_ms) {
		log_warn("cannot accept: %s", strerror(error));
		s->descriptor_warning_ms = s->loop->now_ms + SERVER_DESCRIPTOR_WARNING_MS;
	}
	if (error != EMFILE || !close_oldest_idle(s, false, "out of descriptors"))
		park(s, true, SERVER_PARK_MS);
}

static bool make_room(struct server *s, bool is_admin)
{
	size_t count = is_admin ? s->admin_count : s->count - s->admin_count;
	size_t max = is_admin ? SERVER_ADMIN_MAX : s->limits.max_connections;
	return count < max || close_oldest_idle(s, is_admin, "too many connections");
}

/* There is no room for it: nobody but operators of this machine finds this out. */
static void turn_away(const struct server_listener *l)
{
	int fd = accept4(l->watch.fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		close(fd);
}

/* Clients' that are served. */
static size_t served_count(const struct server *s)
{
	return s->count - s->refused_count - s->admin_count;
}

/* Entered before it is asked: of two workers that are asked at once neither lets in one too many. */
static bool is_one_too_many(struct server *s, struct conn *c)
{
	const struct server_limits *limits = &s->limits;
	if (limits->max_connections_per_address == 0 || c->is_exempt || c->is_admin)
		return false;
	census_enter(limits->census, limits->worker, &c->peer);
	c->is_counted = census_count(limits->census, &c->peer) <= limits->max_connections_per_address;
	if (!c->is_counted)
		census_leave(limits->census, limits->worker, &c->peer);
	return !c->is_counted;
}

/* A connection that just came, if it may not stay. */
static void refuse_if_too_many(struct server *s, struct conn *c, bool is_full)
{
	struct response *refusal = is_full                 ? &s->too_many_connections
				   : is_one_too_many(s, c) ? &s->too_many_from_address
							   : NULL;
	if (!refusal || c->state == CONN_CLOSED)
		return;
	c->is_refused = true;
	counter_add(&metrics_own()->refused, 1);
	conn_refuse(c, refusal, s->refused_count++ < SERVER_REFUSED_MAX);
}

/* Returns false when there was nothing to accept, or no room for it. `others`: connections of the other workers. */
static bool accept_one(struct server *s, const struct server_listener *l, size_t others)
{
	if (!make_room(s, l->is_admin)) {
		if (l->is_admin)
			turn_away(l);
		else
			park(s, false, SERVER_PARK_MS);
		return false;
	}
	struct sockaddr_storage peer = {.ss_family = AF_UNSPEC};
	socklen_t len = sizeof(peer);
	int fd = accept4(l->watch.fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0) {
		int error = errno;
		if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM)
			out_of_descriptors(s, error);
		/* Others: another worker was faster, or the client has gone already (accept(2)). */
		return error == ECONNABORTED || error == EINTR;
	}
	size_t total_max = s->limits.max_connections_total;
	bool is_full = total_max > 0 && !l->is_admin && served_count(s) + others >= total_max &&
		       !close_oldest_idle(s, false, "too many connections");
	struct conn *c = take_conn(s);
	s->count++;
	s->admin_count += l->is_admin;
	c->is_admin = l->is_admin;
	c->number = ++s->accepted;
	if (!l->is_admin)
		counter_add(&metrics_own()->accepted, 1);
	conn_open(c, fd, (struct sockaddr *)&peer);
	refuse_if_too_many(s, c, is_full);
	return true;
}

/* In a burst the worker that runs first would take all: the others are awake by then, but have no core. Whoever is ahead of
 * the mean lets them, once for each connection. */
static bool is_ahead(const struct server *s, const struct server_load *load)
{
	return !s->is_patient && served_count(s) > load->mean + load->mean / 16 + 1;
}

static void accept_ready(struct watch *w, uint32_t events)
{
	struct server_listener *l = WATCH_OWNER(w, struct server_listener, watch);
	struct server *s = l->server;
	(void)events;
	struct server_load load = s->handler.balance(s->arg, served_count(s));
	if (!l->is_admin && is_ahead(s, &load)) {
		s->is_patient = true;
		park(s, false, SERVER_BALANCE_MS);
		return;
	}
	if (!l->is_admin)
		s->is_patient = false;
	bool accepted = accept_one(s, l, load.total - served_count(s));
	if (!accepted || s->parked)
		return;
	/* The kernel wakes the exclusive waiter that registered last; registering anew after each accept puts
	 * this worker behind the others, so that long connections spread evenly. */
	loop_remove(s->loop, w);
	w->ready = accept_ready;
	if (loop_add(s->loop, w, EPOLLIN | EPOLLEXCLUSIVE) != 0)
		park(s, true, SERVER_PARK_MS);
}

int server_listen(struct server *s, const struct server_door *doors, size_t count, struct err *err)
{
	assert(count <= SERVER_DOORS_MAX);
	for (size_t i = 0; i < count; i++)
		s->listeners[i] = (struct server_listener){.watch = {.fd = doors[i].fd},
							   .server = s,
							   .is_admin = doors[i].is_admin};
	s->listener_count = count;
	watch_listeners(s);
	if (s->parked)
		return err_set(err, EXIT_CODE_OS, "cannot watch the listeners: %s", strerror(errno));
	return 0;
}

/* The kernel tells one watcher of each connection: whoever stops watching has to look at the queue afterwards, or what it alone was
 * told of would wait there for the next one. */
void server_drain(struct server *s)
{
	park(s, true, SERVER_PARK_MS);
	for (size_t i = 0; i < s->listener_count; i++)
		while (accept_one(s, &s->listeners[i], 0)) /* who waits there was promised an answer */
			;
	s->listener_count = 0;
	s->draining = true;
	s->lists[CONN_IDLE].timeout_ms = SERVER_DRAIN_IDLE_MS;
	for (struct conn *c = s->lists[CONN_IDLE].head; c; c = c->next)
		c->since_ms = s->loop->now_ms;
}

/* ---- the public rest */

static void refresh_date(struct server *s)
{
	response_format_date((int64_t)time(NULL), s->date);
}

static void make_refusal(struct response *res, uint16_t status, const char *detail)
{
	response_problem(res, status, detail);
	res->retry_after_s = SERVER_RETRY_AFTER_S;
}

static void make_refusals(struct server *s)
{
	make_refusal(&s->too_many_requests, 429, "this address sends more requests per second than it may");
	response_prepare(&s->too_many_requests, &s->too_many_requests_bytes);
	s->too_many_requests.ready = buf_slice(&s->too_many_requests_bytes);
	make_refusal(&s->too_many_from_address, 429, "this address has more connections than it may");
	make_refusal(&s->too_many_connections, 503, "too many connections, and none of them is idle");
}

struct server *server_new(struct loop *loop, const struct server_limits *limits,
			  const struct server_handler *handler, void *arg)
{
	struct server *s = alloc_zeroed(1, sizeof(*s));
	s->loop = loop;
	s->limits = *limits;
	s->handler = *handler;
	s->arg = arg;
	s->lists[CONN_IDLE].timeout_ms = limits->keepalive_timeout_ms;
	s->lists[CONN_HEAD].timeout_ms = limits->header_timeout_ms;
	s->lists[CONN_BODY].timeout_ms = SERVER_BODY_CHECK_MS;
	s->lists[CONN_PENDING].timeout_ms = limits->pending_timeout_ms;
	s->lists[CONN_SENDING].timeout_ms = limits->write_timeout_ms;
	s->lists[CONN_LINGERING].timeout_ms = SERVER_LINGER_IDLE_MS;
	make_refusals(s);
	refresh_date(s);
	return s;
}

void server_free(struct server *s)
{
	for (int state = 0; state < CONN_CLOSED; state++)
		while (s->lists[state].head)
			conn_close(s->lists[state].head, "the worker leaves");
	for (size_t i = 0; i < s->slab_count; i++)
		free(s->slabs[i].conns);
	free(s->slabs);
	free(s->ready_slots);
	response_release(&s->response);
	response_release(&s->too_many_requests);
	response_release(&s->too_many_from_address);
	response_release(&s->too_many_connections);
	buf_release(&s->too_many_requests_bytes);
	buf_release(&s->note);
	buf_release(&s->out);
	free(s);
}

void server_answer(struct server *s, struct ticket ticket, const struct response *res)
{
	struct conn *c = find_conn(s, ticket.slot);
	if (c && c->pending && c->generation == ticket.generation)
		conn_answer(c, res);
}

size_t server_connection_count(const struct server *s)
{
	return s->count;
}

void server_tick(struct server *s)
{
	refresh_date(s);
	expire_lists(s);
	release_closed(s); /* a tick comes after the events of its batch */
	give_back_memory(s);
	(void)s->handler.balance(s->arg, served_count(s));
}

int server_after_events(struct server *s)
{
	/* The others wait for the next round: new events come first, or whoever asks for one thing would wait for all who ask for
	 * many. */
	size_t count = s->ready_count < SERVER_READY_PER_ROUND ? s->ready_count : SERVER_READY_PER_ROUND;
	for (size_t i = 0; i < count; i++) {
		struct conn *c = find_conn(s, s->ready_slots[i]);
		if (!c || !c->is_ready)
			continue; /* closed since */
		c->is_ready = false;
		conn_resume(c);
	}
	if (count > 0) {
		s->ready_count -= count;
		memmove(s->ready_slots, s->ready_slots + count, s->ready_count * sizeof(*s->ready_slots));
	}
	release_closed(s);
	if (s->ready_count > 0)
		return 0;
	if (!s->parked || s->listener_count == 0)
		return -1;
	if (s->loop->now_ms >= s->parked_until_ms) {
		unpark(s);
		return -1;
	}
	return (int)(s->parked_until_ms - s->loop->now_ms);
}
