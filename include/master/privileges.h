/*
 * Who the processes run as. The master stays who it was started as: a reload may have to bind port 80 again. It
 * reads no byte of a client. What it forks becomes `user` before its own code runs, for good; and what the master
 * itself makes for them, the store's files, it makes as that user.
 *
 * Names are looked up by the master alone, once for each configuration: a child needs no name service.
 */
#ifndef MASTER_PRIVILEGES_H
#define MASTER_PRIVILEGES_H

#include "base/err.h"

#include <stddef.h>
#include <sys/types.h>

struct privileges {
	const char *user; /* borrowed; NULL: as the master */
	uid_t uid;
	gid_t gid;
	gid_t *groups; /* owned: all of its groups, as initgroups(3) sets them */
	size_t group_count;
};

/* Both block on the name service, and return 0, or -1 and *err (EXIT_CODE_CONFIG). A name that is NULL names nobody: then
 * *gid stays as it is. Of `user`, `group` is the group in place of its own; -1: that. Release in either case. */
int privileges_find_group(const char *name, gid_t *gid, struct err *err);
int privileges_find(struct privileges *p, const char *user, gid_t group, struct err *err);
void privileges_release(struct privileges *p);

/* Whether this process can become that user, or is it. Returns 0, or -1 and *err (EXIT_CODE_NO_PERMISSION). */
int privileges_check(const struct privileges *p, struct err *err);

/* For good. It clears PR_SET_PDEATHSIG(2const): set that afterwards. Limits (setrlimit(2)) stay, and the process
 * may dump core. Returns 0, or -1 and *err: the process must end then. */
int privileges_drop(const struct privileges *p, struct err *err);

/* For a while, to make files: between the two calls only files are as `p` would have them, and no thread may be
 * there. Returns 0, or -1 and *err, with nothing changed. privileges_resume cannot fail; it does nothing where
 * nothing was suspended. */
struct privileges_kept {
	uid_t uid;
	gid_t gid;
	gid_t *groups; /* NULL: nothing was suspended */
	size_t group_count;
	int is_dumpable;
	int parent_death_signal;
};
int privileges_suspend(const struct privileges *p, struct privileges_kept *kept, struct err *err);
void privileges_resume(struct privileges_kept *kept);

#endif
