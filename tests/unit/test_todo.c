#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "todo/todo.h"

#include <math.h>
#include <stdlib.h>

enum { MAX_BYTES = 16 };

#define ASSERT_CONTENT(literal, expected) \
	assert_int_equal(todo_check_content(SLICE(literal), MAX_BYTES), expected)

static void content_that_is_valid(void **state)
{
	(void)state;
	ASSERT_CONTENT("x", TODO_CONTENT_OK);
	ASSERT_CONTENT(" x ", TODO_CONTENT_OK);
	ASSERT_CONTENT("\x01", TODO_CONTENT_OK);
	ASSERT_CONTENT("\x7f", TODO_CONTENT_OK);
	ASSERT_CONTENT("0123456789abcdef", TODO_CONTENT_OK);
	/* White space beyond ASCII is content. */
	ASSERT_CONTENT("\xc2\xa0", TODO_CONTENT_OK);
}

static void content_that_is_not(void **state)
{
	(void)state;
	assert_int_equal(todo_check_content((struct slice){NULL, 0}, MAX_BYTES), TODO_CONTENT_EMPTY);
	ASSERT_CONTENT("", TODO_CONTENT_EMPTY);
	ASSERT_CONTENT(" \t\n\v\f\r", TODO_CONTENT_BLANK);
	ASSERT_CONTENT("0123456789abcdefg", TODO_CONTENT_TOO_LONG);
	ASSERT_CONTENT("a\0b", TODO_CONTENT_NUL);
	ASSERT_CONTENT("\0", TODO_CONTENT_NUL);
}

/* The edges of every row of RFC 3629 section 4, as whole strings: first and last that is right, nearest that
 * is wrong. */
static void utf8(void **state)
{
	(void)state;
	const char *const right[] = {"\xc2\x80",         "\xdf\xbf",         "\xe0\xa0\x80",
				     "\xe0\xbf\xbf",     "\xe1\x80\x80",     "\xec\xbf\xbf",
				     "\xed\x80\x80",     "\xed\x9f\xbf",     "\xee\x80\x80",
				     "\xef\xbf\xbf",     "\xf0\x90\x80\x80", "\xf0\xbf\xbf\xbf",
				     "\xf1\x80\x80\x80", "\xf3\xbf\xbf\xbf", "\xf4\x80\x80\x80",
				     "\xf4\x8f\xbf\xbf"};
	const char *const wrong[] = {"\x80",
				     "\xbf",
				     "\xc0\x80",
				     "\xc1\xbf",
				     "\xc2",
				     "\xc2\x7f",
				     "\xc2\xc0",
				     "\xe0\x9f\xbf",
				     "\xe0\xa0",
				     "\xe1\x80\x7f",
				     "\xe1\x80\xc0",
				     "\xed\xa0\x80",
				     "\xed\xbf\xbf",
				     "\xf0\x8f\xbf\xbf",
				     "\xf0\x90\x80",
				     "\xf1\x80\x80\x7f",
				     "\xf1\x80\xc0\x80",
				     "\xf4\x90\x80\x80",
				     "\xf5\x80\x80\x80",
				     "\xfe",
				     "\xff"};
	for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++)
		assert_int_equal(todo_check_content(slice_of(right[i]), MAX_BYTES), TODO_CONTENT_OK);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		/* At the exact end of its memory, for the sanitizer to watch. */
		struct buf b = BUF_INIT;
		b.cap = b.len = strlen(wrong[i]) + 1;
		b.data = alloc_zeroed(b.cap, 1);
		b.data[0] = 'a';
		memcpy(b.data + 1, wrong[i], b.len - 1);
		assert_int_equal(todo_check_content(buf_slice(&b), MAX_BYTES), TODO_CONTENT_NOT_UTF8);
		buf_release(&b);
	}
}

