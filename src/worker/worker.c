#include "worker/worker.h"

#include "api/api.h"
#include "base/clock.h"
#include "base/log.h"
#include "cache/first_page.h"
#include "config/config.h"
#include "net/listener.h"
#include "net/server.h"
#include "store/executor.h"
#include "worker/access_file.h"
#include "worker/lifespan.h"
#include "worker/request_log.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	WORKER_ORPHAN_DRAIN_MS = 5000, /* nobody is left who could replace this worker, or stop it */
	WORKER_CLOSE_MS = 500,         /* for the store threads to leave */
	WORKER_DRAIN_SPARE_S = 2,      /* beyond the drain, before SIGALRM */
	WORKER_MIN_CONNECTIONS = 16,
	WORKER_HOLD_MAX_MS = 2000, /* for a keeper that has to be replaced: longer than that takes */
};

struct worker {
	struct process *process;
	const struct config *config;
	const struct worker_shared *shared;
	struct loop loop;
	struct watch signals, lifeline, results, bell;
	struct server *server;
	struct store *store;
	struct first_page *first_page;
	struct executor *executor;
	struct api api;
	struct request_log request_log;
	struct response response;
	struct lifespan lifespan;
	bool draining;
	int64_t drain_deadline_ms;
};

/* ---- signals: a handler only sets a flag and wakes the loop */

static volatile sig_atomic_t got_term, got_quit, got_usr1;
static int signal_fd = -1;
static unsigned drain_limit_s; /* then SIGALRM, at its default, ends even a loop that stands still */

static void on_signal(int number)
{
	int saved_errno = errno;
	uint64_t one = 1;
	if (number == SIGTERM) {
		got_term = 1;
		(void)alarm(drain_limit_s);
	} else if (number == SIGUSR1) {
		got_usr1 = 1;
	} else {
		got_quit = 1;
	}
	ssize_t written = write(signal_fd, &one, sizeof(one)); /* full means that the loop wakes anyway */
	(void)written;
	errno = saved_errno;
}

/* What a terminal sends to the whole group, and what is meant for the master, is the master's to judge. Writing tells of pipes
 * that nobody reads, and of files that may not grow. */
static const int ignored_signals[] = {SIGPIPE, SIGINT, SIGHUP, SIGUSR2, SIGTSTP, SIGTTIN, SIGTTOU, SIGXFSZ};

