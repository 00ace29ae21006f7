/*
 * What a todo is and when its content is valid. Knows neither HTTP nor a database.
 */
#ifndef TODO_TODO_H
#define TODO_TODO_H

#include "base/buf.h"
#include "base/uuid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct todo {
	struct uuid id;
	struct slice content; /* a view: of the page it stands in, or of the job that carries it */
	double created_at;    /* seconds since the epoch, a finite number, exact to the microsecond */
	double finished_at;   /* meaningful only when is_finished */
	bool is_finished;
};

enum todo_content {
	TODO_CONTENT_OK,
	TODO_CONTENT_EMPTY,
	TODO_CONTENT_BLANK,
	TODO_CONTENT_NUL,
	TODO_CONTENT_NOT_UTF8,
	TODO_CONTENT_TOO_LONG
};

/* 1 to max_bytes bytes of valid UTF-8, no NUL, not only ASCII white space. */
enum todo_content todo_check_content(struct slice content, size_t max_bytes);

/* Microseconds since the epoch to the seconds that a todo holds, and back (rounded to the nearest). */
double todo_seconds(int64_t wall_us);
int64_t todo_microseconds(double seconds);

/* The place behind a todo in the total order of the list: created_at descending, then id descending. */
struct todo_position {
	double created_at;
	struct uuid id;
};

enum { TODO_CURSOR_TEXT_BYTES = 34 };

/* An opaque cursor for clients: base64url (RFC 4648 section 5, no padding) of a version byte, the double and
 * the id. */
void todo_cursor_write(const struct todo_position *position, char text[TODO_CURSOR_TEXT_BYTES]);

/* Returns 0, or -1 for anything that todo_cursor_write cannot have made; *position is untouched then. */
int todo_cursor_read(struct todo_position *position, struct slice text);

/*
 * A page of todos and the bytes they view, in one object that several requests may share. Counted by the
 * thread that holds it: a page is handed from a store thread to its worker's loop and never used by both.
 */
enum { TODO_PAGE_MAX = 100 }; /* todos that a client may ask for at once */

struct todo_page {
	unsigned references;
	size_t count, cap;
	bool has_more;      /* further todos follow */
	struct buf content; /* what todos[].content views, once todo_page_seal has been called */
	struct buf json;    /* {"data": […]}, empty until todo_page_json has been called */
	struct todo *todos;
};

/* Returns owned: one reference. */
struct todo_page *todo_page_new(void);
void todo_page_keep(struct todo_page *page);
void todo_page_drop(struct todo_page *page); /* accepts NULL */

/* Copies the todo and its content. */
void todo_page_add(struct todo_page *page, const struct todo *todo);

/* After the last todo_page_add: makes the contents point into the page. */
void todo_page_seal(struct todo_page *page);

/* The `count` todos from `first` on, as far as there are any, of a sealed page: a sealed page of its own, one
 * reference. */
struct todo_page *todo_page_slice(const struct todo_page *page, size_t first, size_t count);

#endif
