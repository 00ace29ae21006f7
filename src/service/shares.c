#include "service/shares.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "config/config.h"
#include "net/activation.h"
#include "store/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	SHARES_BELLS_MAX = PAGE_PLACES_MAX + 2,
	SHARES_ORPHANS_S = 7, /* WORKER_ORPHAN_DRAIN_MS, and time to leave */
};

static struct share *add(struct shares *s, enum share_kind kind, unsigned number, const char *name)
{
	struct share *share = alloc_zeroed(1, sizeof(*share));
	share->kind = kind;
	share->number = number;
	share->users = 1;
	share->name = alloc_string(slice_of(name));
	share->listener.fd = share->claim = share->pages.shm.fd = share->pidfile.fd = -1;
	share->next = s->list;
	s->list = share;
	if (s->last_number < number)
		s->last_number = number;
	return share;
}

static struct share *use(struct share *share)
{
	share->users++;
	return share;
}

static void free_share(struct shares *s, struct share *share)
{
	struct share **at = &s->list;
	while (*at != share)
		at = &(*at)->next;
	*at = share->next;
	if (share->kind == SHARE_ADDRESS)
		listener_close(&share->listener, true);
	if (share->claim >= 0) {
		/* Who comes next has to know of them as well. */
		if (clock_monotonic_ns() >= share->orphans_until_ns)
			store_claim_ends(share->claim);
		close(share->claim);
	}
	if (share->kind == SHARE_PIDFILE)
		pidfile_close(&share->pidfile);
	if (share->kind == SHARE_MEMORY && !share->is_foreign)
		page_memory_close(&share->pages);
	if (share->has_census)
		census_close(&share->census);
	if (share->kind == SHARE_RATE_LIMIT && share->rate_limit.sets)
		rate_limit_close(&share->rate_limit);
	free(share->cache);
	free(share->name);
	free(share);
}

void shares_drop(struct shares *s, struct share *share)
{
	if (!share || --share->users > 0)
		return;
	enum share_kind kind = share->kind;
	free_share(s, share);
	if (kind == SHARE_MEMORY)
		shares_set_rivals(s);
}

/* ---- addresses */

static bool is_among(const struct share *share, const struct share *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (list[i] == share)
			return true;
	return false;
}

struct share *shares_address(struct shares *s, const char *text, bool is_admin,
			     const struct listener_rights *rights, const struct share *const *taken,
			     size_t taken_count, struct err *err)
{
	for (struct share *share = s->list; share; share = share->next)
		if (share->kind == SHARE_ADDRESS && !share->is_control && share->is_admin == is_admin &&
		    strcmp(share->name, text) == 0 && !is_among(share, taken, taken_count))
			return use(share);
	struct listen_address address;
	struct listener listener;
	if (config_parse_listen(&address, text, err) != 0 ||
	    listener_open(&listener, address.host, address.port, address.is_unix ? address.host : NULL,
			  rights, err) != 0)
		return NULL;
	log_info(is_admin ? "listening on %s for operators" : "listening on %s", listener.name);
	struct share *share = add(s, SHARE_ADDRESS, s->last_number + 1, text);
	share->listener = listener;
	share->is_admin = is_admin;
	share->rights = *rights;
	return share;
}

/* Nobody's any more: as the process creates a file. */
static struct listener_rights fill_in(const struct listener_rights *rights, const struct listener_rights *old)
{
	struct listener_rights all = *rights;
	if (all.uid == (uid_t)-1 && old->uid != (uid_t)-1)
		all.uid = geteuid();
	if (all.gid == (gid_t)-1 && old->gid != (gid_t)-1)
		all.gid = getegid();
	return all;
}

void shares_set_rights(struct share *address, const struct listener_rights *rights)
{
	struct listener_rights *old = &address->rights, all = fill_in(rights, old);
	struct err err;
	if (old->mode == rights->mode && old->uid == rights->uid && old->gid == rights->gid)
		return;
	if (listener_set_rights(&address->listener, &all, &err) == 0)
		*old = *rights;
	else
		log_warn("%s", err.text);
}

struct share *shares_control(struct shares *s, const char *path, struct err *err)
{
	const struct listener_rights rights = {.mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1};
	for (struct share *share = s->list; share; share = share->next)
		if (share->is_control && strcmp(share->name, path) == 0)
			return use(share);
	struct listener listener;
	if (listener_open(&listener, NULL, NULL, path, &rights, err) != 0)
		return NULL;
	struct share *share = add(s, SHARE_ADDRESS, s->last_number + 1, path);
	share->listener = listener;
	share->is_control = true;
	return share;
}