/* The master forks with all signals blocked, so none can come before its handler stands. */
static void take_signals(void (*on_term)(int), void (*on_quit)(int), void (*on_usr1)(int))
{
	struct sigaction act = {.sa_handler = SIG_IGN, .sa_flags = SA_RESTART};
	sigset_t none;
	sigemptyset(&act.sa_mask);
	sigemptyset(&none);
	for (size_t i = 0; i < sizeof(ignored_signals) / sizeof(ignored_signals[0]); i++)
		(void)sigaction(ignored_signals[i], &act, NULL);
	act.sa_handler = on_term;
	(void)sigaction(SIGTERM, &act, NULL);
	act.sa_handler = on_quit;
	(void)sigaction(SIGQUIT, &act, NULL);
	act.sa_handler = on_usr1;
	(void)sigaction(SIGUSR1, &act, NULL);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* ---- draining */

static void drain(struct worker *w, uint32_t timeout_ms, const char *reason)
{
	int64_t deadline_ms = w->loop.now_ms + timeout_ms;
	if (w->draining) {
		if (deadline_ms < w->drain_deadline_ms)
			w->drain_deadline_ms = deadline_ms;
		return;
	}
	log_debug("draining: %s", reason);
	w->draining = true;
	w->drain_deadline_ms = deadline_ms;
	server_drain(w->server);
	for (size_t i = 0; i < w->process->listener_count; i++)
		close(w->process->listener_fds[i]);
	w->process->listener_count = 0;
	process_set_state(w->process, PROCESS_DRAINING); /* which says that it accepts nothing more */
}

static void end_drain_when_due(struct worker *w)
{
	if (!w->draining)
		return;
	size_t left = server_connection_count(w->server);
	if (left > 0 && w->loop.now_ms < w->drain_deadline_ms)
		return;
	atomic_store(&w->process->slot->forced, (uint32_t)left);
	loop_stop(&w->loop);
}

static void signals_ready(struct watch *watch, uint32_t events)
{
	struct worker *w = WATCH_OWNER(watch, struct worker, signals);
	uint64_t count;
	(void)events;
	if (read(watch->fd, &count, sizeof(count)) != sizeof(count))
		return;
	if (got_usr1) {
		got_usr1 = 0;
		request_log_reopen(&w->request_log);
	}
	if (got_quit)
		loop_stop(&w->loop);
	else if (got_term)
		drain(w, w->config->drain_timeout_s * 1000, "SIGTERM");
}

static void lifeline_ready(struct watch *watch, uint32_t events)
{
	struct worker *w = WATCH_OWNER(watch, struct worker, lifeline);
	(void)events;
	log_warn("the master has gone: leaving");
	loop_remove(&w->loop, watch);
	drain(w, WORKER_ORPHAN_DRAIN_MS, "the master has gone");
}

/* ---- between the server and the api */

static uint64_t owner_of(struct ticket ticket)
{
	return (uint64_t)ticket.generation << 32 | ticket.slot;
}

static struct ticket ticket_of(uint64_t owner)
{
	return (struct ticket){.slot = (uint32_t)owner, .generation = (uint32_t)(owner >> 32)};
}

static bool handle(void *arg, const struct request *req, bool is_admin, struct ticket ticket,
		   struct response *res, void **pending)
{
	struct worker *w = arg;
	lifespan_count(&w->lifespan);
	*pending = api_handle(&w->api, req, is_admin, owner_of(ticket), res);
	return !*pending;
}

static bool refuse(void *arg, const struct request *req, bool is_admin, struct response *res)
{
	struct worker *w = arg;
	return api_refuse(&w->api, req, is_admin, res);
}

static bool expire(void *arg, void *pending, struct response *res)
{
	struct worker *w = arg;
	return api_expire(&w->api, pending, res);
}

static struct server_load balance(void *arg, size_t connections)
{
	const struct worker *w = arg;
	const struct process *p = w->process;
	size_t total = 0, accepting = 0, ready = 0, count = process_peer_count(p);
	atomic_store_explicit(&p->slot->connections, (uint32_t)connections, memory_order_relaxed);
	for (size_t i = 0; i < count; i++) {
		const struct process_slot *peer = &p->peers[i];
		size_t its = atomic_load_explicit(&peer->connections, memory_order_relaxed);
		bool accepts = atomic_load_explicit(&peer->state, memory_order_relaxed) == PROCESS_READY;
		total += its;
		accepting += accepts ? its : 0;
		ready += accepts;
	}
	return (struct server_load){.mean = ready ? accepting / ready : connections, .total = total};
}

static void note(void *arg, const struct request *req, const struct client *client, struct buf *note)
{
	struct worker *w = arg;
	request_log_note(&w->request_log, req, client->by_proxy, note);
}

static void answered(void *arg, const struct exchange *exchange)
{
	struct worker *w = arg;
	if (exchange->is_admin)
		return;
	api_count(exchange->res, exchange->latency_ns);
	request_log_answered(&w->request_log, exchange);
}

static void abandon(void *arg, void *pending, struct response *res)
{
	struct worker *w = arg;
	api_abandon(&w->api, pending, res);
}

static size_t listeners(void *arg, struct api_listener *found)
{
	const struct process *p = ((struct worker *)arg)->process;
	size_t count = 0;
	for (size_t i = 0; i < p->listener_count && count < API_LISTENERS_MAX; i++) {
		struct api_listener *l = &found[count];
		if (p->listener_is_admin[i] || !listener_queue(p->listener_fds[i], &l->queued, &l->limit))
			continue;
		listener_name(p->listener_fds[i], l->name, sizeof(l->name));
		count++;
	}
	return count;
}

static void answer(struct worker *w, struct job *job)
{
	response_reset(&w->response);
	api_answer(&w->api, job, &w->response);
	server_answer(w->server, ticket_of(job->owner), &w->response);
	job_free(job);
}

static void answer_collected(struct worker *w)
{
	for (struct job *job = first_page_collect(w->first_page), *next; job; job = next) {
		next = job->next;
		answer(w, job);
	}
}

static void results_ready(struct watch *watch, uint32_t events)
{
	struct worker *w = WATCH_OWNER(watch, struct worker, results);
	(void)events;
	bool has_landed = false;
	for (struct job *job = executor_collect(w->executor), *next; job; job = next) {
		next = job->next;
		if (first_page_land(w->first_page, job))
			has_landed = true;
		else if (!first_page_hold(w->first_page, job))
			answer(w, job);
	}
	if (has_landed)
		answer_collected(w);
}

static void bell_ready(struct watch *watch, uint32_t events)
{
	(void)events;
	answer_collected(WATCH_OWNER(watch, struct worker, bell));
}

/* ---- the loop's hooks */

static void tick(void *arg)
{
	struct worker *w = arg;
	process_beat(w->process);
	first_page_tick(w->first_page);
	answer_collected(w);
	server_tick(w->server);
	request_log_tick(&w->request_log, w->loop.now_ms);
	if (lifespan_is_over(&w->lifespan, w->loop.now_ms))
		process_ask_successor(w->process);
}

static int after_events(void *arg)
{
	struct worker *w = arg;
	int sleep_ms = server_after_events(w->server);
	first_page_wake(w->first_page);
	executor_wake(w->executor);
	end_drain_when_due(w);
	return sleep_ms;
}

/* ---- open, run, leave */

/* As many as the descriptor limit leaves room for. */
static size_t max_connections(const struct worker *w)
{
	const struct config *config = w->config;
	size_t spare = WORKER_SPARE_DESCRIPTORS + w->shared->pages->bell_count;
	struct rlimit limit = {1024, 1024};
	(void)getrlimit(RLIMIT_NOFILE, &limit);
	size_t room = limit.rlim_cur > spare + WORKER_MIN_CONNECTIONS ? (size_t)limit.rlim_cur - spare
								      : WORKER_MIN_CONNECTIONS;
	return config->max_connections && config->max_connections < room ? config->max_connections : room;
}

static struct server *open_server(struct worker *w)
{
	const struct server_handler handler = {
	    .handle = handle,
	    .refuse = refuse,
	    .expire = expire,
	    .balance = balance,
	    .note = request_log_is_on(&w->request_log) ? note : NULL,
	    .answered = answered,
	    .abandon = abandon,
	};
	static const enum forwarded_field proxy_fields[] = {
	    [CONFIG_X_FORWARDED_FOR] = FORWARDED_X_FORWARDED_FOR,
	    [CONFIG_FORWARDED] = FORWARDED_FORWARDED,
	};
	const struct config *config = w->config;
	struct server_limits limits = {
	    .header_timeout_ms = config->header_timeout_s * 1000,
	    .keepalive_timeout_ms = config->keepalive_timeout_s * 1000,
	    .write_timeout_ms = config->write_timeout_s * 1000,
	    .pending_timeout_ms = config->store_timeout_ms,
	    .body_max_bytes = config->body_max_bytes,
	    .max_connections = max_connections(w),
	    .max_connections_total = config->max_connections_total,
	    .max_connections_per_address = config->max_connections_per_address,
	    .census = w->shared->census,
	    .worker = w->process->index,
	    .rate_limit = w->shared->rate_limit,
	    .trusted_proxies = &config->trusted_proxies,
	    .proxy_field = proxy_fields[config->proxy_header],
	};
	return server_new(&w->loop, &limits, &handler, w);
}

static struct store_settings store_settings(const struct process *p)
{
	const struct config *config = p->config;
	return (struct store_settings){config->store, config->store_timeout_ms, p->name, p->index};
}

static struct first_page *open_first_page(const struct worker *w)
{
	const struct first_page_settings settings = {
	    .memory = w->shared->pages,
	    .worker = w->process->index,
	    .has_redis = config_has_redis(w->config),
	    .hold_max_ms = WORKER_HOLD_MAX_MS,
	};
	return first_page_new(&settings);
}

static struct executor *open_executor(const struct worker *w, struct err *err)
{
	const struct executor_settings settings = {
	    .store = w->store,
	    .timeout_ms = w->config->store_timeout_ms,
	    .setup_done = w->process->setup_done,
	    .readers = EXECUTOR_READERS,
	    .writers = EXECUTOR_WRITERS,
	    .gather_max_us = EXECUTOR_GATHER_MAX_US,
	    .hooks = first_page_hooks(w->first_page),
	};
	return executor_open(&settings, err);
}

static void open_api(struct worker *w)
{
	const struct api_settings settings = {
	    .config = w->config,
	    .executor = w->executor,
	    .first_page = w->first_page,
	    .process = w->process,
	    .listeners = listeners,
	    .listeners_arg = w,
	};
	api_open(&w->api, &settings);
}

static int listen_to_all(struct worker *w, struct err *err)
{
	struct server_door doors[SERVER_DOORS_MAX];
	const struct process *p = w->process;
	for (size_t i = 0; i < p->listener_count; i++)
		doors[i] = (struct server_door){p->listener_fds[i], p->listener_is_admin[i]};
	return server_listen(w->server, doors, p->listener_count, err);
}

static int open_worker(struct worker *w, struct err *err)
{
	struct loop_hooks hooks = {tick, after_events, w};
	if (loop_init(&w->loop, &hooks, err) != 0)
		return -1;
	signal_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (signal_fd < 0)
		return err_set(err, EXIT_CODE_OS, "eventfd: %s", strerror(errno));
	lifespan_init(&w->lifespan, w->config);
	drain_limit_s = w->config->drain_timeout_s + WORKER_DRAIN_SPARE_S;
	take_signals(on_signal, on_signal, on_signal);
	struct store_settings settings = store_settings(w->process);
	w->store = store_open(&settings, err);
	if (!w->store)
		return -1;
	w->first_page = open_first_page(w);
	w->executor = open_executor(w, err);
	if (!w->executor)
		return -1;
	first_page_use(w->first_page, w->executor);
	open_api(w);
	request_log_open(&w->request_log, w->config, w->process);
	w->server = open_server(w);
	if (loop_watch(&w->loop, &w->signals, signal_fd, signals_ready, err) != 0 ||
	    loop_watch(&w->loop, &w->lifeline, w->process->lifeline_fd, lifeline_ready, err) != 0 ||
	    loop_watch(&w->loop, &w->results, executor_fd(w->executor), results_ready, err) != 0 ||
	    loop_watch(&w->loop, &w->bell, first_page_fd(w->first_page), bell_ready, err) != 0)
		return -1;
	return listen_to_all(w, err);
}

/* The store itself is left to _exit(2): to end its sessions in MongoDB takes seconds when it is away. */
static void close_worker(struct worker *w)
{
	server_free(w->server);
	request_log_close(&w->request_log);
	api_close(&w->api);
	response_release(&w->response);
	loop_release(&w->loop);
	close(signal_fd);
	/* A thread that hangs in a driver is left as it is, too, with what it tells of its writes. */
	if (executor_close(w->executor, WORKER_CLOSE_MS))
		first_page_free(w->first_page);
}

int worker_run(struct process *p)
{
	static struct worker
	    worker; /* static, so that a leak checker sees what store threads that hang still use */
	struct worker *w = &worker;
	struct err err;
	*w = (struct worker){.process = p, .config = p->config, .shared = p->shared};
	if (open_worker(w, &err) != 0) {
		log_error("%s", err.text);
		return err.code;
	}
	process_beat(p);
	process_set_state(p, PROCESS_READY);
	loop_run(&w->loop);
	close_worker(w);
	return EXIT_CODE_OK;
}

void worker_reap(const struct process *p)
{
	access_log_reap(p);
}

int worker_set_up_store(struct process *p)
{
	take_signals(SIG_DFL, SIG_IGN, SIG_IGN);
	struct store_settings settings = store_settings(p);
	const struct config *config = p->config;
	struct err err;
	/* As a worker would. */
	if (config->access_log && access_file_make(config->access_log, (uid_t)-1, (gid_t)-1, &err) != 0) {
		log_error("%s", err.text);
		return err.code;
	}
	if (store_setup(&settings, &err) != 0) {
		log_write(err.code == EXIT_CODE_UNAVAILABLE ? LOG_LEVEL_WARN : LOG_LEVEL_ERROR,
			  "cannot set up the store: %s", err.text);
		return err.code;
	}
	return EXIT_CODE_OK;
}