static void microseconds_survive(void **state)
{
	(void)state;
	const int64_t all[] = {0, 1, 999999, 1000000, INT64_C(1795415696788076), INT64_C(4102444800000001)};
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		assert_int_equal(todo_microseconds(todo_seconds(all[i])), all[i]);
	for (int64_t us = INT64_C(1795415696000000); us < INT64_C(1795415696100000); us++)
		assert_int_equal(todo_microseconds(todo_seconds(us)), us);
	assert_int_equal(todo_microseconds(-1.5), -1500000);
	assert_int_equal(todo_microseconds((double)INFINITY), 0);
	assert_int_equal(todo_microseconds((double)NAN), 0);
	assert_int_equal(todo_microseconds(1e300), 0);
}

/* ---- cursors ---- */

static const struct todo_position position = {
    1795415696.788076,
    {{0x01, 0xa2, 0x07, 0x1d, 0x65, 0x94, 0x7a, 0x52, 0x9f, 0x0e, 0x3c, 0x2f, 0x1b, 0x6d, 0x8a, 0x47}},
};

static void a_cursor_comes_back(void **state)
{
	(void)state;
	struct todo_position all[] = {position, position, position, position};
	all[1].created_at = 0;
	all[2].created_at = 5e-324;
	memset(all[3].id.bytes, 0xff, UUID_BYTES);
	for (size_t i = 0; i < 4; i++) {
		char text[TODO_CURSOR_TEXT_BYTES];
		struct todo_position back = {-1, {{0}}};
		todo_cursor_write(&all[i], text);
		assert_int_equal(todo_cursor_read(&back, (struct slice){text, sizeof(text)}), 0);
		assert_memory_equal(&back, &all[i], sizeof(back));
	}
}

/* Clients keep cursors across versions: the text is part of the contract. Made with Python:
 * base64.urlsafe_b64encode(b"\1" + struct.pack(">d", 1795415696.788076) + id).rstrip(b"=") */
static void a_cursor_reads_as_it_always_has(void **state)
{
	(void)state;
	char text[TODO_CURSOR_TEXT_BYTES];
	todo_cursor_write(&position, text);
	assert_memory_equal(text, "AUHawPekMm_WAaIHHWWUelKfDjwvG22KRw", TODO_CURSOR_TEXT_BYTES);
}

static void assert_refused(const char text[TODO_CURSOR_TEXT_BYTES])
{
	struct todo_position untouched = position;
	assert_int_equal(todo_cursor_read(&untouched, (struct slice){text, TODO_CURSOR_TEXT_BYTES}), -1);
	assert_memory_equal(&untouched, &position, sizeof(position));
}

static void cursors_that_nobody_wrote(void **state)
{
	(void)state;
	char text[TODO_CURSOR_TEXT_BYTES + 1] = {0};
	struct todo_position back = position;
	todo_cursor_write(&position, text);
	for (size_t len = 0; len < TODO_CURSOR_TEXT_BYTES; len++)
		assert_int_equal(todo_cursor_read(&back, (struct slice){text, len}), -1);
	text[TODO_CURSOR_TEXT_BYTES] = 'A';
	assert_int_equal(todo_cursor_read(&back, (struct slice){text, sizeof(text)}), -1);

	/* A byte that is not of the alphabet, in each place. */
	for (size_t at = 0; at < TODO_CURSOR_TEXT_BYTES; at++) {
		const char strange[] = {'\0', '+', '/', '=', ' ', '%', (char)0xc3};
		for (size_t i = 0; i < sizeof(strange); i++) {
			todo_cursor_write(&position, text);
			text[at] = strange[i];
			assert_refused(text);
		}
	}
	/* The last character has four bits to spare: one text for each cursor. */
	for (const char *last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"; *last;
	     last++) {
		todo_cursor_write(&position, text);
		text[TODO_CURSOR_TEXT_BYTES - 1] = *last;
		if (!strchr("AQgw", *last))
			assert_refused(text);
		else
			assert_int_equal(todo_cursor_read(&back,
							  (struct slice){text, TODO_CURSOR_TEXT_BYTES}),
					 0);
	}
	todo_cursor_write(&position, text);
	text[0] = 'B'; /* another version */
	assert_refused(text);
	const double strange[] = {(double)NAN, (double)INFINITY, -(double)INFINITY, -1.0, -0.0};
	for (size_t i = 0; i < sizeof(strange) / sizeof(strange[0]); i++) {
		struct todo_position p = position;
		p.created_at = strange[i];
		todo_cursor_write(&p, text);
		assert_refused(text);
	}
}

