#include "service/service.h"

#include "base/buf.h"
#include "cache/keeper.h"
#include "master/master.h"
#include "service/program.h"
#include "service/shares.h"
#include "store/store.h"
#include "worker/access_file.h"
#include "worker/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	WORKER_BACKOFF_MAX_MS = 30 * 1000,
	SET_UP_BACKOFF_MAX_MS = 500, /* it is awaited by everybody */
	SET_UP_PLACES = 8,
	KEEPER_BACKOFF_MAX_MS = 500, /* likewise by writes */
	KEEPER_BEAT_TIMEOUT_MS = 750,
	ADDRESSES_MAX = 2 * CONFIG_LISTEN_MAX, /* listen and admin_listen */
};

struct service {
	const struct service_settings *settings;
	struct shares shares;
	bool is_begun; /* the first plan is made */
};

/* master_plan.own */
struct blueprint {
	struct config config; /* of an adopted one: nothing */
	struct config_sources sources;
	const struct config *in_force; /* `config`, or that of the start; NULL: adopted */
	const struct config_sources *in_force_sources;
	struct service_names names;
	struct worker_shared workers; /* what they are handed */
	struct share *memory, *claim, *pidfile, *rate_limit, *control;
	struct share *addresses[ADDRESSES_MAX];
	int fds[ADDRESSES_MAX];
	bool is_admin[ADDRESSES_MAX];
	size_t address_count;
};

/* ---- configurations */

/* Puts the place of the key in front. */
static int blame(const char *key, const struct config_sources *sources, const struct err *found,
		 struct err *err)
{
	return err_set(err, found->code, "%s: %s: %s", config_place(sources, key), key, found->text);
}

static int check_store(const struct config *config, const struct config_sources *sources, struct err *err)
{
	struct err found;
	if (store_check(config->store, &found) == 0)
		return 0;
	return blame("store", sources, &found, err);
}

static int find_names(struct service_names *names, const struct config *config,
		      const struct config_sources *sources, struct err *err)
{
	struct privileges *p = &names->privileges;
	struct listener_rights *rights = &names->rights;
	gid_t group = (gid_t)-1;
	struct err found;
	*rights = (struct listener_rights){.mode = config->unix_mode, .uid = (uid_t)-1, .gid = (gid_t)-1};
	if (privileges_find_group(config->group, &group, &found) != 0)
		return blame("group", sources, &found, err);
	if (privileges_find(p, config->user, group, &found) != 0)
		return blame("user", sources, &found, err);
	if (config->user && geteuid() == 0) {
		rights->uid = p->uid;
		rights->gid = p->gid;
	}
	if (privileges_find_group(config->unix_group, &rights->gid, &found) != 0)
		return blame("unix_group", sources, &found, err);
	return 0;
}

int service_check(struct service_names *names, const struct config *config,
		  const struct config_sources *sources, struct err *err)
{
	return check_store(config, sources, err) == 0 ? find_names(names, config, sources, err) : -1;
}

int service_check_again(const struct config_sources *sources, struct err *err)
{
	struct stat st;
	if (!sources->file || stat(sources->file, &st) != 0 ||
	    !(S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)))
		return 0;
	return err_set(err, EXIT_CODE_CONFIG, "%.300s: a pipe cannot be read again", sources->file);
}

static int load(const struct service *s, struct config *config, struct config_sources *sources,
		struct err *err)
{
	enum config_action action;
	return config_load(config, sources, &action, s->settings->argc, s->settings->argv, environ, err);
}

static int prove(void *arg, struct err *err)
{
	const struct service *s = arg;
	struct config config;
	struct config_sources sources;
	struct service_names names = {.privileges = {.groups = NULL}};
	log_init("master", LOG_LEVEL_ERROR); /* of what it warns, the master warns again */
	return load(s, &config, &sources, err) == 0 ? service_check(&names, &config, &sources, err) : -1;
}

/* ---- the table of processes */

static void worker_is_reaped(const struct process *p)
{
	const struct worker_shared *shared = p->shared;
	if (shared->pages->words)
		page_reap_worker(shared->pages, p->index);
	if (shared->census)
		census_clear(shared->census, p->index);
	worker_reap(p);
}

