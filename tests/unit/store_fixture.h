/*
 * What the tests of stores share: directories of their own, and short ways to write and read todos.
 * Everything here fails the running test when the store does not do it.
 */
#ifndef TESTS_STORE_FIXTURE_H
#define TESTS_STORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "store/store.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A todo's made-up time: `us` microseconds after a fixed instant. */
static inline double fixture_time(int64_t us)
{
	return todo_seconds(INT64_C(1795415696000000) + us);
}

/* An id that sorts by `number`. */
static inline struct uuid fixture_id(uint32_t number)
{
	struct uuid id = {
	    {1, 2, 3, 4, 5, 6, 0x70, 8, 0x80, 10, 11, 12, 0, 0, 0, 0}
        };
	for (int i = 0; i < 4; i++)
		id.bytes[12 + i] = (uint8_t)(number >> (24 - 8 * i));
	return id;
}

static inline struct store_write fixture_insert(uint32_t number, int64_t us, const char *content)
{
	struct store_write write = {.kind = STORE_INSERT};
	write.todo.id = fixture_id(number);
	write.todo.created_at = fixture_time(us);
	write.todo.content = slice_of(content);
	return write;
}

static inline struct store_write fixture_finish(uint32_t number, int64_t us)
{
	struct store_write write = {.kind = STORE_FINISH};
	write.todo.id = fixture_id(number);
	write.todo.finished_at = fixture_time(us);
	return write;
}

static inline struct store_write fixture_delete(uint32_t number)
{
	struct store_write write = {.kind = STORE_DELETE};
	write.todo.id = fixture_id(number);
	return write;
}

/* One begin, one batch, one end. */
static inline void fixture_write(struct store_session *session, struct store_write *writes, size_t count)
{
	struct store_write *pointers[256];
	assert_true(count <= 256);
	for (size_t i = 0; i < count; i++)
		pointers[i] = &writes[i];
	if (store_begin(session) != STORE_OK)
		fail_msg("%s", store_error(session));
	store_write(session, pointers, count);
	store_end(session);
}

/* The same for a single write whose answer matters alone. */
static inline enum store_status fixture_write_one(struct store_session *session, struct store_write write)
{
	fixture_write(session, &write, 1);
	buf_release(&write.content);
	return write.status;
}

static inline struct todo_page *fixture_page(struct store_session *session, struct store_page_query query)
{
	struct todo_page *page = todo_page_new();
	if (store_begin(session) != STORE_OK || store_page(session, &query, page) != STORE_OK)
		fail_msg("%s", store_error(session));
	store_end(session);
	return page;
}

/* Is the todo there? Exactly what store_get says. */
static inline enum store_status fixture_get(struct store_session *session, uint32_t number)
{
	struct todo_page *page = todo_page_new();
	struct uuid id = fixture_id(number);
	assert_int_equal(store_begin(session), STORE_OK);
	enum store_status status = store_get(session, &id, page);
	store_end(session);
	todo_page_drop(page);
	return status;
}

/* Every todo, page by page along the cursor. */
static inline size_t fixture_count(struct store_session *session)
{
	struct store_page_query query = {.count = TODO_PAGE_MAX};
	size_t count = 0;
	for (bool has_more = true; has_more;) {
		struct todo_page *page = fixture_page(session, query);
		count += page->count;
		has_more = page->has_more;
		if (page->count > 0) {
			const struct todo *last = &page->todos[page->count - 1];
			query.has_after = true;
			query.after = (struct todo_position){last->created_at, last->id};
		}
		todo_page_drop(page);
	}
	return count;
}

static inline void fixture_delete_all(struct store_session *writer, struct store_session *reader)
{
	for (;;) {
		struct todo_page *page =
		    fixture_page(reader, (struct store_page_query){.count = TODO_PAGE_MAX});
		struct store_write writes[TODO_PAGE_MAX] = {0};
		size_t count = page->count;
		for (size_t i = 0; i < count; i++) {
			writes[i].kind = STORE_DELETE;
			writes[i].todo.id = page->todos[i].id;
		}
		todo_page_drop(page);
		if (count == 0)
			return;
		fixture_write(writer, writes, count);
		for (size_t i = 0; i < count; i++)
			assert_int_equal(writes[i].status, STORE_OK);
	}
}

static inline struct store_settings fixture_settings(const char *uri)
{
	return (struct store_settings){.uri = uri, .timeout_ms = 2000, .process = "test"};
}

/* A store with its schema. */
static inline struct store *fixture_open(const struct store_settings *settings)
{
	struct err err = {0};
	if (store_check(settings->uri, &err) != 0 || store_setup(settings, &err) != 0)
		fail_msg("%s", err.text);
	struct store *store = store_open(settings, &err);
	if (!store)
		fail_msg("%s", err.text);
	return store;
}

/* What store_inspect reports; owned. *code: of the first FAIL. */
static inline char *fixture_inspect(const struct store_settings *settings, enum exit_code *code)
{
	char *text = NULL;
	size_t size = 0;
	struct report report = {.out = open_memstream(&text, &size)};
	assert_non_null(report.out);
	store_inspect(settings, &report);
	assert_int_equal(fclose(report.out), 0);
	*code = report.code;
	return text;
}

/* It reports `line`, or a line that begins so, and ends with that code. */
static inline void fixture_assert_inspection(const struct store_settings *settings, enum exit_code code,
					     const char *line)
{
	enum exit_code found;
	char *text = fixture_inspect(settings, &found);
	if (found != code || !strstr(text, line))
		fail_msg("%d instead of %d, no \"%s\" in:\n%s", found, code, line, text);
	free(text);
}

/* A directory of this test's own, in $TMPDIR, and "sqlite:DIRECTORY/NAME" in `uri`. */
struct fixture_dir {
	char path[128];
	char uri[200];
};

static inline void fixture_dir_make(struct fixture_dir *dir, const char *name)
{
	const char *root = getenv("TMPDIR");
	int len = snprintf(dir->path, sizeof(dir->path), "%s/todod-unit-XXXXXX", root ? root : "/tmp");
	assert_true(len > 0 && (size_t)len < sizeof(dir->path));
	assert_non_null(mkdtemp(dir->path));
	(void)snprintf(dir->uri, sizeof(dir->uri), "sqlite:%s/%s", dir->path, name);
}

/* The path in the URI. */
static inline const char *fixture_dir_file(const struct fixture_dir *dir)
{
	return dir->uri + sizeof("sqlite:") - 1;
}

/* Removes the directory and the files in it. */
static inline void fixture_dir_remove(struct fixture_dir *dir)
{
	DIR *d = opendir(dir->path);
	assert_non_null(d);
	for (struct dirent *entry; (entry = readdir(d));)
		if (entry->d_name[0] != '.')
			(void)unlinkat(dirfd(d), entry->d_name, 0);
	closedir(d);
	assert_int_equal(rmdir(dir->path), 0);
}

#endif
