/*
 * What the fuzz targets share.
 */
#ifndef TESTS_FUZZ_CHECK_H
#define TESTS_FUZZ_CHECK_H

#include "base/buf.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An assert(3) that no build can switch off. */
#define CHECK(condition)                                                                \
	do {                                                                            \
		if (!(condition)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                        \
		}                                                                       \
	} while (0)

/* A copy in a block of exactly its size: whoever reads beyond it is caught. Owned: free with free(3) what `data` points to. */
static inline struct slice copy_exactly(const void *data, size_t len)
{
	char *copy = malloc(len);
	CHECK(copy || len == 0);
	if (len > 0)
		memcpy(copy, data, len);
	return (struct slice){copy, len};
}

static inline void free_copy(struct slice copy)
{
	free((void *)(uintptr_t)copy.data);
}

/* Takes the first byte off the input: which of several things to do with the rest. 0 when there is none. */
static inline uint8_t take_byte(const uint8_t **data, size_t *size)
{
	if (*size == 0)
		return 0;
	(*size)--;
	return *(*data)++;
}

#endif
