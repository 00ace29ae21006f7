/*
 * The shared page, for tests: what its functions do not do, and another process may have done.
 */
#ifndef TESTS_PAGE_FIXTURE_H
#define TESTS_PAGE_FIXTURE_H

#include "cache/page_memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>

#include <cmocka.h>

/* Finds the word behind page_committed, and sets it. */
static inline void poke_committed(struct page_memory *m, unsigned worker, uint32_t value)
{
	uint32_t last = page_write_committed(m, worker);
	for (size_t at = 0; at < m->shm.size; at += sizeof(last)) {
		_Atomic uint32_t *word = (_Atomic uint32_t *)((char *)m->shm.addr + at);
		if (atomic_load(word) != last)
			continue;
		atomic_store(word, value);
		if (page_committed(m, worker) == value)
			return;
		atomic_store(word, last);
	}
	fail();
}

#endif
