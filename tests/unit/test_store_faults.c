/*
 * Every call of a small session fails once, before acting and after. Whatever fails: what was acknowledged is
 * there exactly once, what was refused is not there, and what is unknown is either.
 */
#include "store_fixture.h"

#include "failing_store.h"
#include "todo/todo_json.h"

enum { IDS = 6, NOT_ASKED = -1 };

/* What a client was told of each id's insert, finish and delete: an enum store_status, or NOT_ASKED. */
struct history {
	int inserted[IDS], finished[IDS], deleted[IDS];
};

static int *told(struct history *history, const struct store_write *write)
{
	int *lists[] = {[STORE_INSERT] = history->inserted,
			[STORE_FINISH] = history->finished,
			[STORE_DELETE] = history->deleted};
	return &lists[write->kind][write->todo.id.bytes[15]];
}

/* One batch; a begin that fails refuses all of it. */
static void write_batch(struct store_session *session, struct history *history, struct store_write *writes,
			size_t count)
{
	struct store_write *pointers[IDS];
	for (size_t i = 0; i < count; i++)
		pointers[i] = &writes[i];
	bool has_begun = store_begin(session) == STORE_OK;
	if (has_begun) {
		store_write(session, pointers, count);
		store_end(session);
	}
	for (size_t i = 0; i < count; i++) {
		*told(history, &writes[i]) = has_begun ? (int)writes[i].status : STORE_UNAVAILABLE;
		buf_release(&writes[i].content);
	}
}

static void read_something(struct store_session *session)
{
	const struct store_page_query query = {.count = 10};
	const struct uuid id = fixture_id(0);
	if (store_begin(session) != STORE_OK) {
		assert_string_not_equal(store_error(session), "");
		return;
	}
	(void)store_ping(session);
	(void)store_id(session, &(struct uuid){{0}});
	struct todo_page *page = todo_page_new();
	if (store_page(session, &query, page) != STORE_OK) {
		assert_int_equal(page->count, 0);
		assert_int_equal(todo_page_json(page).len, SLICE("{\"data\": []}").len);
	}
	todo_page_drop(page);
	page = todo_page_new();
	if (store_get(session, &id, page) != STORE_OK)
		assert_int_equal(page->count, 0);
	todo_page_drop(page);
	store_end(session);
}

static void run_session(struct store *store, struct history *history)
{
	struct store_session *writer = store_session_open(store, STORE_WRITE);
	struct store_session *reader = store_session_open(store, STORE_READ);
	struct store_write first[] = {fixture_insert(0, 0, "0"), fixture_insert(1, 1, "1"),
				      fixture_insert(2, 2, "2"), fixture_insert(3, 3, "3")};
	struct store_write second[] = {fixture_finish(0, 50), fixture_delete(1), fixture_insert(4, 4, "4")};
	struct store_write third[] = {fixture_delete(2), fixture_finish(3, 51), fixture_delete(4)};
	struct store_write fourth[] = {fixture_insert(5, 5, "5")};
	write_batch(writer, history, first, 4);
	read_something(reader);
	write_batch(writer, history, second, 3);
	write_batch(writer, history, third, 3);
	write_batch(writer, history, fourth, 1);
	store_session_close(reader);
	store_session_close(writer);
}

/* Compares what is there with what was told of one id. */
static void check_id(const struct history *history, const struct todo_page *page, uint32_t number)
{
	int inserted = history->inserted[number], finished = history->finished[number],
	    deleted = history->deleted[number];
	const struct uuid id = fixture_id(number);
	const struct todo *found = NULL;
	for (size_t i = 0; i < page->count; i++) {
		if (uuid_compare_to(&page->todos[i].id, &id) != 0)
			continue;
		assert_null(found); /* at most once */
		found = &page->todos[i];
	}
	if (inserted == STORE_UNAVAILABLE || deleted == STORE_OK)
		assert_null(found);
	if (inserted == STORE_OK && (deleted == NOT_ASKED || deleted == STORE_UNAVAILABLE))
		assert_non_null(found);
	if (inserted == STORE_OK)
		assert_true(deleted != STORE_NOT_FOUND && finished != STORE_NOT_FOUND);
	if (inserted == STORE_UNAVAILABLE)
		assert_true(deleted != STORE_OK && finished != STORE_OK);
	if (found && finished == STORE_OK)
		assert_true(found->is_finished);
	if (found && (finished == NOT_ASKED || finished == STORE_UNAVAILABLE))
		assert_false(found->is_finished);
}

static void check_all(struct store_session *reader, const struct history *history)
{
	struct todo_page *page = fixture_page(reader, (struct store_page_query){.count = TODO_PAGE_MAX});
	assert_true(page->count <= IDS);
	for (uint32_t number = 0; number < IDS; number++)
		check_id(history, page, number);
	todo_page_drop(page);
}

static bool is_untouched(const struct history *history)
{
	for (int i = 0; i < IDS; i++)
		if (history->inserted[i] > STORE_OK || history->finished[i] > STORE_OK ||
		    history->deleted[i] > STORE_OK)
			return false;
	return true;
}

static void fail_every_call(bool acts_first)
{
	struct fixture_dir dir;
	fixture_dir_make(&dir, "todod.db");
	const struct store_settings settings = fixture_settings(dir.uri);
	struct store *inner = fixture_open(&settings);
	struct store_session *reader = store_session_open(inner, STORE_READ);
	struct store_session *writer = store_session_open(inner, STORE_WRITE);

	unsigned fail_at = 0;
	bool has_failed = true;
	while (has_failed) {
		struct failing_store failing;
		failing_store_init(&failing, inner);
		failing.fail_at = ++fail_at;
		failing.acts_first = acts_first;
		struct history history;
		memset(&history, 0xff, sizeof(history)); /* NOT_ASKED */
		run_session(&failing.base, &history);
		check_all(reader, &history);
		fixture_delete_all(writer, reader);
		has_failed = failing.calls >= fail_at;
		if (!has_failed)
			assert_true(is_untouched(&history));
	}
	/* Four batches of two calls, and the five calls of the reader. */
	assert_int_equal(fail_at, 4 * 2 + 5 + 1);

	store_session_close(writer);
	store_session_close(reader);
	store_close(inner);
	fixture_dir_remove(&dir);
}

static void calls_that_fail_before_acting(void **state)
{
	(void)state;
	fail_every_call(false);
}

static void calls_that_fail_after_acting(void **state)
{
	(void)state;
	fail_every_call(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(calls_that_fail_before_acting),
	    cmocka_unit_test(calls_that_fail_after_acting),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
