#include "cache/identity.h"

#include <string.h>

void identity_ask(struct redis *r, uint32_t timeout_ms, redis_done_fn *done, void *arg)
{
	const struct slice words[] = {SLICE("INFO"), SLICE("replication")};
	redis_send(r, words, 2, timeout_ms, done, arg);
}

struct slice identity_info(struct slice info, struct slice name_and_colon)
{
	for (const char *line = info.data, *end = info.data + info.len; line && line < end;) {
		const char *next = memchr(line, '\n', (size_t)(end - line));
		size_t len = (size_t)((next ? next : end) - line);
		if (len >= name_and_colon.len && memcmp(line, name_and_colon.data, name_and_colon.len) == 0) {
			struct slice value = {line + name_and_colon.len, len - name_and_colon.len};
			if (value.len > 0 && value.data[value.len - 1] == '\r')
				value.len--;
			return value;
		}
		line = next ? next + 1 : end;
	}
	return SLICE("");
}

const char *identity_read(struct identity *identity, const struct redisReply *reply)
{
	*identity = (struct identity){{0}};
	struct slice text = redis_text(reply);
	if (!text.data)
		text = SLICE("");
	if (redis_type(reply) == REDIS_ERROR)
		return text.len ? text.data : "INFO is refused";
	struct slice role = identity_info(text, SLICE("role:"));
	struct slice id = identity_info(text, SLICE("master_replid:"));
	if (role.len == 0)
		return "it does not say that it is a master";
	if (!slice_equal(role, SLICE("master")))
		return "it is a replica, which takes no writes";
	if (id.len == 0)
		return "it does not say which master it is";
	memcpy(identity->id, id.data, id.len < IDENTITY_ID_BYTES ? id.len : IDENTITY_ID_BYTES);
	return NULL;
}

bool identity_equal(const struct identity *a, const struct identity *b)
{
	return strcmp(a->id, b->id) == 0;
}
