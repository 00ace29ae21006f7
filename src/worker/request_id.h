/*
 * Names for requests: 128 bits as 32 hexadecimal digits, half of them chosen by chance once per process, the other half counted.
 */
#ifndef WORKER_REQUEST_ID_H
#define WORKER_REQUEST_ID_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

enum { REQUEST_ID_HALF_BYTES = 16, REQUEST_ID_BYTES = 2 * REQUEST_ID_HALF_BYTES, REQUEST_ID_MAX_BYTES = 64 };

struct request_ids {
	char last[REQUEST_ID_BYTES];
};

void request_ids_init(struct request_ids *ids);

/* A view, valid until the next one. */
struct slice request_ids_next(struct request_ids *ids);

/* May a name that somebody else gave be taken as it is? 1 to REQUEST_ID_MAX_BYTES of letters, digits, '.', '_' and '-'. */
bool request_id_is_sane(struct slice id);

#endif
