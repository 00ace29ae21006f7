/*
 * Answers with the first page, as bytes.
 */
#include "api/representation.h"

#include "base/clock.h"
#include "todo/todo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>
#include <cmocka.h>

#define DATE "Sun, 06 Nov 1994 08:49:37 GMT"

static const struct response_context plain = {.date = DATE, .minor = 1, .keep_alive = true};

struct fixture {
	struct representations *reps;
	struct response res;
	struct page page;
	struct buf out; /* NUL-terminated */
};

static void set_page(struct fixture *f, const char *json)
{
	f->page.state = PAGE_OK;
	buf_clear(&f->page.json);
	buf_append_str(&f->page.json, json);
	uuid_of_bytes(&f->page.tag, json, strlen(json));
}

static int setup(void **state)
{
	struct fixture *f = alloc_zeroed(1, sizeof(*f));
	f->reps = representations_new();
	char json[1024];
	(void)snprintf(json, sizeof(json), "{\"data\": [\"%0900d\"]}", 0);
	set_page(f, json);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	representations_free(f->reps);
	response_release(&f->res);
	page_release(&f->page);
	buf_release(&f->out);
	free(f);
	return 0;
}

/* The answer's bytes. */
static const char *answer(struct fixture *f, struct page_request request, struct response_context context)
{
	response_reset(&f->res);
	representations_answer(f->reps, &f->page, &request, &f->res);
	buf_clear(&f->out);
	response_write(&f->res, &context, &f->out);
	buf_append(&f->out, "", 1);
	f->out.len--;
	return f->out.data;
}

/* ETAG with the page's tag and a suffix. */
static const char *etag(const struct fixture *f, const char *suffix, char text[64])
{
	char tag[UUID_TEXT_BYTES];
	uuid_to_text(&f->page.tag, tag);
	(void)snprintf(text, 64, "\"%.*s%s\"", UUID_TEXT_BYTES, tag, suffix);
	return text;
}

