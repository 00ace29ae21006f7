#include "base/ip.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <string.h>

static const uint8_t mapped[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

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
	if (memcmp(ip->bytes, mapped, sizeof(mapped)) == 0) {
		ipv4_to_text(ip->bytes + sizeof(mapped), text);
		return;
	}
	const char *written = inet_ntop(AF_INET6, ip->bytes, text, IP_TEXT_BYTES);
	assert(written);
}
