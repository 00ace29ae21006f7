/*
 * Addresses of clients: IPv6, and IPv4 as IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2), so that there is one kind.
 */
#ifndef BASE_IP_H
#define BASE_IP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum { IP_BYTES = 16, IP_TEXT_BYTES = 46 };

struct ip {
	uint8_t bytes[IP_BYTES]; /* all zero: none, as of a unix socket */
};

/* None, for an address of another family. */
struct ip ip_of_sockaddr(const struct sockaddr *address);

bool ip_is_none(const struct ip *ip);

/* As it is usually written, NUL-terminated (RFC 5952; a mapped one as IPv4); "unix" for none. */
void ip_to_text(const struct ip *ip, char text[IP_TEXT_BYTES]);

#endif
