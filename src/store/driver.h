/*
 * The drivers that store.c chooses from, by how a URI starts. A driver embeds struct store and struct
 * store_session as first members and sets `ops` (and `access`) in them; `has_begun` belongs to store.c.
 *
 * What store.c sees to, so that a driver need not: calls come only between begin and end, writes only on a
 * session opened for STORE_WRITE, counts are in range, a page comes in empty and is sealed afterwards (and
 * emptied unless STORE_OK), and a status that the contract does not allow ends the process.
 */
#ifndef STORE_DRIVER_H
#define STORE_DRIVER_H

#include "store/store.h"

extern const struct store_ops sqlite_ops, mongo_ops;

/* Free space where the todos are: below the one an operator should act, below the other it is as good as full. */
enum { STORE_SPACE_WARN_BYTES = 512 << 20, STORE_SPACE_FAIL_BYTES = 16 << 20 };

void store_report_space(struct report *report, double free_bytes, double total_bytes);

#endif
