/*
 * Could a listener be opened here? Finds out without listening: no client connects to a probe, and no file is made or removed.
 */
#ifndef NET_PROBE_H
#define NET_PROBE_H

#include "base/err.h"

enum probe {
	PROBE_ERROR = -1, /* no: *err says why */
	PROBE_FREE,
	PROBE_TAKEN, /* somebody listens there already */
};

/* As listener_open takes them. Blocks while a name is looked up. EXIT_CODE_UNAVAILABLE, EXIT_CODE_NO_PERMISSION. */
enum probe probe_listen(const char *host, const char *port, const char *path, struct err *err);

/* A connection to what listens there; connecting, each read and each write block for timeout_ms at most. Returns a descriptor that
 * the caller closes, or -1 with errno. */
int probe_connect(const char *host, const char *port, const char *path, unsigned timeout_ms);

#endif
