#include "master/privileges.h"

#include "base/buf.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

/* ---- names */

/* NULL in getpwnam(3) and errno 0: there is none; else the name service has failed. */
static int no_such(const char *what, const char *name, struct err *err)
{
	if (errno)
		return err_set(err, EXIT_CODE_CONFIG, "cannot look up the %s \"%s\": %s", what, name,
			       strerror(errno));
	return err_set(err, EXIT_CODE_CONFIG, "there is no %s \"%s\"", what, name);
}

int privileges_find_group(const char *name, gid_t *gid, struct err *err)
{
	if (!name)
		return 0;
	errno = 0;
	const struct group *found = getgrnam(name);
	if (!found)
		return no_such("group", name, err);
	*gid = found->gr_gid;
	return 0;
}

static void find_groups(struct privileges *p)
{
	int count = 32;
	do {
		p->group_count = (size_t)count;
		p->groups = alloc_resize(p->groups, p->group_count, sizeof(*p->groups));
	} while (getgrouplist(p->user, p->gid, p->groups, &count) < 0);
	p->group_count = (size_t)count;
}

int privileges_find(struct privileges *p, const char *user, gid_t group, struct err *err)
{
	*p = (struct privileges){.user = user};
	if (!user)
		return 0;
	errno = 0;
	const struct passwd *found = getpwnam(user);
	if (!found)
		return no_such("user", user, err);
	p->uid = found->pw_uid;
	p->gid = group == (gid_t)-1 ? found->pw_gid : group;
	find_groups(p);
	return 0;
}

void privileges_release(struct privileges *p)
{
	free(p->groups);
	p->groups = NULL;
}

/* ---- becoming somebody else */

static bool is_that_user(const struct privileges *p)
{
	return geteuid() == p->uid && getegid() == p->gid;
}

int privileges_check(const struct privileges *p, struct err *err)
{
	if (!p->user || geteuid() == 0 || is_that_user(p))
		return 0;
	return err_set(
	    err, EXIT_CODE_NO_PERMISSION,
	    "only root can let its processes run as user %s; this one was started by user %u, group %u",
	    p->user, (unsigned)geteuid(), (unsigned)getegid());
}

int privileges_drop(const struct privileges *p, struct err *err)
{
	if (!p->user || geteuid() != 0) /* who is not root is that user already */
		return 0;
	/* The user last: afterwards nothing of it would be allowed. */
	if (setgroups(p->group_count, p->groups) != 0 || setresgid(p->gid, p->gid, p->gid) != 0 ||
	    setresuid(p->uid, p->uid, p->uid) != 0)
		return err_set(err, EXIT_CODE_NO_PERMISSION, "cannot become user %s: %s", p->user,
			       strerror(errno));
	if (p->uid != 0 && setresuid(0, 0, 0) == 0)
		return err_set(err, EXIT_CODE_NO_PERMISSION, "user %s can become root again", p->user);
	/* The kernel takes it away with the user. Whether there are cores RLIMIT_CORE says, and /proc/self stays
	 * readable. */
	(void)prctl(PR_SET_DUMPABLE, 1);
	return 0;
}

/* ---- for a while */

static int become(uid_t uid, gid_t gid, const gid_t *groups, size_t group_count)
{
	const uid_t keep = (uid_t)-1;
	/* Root for a moment, whoever it was: the other two need it. */
	return setresuid(keep, 0, keep) != 0 || setgroups(group_count, groups) != 0 ||
		       setresgid(keep, gid, keep) != 0 || setresuid(keep, uid, keep) != 0
		   ? -1
		   : 0;
}

int privileges_suspend(const struct privileges *p, struct privileges_kept *kept, struct err *err)
{
	*kept = (struct privileges_kept){.uid = geteuid(), .gid = getegid()};
	if (!p->user || geteuid() != 0)
		return 0;
	int group_count = getgroups(0, NULL);
	kept->groups = alloc_zeroed((size_t)group_count + 1, sizeof(*kept->groups));
	kept->group_count = (size_t)getgroups(group_count, kept->groups);
	kept->is_dumpable = prctl(PR_GET_DUMPABLE);
	(void)prctl(PR_GET_PDEATHSIG, &kept->parent_death_signal);
	if (become(p->uid, p->gid, p->groups, p->group_count) == 0)
		return 0;
	err_set(err, EXIT_CODE_NO_PERMISSION, "cannot act for user %s: %s", p->user, strerror(errno));
	privileges_resume(kept);
	return -1;
}

void privileges_resume(struct privileges_kept *kept)
{
	if (!kept->groups)
		return;
	if (become(kept->uid, kept->gid, kept->groups, kept->group_count) != 0)
		abort(); /* neither the one nor the other: nothing it did would be right */
	/* The kernel clears both when the user changes. */
	(void)prctl(PR_SET_DUMPABLE, kept->is_dumpable);
	(void)prctl(PR_SET_PDEATHSIG, kept->parent_death_signal);
	free(kept->groups);
	kept->groups = NULL;
}
