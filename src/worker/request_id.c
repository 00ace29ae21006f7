#include "worker/request_id.h"

#include "base/random.h"

void request_ids_init(struct request_ids *ids)
{
	uint64_t chance = (uint64_t)random_between(0, INT64_MAX);
	memset(ids->last, '0', sizeof(ids->last));
	for (int i = REQUEST_ID_HALF_BYTES; i-- > 0; chance >>= 4)
		ids->last[i] = "0123456789abcdef"[chance & 15];
}

struct slice request_ids_next(struct request_ids *ids)
{
	char *digit = &ids->last[REQUEST_ID_BYTES - 1];
	for (; *digit == 'f'; digit--)
		*digit = '0';
	*digit = *digit == '9' ? 'a' : (char)(*digit + 1);
	return (struct slice){ids->last, sizeof(ids->last)};
}

bool request_id_is_sane(struct slice id)
{
	for (size_t i = 0; i < id.len; i++) {
		char c = id.data[i];
		bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
		if (!is_letter && !(c >= '0' && c <= '9') && c != '.' && c != '_' && c != '-')
			return false;
	}
	return id.len > 0 && id.len <= REQUEST_ID_MAX_BYTES;
}
