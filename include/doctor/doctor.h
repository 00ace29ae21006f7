/*
 * `todod doctor`: looks at everything that this configuration makes todod depend on, and says of each how it is and what to do.
 * Needs no daemon, disturbs none, changes nothing.
 *
 * Each check runs in a process of its own with a deadline: what hangs (a name server, a disk, a store) is a finding, not
 * the end of the others.
 */
#ifndef DOCTOR_DOCTOR_H
#define DOCTOR_DOCTOR_H

#include "config/config.h"

struct privileges;

/* What todod does as `user` is looked at as that user. Blocks for DOCTOR_CHECK_MS a check at most. Returns EXIT_CODE_OK, or the code of the first FAIL. Before any thread is made. */
enum exit_code doctor_run(const struct config *config, const struct config_sources *sources,
			  const struct privileges *privileges, FILE *out);

enum { DOCTOR_CHECK_MS = 10 * 1000 };

#endif