static void expect(const char *got, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void expect(const char *got, const char *format, ...)
{
	char wanted[4096];
	va_list args;
	va_start(args, format);
	int len = vsnprintf(wanted, sizeof(wanted), format, args);
	va_end(args);
	assert_in_range(len, 0, sizeof(wanted) - 1);
	assert_string_equal(got, wanted);
}

#define OK           "HTTP/1.1 200 OK\r\nDate: " DATE "\r\nContent-Type: application/json\r\nContent-Length: "
#define NOT_MODIFIED "HTTP/1.1 304 Not Modified\r\nDate: " DATE "\r\n"
#define CACHED       "Vary: Accept-Encoding\r\nCache-Control: no-cache\r\n"

static void test_identity(void **state)
{
	struct fixture *f = *state;
	char tag[64];
	const char *json = "{\"data\": []}";
	set_page(f, json);
	etag(f, "", tag);
	for (int i = 0; i < 3; i++) { /* the first one makes what the others are copied from */
		expect(answer(f, (struct page_request){0}, plain),
		       OK "12\r\nETag: %s\r\n" CACHED "Cache-Status: todod; hit\r\n\r\n%s", tag, json);
		assert_true(f->res.ready.len > 0);
	}

	struct response_context context = plain;
	context.date = "Mon, 07 Nov 1994 00:00:00 GMT";
	assert_non_null(strstr(answer(f, (struct page_request){0}, context),
			       "\r\nDate: Mon, 07 Nov 1994 00:00:00 GMT\r\n"));

	context = plain;
	context.head_only = true;
	expect(answer(f, (struct page_request){0}, context),
	       OK "12\r\nETag: %s\r\n" CACHED "Cache-Status: todod; hit\r\n\r\n", tag);
	context = plain;
	context.keep_alive = false;
	expect(answer(f, (struct page_request){0}, context),
	       OK "12\r\nETag: %s\r\n" CACHED "Cache-Status: todod; hit\r\nConnection: close\r\n\r\n%s", tag,
	       json);
	context = plain;
	context.minor = 0;
	expect(answer(f, (struct page_request){0}, context),
	       OK "12\r\nETag: %s\r\n" CACHED "Cache-Status: todod; hit\r\nConnection: keep-alive\r\n\r\n%s",
	       tag, json);
}

static void expect_gzip_of(struct slice coded, struct slice text)
{
	char plain_text[4096];
	z_stream stream = {.next_in = (Bytef *)(uintptr_t)coded.data, .avail_in = (uInt)coded.len};
	stream.next_out = (Bytef *)plain_text;
	stream.avail_out = sizeof(plain_text);
	assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
	assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
	assert_int_equal(stream.total_out, text.len);
	assert_memory_equal(plain_text, text.data, text.len);
	assert_int_equal(inflateEnd(&stream), Z_OK);
}

static void test_gzip(void **state)
{
	struct fixture *f = *state;
	char tag[64], head[512];
	etag(f, "-gzip", tag);
	for (int i = 0; i < 3; i++) {
		const char *bytes = answer(f, (struct page_request){.wants_gzip = true}, plain);
		const char *body = strstr(bytes, "\r\n\r\n") + 4;
		struct slice coded = {body, f->out.len - (size_t)(body - bytes)};
		assert_true(coded.len < 100);
		expect_gzip_of(coded, buf_slice(&f->page.json));
		(void)snprintf(head, sizeof(head),
			       OK "%zu\r\nETag: %s\r\n" CACHED
				  "Content-Encoding: gzip\r\nCache-Status: todod; hit\r\n\r\n",
			       coded.len, tag);
		assert_memory_equal(bytes, head, strlen(head));
	}
	struct response_context context = plain;
	context.head_only = true;
	assert_string_equal(answer(f, (struct page_request){.wants_gzip = true}, context), head);

	/* The other one is untouched by it. */
	const char *bytes = answer(f, (struct page_request){0}, plain);
	size_t len = f->page.json.len;
	assert_true(f->out.len > len);
	assert_memory_equal(bytes + f->out.len - len, f->page.json.data, len);
}

/* A coding that saves nothing is none. */
static void test_gzip_of_little(void **state)
{
	struct fixture *f = *state;
	char tag[64];
	set_page(f, "{\"data\": []}");
	for (int i = 0; i < 2; i++)
		expect(answer(f, (struct page_request){.wants_gzip = true}, plain),
		       OK "12\r\nETag: %s\r\n" CACHED "Cache-Status: todod; hit\r\n\r\n{\"data\": []}",
		       etag(f, "", tag));
}

static void test_gzip_of_much(void **state)
{
	struct fixture *f = *state;
	char *json = alloc_zeroed(1, PAGE_JSON_MAX_BYTES + 2);
	memset(json, 'a', PAGE_JSON_MAX_BYTES);
	set_page(f, json);
	assert_non_null(
	    strstr(answer(f, (struct page_request){.wants_gzip = true}, plain), "Content-Encoding"));
	json[PAGE_JSON_MAX_BYTES] = 'a';
	set_page(f, json);
	assert_null(strstr(answer(f, (struct page_request){.wants_gzip = true}, plain), "Content-Encoding"));
	free(json);
}

static void test_not_modified(void **state)
{
	struct fixture *f = *state;
	char identity[64], gzip[64], both[160], cursor[TODO_CURSOR_TEXT_BYTES];
	f->page.has_more = true;
	f->page.last.created_at = 1795415696.788076;
	todo_cursor_write(&f->page.last, cursor);
	etag(f, "", identity);
	etag(f, "-gzip", gzip);
	(void)snprintf(both, sizeof(both), "\"x\", W/%s, %s", identity, gzip);
	/* clang-format off */
	const struct {
		const char *if_none_match;
		bool wants_gzip;
		const char *etag; /* NULL: 200 */
	} rows[] = {
		{identity, false, identity},
		{gzip, true, gzip},
		{both, false, identity},
		{both, true, gzip},
		{"*", false, identity},
		{"*", true, gzip},
		{gzip, false, NULL},
		{identity, true, NULL},
		{"\"x\"", false, NULL},
		{"", false, NULL},
	};
	/* clang-format on */
	for (size_t i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
		size_t row = i / 2;
		struct response_context context = plain;
		context.head_only = i % 2 == 1;
		struct page_request request = {.wants_gzip = rows[row].wants_gzip,
					       .conditions.if_none_match = slice_of(rows[row].if_none_match)};
		const char *bytes = answer(f, request, context);
		if (rows[row].etag)
			/* The Link is no validator, but a 304 freshens what is stored (RFC 9111 section 4.3.4), and whether more
			 * follow does not show in the bytes. */
			expect(bytes,
			       NOT_MODIFIED "ETag: %s\r\n" CACHED "Link: </todo?after=%.*s>; rel=\"next\"\r\n"
					    "Cache-Status: todod; hit\r\n\r\n",
			       rows[row].etag, TODO_CURSOR_TEXT_BYTES, cursor);
		else
			assert_int_equal(f->res.status, 200);
	}
}

/* By strong comparison with the tag of what would be sent, and before If-None-Match. */
static void test_if_match(void **state)
{
	struct fixture *f = *state;
	char identity[64], gzip[64], weak[68];
	etag(f, "", identity);
	etag(f, "-gzip", gzip);
	(void)snprintf(weak, sizeof(weak), "W/%s", identity);
	/* clang-format off */
	const struct {
		const char *if_match;
		bool wants_gzip;
		uint16_t status, with_none_match; /* If-None-Match: * */
	} rows[] = {
		{identity, false, 200, 304},
		{gzip, true, 200, 304},
		{"*", false, 200, 304},
		{weak, false, 412, 412},
		{gzip, false, 412, 412},
		{identity, true, 412, 412},
		{"", false, 412, 412},
	};
	/* clang-format on */
	for (size_t i = 0; i < 4 * sizeof(rows) / sizeof(rows[0]); i++) {
		size_t row = i / 4;
		bool has_none_match = i % 2;
		struct page_request request = {.wants_gzip = rows[row].wants_gzip,
					       .has_waited = i / 2 % 2,
					       .conditions.if_match = slice_of(rows[row].if_match)};
		if (has_none_match)
			request.conditions.if_none_match = SLICE("*");
		const char *bytes = answer(f, request, plain);
		assert_int_equal(f->res.status,
				 has_none_match ? rows[row].with_none_match : rows[row].status);
		if (f->res.status == 412)
			assert_null(strstr(bytes, "ETag"));
	}
}

static void test_link(void **state)
{
	struct fixture *f = *state;
	assert_null(strstr(answer(f, (struct page_request){0}, plain), "Link"));
	f->page.has_more = true; /* of the same bytes */
	f->page.last.created_at = 1;
	char first[4096];
	(void)snprintf(first, sizeof(first), "%s", answer(f, (struct page_request){0}, plain));
	assert_non_null(strstr(first, "\r\nLink: </todo?after="));
	f->page.last.created_at = 2;
	assert_string_not_equal(answer(f, (struct page_request){0}, plain), first);
	f->page.last.created_at = 1;
	f->page.last.id.bytes[15] = 1;
	assert_string_not_equal(answer(f, (struct page_request){0}, plain), first);
	f->page.last.id.bytes[15] = 0;
	assert_string_equal(answer(f, (struct page_request){0}, plain), first);
	f->page.has_more = false;
	assert_null(strstr(answer(f, (struct page_request){0}, plain), "Link"));
}

static void test_cache_status(void **state)
{
	struct fixture *f = *state;
	/* clang-format off */
	static const struct {
		bool has_waited, is_stale;
		enum page_source source;
		const char *fields;
	} rows[] = {
		{false, false, PAGE_FROM_STORE, "\r\nCache-Status: todod; hit\r\n\r\n"},
		{false, false, PAGE_FROM_REDIS, "\r\nCache-Status: todod; hit\r\n\r\n"},
		{true, false, PAGE_FROM_STORE, "\r\nCache-Status: todod; fwd=miss\r\n\r\n"},
		{true, false, PAGE_FROM_REDIS, "\r\nCache-Status: todod; hit; detail=redis\r\n\r\n"},
		{false, true, PAGE_FROM_STORE, "\r\nCache-Status: todod; hit; detail=stale\r\nAge: 90\r\n\r\n"},
		{true, true, PAGE_FROM_STORE, "\r\nCache-Status: todod; hit; detail=stale\r\nAge: 90\r\n\r\n"},
		{true, true, PAGE_FROM_REDIS, "\r\nCache-Status: todod; hit; detail=stale\r\nAge: 90\r\n\r\n"},
	};
	/* clang-format on */
	f->page.filled_us = clock_wall_us() - 90500000;
	for (size_t i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]);
	     i++) { /* each after each kind of another */
		size_t row = i * 3 % (sizeof(rows) / sizeof(rows[0]));
		f->page.is_stale = rows[row].is_stale;
		f->page.source = rows[row].source;
		const char *bytes =
		    answer(f, (struct page_request){.has_waited = rows[row].has_waited}, plain);
		if (!strstr(bytes, rows[row].fields))
			fail_msg("%zu: %s", row, bytes);
		bytes = answer(f,
			       (struct page_request){.has_waited = rows[row].has_waited,
						     .conditions.if_none_match = SLICE("*")},
			       plain);
		if (f->res.status != 304 || !strstr(bytes, rows[row].fields))
			fail_msg("%zu: %s", row, bytes);
	}
	f->page.is_stale = true;
	f->page.filled_us = clock_wall_us() + 90000000; /* of a machine whose clock is ahead */
	assert_non_null(strstr(answer(f, (struct page_request){0}, plain), "\r\nAge: 0\r\n"));
}