enum { KIND_SET_UP, KIND_KEEPER, KIND_WORKER, KINDS };

static void fill_kinds(struct master_plan *plan, struct blueprint *b, uint32_t worker_timeout_ms)
{
	struct share *memory = b->memory;
	unsigned places = shares_memory_places(memory);
	plan->kinds[KIND_SET_UP] = (struct process_kind){
	    .name = "set-up",
	    .role = PROCESS_SET_UP,
	    .run = worker_set_up_store,
	    .count = 1,
	    .places = SET_UP_PLACES,
	    .once = true,
	    .backoff_max_ms = SET_UP_BACKOFF_MAX_MS,
	};
	plan->kinds[KIND_KEEPER] = (struct process_kind){
	    .name = "keeper",
	    .role = PROCESS_KEEPER,
	    .run = keeper_run,
	    .count = 1,
	    .places = 1,
	    .beat_timeout_ms = KEEPER_BEAT_TIMEOUT_MS,
	    .backoff_max_ms = KEEPER_BACKOFF_MAX_MS,
	    .pool = &memory->pages,
	    .shared = &memory->pages,
	};
	plan->kinds[KIND_WORKER] = (struct process_kind){
	    .name = "worker",
	    .role = PROCESS_WORKER,
	    .run = worker_run,
	    .count_max = places / 2,
	    .places = places,
	    .listens = true,
	    .beat_timeout_ms = worker_timeout_ms,
	    .backoff_max_ms = WORKER_BACKOFF_MAX_MS,
	    .pool = &memory->pages,
	    .shared = &b->workers,
	    .reaped = worker_is_reaped,
	};
	plan->kind_count = KINDS;
	plan->kept_fds = memory->pages.bells;
	plan->kept_count = memory->pages.bell_count;
}

/* ---- plans */

/* A socket that stays had the rights that the plan before asked for; should this one never have served, it would have kept them. */
static void take_over(void *arg, const struct master_plan *plan)
{
	const struct blueprint *b = plan->own;
	(void)arg;
	for (size_t i = 0; i < b->address_count; i++)
		shares_set_rights(b->addresses[i], &b->names.rights);
}

static void stop_listening(void *arg, struct master_plan *plan)
{
	struct service *s = arg;
	struct blueprint *b = plan->own;
	while (b->address_count > 0)
		shares_drop(&s->shares, b->addresses[--b->address_count]);
	plan->listener_count = 0;
}

static void release(void *arg, struct master_plan *plan)
{
	struct service *s = arg;
	struct blueprint *b = plan->own;
	stop_listening(s, plan);
	shares_drop(&s->shares, b->memory);
	shares_drop(&s->shares, b->claim);
	shares_drop(&s->shares, b->pidfile);
	shares_drop(&s->shares, b->rate_limit);
	shares_drop(&s->shares, b->control);
	privileges_release(&b->names.privileges);
	config_release(&b->config, &b->sources);
	free(b);
}

static void add_address(struct blueprint *b, struct share *address)
{
	b->fds[b->address_count] = address->listener.fd;
	b->is_admin[b->address_count] = address->is_admin;
	b->addresses[b->address_count++] = address;
}

static int open_each(struct service *s, struct blueprint *b, char *const *texts, size_t count, bool is_admin,
		     struct err *err)
{
	for (size_t i = 0; i < count; i++) {
		struct share *address =
		    shares_address(&s->shares, texts[i], is_admin, &b->names.rights,
				   (const struct share *const *)b->addresses, b->address_count, err);
		if (!address)
			return -1;
		add_address(b, address);
	}
	return 0;
}

static int open_addresses(struct service *s, struct blueprint *b, bool is_first, struct err *err)
{
	const struct config *config = b->in_force;
	struct share *passed[CONFIG_LISTEN_MAX];
	int count = shares_passed(&s->shares, is_first, passed, CONFIG_LISTEN_MAX, err);
	for (int i = 0; i < count; i++)
		add_address(b, passed[i]);
	if (count < 0 ||
	    (count == 0 && open_each(s, b, config->listen, config->listen_count, false, err) != 0))
		return -1;
	return open_each(s, b, config->admin_listen, config->admin_listen_count, true, err);
}

