#include "base/random.h"

#include <assert.h>
#include <sys/random.h>

int64_t random_between(int64_t low, int64_t high)
{
	uint64_t bits, span = (uint64_t)(high - low);
	assert(low <= high);
	/* Early after boot there may be none (getrandom(2)): the middle will do. */
	if (getrandom(&bits, sizeof(bits), GRND_NONBLOCK) != sizeof(bits))
		bits = span / 2;
	return low + (int64_t)(span == UINT64_MAX ? bits : bits % (span + 1));
}
