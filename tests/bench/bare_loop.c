/*
 * The floor under an answer that is known: processes that share a listener and run an epoll loop, which receives
 * once and sends bytes it was given. It accepts and waits as todod does, and does nothing else: no parser, no
 * time-outs, no limits. A request must arrive whole; it only looks whether the bytes end a head, or begin a POST.
 *
 *     bare_loop PROCESSES ANSWER_FILE    prints its port on 127.0.0.1 and serves until SIGTERM
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROCESSES_MAX = 256, ANSWER_MAX_BYTES = 65536, INPUT_BYTES = 16384, EVENTS = 256 };

static char answer[ANSWER_MAX_BYTES];
static size_t answer_bytes;

static void epoll_set(int epoll, int operation, int fd, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.fd = fd};
	if (epoll_ctl(epoll, operation, fd, &event) == -1)
		err(EXIT_FAILURE, "epoll_ctl");
}

static void accept_one(int epoll, int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd == -1)
		return; /* another process was faster, or the client has gone */
	epoll_set(epoll, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLRDHUP | EPOLLET);
	/* To the tail of those who wait for the listener, else one process gets nearly every connection. */
	epoll_set(epoll, EPOLL_CTL_DEL, listener, 0);
	epoll_set(epoll, EPOLL_CTL_ADD, listener, EPOLLIN | EPOLLEXCLUSIVE);
}

static void serve_one(int fd)
{
	static char input[INPUT_BYTES];
	ssize_t got;
	do {
		got = recv(fd, input, sizeof(input), 0);
		if (got < 0 && errno == EAGAIN)
			return;
		if (got <= 0) {
			close(fd);
			return;
		}
		if (got < 4 || (input[0] != 'P' && memcmp(input + got - 4, "\r\n\r\n", 4) != 0))
			continue;
		if (send(fd, answer, answer_bytes, MSG_NOSIGNAL) != (ssize_t)answer_bytes) {
			close(fd);
			return;
		}
	} while ((size_t)got == sizeof(input)); /* a short read has emptied the socket: no recv for EAGAIN */
}

_Noreturn static void loop(int listener)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll == -1)
		err(EXIT_FAILURE, "epoll_create1");
	epoll_set(epoll, EPOLL_CTL_ADD, listener, EPOLLIN | EPOLLEXCLUSIVE);
	struct epoll_event events[EVENTS];
	for (;;) {
		int count = epoll_wait(epoll, events, EVENTS, -1);
		for (int i = 0; i < count; i++) {
			if (events[i].data.fd == listener)
				accept_one(epoll, listener);
			else
				serve_one(events[i].data.fd);
		}
	}
}

static int listen_loopback(in_port_t *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	int one = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd == -1 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == -1 ||
	    bind(fd, (const struct sockaddr *)&address, length) == -1 || listen(fd, 1024) == -1 ||
	    getsockname(fd, (struct sockaddr *)&address, &length) == -1)
		err(EXIT_FAILURE, "127.0.0.1");
	*port = ntohs(address.sin_port);
	return fd;
}

int main(int argc, char **argv)
{
	if (argc != 3)
		errx(EXIT_FAILURE, "usage: bare_loop PROCESSES ANSWER_FILE");
	char *end;
	unsigned long processes = strtoul(argv[1], &end, 10);
	if (*end != '\0' || processes < 1 || processes > PROCESSES_MAX)
		errx(EXIT_FAILURE, "%s: 1 to %d processes", argv[1], PROCESSES_MAX);
	FILE *file = fopen(argv[2], "re");
	if (file == NULL)
		err(EXIT_FAILURE, "%s", argv[2]);
	answer_bytes = fread(answer, 1, sizeof(answer), file);
	fclose(file);
	if (answer_bytes == 0 || answer_bytes == sizeof(answer))
		errx(EXIT_FAILURE, "%s: empty, or too long", argv[2]);

	in_port_t port;
	int listener = listen_loopback(&port);
	sigset_t stop;
	sigemptyset(&stop);
	sigaddset(&stop, SIGTERM);
	sigaddset(&stop, SIGINT);
	sigaddset(&stop, SIGCHLD);
	sigprocmask(SIG_BLOCK, &stop, NULL);

	pid_t children[PROCESSES_MAX];
	for (unsigned long i = 0; i < processes; i++) {
		children[i] = fork();
		if (children[i] == -1)
			err(EXIT_FAILURE, "fork");
		if (children[i] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			loop(listener);
		}
	}
	printf("%u\n", (unsigned)port);
	fflush(stdout);
	int got;
	sigwait(&stop, &got);
	for (unsigned long i = 0; i < processes; i++)
		kill(children[i], SIGKILL);
	while (wait(NULL) != -1)
		continue;
	return got == SIGCHLD ? EXIT_FAILURE : EXIT_SUCCESS;
}