/* What is made for the store is made by the user who will write to it. */
static int open_claim(struct service *s, struct blueprint *b, struct err *err)
{
	const char *user = b->in_force->user;
	struct privileges_kept own;
	struct err found;
	if (privileges_suspend(&b->names.privileges, &own, err) != 0)
		return -1;
	b->claim = shares_claim(&s->shares, b->in_force->store, &found);
	privileges_resume(&own);
	if (!b->claim)
		return err_set(err, found.code, "%s%s%s", found.text, user ? ", as user " : "",
			       user ? user : "");
	return 0;
}

static int open_pidfile(struct service *s, struct blueprint *b, struct err *err)
{
	const char *path = b->in_force->pidfile;
	b->pidfile = path ? shares_pidfile(&s->shares, path, err) : NULL;
	return path && !b->pidfile ? -1 : 0;
}

/* The directory of a default is made; that of a path that somebody has named is theirs. */
static void make_directory_of(const char *path)
{
	char *directory = alloc_string((struct slice){path, (size_t)(strrchr(path, '/') - path)});
	(void)mkdir(directory, 0755); /* who binds the socket says what is wrong */
	free(directory);
}

/* Nobody has asked for a default: where it cannot be had, there is none. Another todod of the same user may have it. */
static int open_control(struct service *s, struct blueprint *b, struct err *err)
{
	const char *path = b->in_force->control;
	bool is_default = config_is_default(b->in_force_sources, "control");
	if (strcmp(path, "off") == 0)
		return 0;
	if (is_default)
		make_directory_of(path);
	b->control = shares_control(&s->shares, path, err);
	if (!b->control && !is_default)
		return -1;
	if (!b->control)
		log_warn("no control socket: %s; `control` names another place", err->text);
	return 0;
}

static unsigned count_workers(const struct config *config)
{
	return config->workers ? config->workers
			       : config_default_workers("/sys/fs/cgroup", "/proc/self/cgroup");
}

/* What limits need of the memory that workers share: nothing where there are none. */
static int open_limits(struct service *s, struct blueprint *b, struct err *err)
{
	const struct config *config = b->in_force;
	uint32_t rate = config->rate_limit, burst = config->rate_burst ? config->rate_burst : 2 * rate;
	b->workers.pages = &b->memory->pages;
	if (rate > 0) {
		b->rate_limit = shares_rate_limit(&s->shares, rate, burst, err);
		if (!b->rate_limit)
			return -1;
		b->workers.rate_limit = &b->rate_limit->rate_limit;
	}
	if (config->max_connections_per_address > 0) {
		if (shares_open_census(b->memory, err) != 0)
			return -1;
		b->workers.census = &b->memory->census;
	}
	return 0;
}

/* Workers may not be allowed to make it where this process is. */
static int make_access_log(const struct blueprint *b, struct err *err)
{
	const struct privileges *p = &b->names.privileges;
	const char *path = b->in_force->access_log;
	bool is_for_another = p->user && geteuid() == 0;
	uid_t uid = is_for_another ? p->uid : (uid_t)-1;
	gid_t gid = is_for_another ? p->gid : (gid_t)-1;
	return path ? access_file_make(path, uid, gid, err) : 0;
}

static void reopen(void *arg, const struct master_plan *plan)
{
	const struct blueprint *b = plan->own;
	struct err err;
	(void)arg;
	if (b->in_force && make_access_log(b, &err) != 0)
		log_warn("%s", err.text);
}

static int open_shares(struct service *s, struct blueprint *b, bool is_first, struct err *err)
{
	const struct config *config = b->in_force;
	const struct store_settings store = {.uri = config->store, .timeout_ms = config->store_timeout_ms};
	if (privileges_check(&b->names.privileges, err) != 0 || open_pidfile(s, b, err) != 0 ||
	    open_claim(s, b, err) != 0 || make_access_log(b, err) != 0)
		return -1;
	b->memory = shares_memory(&s->shares, config->store, config->cache, count_workers(config),
				  store_doubt_ms(&store), err);
	if (!b->memory)
		return -1;
	page_distrust_until(&b->memory->pages, b->claim->orphans_until_ns);
	shares_set_rivals(&s->shares);
	if (open_limits(s, b, err) != 0 || open_addresses(s, b, is_first, err) != 0)
		return -1;
	return open_control(s, b, err);
}

