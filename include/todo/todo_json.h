/*
 * The JSON of todos: out by our own writer (the hot path), in by jansson (RFC 8259 to the letter).
 */
#ifndef TODO_TODO_JSON_H
#define TODO_TODO_JSON_H

#include "todo/todo.h"

/* Appends {"id": …, "content": …, "created_at": …, "is_finished": …, "finished_at": …}. */
void todo_json_append(struct buf *out, const struct todo *todo);

/* {"data": […]} of a sealed page, made at the first call and kept in the page. */
struct slice todo_page_json(struct todo_page *page);

enum todo_json {
	TODO_JSON_OK,
	TODO_JSON_MALFORMED,   /* no JSON text, a name given twice in one object, nesting deeper than
				  TODO_JSON_DEPTH_MAX, a number that no double holds (RFC 8259
				  section 9 allows limits) */
	TODO_JSON_NO_OBJECT,   /* JSON, but no object */
	TODO_JSON_NO_CONTENT,  /* no member "content" */
	TODO_JSON_NOT_A_STRING /* "content" is something else than a string */
};

enum { TODO_JSON_DEPTH_MAX = 32 };

/* Appends the string of the member "content" to *content (which is untouched unless TODO_JSON_OK). Other
 * members are ignored. */
enum todo_json todo_json_read_content(struct slice text, struct buf *content);

/* Name and version of the library that reads JSON. */
const char *todo_json_library(void);

#endif