/* ---- pages ---- */

static void a_page_holds_its_own_bytes(void **state)
{
	(void)state;
	struct todo_page *page = todo_page_new();
	char content[200];
	for (size_t i = 0; i < TODO_PAGE_MAX; i++) {
		memset(content, (int)('A' + i % 26), sizeof(content));
		struct todo todo = {
		    .content = {content, i * 2},
                      .created_at = (double)i
                };
		todo_page_add(page, &todo);
	}
	memset(content, 0, sizeof(content));
	todo_page_seal(page);
	assert_int_equal(page->count, TODO_PAGE_MAX);
	for (size_t i = 0; i < TODO_PAGE_MAX; i++) {
		struct slice s = page->todos[i].content;
		assert_true(page->todos[i].created_at == (double)i);
		assert_int_equal(s.len, i * 2);
		for (size_t k = 0; k < s.len; k++)
			assert_int_equal(s.data[k], 'A' + i % 26);
	}
	todo_page_keep(page);
	todo_page_drop(page);
	assert_int_equal(page->count, TODO_PAGE_MAX); /* still held once */
	todo_page_drop(page);
	todo_page_drop(NULL);
}

static void a_slice_is_a_page(void **state)
{
	(void)state;
	static const struct {
		size_t first, count, expected;
		bool more_of_3, more_of_4; /* when the page ends the list, and when it does not */
	} cases[] = {
	    {0, 2, 2, true,  true },
            {1, 2, 2, false, true },
            {2, 2, 1, false, false},
            {3, 2, 0, false, false}
        };
	for (size_t i = 0; i < 2 * sizeof(cases) / sizeof(cases[0]); i++) {
		size_t k = i / 2;
		struct todo_page *page = todo_page_new();
		todo_page_add(page, &(struct todo){.content = SLICE("a"), .created_at = 0});
		todo_page_add(page, &(struct todo){.content = SLICE("bb"), .created_at = 1});
		todo_page_add(page, &(struct todo){.content = SLICE("ccc"), .created_at = 2});
		page->has_more = i % 2;
		todo_page_seal(page);
		struct todo_page *slice = todo_page_slice(page, cases[k].first, cases[k].count);
		todo_page_drop(page);
		assert_int_equal(slice->count, cases[k].expected);
		assert_int_equal(slice->has_more, i % 2 ? cases[k].more_of_4 : cases[k].more_of_3);
		for (size_t n = 0; n < slice->count; n++) {
			assert_true(slice->todos[n].created_at == (double)(cases[k].first + n));
			assert_int_equal(slice->todos[n].content.len, cases[k].first + n + 1);
			assert_int_equal(slice->todos[n].content.data[0], "abc"[cases[k].first + n]);
		}
		todo_page_drop(slice);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(content_that_is_valid),
	    cmocka_unit_test(content_that_is_not),
	    cmocka_unit_test(utf8),
	    cmocka_unit_test(microseconds_survive),
	    cmocka_unit_test(a_cursor_comes_back),
	    cmocka_unit_test(a_cursor_reads_as_it_always_has),
	    cmocka_unit_test(cursors_that_nobody_wrote),
	    cmocka_unit_test(a_page_holds_its_own_bytes),
	    cmocka_unit_test(a_slice_is_a_page),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