static bool is_same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool is_same_user(const struct config *a, const struct config *b)
{
	return is_same(a->user, b->user) && is_same(a->group, b->group);
}

/* What the generation before has running, and this one needs as it is. Whatever a set-up would look at anew is waited for: nobody
 * knows yet that it is right. */
static void compare(struct master_plan *plan, const struct master_plan *present)
{
	const struct blueprint *b = plan->own, *old = present->own;
	bool is_set_up = strcmp(b->memory->name, old->memory->name) == 0;
	if (old->in_force) {
		bool same_user = is_same_user(b->in_force, old->in_force);
		is_set_up =
		    is_set_up && same_user && is_same(b->in_force->access_log, old->in_force->access_log);
		plan->kinds[KIND_SET_UP].crosses = is_set_up;
		/* A keeper looks at the set-up that it was forked with: it does not outlive that. */
		plan->kinds[KIND_KEEPER].crosses =
		    is_set_up && b->memory == old->memory && keeper_does_for(b->in_force, old->in_force);
	}
	plan->waits_for_once = !is_set_up;
}

static void log_plan(const struct config *config)
{
	char *store = config_mask_password(config->store), *cache = config_mask_password(config->cache);
	log_info("todod %s, store %s, cache %s, %u workers", TODOD_VERSION, store, cache,
		 count_workers(config));
	free(store);
	free(cache);
}

/* The first one is made by what main has read already. */
static int configure(struct service *s, struct blueprint *b, struct err *err)
{
	bool is_first = !s->is_begun && s->settings->config;
	s->is_begun = true;
	b->in_force = is_first ? s->settings->config : &b->config;
	b->in_force_sources = is_first ? s->settings->sources : &b->sources;
	if (!is_first && (service_check_again(s->settings->sources, err) != 0 ||
			  load(s, &b->config, &b->sources, err) != 0))
		return -1;
	return service_check(&b->names, b->in_force, b->in_force_sources, err);
}

static int make_plan(void *arg, struct master_plan *plan, const struct master_plan *present, struct err *err)
{
	struct service *s = arg;
	struct blueprint *b = alloc_zeroed(1, sizeof(*b));
	*plan = (struct master_plan){.own = b};
	if (configure(s, b, err) != 0)
		goto failed;
	log_plan(b->in_force);
	if (open_shares(s, b, !present, err) != 0)
		goto failed;
	fill_kinds(plan, b, b->in_force->worker_timeout_s * 1000);
	plan->kinds[KIND_WORKER].count = count_workers(b->in_force);
	plan->config = b->in_force;
	plan->listener_fds = b->fds;
	plan->listener_is_admin = b->is_admin;
	plan->listener_count = b->address_count;
	plan->control_fd = b->control ? b->control->listener.fd : -1;
	plan->privileges = &b->names.privileges;
	plan->log_level = (enum log_level)b->in_force->log_level;
	plan->drain_timeout_ms = b->in_force->drain_timeout_s * 1000;
	if (present)
		compare(plan, present);
	return 0;
failed:
	release(s, plan);
	return -1;
}

/* An adopted one is known to the program that has made it. */
static void describe(void *arg, const struct master_plan *plan, struct master_description *d)
{
	const struct blueprint *b = plan->own;
	(void)arg;
	if (!b->in_force)
		return;
	const char *file = b->in_force_sources->file;
	d->configuration = file ? alloc_string(slice_of(file)) : NULL;
	d->store = config_mask_password(b->in_force->store);
	d->cache = config_mask_password(b->in_force->cache);
}

/* ---- across an upgrade */

static void hand_over(void *arg, struct handover *h)
{
	struct service *s = arg;
	shares_hand_over(&s->shares, h);
}

static void stay(void *arg)
{
	struct service *s = arg;
	shares_stay(&s->shares);
}

