#include "store/store.h"

#include "base/log.h"
#include "store/driver.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct store_ops *const drivers[] = {&sqlite_ops, &mongo_ops};

const struct store_ops *store_ops_find(const char *uri)
{
	for (size_t i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++)
		for (const char *const *scheme = drivers[i]->schemes; *scheme; scheme++)
			if (strncmp(uri, *scheme, strlen(*scheme)) == 0)
				return drivers[i];
	return NULL;
}

const char *store_library(size_t i)
{
	return i < sizeof(drivers) / sizeof(drivers[0]) ? drivers[i]->library() : NULL;
}

/* Like store_ops_find, but it says what is wrong, without the URI: there may be a password in it. */
static const struct store_ops *find(const char *uri, struct err *err)
{
	const struct store_ops *ops = store_ops_find(uri);
	if (!ops)
		err_set(err, EXIT_CODE_CONFIG,
			"a store is sqlite:PATH or a URI that starts with mongodb:// or mongodb+srv://");
	return ops;
}

int store_check(const char *uri, struct err *err)
{
	const struct store_ops *ops = find(uri, err);
	return ops ? ops->check(uri, err) : -1;
}

int store_claim(const char *uri, struct err *err)
{
	const struct store_ops *ops = find(uri, err);
	return ops ? ops->claim(uri, err) : -1;
}

bool store_claim_begins(int claim)
{
	struct stat st;
	bool is_left = fstat(claim, &st) == 0 && st.st_size > 0;
	if (!is_left && pwrite(claim, "\n", 1, 0) != 1)
		log_warn("a claim cannot be written down: %s", strerror(errno));
	return is_left;
}

void store_claim_ends(int claim)
{
	if (ftruncate(claim, 0) != 0)
		log_warn("a claim cannot be given back: %s", strerror(errno));
}

int store_setup(const struct store_settings *settings, struct err *err)
{
	const struct store_ops *ops = find(settings->uri, err);
	return ops ? ops->setup(settings, err) : -1;
}

void store_inspect(const struct store_settings *settings, struct report *report)
{
	struct err err;
	const struct store_ops *ops = find(settings->uri, &err);
	if (ops)
		ops->inspect(settings, report);
	else
		report_fail(report, err.code, "store", "%s", err.text);
}

void store_report_space(struct report *report, double free_bytes, double total_bytes)
{
	static const double gib = 1 << 30;
	static const char advice[] = "make room: a full disk answers writes with 507";
	double free_gib = free_bytes / gib, total_gib = total_bytes / gib;
	if (free_bytes < STORE_SPACE_FAIL_BYTES)
		report_fail(report, EXIT_CODE_UNAVAILABLE, "disk space", "%.2f GiB of %.1f GiB are free; %s",
			    free_gib, total_gib, advice);
	else if (free_bytes < STORE_SPACE_WARN_BYTES)
		report_warn(report, "disk space", "%.2f GiB of %.1f GiB are free; %s", free_gib, total_gib,
			    advice);
	else
		report_ok(report, "disk space", "%.1f GiB of %.1f GiB are free", free_gib, total_gib);
}

struct store *store_open(const struct store_settings *settings, struct err *err)
{
	const struct store_ops *ops = find(settings->uri, err);
	struct store *store = ops ? ops->open(settings, err) : NULL;
	assert(!store || store->ops == ops);
	return store;
}

void store_close(struct store *store)
{
	if (store)
		store->ops->close(store);
}

struct store_session *store_session_open(struct store *store, enum store_access access)
{
	struct store_session *session = store->ops->session_open(store, access);
	assert(session && session->ops == store->ops && session->access == access && !session->has_begun);
	return session;
}

void store_session_close(struct store_session *session)
{
	if (!session)
		return;
	assert(!session->has_begun);
	session->ops->session_close(session);
}

enum store_status store_begin(struct store_session *session)
{
	assert(!session->has_begun);
	enum store_status status = session->ops->begin(session);
	assert(status == STORE_OK || status == STORE_UNAVAILABLE);
	session->has_begun = status == STORE_OK;
	return status;
}

void store_end(struct store_session *session)
{
	assert(session->has_begun);
	session->has_begun = false;
	session->ops->end(session);
}

enum store_status store_ping(struct store_session *session)
{
	assert(session->has_begun);
	enum store_status status = session->ops->ping(session);
	assert(status == STORE_OK || status == STORE_UNAVAILABLE);
	return status;
}

enum store_status store_id(struct store_session *session, struct uuid *id)
{
	assert(session->has_begun);
	enum store_status status = session->ops->id(session, id);
	assert(status == STORE_OK || status == STORE_UNAVAILABLE);
	return status;
}

/* Nothing of a page that failed half-way gets out. */
static enum store_status finish_page(struct todo_page *page, enum store_status status)
{
	if (status != STORE_OK) {
		page->count = 0;
		page->has_more = false;
		buf_clear(&page->content);
	}
	todo_page_seal(page);
	return status;
}

enum store_status store_page(struct store_session *session, const struct store_page_query *query,
			     struct todo_page *page)
{
	assert(session->has_begun);
	assert(query->count >= 1 && query->count <= STORE_PAGE_MAX);
	assert(!query->has_after || query->start == 0);
	assert(page->count == 0 && page->content.len == 0);
	enum store_status status = session->ops->page(session, query, page);
	assert(status == STORE_OK || status == STORE_UNAVAILABLE);
	assert(status != STORE_OK || page->count <= query->count);
	assert(status != STORE_OK || !page->has_more || page->count == query->count);
	return finish_page(page, status);
}

enum store_status store_get(struct store_session *session, const struct uuid *id, struct todo_page *page)
{
	assert(session->has_begun);
	assert(page->count == 0 && page->content.len == 0);
	enum store_status status = session->ops->get(session, id, page);
	assert(status == STORE_OK || status == STORE_NOT_FOUND || status == STORE_UNAVAILABLE);
	assert(status != STORE_OK || (page->count == 1 && uuid_compare_to(&page->todos[0].id, id) == 0));
	return finish_page(page, status);
}

/* What a driver may say of a write. */
static bool may_answer(enum store_write_kind kind, enum store_status status)
{
	switch (status) {
	case STORE_OK:
	case STORE_UNAVAILABLE:
	case STORE_FULL:
	case STORE_UNKNOWN: return true;
	case STORE_NOT_FOUND: return kind != STORE_INSERT;
	}
	return false;
}

void store_write(struct store_session *session, struct store_write **writes, size_t count)
{
	/* No status at all, so that a driver that forgets a write is found out. */
	const enum store_status none = (enum store_status)(STORE_UNKNOWN + 1);
	assert(session->has_begun && session->access == STORE_WRITE);
	assert(count > 0);
	for (size_t i = 0; i < count; i++)
		writes[i]->status = none;
	session->ops->write(session, writes, count);
	for (size_t i = 0; i < count; i++)
		assert(may_answer(writes[i]->kind, writes[i]->status));
}

const char *store_error(const struct store_session *session)
{
	return session->ops->error(session);
}

uint32_t store_doubt_ms(const struct store_settings *settings)
{
	const struct store_ops *ops = store_ops_find(settings->uri);
	assert(ops);
	return ops->doubt_ms ? ops->doubt_ms(settings) : 0;
}

unsigned store_delete_threads(const struct store *store)
{
	return store->ops->delete_threads;
}

uint32_t store_rows_per_query(const struct store *store)
{
	return store->ops->rows_per_query;
}