static int take_passed(struct shares *s, struct share **addresses, size_t max, struct err *err)
{
	struct listener *listeners = alloc_zeroed(max, sizeof(*listeners));
	size_t count;
	int result = activation_adopt(listeners, max, &count, err);
	if (result == 0 && count > 0)
		log_info("the service manager has passed %zu sockets: they take the place of listen", count);
	for (size_t i = 0; result == 0 && i < count; i++) {
		log_info("listening on %s", listeners[i].name);
		addresses[i] = add(s, SHARE_ADDRESS, s->last_number + 1, listeners[i].name);
		addresses[i]->listener = listeners[i];
		addresses[i]->is_passed = true;
	}
	free(listeners);
	return result == 0 ? (int)count : -1;
}

int shares_passed(struct shares *s, bool is_first, struct share **addresses, size_t max, struct err *err)
{
	if (is_first)
		return take_passed(s, addresses, max, err);
	size_t count = 0;
	for (struct share *share = s->list; share && count < max; share = share->next)
		if (share->is_passed)
			addresses[count++] = use(share);
	return (int)count;
}

/* ---- pidfiles */

struct share *shares_pidfile(struct shares *s, const char *path, struct err *err)
{
	for (struct share *share = s->list; share; share = share->next)
		if (share->kind == SHARE_PIDFILE && strcmp(share->name, path) == 0)
			return use(share);
	struct share *share = add(s, SHARE_PIDFILE, s->last_number + 1, path);
	if (pidfile_open(&share->pidfile, share->name, err) == 0)
		return share;
	shares_drop(s, share);
	return NULL;
}

/* ---- claims */

struct share *shares_claim(struct shares *s, const char *store, struct err *err)
{
	for (struct share *share = s->list; share; share = share->next)
		if (share->kind == SHARE_CLAIM && strcmp(share->name, store) == 0)
			return use(share);
	int claim = store_claim(store, err);
	if (claim == -1)
		return NULL;
	struct share *share = add(s, SHARE_CLAIM, s->last_number + 1, store);
	share->claim = claim >= 0 ? claim : -1;
	if (claim >= 0 && store_claim_begins(claim)) {
		log_info(
		    "the last todod here did not come to its end: first pages come from the store for %d s",
		    SHARES_ORPHANS_S);
		share->orphans_until_ns = clock_monotonic_ns() + SHARES_ORPHANS_S * INT64_C(1000000000);
	}
	return share;
}

/* ---- limits */

struct share *shares_rate_limit(struct shares *s, uint32_t rate, uint32_t burst, struct err *err)
{
	char name[32];
	(void)snprintf(name, sizeof(name), "%u/s, %u", rate, burst);
	for (struct share *share = s->list; share; share = share->next)
		if (share->kind == SHARE_RATE_LIMIT && strcmp(share->name, name) == 0)
			return use(share);
	struct share *share = add(s, SHARE_RATE_LIMIT, s->last_number + 1, name);
	if (rate_limit_open(&share->rate_limit, rate, burst, err) == 0)
		return share;
	shares_drop(s, share);
	return NULL;
}

int shares_open_census(struct share *memory, struct err *err)
{
	if (memory->has_census)
		return 0;
	if (census_open(&memory->census, memory->pages.worker_count, err) != 0)
		return -1;
	memory->has_census = true;
	return 0;
}

/* ---- memories */

unsigned shares_memory_places(const struct share *memory)
{
	return memory->pages.worker_count > 0 ? memory->pages.worker_count - 1 : 0;
}

struct share *shares_memory(struct shares *s, const char *store, const char *cache, unsigned workers,
			    uint32_t doubt_ms, struct err *err)
{
	for (struct share *share = s->list; share; share = share->next)
		if (share->kind == SHARE_MEMORY && !share->is_foreign && strcmp(share->name, store) == 0 &&
		    strcmp(share->cache, cache) == 0 &&
		    page_places(workers) <=
			shares_memory_places(share) + page_places(0)) { /* fewer spare ones do */
			page_memory_doubt(&share->pages, doubt_ms);
			return use(share);
		}
	struct page_memory pages;
	if (page_memory_open(&pages, page_places(workers), doubt_ms, err) != 0)
		return NULL;
	struct share *share = add(s, SHARE_MEMORY, s->last_number + 1, store);
	share->cache = alloc_string(slice_of(cache));
	share->pages = pages;
	return share;
}

static unsigned count_memories(const struct shares *s)
{
	unsigned count = 0;
	for (const struct share *share = s->list; share; share = share->next)
		count += share->kind == SHARE_MEMORY;
	return count;
}

static void for_each_memory(struct shares *s, void (*act)(struct page_memory *m))
{
	for (struct share *share = s->list; share; share = share->next)
		if (share->kind == SHARE_MEMORY && !share->is_foreign)
			act(&share->pages);
}

void shares_set_rivals(struct shares *s)
{
	for_each_memory(s, count_memories(s) > 1 ? page_rivals_begin : page_rivals_end);
}

/* ---- across an upgrade */