static void hand_over_plan(void *arg, const struct master_plan *plan, unsigned number, struct handover *h)
{
	const struct blueprint *b = plan->own;
	struct buf addresses = BUF_INIT;
	(void)arg;
	for (size_t i = 0; i < b->address_count; i++)
		buf_printf(&addresses, " %u", b->addresses[i]->number);
	handover_add(h, "plan %u %u %u %u %u %u%.*s", number, b->memory->number, b->claim->number,
		     b->pidfile ? b->pidfile->number : 0, b->control ? b->control->number : 0,
		     plan->kinds[KIND_WORKER].beat_timeout_ms, (int)addresses.len,
		     addresses.data ? addresses.data : "");
	buf_release(&addresses);
}

static int adopt(void *arg, struct handover *h, struct err *err)
{
	struct service *s = arg;
	return shares_adopt(&s->shares, h, err);
}

static void adopt_addresses(struct service *s, struct blueprint *b, const char *at)
{
	unsigned number;
	int len;
	while (b->address_count < ADDRESSES_MAX && sscanf(at, "%u%n", &number, &len) == 1) {
		struct share *address = shares_find(&s->shares, SHARE_ADDRESS, number);
		if (address)
			add_address(b, address);
		at += len;
	}
}

static int adopt_plan(void *arg, struct master_plan *plan, unsigned number, struct handover *h,
		      struct err *err)
{
	struct service *s = arg;
	for (size_t i = 0; i < h->line_count; i++) {
		unsigned found, memory, claim, pidfile, control, timeout_ms;
		int at = 0;
		const char *line = handover_line(h, i, "plan");
		if (!line ||
		    sscanf(line, "%u %u %u %u %u %u%n", &found, &memory, &claim, &pidfile, &control,
			   &timeout_ms, &at) != 6 ||
		    found != number)
			continue;
		struct blueprint *b = alloc_zeroed(1, sizeof(*b));
		*plan = (struct master_plan){.own = b};
		b->memory = shares_find(&s->shares, SHARE_MEMORY, memory);
		b->claim = shares_find(&s->shares, SHARE_CLAIM, claim);
		b->pidfile = shares_find(&s->shares, SHARE_PIDFILE, pidfile);
		b->control = shares_find(&s->shares, SHARE_ADDRESS, control);
		plan->control_fd = b->control ? b->control->listener.fd : -1;
		if (!b->memory || !b->claim) {
			release(s, plan);
			break;
		}
		b->workers.pages = &b->memory->pages;
		adopt_addresses(s, b, line + at);
		fill_kinds(plan, b, timeout_ms);
		return 0;
	}
	return err_set(err, EXIT_CODE_INTERNAL, "generation %u was not handed over", number);
}

static void settle(void *arg)
{
	struct service *s = arg;
	shares_settle(&s->shares);
}

/* ---- the whole */

/* To its hard limit, for this process and what it forks: connections, and a bell for each worker. What it is
 * then counts, whether this worked or not. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* An upgrade goes on with what the first start has found: the file may have been replaced again by now. */
static char *find_program(const struct service_settings *settings)
{
	const struct handover *h = settings->from;
	for (size_t i = 0; h && i < h->line_count; i++) {
		const char *path = handover_line(h, i, "program");
		if (path)
			return alloc_string(slice_of(path));
	}
	return program_path(settings->argv[0]);
}

int service_run(const struct service_settings *settings, struct err *err)
{
	static const struct master_ops ops = {
	    .prove = prove,
	    .plan = make_plan,
	    .take_over = take_over,
	    .stop_listening = stop_listening,
	    .release = release,
	    .reopen = reopen,
	    .describe = describe,
	    .hand_over = hand_over,
	    .hand_over_plan = hand_over_plan,
	    .stay = stay,
	    .adopt = adopt,
	    .adopt_plan = adopt_plan,
	    .settle = settle,
	};
	struct service s = {.settings = settings};
	char *program = find_program(settings);
	const struct master_settings master = {
	    .ops = &ops,
	    .arg = &s,
	    .program = program,
	    .argv = settings->argv,
	    .from = settings->from,
	};
	raise_descriptor_limit();
	int result = master_run(&master, err);
	free(program);
	return result;
}
