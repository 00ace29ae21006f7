#include "service/program.h"

#include "base/buf.h"

#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char self[] = "/proc/self/exe";

static bool is_self(const char *path)
{
	struct stat st, own;
	return stat(path, &st) == 0 && stat(self, &own) == 0 && st.st_dev == own.st_dev &&
	       st.st_ino == own.st_ino;
}

/* Returns owned, or NULL when that is not this program. */
static char *join(struct slice directory, const char *name)
{
	struct buf path = BUF_INIT;
	buf_append_slice(&path, directory);
	buf_printf(&path, "/%s%c", name, '\0');
	if (path.data[0] == '/' && is_self(path.data))
		return path.data;
	buf_release(&path);
	return NULL;
}

static char *find_in_path(const char *name)
{
	const char *at = getenv("PATH");
	char *found = NULL;
	while (at && !found) {
		size_t len = strcspn(at, ":");
		found = join((struct slice){at, len}, name);
		at = at[len] ? at + len + 1 : NULL;
	}
	return found;
}

static char *path_of_self(void)
{
	char path[PATH_MAX];
	ssize_t len = readlink(self, path, sizeof(path));
	return alloc_string(len > 0 ? (struct slice){path, (size_t)len} : SLICE("/proc/self/exe"));
}

char *program_path(const char *argv0)
{
	char directory[PATH_MAX];
	char *found = NULL;
	if (!argv0)
		return path_of_self();
	if (argv0[0] == '/')
		found = is_self(argv0) ? alloc_string(slice_of(argv0)) : NULL;
	else if (strchr(argv0, '/'))
		found = getcwd(directory, sizeof(directory)) ? join(slice_of(directory), argv0) : NULL;
	else
		found = find_in_path(argv0);
	return found ? found : path_of_self();
}