/* One line for each fact that may have blanks in it; the number ties them together. */
static void hand_over_address(const struct share *share, struct handover *h)
{
	const struct listener *l = &share->listener;
	handover_add(h, "address %u %d %" PRIu64 " %" PRIu64 " %d %d %d", share->number,
		     handover_fd(h, l->fd), (uint64_t)l->device, (uint64_t)l->inode, share->is_passed,
		     share->is_control, share->is_admin);
	handover_add(h, "address-rights %u %o %d %d", share->number, share->rights.mode,
		     (int)share->rights.uid, (int)share->rights.gid);
	handover_add(h, "address-text %u %s", share->number, share->name);
	handover_add(h, "address-name %u %s", share->number, l->name);
	handover_add(h, "address-path %u %s", share->number, l->path);
}

static void hand_over_claim(const struct share *share, struct handover *h)
{
	handover_add(h, "claim %u %d", share->number, share->claim >= 0 ? handover_fd(h, share->claim) : -1);
	handover_add(h, "claim-store %u %s", share->number, share->name);
}

static void hand_over_pidfile(const struct share *share, struct handover *h)
{
	handover_add(h, "pidfile %u %d", share->number, handover_fd(h, share->pidfile.fd));
	handover_add(h, "pidfile-path %u %s", share->number, share->name);
}

static void hand_over_memory(const struct share *share, struct handover *h)
{
	const struct page_memory *m = &share->pages;
	bool is_foreign = share->is_foreign;
	char machine[UUID_TEXT_BYTES];
	struct buf bells = BUF_INIT;
	uuid_to_text(&m->machine, machine);
	for (size_t i = 0; i < m->bell_count; i++)
		buf_printf(&bells, " %d", handover_fd(h, m->bells[i]));
	handover_add(h, "memory %u %d %zu %" PRIu64 " %u %.*s", share->number,
		     is_foreign ? -1 : handover_fd(h, m->shm.fd), m->shm.size,
		     is_foreign ? 0 : page_memory_layout(), m->worker_count, UUID_TEXT_BYTES, machine);
	handover_add(h, "memory-bells %u%.*s", share->number, (int)bells.len, bells.data);
	handover_add(h, "memory-store %u %s", share->number, share->name);
	handover_add(h, "memory-cache %u %s", share->number, share->cache);
	buf_release(&bells);
}

void shares_hand_over(struct shares *s, struct handover *h)
{
	/* Should the other program lay out the page otherwise, it could not say this any more. */
	for_each_memory(s, page_rivals_begin);
	static void (*const hand_over[SHARE_KINDS])(const struct share *share, struct handover *h) = {
	    [SHARE_ADDRESS] = hand_over_address,
	    [SHARE_CLAIM] = hand_over_claim,
	    [SHARE_MEMORY] = hand_over_memory,
	    [SHARE_PIDFILE] = hand_over_pidfile,
	};
	for (const struct share *share = s->list; share; share = share->next)
		if (hand_over[share->kind])
			hand_over[share->kind](share, h);
}

void shares_stay(struct shares *s)
{
	if (count_memories(s) == 1)
		for_each_memory(s, page_rivals_cancel);
}

/* What follows on the line of that word and number; "" when there is none. */
static const char *find_fact(const struct handover *h, const char *word, unsigned number)
{
	for (size_t i = 0; i < h->line_count; i++) {
		const char *line = handover_line(h, i, word);
		unsigned found;
		int at = 0;
		if (line && sscanf(line, "%u %n", &found, &at) == 1 && found == number)
			return line + at;
	}
	return "";
}

static int adopt_address(struct shares *s, struct handover *h, const char *line, struct err *err)
{
	unsigned number;
	int fd, is_passed, is_control, is_admin = 0; /* older programs do not say the last */
	int uid, gid;
	unsigned mode;
	uint64_t device, inode;
	int found = sscanf(line, "%u %d %" SCNu64 " %" SCNu64 " %d %d %d", &number, &fd, &device, &inode,
			   &is_passed, &is_control, &is_admin);
	if (found < 6 || (fd = handover_take(h, fd)) < 0)
		return err_set(err, EXIT_CODE_INTERNAL, "an address was not handed over: %s", line);
	struct share *share = add(s, SHARE_ADDRESS, number, find_fact(h, "address-text", number));
	struct listener *l = &share->listener;
	share->is_passed = is_passed != 0;
	share->is_control = is_control != 0;
	share->is_admin = is_admin != 0;
	if (sscanf(find_fact(h, "address-rights", number), "%o %d %d", &mode, &uid, &gid) == 3)
		share->rights = (struct listener_rights){mode, (uid_t)uid, (gid_t)gid};
	l->fd = fd;
	l->device = (dev_t)device;
	l->inode = (ino_t)inode;
	(void)snprintf(l->name, sizeof(l->name), "%s", find_fact(h, "address-name", number));
	(void)snprintf(l->path, sizeof(l->path), "%s", find_fact(h, "address-path", number));
	return 0;
}

