/*
 * What every driver has to do, as tests over the public functions of store/store.h. A driver's test calls
 * store_contract_run with the URI of a fresh database.
 */
#ifndef TESTS_STORE_CONTRACT_H
#define TESTS_STORE_CONTRACT_H

#include "store_fixture.h"

static struct contract {
	const char *uri, *other_uri;
	struct store_settings settings;
	struct store *store;
	struct store_session *reader, *writer;
} contract;

static void assert_content(const struct todo *todo, const char *expected)
{
	assert_int_equal(todo->content.len, strlen(expected));
	assert_memory_equal(todo->content.data, expected, todo->content.len);
}

static void assert_id(const struct todo *todo, uint32_t number)
{
	struct uuid expected = fixture_id(number);
	assert_memory_equal(todo->id.bytes, expected.bytes, UUID_BYTES);
}

/* The ids of a page, in order, and whether more follow. */
static void assert_page(struct store_page_query query, bool has_more, const uint32_t *numbers, size_t count)
{
	struct todo_page *page = fixture_page(contract.reader, query);
	assert_int_equal(page->count, count);
	for (size_t i = 0; i < count; i++)
		assert_id(&page->todos[i], numbers[i]);
	assert_int_equal(page->has_more, has_more);
	todo_page_drop(page);
}