static void test_other_bytes(void **state)
{
	struct fixture *f = *state;
	char before[4096], json[1024];
	for (int i = 0; i < 3; i++) {
		(void)snprintf(json, sizeof(json), "{\"data\": [\"%0800d\"]}", i);
		set_page(f, json);
		const char *bytes = answer(f, (struct page_request){0}, plain);
		assert_non_null(strstr(bytes, json));
		if (i > 0)
			assert_string_not_equal(bytes, before);
		(void)snprintf(before, sizeof(before), "%s", bytes);
		bytes = answer(f, (struct page_request){.wants_gzip = true}, plain);
		const char *body = strstr(bytes, "\r\n\r\n") + 4;
		expect_gzip_of((struct slice){body, f->out.len - (size_t)(body - bytes)}, slice_of(json));
	}
	/* Another generation of the same bytes keeps what was made. */
	const char *ready = f->res.ready.data;
	f->page.generation++;
	(void)answer(f, (struct page_request){.wants_gzip = true}, plain);
	assert_ptr_equal(f->res.ready.data, ready);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_identity, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_gzip, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_gzip_of_little, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_gzip_of_much, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_not_modified, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_if_match, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_link, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_cache_status, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_other_bytes, setup, teardown),
	};
	return cmocka_run_group_tests_name("representation", tests, NULL, NULL);
}
