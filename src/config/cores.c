/*
 * How many workers suit this machine: cores are what the affinity mask and the CPU quota of the cgroup leave,
 * which are different limits. In a container the kernel shows all cores of the host, and a worker for each
 * would only wait for the others.
 */
#include "config/options.h"

#include <sched.h>

enum { WORKERS_MAX = 1024, CPUS_MAX = 1 << 20, SMALL_FILE_BYTES = 65536 };

static uint32_t cores_by_affinity(void)
{
	/* The kernel says EINVAL while the mask is smaller than its own. */
	for (int cpus = CPU_SETSIZE; cpus <= CPUS_MAX; cpus *= 2) {
		cpu_set_t *set = CPU_ALLOC(cpus);
		if (!set)
			break;
		size_t bytes = CPU_ALLOC_SIZE(cpus);
		int count = sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
		CPU_FREE(set);
		if (count > 0)
			return (uint32_t)count;
	}
	return 1;
}

/* The number at the start of *text, which moves behind it and the blanks after it. False where there is none,
 * as in "max" and "-1". */
static bool take_number(struct slice *text, uint32_t *number)
{
	size_t digits = 0;
	while (digits < text->len && text->data[digits] >= '0' && text->data[digits] <= '9')
		digits++;
	if (config_parse_number((struct slice){text->data, digits}, 1, UINT32_MAX, number))
		return false;
	while (digits < text->len && (text->data[digits] == ' ' || text->data[digits] == '\n'))
		digits++;
	*text = (struct slice){text->data + digits, text->len - digits};
	return true;
}

/* Numbers of the named file of a cgroup, e.g. "150000 100000". Returns false where one is missing. */
static bool read_numbers(struct slice directory, const char *name, uint32_t *first, uint32_t *second)
{
	struct buf path = BUF_INIT, content = BUF_INIT;
	buf_append_slice(&path, directory);
	buf_printf(&path, "/%s%c", name, '\0');
	bool found = config_file_slurp(path.data, SMALL_FILE_BYTES, &content) == 0;
	struct slice text = buf_slice(&content);
	found = found && take_number(&text, first) && (!second || take_number(&text, second));
	buf_release(&path);
	buf_release(&content);
	return found;
}

static bool read_quota_v2(struct slice directory, uint32_t *quota, uint32_t *period)
{
	return read_numbers(directory, "cpu.max", quota, period);
}

static bool read_quota_v1(struct slice directory, uint32_t *quota, uint32_t *period)
{
	return read_numbers(directory, "cpu.cfs_quota_us", quota, NULL) &&
	       read_numbers(directory, "cpu.cfs_period_us", period, NULL);
}

/* A list of controllers, as in "4:cpu,cpuacct:/path". */
static bool list_has(struct slice list, struct slice name)
{
	while (list.len) {
		const char *comma = memchr(list.data, ',', list.len);
		size_t len = comma ? (size_t)(comma - list.data) : list.len;
		if (slice_equal((struct slice){list.data, len}, name))
			return true;
		len += comma != NULL;
		list = (struct slice){list.data + len, list.len - len};
	}
	return false;
}

/* The smallest quota from `group` up to the root of its tree bounds it: a parent's holds for all below. */
static uint32_t bound_by_tree(const char *tree, const char *subtree, struct slice group,
			      bool (*read_quota)(struct slice, uint32_t *, uint32_t *), uint32_t cores)
{
	struct buf path = BUF_INIT;
	buf_printf(&path, "%s%s", tree, subtree);
	size_t root = path.len;
	/* A path outside what is mounted ("/../other") cannot be looked up from here. */
	if (!memmem(group.data, group.len, "/..", 3))
		buf_append_slice(&path, group);
	for (;;) {
		while (path.len > root && path.data[path.len - 1] == '/')
			path.len--;
		uint32_t quota, period;
		if (read_quota(buf_slice(&path), &quota, &period)) {
			uint32_t allowed = quota / period + (quota % period != 0);
			cores = allowed < cores ? allowed : cores;
		}
		if (path.len == root)
			break;
		while (path.len > root && path.data[path.len - 1] != '/')
			path.len--;
	}
	buf_release(&path);
	return cores;
}

/* One line of cgroups(7) "/proc/PID/cgroup": "0::/path" of version 2, "4:cpu,cpuacct:/path" of version 1. */
static uint32_t bound_by_line(const char *tree, struct slice line, uint32_t cores)
{
	const char *first = memchr(line.data, ':', line.len);
	const char *second =
	    first ? memchr(first + 1, ':', line.len - (size_t)(first + 1 - line.data)) : NULL;
	if (!second)
		return cores;
	struct slice controllers = {first + 1, (size_t)(second - first - 1)};
	struct slice group = {second + 1, line.len - (size_t)(second + 1 - line.data)};
	if (controllers.len == 0)
		return bound_by_tree(tree, "", group, read_quota_v2, cores);
	if (list_has(controllers, SLICE("cpu")))
		return bound_by_tree(tree, "/cpu", group, read_quota_v1, cores);
	return cores;
}

uint32_t config_default_workers(const char *cgroup_root, const char *proc_cgroup)
{
	uint32_t cores = cores_by_affinity();
	struct buf lines = BUF_INIT;
	if (config_file_slurp(proc_cgroup, SMALL_FILE_BYTES, &lines) == 0)
		for (size_t at = 0; at < lines.len;) {
			const char *end = memchr(lines.data + at, '\n', lines.len - at);
			size_t len = end ? (size_t)(end - (lines.data + at)) : lines.len - at;
			cores = bound_by_line(cgroup_root, (struct slice){lines.data + at, len}, cores);
			at += len + 1;
		}
	buf_release(&lines);
	return cores < WORKERS_MAX / 2 ? 2 * cores + 1 : WORKERS_MAX;
}
