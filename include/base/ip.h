/*
 * Addresses of clients: IPv6, and IPv4 as IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2), so that there is one kind.
 */
#ifndef BASE_IP_H
#define BASE_IP_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum { IP_BYTES = 16, IP_TEXT_BYTES = 46, IP_NET_TEXT_BYTES = IP_TEXT_BYTES + 4, IP_SET_MAX = 256 };

struct ip {
	uint8_t bytes[IP_BYTES]; /* all zero: none, as of a unix socket */
};

/* None, for an address of another family. */
struct ip ip_of_sockaddr(const struct sockaddr *address);

bool ip_is_none(const struct ip *ip);

bool ip_equal(const struct ip *a, const struct ip *b);

/* One address, as inet_pton(3) takes it: no port, no brackets, no zone. An IPv4-mapped one is the IPv4 address it stands for. The
 * unspecified ones, 0.0.0.0 and ::, are nobody's and refused. False leaves *ip untouched. */
bool ip_parse(struct slice text, struct ip *ip);

/* Whom an address stands for when clients are counted: an IPv4 address itself, of IPv6 the first 64 bits, since whoever has one has the
 * whole network (RFC 6177). */
struct ip ip_site(const struct ip *ip);

/* As it is usually written, NUL-terminated (RFC 5952; a mapped one as IPv4); "unix" for none. */
void ip_to_text(const struct ip *ip, char text[IP_TEXT_BYTES]);

struct ip_net {
	struct ip ip; /* the bits behind `bits` are 0 */
	uint8_t bits; /* 0 to 128; of IPv4 96 and more */
};

/* "192.0.2.0/24", "2001:db8::/32", or one address. False where it is none of them, or bits behind the prefix are set: a slip that would
 * mean another network. */
bool ip_net_parse(struct slice text, struct ip_net *net);
void ip_net_to_text(const struct ip_net *net, char text[IP_NET_TEXT_BYTES]);

/* A network of IPv6 has no address of IPv4 in it, not even ::/0; none has the address `none`. */
bool ip_net_contains(const struct ip_net *net, const struct ip *ip);

struct ip_set {
	struct ip_net nets[IP_SET_MAX];
	size_t count;
	bool has_none; /* what comes by a unix socket */
};

bool ip_set_is_empty(const struct ip_set *set);
bool ip_set_contains(const struct ip_set *set, const struct ip *ip);

#endif
