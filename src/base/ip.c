#include "base/ip.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdio.h>

enum { IP_BITS = 8 * IP_BYTES, SITE_BYTES = 8 };

static const uint8_t mapped[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

enum { MAPPED_BITS = 8 * sizeof(mapped) };

static bool is_v4(const struct ip *ip)
{
	return memcmp(ip->bytes, mapped, sizeof(mapped)) == 0;
}

struct ip ip_of_sockaddr(const struct sockaddr *address)
{
	struct ip ip = {{0}};
	if (address->sa_family == AF_INET) {
		struct sockaddr_in in;
		memcpy(&in, address, sizeof(in));
		memcpy(ip.bytes, mapped, sizeof(mapped));
		memcpy(ip.bytes + sizeof(mapped), &in.sin_addr, sizeof(in.sin_addr));
	} else if (address->sa_family == AF_INET6) {
		struct sockaddr_in6 in;
		memcpy(&in, address, sizeof(in));
		memcpy(ip.bytes, &in.sin6_addr, sizeof(in.sin6_addr));
	}
	return ip;
}

bool ip_is_none(const struct ip *ip)
{
	static const struct ip none = {{0}};
	return memcmp(ip, &none, sizeof(none)) == 0;
}

/* By hand: inet_ntop(3) goes through printf, and this stands in every line of a log. */
static void ipv4_to_text(const uint8_t *bytes, char *at)
{
	for (int i = 0; i < 4; i++) {
		unsigned value = bytes[i];
		if (i > 0)
			*at++ = '.';
		if (value >= 100)
			*at++ = (char)('0' + value / 100);
		if (value >= 10)
			*at++ = (char)('0' + value / 10 % 10);
		*at++ = (char)('0' + value % 10);
	}
	*at = '\0';
}

void ip_to_text(const struct ip *ip, char text[IP_TEXT_BYTES])
{
	if (ip_is_none(ip)) {
		memcpy(text, "unix", sizeof("unix"));
		return;
	}
	if (is_v4(ip)) {
		ipv4_to_text(ip->bytes + sizeof(mapped), text);
		return;
	}
	const char *written = inet_ntop(AF_INET6, ip->bytes, text, IP_TEXT_BYTES);
	assert(written);
}

bool ip_equal(const struct ip *a, const struct ip *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* Any address. */
static bool parse(struct slice text, struct ip *ip)
{
	char copy[IP_TEXT_BYTES];
	struct ip parsed = {{0}};
	if (text.len == 0 || text.len >= sizeof(copy) || memchr(text.data, '\0', text.len))
		return false;
	memcpy(copy, text.data, text.len);
	copy[text.len] = '\0';
	if (inet_pton(AF_INET, copy, parsed.bytes + sizeof(mapped)) == 1)
		memcpy(parsed.bytes, mapped, sizeof(mapped));
	else if (inet_pton(AF_INET6, copy, parsed.bytes) != 1)
		return false;
	*ip = parsed;
	return true;
}

bool ip_parse(struct slice text, struct ip *ip)
{
	static const uint8_t unspecified_v4[IP_BYTES - sizeof(mapped)];
	struct ip parsed;
	if (!parse(text, &parsed) || ip_is_none(&parsed) ||
	    (is_v4(&parsed) &&
	     memcmp(parsed.bytes + sizeof(mapped), unspecified_v4, sizeof(unspecified_v4)) == 0))
		return false;
	*ip = parsed;
	return true;
}

struct ip ip_site(const struct ip *ip)
{
	struct ip site = *ip;
	if (!is_v4(ip))
		memset(site.bytes + SITE_BYTES, 0, IP_BYTES - SITE_BYTES);
	return site;
}

/* Are the first `bits` the same? */
static bool has_prefix(const struct ip *ip, const struct ip *prefix, unsigned bits)
{
	unsigned bytes = bits / 8, rest = bits % 8;
	return memcmp(ip->bytes, prefix->bytes, bytes) == 0 &&
	       (rest == 0 || (ip->bytes[bytes] ^ prefix->bytes[bytes]) >> (8 - rest) == 0);
}

/* One to three digits. */
static bool parse_bits(struct slice text, unsigned *bits)
{
	*bits = 0;
	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] < '0' || text.data[i] > '9')
			return false;
		*bits = *bits * 10 + (unsigned)(text.data[i] - '0');
	}
	return text.len >= 1 && text.len <= 3;
}

bool ip_net_parse(struct slice text, struct ip_net *net)
{
	const char *slash = text.len ? memchr(text.data, '/', text.len) : NULL;
	size_t len = slash ? (size_t)(slash - text.data) : text.len;
	struct ip ip, prefix = {{0}};
	unsigned bits = IP_BITS;
	if (!slash && !ip_parse(text, &ip))
		return false;
	if (!parse((struct slice){text.data, len}, &ip))
		return false;
	if (slash) {
		if (!parse_bits((struct slice){slash + 1, text.len - len - 1}, &bits))
			return false;
		bits += memchr(text.data, ':', len) ? 0 : MAPPED_BITS;
	}
	if (bits > IP_BITS)
		return false;
	memcpy(prefix.bytes, ip.bytes, bits / 8);
	if (bits % 8)
		prefix.bytes[bits / 8] = (uint8_t)(ip.bytes[bits / 8] & 0xff << (8 - bits % 8));
	if (!ip_equal(&prefix, &ip))
		return false;
	*net = (struct ip_net){ip, (uint8_t)bits};
	return true;
}

void ip_net_to_text(const struct ip_net *net, char text[IP_NET_TEXT_BYTES])
{
	bool v4 = is_v4(&net->ip) && net->bits >= MAPPED_BITS;
	const char *written = v4 ? inet_ntop(AF_INET, net->ip.bytes + sizeof(mapped), text, IP_TEXT_BYTES)
				 : inet_ntop(AF_INET6, net->ip.bytes, text, IP_TEXT_BYTES);
	assert(written);
	size_t len = strlen(text);
	if (net->bits < IP_BITS)
		(void)snprintf(text + len, IP_NET_TEXT_BYTES - len, "/%d",
			       net->bits - (v4 ? MAPPED_BITS : 0));
}

bool ip_net_contains(const struct ip_net *net, const struct ip *ip)
{
	return has_prefix(ip, &net->ip, net->bits) && (net->bits >= MAPPED_BITS || !is_v4(ip)) &&
	       !ip_is_none(ip);
}

bool ip_set_is_empty(const struct ip_set *set)
{
	return set->count == 0 && !set->has_none;
}

bool ip_set_contains(const struct ip_set *set, const struct ip *ip)
{
	if (ip_is_none(ip))
		return set->has_none;
	for (size_t i = 0; i < set->count; i++)
		if (ip_net_contains(&set->nets[i], ip))
			return true;
	return false;
}
