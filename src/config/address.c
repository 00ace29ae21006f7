/*
 * Addresses: those to listen on, and that of the cache. Syntax alone: no name is looked up here.
 */
#include "config/options.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <sys/un.h>

/* With the NUL, see unix(7). */
enum { UNIX_PATH_BYTES = sizeof(((struct sockaddr_un *)0)->sun_path), HOST_MAX = 253 };

static int complain(struct err *err, const char *text, const char *what)
{
	char *masked = config_mask_password(text);
	err_set(err, EXIT_CODE_CONFIG, "\"%.200s\" %s", masked, what);
	free(masked);
	return -1;
}

static bool is_ipv6(struct slice host)
{
	char *copy = alloc_string(host);
	struct in6_addr address;
	/* A zone ("fe80::1%eth0") names an interface, which may come later. */
	char *zone = strchr(copy, '%');
	if (zone)
		*zone = '\0';
	bool valid = inet_pton(AF_INET6, copy, &address) == 1 && (!zone || zone[1]);
	free(copy);
	return valid;
}

static bool is_name_or_ipv4(struct slice host)
{
	bool numeric = true;
	for (size_t i = 0; i < host.len; i++) {
		unsigned char c = (unsigned char)host.data[i];
		if (!isascii(c) || (!isalnum(c) && c != '.' && c != '-' && c != '_'))
			return false;
		numeric = numeric && (isdigit(c) || c == '.');
	}
	if (host.len == 0 || host.len > HOST_MAX)
		return false;
	char *copy = alloc_string(host);
	struct in_addr address;
	bool valid = !numeric || inet_pton(AF_INET, copy, &address) == 1;
	free(copy);
	return valid;
}

/* Cuts "HOST:PORT" or "[IPv6]:PORT"; a port that is not there stays NULL. Returns NULL, or what is wrong. */
static const char *cut_host_port(struct slice text, struct slice *host, struct slice *port)
{
	size_t end;
	*port = (struct slice){NULL, 0};
	if (text.len && text.data[0] == '[') {
		const char *bracket = memchr(text.data, ']', text.len);
		if (!bracket)
			return "has no closing bracket";
		*host = (struct slice){text.data + 1, (size_t)(bracket - text.data) - 1};
		end = host->len + 2;
		if (!is_ipv6(*host))
			return "has no IPv6 address in its brackets";
		if (end < text.len && text.data[end] != ':')
			return "has something other than a port behind its bracket";
	} else {
		const char *colon = memrchr(text.data, ':', text.len);
		end = colon ? (size_t)(colon - text.data) : text.len;
		*host = (struct slice){text.data, end};
		if (memchr(host->data, ':', host->len))
			return "has more than one colon; an IPv6 address needs brackets, as in [::1]:8080";
		if (host->len == 0)
			return "names no host";
		if (!is_name_or_ipv4(*host))
			return "has neither a host name nor an address in front of its port";
	}
	if (end < text.len)
		*port = (struct slice){text.data + end + 1, text.len - end - 1};
	return NULL;
}

