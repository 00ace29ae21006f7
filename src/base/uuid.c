#include "base/uuid.h"

#include <assert.h>
#include <string.h>
#include <sys/random.h>
#include <uuid/uuid.h>

void uuid_make(struct uuid *u, int64_t wall_us)
{
	uint64_t ms = (uint64_t)(wall_us / 1000);
	/* 1000 microseconds spread over the 4096 values of rand_a, so that they keep their order. */
	uint32_t fraction = (uint32_t)(wall_us % 1000) * 4096 / 1000;
	/* Straight from the kernel: uuid_generate_random(3) mixes in a generator that it seeds anew each time, which measured as 6 % of
	 * a worker's time under writes. Up to 256 bytes getrandom(2) gives whole. */
	ssize_t got = getrandom(u->bytes, UUID_BYTES, 0);
	assert(got == UUID_BYTES);
	for (int i = 0; i < 6; i++)
		u->bytes[i] = (uint8_t)(ms >> (40 - 8 * i));
	u->bytes[6] = (uint8_t)(0x70 | fraction >> 8); /* version 7 */
	u->bytes[7] = (uint8_t)fraction;
	u->bytes[8] = (uint8_t)(0x80 | (u->bytes[8] & 0x3f)); /* variant 10 */
}

void uuid_of_bytes(struct uuid *u, const void *bytes, size_t len)
{
	/* 1918fa2b-675b-4d39-a82c-3d7501826969: made once, at random. Every todod has to have the same. */
	static const uuid_t name_space = {0x19, 0x18, 0xfa, 0x2b, 0x67, 0x5b, 0x4d, 0x39,
					  0xa8, 0x2c, 0x3d, 0x75, 0x01, 0x82, 0x69, 0x69};
	uuid_generate_sha1(u->bytes, name_space, bytes, len);
}

int uuid_from_text(struct uuid *u, struct slice text)
{
	uuid_t parsed;
	if (text.len != UUID_TEXT_BYTES || uuid_parse_range(text.data, text.data + text.len, parsed) != 0)
		return -1;
	memcpy(u->bytes, parsed, UUID_BYTES);
	return 0;
}

void uuid_to_text(const struct uuid *u, char text[UUID_TEXT_BYTES])
{
	char with_nul[UUID_TEXT_BYTES + 1];
	uuid_unparse_lower(u->bytes, with_nul);
	memcpy(text, with_nul, UUID_TEXT_BYTES);
}

int uuid_compare_to(const struct uuid *a, const struct uuid *b)
{
	return memcmp(a->bytes, b->bytes, UUID_BYTES);
}
