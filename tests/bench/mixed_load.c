/*
 * A client that mixes: on each connection one request after the other, each a POST with a probability of PERCENT,
 * else GET /todo; the two are timed apart. wrk cannot do that: its script hears of an answer, but not which
 * request it belongs to or when that was sent. Two wrks, one for each kind, would be another load: the mix would
 * follow from how slow the store is.
 *
 *     mixed_load PORT CONNECTIONS PERCENT FORM SECONDS    on 127.0.0.1; FORM is the body of a POST
 *
 * Prints a line of JSON; p50_us and p99_us are those of the GETs.
 */
#include "tally.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { THREADS = 2, CONNECTIONS_MAX = 10000, EVENTS = 256 };
enum { REQUEST_BYTES = 512, ANSWER_BYTES = 32768, TIMEOUT_S = 2 };
enum kind { GET, POST, KINDS };

struct connection {
	int fd;
	enum kind kind;
	double sent_s;
	size_t got, want; /* bytes of the answer; want is 0 until its head is there */
	char answer[ANSWER_BYTES + 1];
};

struct client {
	struct sockaddr_in address;
	const char *requests[KINDS];
	unsigned connections, post_percent;
	double until_s;
	struct tally *tallies[KINDS]; /* its own */
	int epoll;
	unsigned seed;
};

static void request(struct client *client, struct connection *c)
{
	c->kind = (unsigned)rand_r(&client->seed) % 100 < client->post_percent ? POST : GET;
	c->got = c->want = 0;
	c->sent_s = now_s();
	const char *bytes = client->requests[c->kind];
	/* A connection that is gone shows when its answer is awaited. */
	if (send(c->fd, bytes, strlen(bytes), MSG_NOSIGNAL) == -1 && errno != EPIPE && errno != ECONNRESET)
		err(EXIT_FAILURE, "send");
}

static void open_connection(struct client *client, struct connection *c)
{
	int one = 1;
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd == -1 ||
	    connect(c->fd, (const struct sockaddr *)&client->address, sizeof(client->address)) == -1 ||
	    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == -1 ||
	    epoll_ctl(client->epoll, EPOLL_CTL_ADD, c->fd, &event) == -1)
		err(EXIT_FAILURE, "127.0.0.1");
	request(client, c);
}

/* The length of the answer once its head is there, else 0. */
static size_t answer_bytes(struct connection *c)
{
	static const char FIELD[] = "\r\ncontent-length:";
	c->answer[c->got] = '\0';
	char *end = strstr(c->answer, "\r\n\r\n");
	if (end == NULL)
		return 0;
	const char *length = strcasestr(c->answer, FIELD);
	if (length == NULL || length > end)
		errx(EXIT_FAILURE, "an answer without Content-Length");
	return (size_t)(end + 4 - c->answer) + strtoul(length + strlen(FIELD), NULL, 10);
}

static void receive(struct client *client, struct connection *c)
{
	ssize_t got = recv(c->fd, c->answer + c->got, ANSWER_BYTES - c->got, 0);
	if (got <= 0) {
		client->tallies[c->kind]->errors++;
		close(c->fd);
		open_connection(client, c);
		return;
	}
	c->got += (size_t)got;
	if (c->want == 0)
		c->want = answer_bytes(c);
	if (c->want > ANSWER_BYTES || (c->want == 0 && c->got == ANSWER_BYTES))
		errx(EXIT_FAILURE, "an answer of more than %d bytes", ANSWER_BYTES);
	if (c->want == 0 || c->got < c->want)
		return;
	if (c->got == c->want && strncmp(c->answer, "HTTP/1.1 200", strlen("HTTP/1.1 200")) == 0)
		tally_add(client->tallies[c->kind], 1, c->sent_s);
	else
		client->tallies[c->kind]->errors++;
	request(client, c);
}

static void *run(void *client_)
{
	struct client *client = client_;
	struct connection *connections = calloc(client->connections, sizeof(*connections));
	client->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (connections == NULL || client->epoll == -1)
		err(EXIT_FAILURE, "a client");
	for (unsigned i = 0; i < client->connections; i++)
		open_connection(client, &connections[i]);

	struct epoll_event events[EVENTS];
	for (double left_s; (left_s = client->until_s - now_s()) > 0;) {
		int count = epoll_wait(client->epoll, events, EVENTS, (int)(left_s * 1000) + 1);
		for (int i = 0; i < count; i++)
			receive(client, events[i].data.ptr);
	}
	for (unsigned i = 0; i < client->connections; i++) {
		if (now_s() - connections[i].sent_s > TIMEOUT_S)
			client->tallies[connections[i].kind]->errors++;
		close(connections[i].fd);
	}
	close(client->epoll);
	free(connections);
	return NULL;
}

int main(int argc, char **argv)
{
	if (argc != 6)
		errx(EXIT_FAILURE, "usage: mixed_load PORT CONNECTIONS PERCENT FORM SECONDS");
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	address.sin_port = htons((in_port_t)argument(argv[1], UINT16_MAX));
	unsigned connections = argument(argv[2], CONNECTIONS_MAX), percent = argument(argv[3], 100);
	const char *form = argv[4];
	unsigned seconds = argument(argv[5], 3600);
	char post[REQUEST_BYTES];
	if (snprintf(post, sizeof(post),
		     "POST /todo HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: "
		     "application/x-www-form-urlencoded\r\n"
		     "Content-Length: %zu\r\n\r\n%s",
		     strlen(form), form) >= (int)sizeof(post))
		errx(EXIT_FAILURE, "%s: too long", form);

	struct tally *gets = tally_new_array(THREADS), *posts = tally_new_array(THREADS);
	struct client clients[THREADS];
	pthread_t ids[THREADS];
	double began_s = now_s();
	for (unsigned i = 0; i < THREADS; i++) {
		clients[i] = (struct client){
		    .address = address,
		    .requests = {"GET /todo HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", post     },
		    .connections = (connections + i) / THREADS,
		    .post_percent = percent,
		    .until_s = began_s + seconds,
		    .tallies = {&gets[i],                                        &posts[i]},
		    .seed = (unsigned)getpid() * THREADS + i,
		};
		if (pthread_create(&ids[i], NULL, run, &clients[i]) != 0)
			errx(EXIT_FAILURE, "pthread_create");
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(ids[i], NULL);

	double elapsed_s = now_s() - began_s;
	struct tally_sum get = tally_add_up(gets, THREADS), posted = tally_add_up(posts, THREADS);
	printf("{\"rate\": %.1f, \"p50_us\": %" PRIu32 ", \"p99_us\": %" PRIu32 ", \"errors\": %" PRIu64
	       ", \"post_rate\": %.1f, \"post_p99_us\": %" PRIu32 "}\n",
	       (double)(get.rows + posted.rows) / elapsed_s, get.p50_us, get.p99_us,
	       get.errors + posted.errors, (double)posted.rows / elapsed_s, posted.p99_us);
	return EXIT_SUCCESS;
}
