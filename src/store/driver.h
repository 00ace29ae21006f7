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

#endif
