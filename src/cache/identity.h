/*
 * Who answers: a master, and which. The session and the link have to be with the same one, and with the same one as before: what
 * one server says proves nothing about another.
 */
#ifndef CACHE_IDENTITY_H
#define CACHE_IDENTITY_H

#include "cache/redis.h"

enum { IDENTITY_ID_BYTES = 64 };

struct identity {
	char id[IDENTITY_ID_BYTES + 1]; /* master_replid: changes with a restart and with a promotion */
};

/* Asks (INFO replication), as redis_send does. */
void identity_ask(struct redis *r, uint32_t timeout_ms, redis_done_fn *done, void *arg);

/* The value behind "name:" in what INFO says; empty where that is not there. A view of it. */
struct slice identity_info(struct slice info, struct slice name_and_colon);

/* Reads the answer. Returns NULL, or why this server is of no use: a literal, or a view of the reply. */
const char *identity_read(struct identity *identity, const struct redisReply *reply);
bool identity_equal(const struct identity *a, const struct identity *b);

#endif
