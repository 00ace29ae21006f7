/*
 * A driver that wraps a store and fails its nth call: before acting (nothing was done), or after (the work is
 * done and the answer lost). Reads and begin say STORE_UNAVAILABLE either way, a write that was done says
 * STORE_UNKNOWN.
 *
 *     struct failing_store failing;
 *     failing_store_init(&failing, inner);
 *     failing.fail_at = 3;
 *     struct store_session *session = store_session_open(&failing.base, STORE_WRITE);
 */
#ifndef TESTS_FAILING_STORE_H
#define TESTS_FAILING_STORE_H

#include "store/store.h"

#include <stdlib.h>

struct failing_store {
	struct store base;
	struct store *inner; /* borrowed */
	unsigned fail_at;    /* which call fails, from 1; 0: none */
	bool acts_first;
	unsigned calls; /* made so far, over all sessions */
};

struct failing_session {
	struct store_session base;
	struct failing_store *store;
	struct store_session *inner;
	const char *error;
};

static inline struct failing_session *failing_session_of(struct store_session *session)
{
	return (struct failing_session *)session;
}

static inline bool failing_is_due(struct failing_session *s)
{
	bool is_due = ++s->store->calls == s->store->fail_at;
	s->error = is_due ? "made to fail" : NULL;
	return is_due;
}

static inline struct store_session *failing_session_open(struct store *store, enum store_access access)
{
	struct failing_session *s = alloc_zeroed(1, sizeof(*s));
	s->store = (struct failing_store *)store;
	s->base.ops = store->ops;
	s->base.access = access;
	s->inner = store_session_open(s->store->inner, access);
	return &s->base;
}

static inline void failing_session_close(struct store_session *session)
{
	store_session_close(failing_session_of(session)->inner);
	free(session);
}

static inline enum store_status failing_begin(struct store_session *session)
{
	struct failing_session *s = failing_session_of(session);
	if (!failing_is_due(s))
		return store_begin(s->inner);
	if (s->store->acts_first && store_begin(s->inner) == STORE_OK)
		store_end(s->inner);
	return STORE_UNAVAILABLE;
}

static inline void failing_end(struct store_session *session)
{
	store_end(failing_session_of(session)->inner);
}

static inline enum store_status failing_ping(struct store_session *session)
{
	struct failing_session *s = failing_session_of(session);
	return failing_is_due(s) ? STORE_UNAVAILABLE : store_ping(s->inner);
}

static inline enum store_status failing_id(struct store_session *session, struct uuid *id)
{
	struct failing_session *s = failing_session_of(session);
	return failing_is_due(s) ? STORE_UNAVAILABLE : store_id(s->inner, id);
}

/* Acting first leaves a filled page behind: nobody may see it. */
static inline enum store_status failing_page(struct store_session *session,
					     const struct store_page_query *query, struct todo_page *page)
{
	struct failing_session *s = failing_session_of(session);
	bool is_due = failing_is_due(s);
	enum store_status status = STORE_UNAVAILABLE;
	if (!is_due || s->store->acts_first)
		status = store_page(s->inner, query, page);
	return is_due ? STORE_UNAVAILABLE : status;
}

static inline enum store_status failing_get(struct store_session *session, const struct uuid *id,
					    struct todo_page *page)
{
	struct failing_session *s = failing_session_of(session);
	bool is_due = failing_is_due(s);
	enum store_status status = STORE_UNAVAILABLE;
	if (!is_due || s->store->acts_first)
		status = store_get(s->inner, id, page);
	return is_due ? STORE_UNAVAILABLE : status;
}

static inline void failing_write(struct store_session *session, struct store_write **writes, size_t count)
{
	struct failing_session *s = failing_session_of(session);
	bool is_due = failing_is_due(s), acts = !is_due || s->store->acts_first;
	if (acts)
		store_write(s->inner, writes, count);
	for (size_t i = 0; is_due && i < count; i++)
		writes[i]->status = acts ? STORE_UNKNOWN : STORE_UNAVAILABLE;
}

static inline const char *failing_error(const struct store_session *session)
{
	const struct failing_session *s = (const struct failing_session *)session;
	return s->error ? s->error : store_error(s->inner);
}

static inline void failing_store_init(struct failing_store *store, struct store *inner)
{
	static const struct store_ops ops = {
	    .name = "failing",
	    .session_open = failing_session_open,
	    .session_close = failing_session_close,
	    .begin = failing_begin,
	    .end = failing_end,
	    .ping = failing_ping,
	    .id = failing_id,
	    .page = failing_page,
	    .get = failing_get,
	    .write = failing_write,
	    .error = failing_error,
	};
	*store = (struct failing_store){.base.ops = &ops, .inner = inner};
}

#endif