bool config_is_local(const struct listen_address *a)
{
	struct in_addr v4;
	struct in6_addr v6;
	if (a->is_unix || slice_equal_nocase(slice_of(a->host), SLICE("localhost")))
		return true;
	if (inet_pton(AF_INET, a->host, &v4) == 1)
		return ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET;
	return inet_pton(AF_INET6, a->host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

static int parse_listen_unix(struct listen_address *a, const char *text, const char *path, struct err *err)
{
	size_t len = strlen(path);
	if (len == 0)
		return complain(err, text, "names no path");
	if (len >= UNIX_PATH_BYTES)
		return err_set(err, EXIT_CODE_CONFIG,
			       "\"%.200s\" has a path of %zu bytes; a unix socket takes %d", text, len,
			       UNIX_PATH_BYTES - 1);
	*a = (struct listen_address){.is_unix = true};
	memcpy(a->host, path, len);
	return 0;
}

int config_parse_listen(struct listen_address *a, const char *text, struct err *err)
{
	static const char unix_scheme[] = "unix:";
	if (strncmp(text, unix_scheme, sizeof(unix_scheme) - 1) == 0)
		return parse_listen_unix(a, text, text + sizeof(unix_scheme) - 1, err);
	struct slice host, port;
	if (!strchr(text, ':'))
		return complain(err, text, "is not HOST:PORT, [IPv6]:PORT or unix:PATH");
	const char *wrong = cut_host_port(slice_of(text), &host, &port);
	uint32_t number;
	if (text[0] == ':' && !strchr(text + 1, ':'))
		wrong = "names no host; 0.0.0.0 stands for every IPv4 address, [::] for every IPv6 one";
	if (!wrong && host.len >= sizeof(a->host))
		wrong = "has a host that is too long";
	/* 0: the kernel picks one. */
	if (!wrong && config_parse_number(port, 0, UINT16_MAX, &number))
		wrong = "has no port from 0 to 65535";
	if (wrong)
		return complain(err, text, wrong);
	*a = (struct listen_address){.is_unix = false};
	memcpy(a->host, host.data, host.len);
	snprintf(a->port, sizeof(a->port), "%u", number & UINT16_MAX);
	return 0;
}

static bool escapes_are_whole(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.data[i] == '%' && (i + 2 >= s.len || !isxdigit((unsigned char)s.data[i + 1]) ||
					 !isxdigit((unsigned char)s.data[i + 2])))
			return false;
	return true;
}

/* Cuts "user:password@" off, where it is. Returns NULL, or what is wrong. */
static const char *cut_credentials(struct slice *authority)
{
	const char *at = authority->len ? memchr(authority->data, '@', authority->len) : NULL;
	if (!at)
		return NULL;
	struct slice user_info = {authority->data, (size_t)(at - authority->data)};
	const char *colon = memchr(user_info.data, ':', user_info.len);
	if (!colon || colon + 1 == at)
		return "has no password in front of its @; it is written redis://:password@host";
	if (!escapes_are_whole(user_info))
		return "has a broken % escape; a % in a password is written %25";
	*authority = (struct slice){at + 1, authority->len - user_info.len - 1};
	if (memchr(authority->data, '@', authority->len))
		return "has more than one @; in a password it is written %40";
	return NULL;
}

static bool is_database(struct slice text)
{
	uint32_t number;
	return config_parse_number(text, 0, INT32_MAX, &number) == 0;
}

/* redis://[[user]:password@]host[:port][/db], the part behind the scheme. Returns NULL, or what is wrong. */
static const char *check_redis(struct slice rest)
{
	struct slice host, port;
	uint32_t number;
	if (memchr(rest.data, '?', rest.len) || memchr(rest.data, '#', rest.len))
		return "has a ? or #; none is taken here, and in a password they are written %3F and %23";
	const char *slash = memchr(rest.data, '/', rest.len);
	struct slice authority = {rest.data, slash ? (size_t)(slash - rest.data) : rest.len};
	struct slice path = {rest.data + authority.len, rest.len - authority.len};
	if (memchr(path.data, '@', path.len))
		return "has a / in front of its @; in a password it is written %2F";
	const char *wrong = cut_credentials(&authority);
	if (!wrong)
		wrong = cut_host_port(authority, &host, &port);
	if (wrong)
		return wrong;
	if (port.data && config_parse_number(port, 1, UINT16_MAX, &number))
		return "has no port from 1 to 65535";
	if (path.len > 1 && !is_database((struct slice){path.data + 1, path.len - 1}))
		return "has something other than the number of a database behind its /";
	return NULL;
}

/* redis+unix://[[user]:password@]/path[?db=N], the part behind the scheme. The path is taken as it is. */
static const char *check_redis_unix(struct slice rest)
{
	static const char option[] = "db=";
	const size_t option_len = sizeof(option) - 1;
	const char *slash = memchr(rest.data, '/', rest.len);
	struct slice authority = {rest.data, slash ? (size_t)(slash - rest.data) : rest.len};
	struct slice path = {rest.data + authority.len, rest.len - authority.len};
	if (memchr(authority.data, '?', authority.len) || memchr(authority.data, '#', authority.len))
		return "has a ? or # in front of its path; in a password they are written %3F and %23";
	const char *wrong = cut_credentials(&authority);
	if (wrong)
		return wrong;
	if (authority.len)
		return memchr(path.data, '@', path.len)
			   ? "has a / in front of its @; in a password it is written %2F"
			   : "is not redis+unix:///path";
	const char *question = memchr(path.data, '?', path.len);
	struct slice query = {NULL, 0};
	if (question) {
		query = (struct slice){question + 1, path.len - (size_t)(question - path.data) - 1};
		path.len = (size_t)(question - path.data);
	}
	if (path.len < 2)
		return "is not redis+unix:///path";
	if (path.len >= UNIX_PATH_BYTES)
		return "has a path that is too long for a unix socket";
	if (question && (query.len <= option_len || memcmp(query.data, option, option_len) != 0 ||
			 !is_database((struct slice){query.data + option_len, query.len - option_len})))
		return "has something other than ?db= and the number of a database behind its path";
	return NULL;
}

static const char *refuse_rediss(struct slice rest)
{
	(void)rest;
	return "asks for TLS, which todod does not speak to Redis; use a tunnel such as stunnel and "
	       "redis://, "
	       "or a unix socket and redis+unix:///path";
}

int config_check_cache_uri(const char *uri, struct err *err)
{
	static const struct {
		const char *scheme;
		const char *(*check)(struct slice rest);
	} schemes[] = {
	    {"redis://",      check_redis     },
	    {"redis+unix://", check_redis_unix},
	    {"rediss://",     refuse_rediss   },
	};
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		size_t len = strlen(schemes[i].scheme);
		if (strncmp(uri, schemes[i].scheme, len) != 0)
			continue;
		const char *wrong = schemes[i].check(slice_of(uri + len));
		return wrong ? complain(err, uri, wrong) : 0;
	}
	return complain(err, uri, "is neither local nor off nor redis://... nor redis+unix:///path");
}