#define ASSERT_PAGE(query, has_more, ...)                             \
	assert_page(query, has_more, (const uint32_t[]){__VA_ARGS__}, \
		    sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

static struct store_page_query from(uint32_t start, uint32_t count)
{
	return (struct store_page_query){.start = start, .count = count};
}

static struct store_page_query behind(uint32_t number, int64_t us, uint32_t count)
{
	return (struct store_page_query){
	    .count = count, .has_after = true, .after = {fixture_time(us), fixture_id(number)}
        };
}

static void insert(uint32_t number, int64_t us)
{
	assert_int_equal(fixture_write_one(contract.writer, fixture_insert(number, us, "todo")), STORE_OK);
}

/* ---- reading ---- */

static void contract_empty_list(void **state)
{
	(void)state;
	struct todo_page *page = fixture_page(contract.reader, from(0, 10));
	assert_int_equal(page->count, 0);
	assert_false(page->has_more);
	todo_page_drop(page);
	page = fixture_page(contract.reader, from(10000, 10));
	assert_int_equal(page->count, 0);
	todo_page_drop(page);
}

static void contract_ping(void **state)
{
	(void)state;
	assert_int_equal(store_begin(contract.reader), STORE_OK);
	assert_int_equal(store_ping(contract.reader), STORE_OK);
	store_end(contract.reader);
	assert_string_equal(store_error(contract.reader), "");
}

static struct uuid id_of_database(struct store_session *session)
{
	struct uuid id = {{0}};
	if (store_begin(session) != STORE_OK || store_id(session, &id) != STORE_OK)
		fail_msg("%s", store_error(session));
	assert_string_equal(store_error(session), "");
	store_end(session);
	return id;
}

/* One per database, whoever asks, from the first set-up on. */
static void contract_id(void **state)
{
	(void)state;
	const struct uuid none = {{0}};
	struct err err = {0};
	struct uuid id = id_of_database(contract.reader), again = id_of_database(contract.writer);
	assert_int_not_equal(uuid_compare_to(&id, &none), 0);
	assert_int_equal(uuid_compare_to(&id, &again), 0);
	assert_int_equal(store_setup(&contract.settings, &err), 0);
	struct store *store = store_open(&contract.settings, &err);
	struct store_session *session = store_session_open(store, STORE_READ);
	again = id_of_database(session);
	assert_int_equal(uuid_compare_to(&id, &again), 0);
	store_session_close(session);
	store_close(store);
}

static void contract_another_database_has_another_id(void **state)
{
	(void)state;
	struct store_settings settings = fixture_settings(contract.other_uri);
	struct store *store = fixture_open(&settings);
	struct store_session *session = store_session_open(store, STORE_READ);
	struct uuid other = id_of_database(session), id = id_of_database(contract.reader);
	assert_int_not_equal(uuid_compare_to(&other, &id), 0);
	store_session_close(session);
	store_close(store);
}

static void contract_get(void **state)
{
	(void)state;
	assert_int_equal(fixture_write_one(contract.writer, fixture_insert(7, 123456, "buy milk")), STORE_OK);
	struct todo_page *page = todo_page_new();
	struct uuid id = fixture_id(7);
	assert_int_equal(store_begin(contract.reader), STORE_OK);
	assert_int_equal(store_get(contract.reader, &id, page), STORE_OK);
	store_end(contract.reader);
	assert_int_equal(page->count, 1);
	assert_false(page->has_more);
	const struct todo *todo = &page->todos[0];
	assert_id(todo, 7);
	assert_content(todo, "buy milk");
	assert_true(todo->created_at == fixture_time(123456));
	assert_false(todo->is_finished);
	todo_page_drop(page);
	assert_int_equal(fixture_get(contract.reader, 8), STORE_NOT_FOUND);
}

static void contract_content_comes_back_as_sent(void **state)
{
	(void)state;
	struct buf big = BUF_INIT;
	while (big.len < 16384)
		buf_append_str(&big, "\xf0\x9f\x8d\x8b"
				     "12345\n\r\"\\\x7f\x01 ");
	big.len = 16384;
	memset(big.data + 16380, 'x', 4); /* in place of a cut character */
	const struct slice contents[] = {
	    buf_slice(&big), SLICE("x"), SLICE(" \t\xc2\xa0"),
	    SLICE("$where: {\"$gt\": ''}; DROP TABLE todos; --"),
	    SLICE("\xd0\x9c\xd0\xbe\xd0\xbb\xd0\xbe\xd0\xba\xd0\xbe e\xcc\x81 \xc3\xa9")};
	enum { COUNT = sizeof(contents) / sizeof(contents[0]) };
	struct store_write writes[COUNT];
	for (uint32_t i = 0; i < COUNT; i++) {
		writes[i] = fixture_insert(i, i, "");
		writes[i].todo.content = contents[i];
	}
	fixture_write(contract.writer, writes, COUNT);
	struct todo_page *page = fixture_page(contract.reader, from(0, 10));
	assert_int_equal(page->count, COUNT);
	for (size_t i = 0; i < COUNT; i++) {
		assert_int_equal(writes[i].status, STORE_OK);
		assert_true(slice_equal(page->todos[COUNT - 1 - i].content, contents[i]));
	}
	todo_page_drop(page);
	buf_release(&big);
}

static void contract_newest_first(void **state)
{
	(void)state;
	insert(5, 10);
	insert(2, 30);
	insert(9, 20);
	/* The same microsecond: the larger id first. */
	insert(4, 20);
	insert(6, 20);
	/* One microsecond is a difference. */
	insert(1, 21);
	ASSERT_PAGE(from(0, 10), false, 2, 1, 9, 6, 4, 5);
	ASSERT_PAGE(from(0, 6), false, 2, 1, 9, 6, 4, 5);
	ASSERT_PAGE(from(0, 5), true, 2, 1, 9, 6, 4);
	ASSERT_PAGE(from(0, 1), true, 2);
	ASSERT_PAGE(from(1, 2), true, 1, 9);
	ASSERT_PAGE(from(4, 2), false, 4, 5);
	ASSERT_PAGE(from(5, 2), false, 5);
	assert_page(from(6, 2), false, NULL, 0);
}

static void contract_after(void **state)
{
	(void)state;
	insert(5, 10);
	insert(4, 20);
	insert(6, 20);
	insert(9, 20);
	insert(2, 30);
	ASSERT_PAGE(behind(2, 30, 10), false, 9, 6, 4, 5);
	ASSERT_PAGE(behind(9, 20, 2), true, 6, 4);
	ASSERT_PAGE(behind(6, 20, 2), false, 4, 5);
	ASSERT_PAGE(behind(6, 20, 1), true, 4);
	/* A place need not be a todo's: the todo may have been deleted. */
	ASSERT_PAGE(behind(7, 20, 10), false, 6, 4, 5);
	ASSERT_PAGE(behind(0, 21, 10), false, 9, 6, 4, 5);
	ASSERT_PAGE(behind(99, 40, 1), true, 2);
	assert_page(behind(5, 10, 10), false, NULL, 0);
	assert_page(behind(5, 9, 10), false, NULL, 0);
}

static void contract_large_pages(void **state)
{
	(void)state;
	struct store_write writes[150];
	for (uint32_t i = 0; i < 150; i++)
		writes[i] = fixture_insert(i, i, i % 2 ? "odd" : "even");
	fixture_write(contract.writer, writes, 150);
	for (uint32_t i = 0; i < 150; i++)
		assert_int_equal(writes[i].status, STORE_OK);
	struct todo_page *page = fixture_page(contract.reader, from(0, TODO_PAGE_MAX));
	assert_int_equal(page->count, 100);
	assert_true(page->has_more);
	for (uint32_t i = 0; i < 100; i++) {
		assert_id(&page->todos[i], 149 - i);
		assert_content(&page->todos[i], (149 - i) % 2 ? "odd" : "even");
	}
	todo_page_drop(page);
	page = fixture_page(contract.reader, from(100, TODO_PAGE_MAX));
	assert_int_equal(page->count, 50);
	assert_false(page->has_more);
	todo_page_drop(page);
	assert_int_equal(fixture_count(contract.reader), 150);
}

/* ---- writing ---- */

static void contract_finish_twice(void **state)
{
	(void)state;
	assert_int_equal(fixture_write_one(contract.writer, fixture_insert(1, 0, "once")), STORE_OK);
	for (int64_t us = 100; us <= 200; us += 100) {
		struct store_write write = fixture_finish(1, us);
		fixture_write(contract.writer, &write, 1);
		assert_int_equal(write.status, STORE_OK);
		assert_id(&write.todo, 1);
		assert_content(&write.todo, "once");
		assert_true(write.todo.created_at == fixture_time(0));
		assert_true(write.todo.is_finished);
		assert_true(write.todo.finished_at == fixture_time(100));
		buf_release(&write.content);
	}
	struct todo_page *page = fixture_page(contract.reader, from(0, 1));
	assert_true(page->todos[0].is_finished);
	assert_true(page->todos[0].finished_at == fixture_time(100));
	todo_page_drop(page);
}

static void contract_unknown_ids(void **state)
{
	(void)state;
	assert_int_equal(fixture_write_one(contract.writer, fixture_finish(1, 0)), STORE_NOT_FOUND);
	assert_int_equal(fixture_write_one(contract.writer, fixture_delete(1)), STORE_NOT_FOUND);
	assert_int_equal(fixture_count(contract.reader), 0);
}

static void contract_delete_twice(void **state)
{
	(void)state;
	insert(1, 0);
	insert(2, 1);
	assert_int_equal(fixture_write_one(contract.writer, fixture_delete(1)), STORE_OK);
	assert_int_equal(fixture_get(contract.reader, 1), STORE_NOT_FOUND);
	assert_int_equal(fixture_write_one(contract.writer, fixture_delete(1)), STORE_NOT_FOUND);
	assert_int_equal(fixture_write_one(contract.writer, fixture_finish(1, 2)), STORE_NOT_FOUND);
	ASSERT_PAGE(from(0, 10), false, 2);
}

static void contract_two_finishes_in_one_batch(void **state)
{
	(void)state;
	insert(1, 0);
	struct store_write writes[] = {fixture_finish(1, 50), fixture_finish(2, 60), fixture_finish(1, 40)};
	fixture_write(contract.writer, writes, 3);
	assert_int_equal(writes[0].status, STORE_OK);
	assert_int_equal(writes[1].status, STORE_NOT_FOUND);
	assert_int_equal(writes[2].status, STORE_OK);
	/* In any order, but one of the two wins, and both answers name it. */
	assert_true(writes[0].todo.finished_at == fixture_time(50) ||
		    writes[0].todo.finished_at == fixture_time(40));
	assert_true(writes[0].todo.finished_at == writes[2].todo.finished_at);
	assert_content(&writes[2].todo, "todo");
	for (int i = 0; i < 3; i++)
		buf_release(&writes[i].content);
}

static void contract_two_deletes_in_one_batch(void **state)
{
	(void)state;
	insert(1, 0);
	struct store_write writes[] = {fixture_delete(1), fixture_delete(1)};
	fixture_write(contract.writer, writes, 2);
	/* Exactly one of them has deleted it. */
	assert_true((writes[0].status == STORE_OK && writes[1].status == STORE_NOT_FOUND) ||
		    (writes[1].status == STORE_OK && writes[0].status == STORE_NOT_FOUND));
	assert_int_equal(fixture_get(contract.reader, 1), STORE_NOT_FOUND);
}

static void contract_mixed_batch(void **state)
{
	(void)state;
	insert(1, 1);
	insert(2, 2);
	insert(3, 3);
	struct store_write writes[] = {
	    fixture_insert(4, 4, "four"), fixture_finish(2, 50),  fixture_delete(3),
	    fixture_delete(77),           fixture_finish(78, 51), fixture_insert(5, 5, "five"),
	    fixture_finish(1, 52)};
	const enum store_status expected[] = {STORE_OK,        STORE_OK, STORE_OK, STORE_NOT_FOUND,
					      STORE_NOT_FOUND, STORE_OK, STORE_OK};
	fixture_write(contract.writer, writes, 7);
	for (int i = 0; i < 7; i++)
		assert_int_equal(writes[i].status, expected[i]);
	assert_true(writes[1].todo.finished_at == fixture_time(50));
	assert_true(writes[6].todo.finished_at == fixture_time(52));
	for (int i = 0; i < 7; i++)
		buf_release(&writes[i].content);
	ASSERT_PAGE(from(0, 10), false, 5, 4, 2, 1);
	struct todo_page *page = fixture_page(contract.reader, from(0, 10));
	const bool finished[] = {false, false, true, true};
	for (int i = 0; i < 4; i++)
		assert_int_equal(page->todos[i].is_finished, finished[i]);
	todo_page_drop(page);
}

/* A client that writes these three without waiting for answers may get any order, but only answers that some
 * order explains, and a state that the answers explain. */
static void contract_one_id_in_one_batch(void **state)
{
	(void)state;
	struct store_write writes[] = {fixture_insert(1, 0, "brief"), fixture_finish(1, 50),
				       fixture_delete(1)};
	fixture_write(contract.writer, writes, 3);
	assert_int_equal(writes[0].status, STORE_OK);
	bool is_deleted = writes[2].status == STORE_OK, is_finished = writes[1].status == STORE_OK;
	assert_true(is_deleted || writes[2].status == STORE_NOT_FOUND);
	assert_true(is_finished || writes[1].status == STORE_NOT_FOUND);
	struct todo_page *page = fixture_page(contract.reader, from(0, 10));
	assert_int_equal(page->count, is_deleted ? 0 : 1);
	if (!is_deleted)
		assert_int_equal(page->todos[0].is_finished, is_finished);
	todo_page_drop(page);
	buf_release(&writes[1].content);
}

/* An id that exists already: whatever the answer, the first todo stays and the rest of the batch is done. */
static void contract_an_id_given_twice(void **state)
{
	(void)state;
	assert_int_equal(fixture_write_one(contract.writer, fixture_insert(1, 1, "first")), STORE_OK);
	struct store_write writes[] = {fixture_insert(2, 2, "two"), fixture_insert(1, 9, "second"),
				       fixture_insert(3, 3, "three")};
	fixture_write(contract.writer, writes, 3);
	assert_int_equal(writes[0].status, STORE_OK);
	assert_int_not_equal(writes[1].status, STORE_FULL);
	assert_int_equal(writes[2].status, STORE_OK);
	ASSERT_PAGE(from(0, 10), false, 3, 2, 1);
	struct todo_page *page = fixture_page(contract.reader, from(2, 1));
	assert_content(&page->todos[0], "first");
	todo_page_drop(page);
}

/* A session may be begun and ended without any use, and used several times between the two. */
static void contract_sessions_are_reusable(void **state)
{
	(void)state;
	assert_int_equal(store_begin(contract.writer), STORE_OK);
	store_end(contract.writer);
	assert_int_equal(store_begin(contract.writer), STORE_OK);
	for (uint32_t i = 0; i < 3; i++) {
		struct store_write write = fixture_insert(i, i, "todo"), *pointer = &write;
		store_write(contract.writer, &pointer, 1);
		assert_int_equal(write.status, STORE_OK);
	}
	store_end(contract.writer);
	struct store_session *other = store_session_open(contract.store, STORE_READ);
	assert_int_equal(fixture_count(other), 3);
	store_session_close(other);
}

static void contract_setup_again_changes_nothing(void **state)
{
	(void)state;
	struct err err = {0};
	insert(1, 1);
	assert_int_equal(store_setup(&contract.settings, &err), 0);
	insert(2, 2);
	ASSERT_PAGE(from(0, 10), false, 2, 1);
}

/* ---- the run ---- */

static int contract_open(void **state)
{
	(void)state;
	contract.settings = fixture_settings(contract.uri);
	contract.store = fixture_open(&contract.settings);
	contract.reader = store_session_open(contract.store, STORE_READ);
	contract.writer = store_session_open(contract.store, STORE_WRITE);
	return 0;
}

static int contract_close(void **state)
{
	(void)state;
	store_session_close(contract.reader);
	store_session_close(contract.writer);
	store_close(contract.store);
	return 0;
}

/* One line each, in words of the contract; it is as well as after a set-up, and asking does not change it. */
static void contract_inspection(void **state)
{
	(void)state;
	static const char *const lines[] = {" store: ", "ok    schema: version 1\n",
					    "ok    durability: ", "ok    index: ", " disk space: "};
	insert(1, 10);
	for (int round = 0; round < 2; round++) {
		enum exit_code code;
		char *text = fixture_inspect(&contract.settings, &code);
		for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
			if (!strstr(text, lines[i]))
				fail_msg("no \"%s\" in:\n%s", lines[i], text);
		assert_null(strstr(text, "FAIL"));
		assert_int_equal(code, EXIT_CODE_OK);
		free(text);
	}
	ASSERT_PAGE(from(0, 10), false, 1);
}

static int contract_clear(void **state)
{
	(void)state;
	fixture_delete_all(contract.writer, contract.reader);
	return 0;
}

/* Runs every case against the database at `uri`, whose todos are deleted; `other_uri` names another one.
 * Returns the number of failures. */
static int store_contract_run(const char *name, const char *uri, const char *other_uri)
{
	const struct CMUnitTest tests[] = {
#define CASE(function) cmocka_unit_test_setup(function, contract_clear)
	    CASE(contract_empty_list),
	    CASE(contract_ping),
	    CASE(contract_id),
	    CASE(contract_another_database_has_another_id),
	    CASE(contract_get),
	    CASE(contract_content_comes_back_as_sent),
	    CASE(contract_newest_first),
	    CASE(contract_after),
	    CASE(contract_large_pages),
	    CASE(contract_finish_twice),
	    CASE(contract_unknown_ids),
	    CASE(contract_delete_twice),
	    CASE(contract_two_finishes_in_one_batch),
	    CASE(contract_two_deletes_in_one_batch),
	    CASE(contract_mixed_batch),
	    CASE(contract_one_id_in_one_batch),
	    CASE(contract_an_id_given_twice),
	    CASE(contract_sessions_are_reusable),
	    CASE(contract_setup_again_changes_nothing),
	    CASE(contract_inspection),
#undef CASE
	};
	contract.uri = uri;
	contract.other_uri = other_uri;
	return cmocka_run_group_tests_name(name, tests, contract_open, contract_close);
}

#endif
