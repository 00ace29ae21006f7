/*
 * One line of the access log: bytes in, bytes out, no I/O. Whatever a client sends, it can neither break a line nor forge one.
 *
 *     combined  what Apache and nginx call so, then: seconds, request id, route, store, cache
 *     json      an object; what is absent is null
 */
#ifndef WORKER_ACCESS_FORMAT_H
#define WORKER_ACCESS_FORMAT_H

#include "base/buf.h"
#include "base/ip.h"

#include <stdint.h>

enum { ACCESS_SECOND_MAX_BYTES = 32 };

struct access_entry {
	int64_t wall_us; /* when it was answered */
	const struct ip *client;
	struct slice method, target; /* as they came; both empty: what came could not be read as a request */
	uint8_t minor;
	uint16_t status;
	size_t body_bytes;
	int64_t latency_us;
	struct slice referer, user_agent;  /* as they came; empty: none */
	struct slice id;                   /* empty: none; else a sane one */
	const char *route, *store, *cache; /* "-": none */
};

struct access_format {
	const struct access_style *style;
	int64_t second; /* that `text` is of */
	char text[ACCESS_SECOND_MAX_BYTES];
	size_t text_len;
};

/* `style` is an enum config_access_log_format. */
void access_format_init(struct access_format *f, uint32_t style);

/* Appends the line with its end. */
void access_format_append(struct access_format *f, const struct access_entry *e, struct buf *out);

#endif
