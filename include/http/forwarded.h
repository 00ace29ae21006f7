/*
 * Whose request it is that proxies have passed on: X-Forwarded-For, or Forwarded (RFC 7239). Pure, and without
 * allocation.
 *
 * Each proxy appends whom it got the request from, so an entry was written by the host that the entry to its right names,
 * and the last one by the peer itself. They are believed from the right as long as they were written by those
 * that are trusted; the first that names somebody else names the client. What stands to the left of that is the client's
 * own invention and is not even looked at, however it is quoted or cut into lines.
 *
 * Where a trusted proxy wrote what names no address ("unknown", "_hidden", rubbish), nobody knows the client, and the
 * request is that proxy's.
 */
#ifndef HTTP_FORWARDED_H
#define HTTP_FORWARDED_H

#include "base/ip.h"
#include "http/request.h"

enum forwarded_field { FORWARDED_X_FORWARDED_FOR, FORWARDED_FORWARDED };

/* `client` is the peer on entry, and trusted. True: now it is somebody who is not trusted. False: it is the
 * last of `trusted` that could be told, the peer where there is no such field. */
bool forwarded_client(const struct request *req, enum forwarded_field field, const struct ip_set *trusted,
		      struct ip *client);

#endif