static int adopt_claim(struct shares *s, struct handover *h, const char *line, struct err *err)
{
	unsigned number;
	int fd;
	int found = sscanf(line, "%u %d", &number, &fd); /* -1: its store needs none */
	if (found != 2 || (fd != -1 && (fd = handover_take(h, fd)) < 0))
		return err_set(err, EXIT_CODE_INTERNAL, "a claim was not handed over: %s", line);
	add(s, SHARE_CLAIM, number, find_fact(h, "claim-store", number))->claim = fd;
	return 0;
}

static int adopt_pidfile(struct shares *s, struct handover *h, const char *line, struct err *err)
{
	unsigned number;
	int fd;
	int found = sscanf(line, "%u %d", &number, &fd);
	if (found != 2 || (fd = handover_take(h, fd)) < 0)
		return err_set(err, EXIT_CODE_INTERNAL, "a pidfile was not handed over: %s", line);
	struct share *share = add(s, SHARE_PIDFILE, number, find_fact(h, "pidfile-path", number));
	share->pidfile = (struct pidfile){.fd = fd, .path = share->name};
	return 0;
}

static size_t read_bells(const char *at, int bells[SHARES_BELLS_MAX])
{
	size_t count = 0;
	int len;
	while (count < SHARES_BELLS_MAX && sscanf(at, "%d%n", &bells[count], &len) == 1) {
		count++;
		at += len;
	}
	return count;
}

static bool take_all(struct handover *h, const int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (handover_take(h, fds[i]) < 0) {
			while (i-- > 0)
				close(fds[i]);
			return false;
		}
	return true;
}

/* fds: of the memory, and of its bells. */
static bool adopt_pages(struct share *share, struct handover *h, int fd, size_t size, unsigned worker_count,
			const char *machine)
{
	static int fds[1 + SHARES_BELLS_MAX];
	struct uuid id;
	struct err err;
	size_t count = 1 + read_bells(find_fact(h, "memory-bells", share->number), fds + 1);
	fds[0] = fd;
	if (count != (size_t)worker_count + 2 || uuid_from_text(&id, slice_of(machine)) != 0 ||
	    !take_all(h, fds, count))
		return false;
	if (page_memory_adopt(&share->pages, fd, size, fds + 1, worker_count, &id, &err) == 0)
		return true;
	for (size_t i = 0; i < count; i++)
		close(fds[i]);
	return false;
}

static int adopt_memory(struct shares *s, struct handover *h, const char *line, struct err *err)
{
	unsigned number, worker_count;
	int fd, at = 0;
	size_t size;
	uint64_t layout;
	int found =
	    sscanf(line, "%u %d %zu %" SCNu64 " %u %n", &number, &fd, &size, &layout, &worker_count, &at);
	if (found != 5)
		return err_set(err, EXIT_CODE_INTERNAL, "a page was not handed over: %s", line);
	struct share *share = add(s, SHARE_MEMORY, number, find_fact(h, "memory-store", number));
	share->cache = alloc_string(slice_of(find_fact(h, "memory-cache", number)));
	share->is_foreign =
	    layout != page_memory_layout() || !adopt_pages(share, h, fd, size, worker_count, line + at);
	return 0;
}

/* Nobody looks after the old workers any more, and they write for a while yet: no claim ends well. */
static int give_up(struct shares *s)
{
	for (struct share *share = s->list; share; share = share->next)
		share->orphans_until_ns = INT64_MAX;
	shares_settle(s);
	return -1;
}

int shares_adopt(struct shares *s, struct handover *h, struct err *err)
{
	static const struct {
		const char *word;
		int (*adopt)(struct shares *s, struct handover *h, const char *line, struct err *err);
	} table[] = {
	    {"address", adopt_address},
	    {"claim",   adopt_claim  },
	    {"memory",  adopt_memory },
	    {"pidfile", adopt_pidfile},
	};
	for (size_t i = 0; i < h->line_count; i++)
		for (size_t k = 0; k < sizeof(table) / sizeof(table[0]); k++) {
			const char *line = handover_line(h, i, table[k].word);
			if (line && table[k].adopt(s, h, line, err) != 0)
				return give_up(s);
		}
	shares_stay(s);
	return 0;
}

struct share *shares_find(struct shares *s, enum share_kind kind, unsigned number)
{
	for (struct share *share = s->list; share; share = share->next)
		if (share->kind == kind && share->number == number)
			return use(share);
	return NULL;
}

void shares_settle(struct shares *s)
{
	for (struct share *share = s->list, *next; share; share = next) {
		next = share->next;
		shares_drop(s, share);
	}
}
