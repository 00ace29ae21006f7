/*
 * JSON of clients. What is taken comes out as JSON that is taken again and says the same; what is not leaves everything as it was. The
 * bounds of a text are kept: white space around it means nothing, and neither a part of it nor more than it is taken. And what a todo
 * holds, whatever it be, comes out as JSON.
 */
#include "check.h"

#include "base/utf8.h"
#include "todo/todo_json.h"

static const char mark[] = "what was there";

static enum todo_json read_content(struct slice text, struct buf *content)
{
	struct slice copy = copy_exactly(text.data, text.len);
	buf_clear(content);
	buf_append_str(content, mark);
	enum todo_json result = todo_json_read_content(copy, content);
	CHECK(content->len >= sizeof(mark) - 1 && memcmp(content->data, mark, sizeof(mark) - 1) == 0);
	CHECK(result == TODO_JSON_OK || content->len == sizeof(mark) - 1);
	free_copy(copy);
	return result;
}

static struct slice content_of(const struct buf *content)
{
	return (struct slice){content->data + sizeof(mark) - 1, content->len - (sizeof(mark) - 1)};
}

static enum todo_json read_between(const char *before, struct slice text, const char *after,
				   struct buf *content)
{
	struct buf whole = BUF_INIT;
	buf_append_str(&whole, before);
	buf_append_slice(&whole, text);
	buf_append_str(&whole, after);
	enum todo_json result = read_content(buf_slice(&whole), content);
	buf_release(&whole);
	return result;
}

static bool is_white_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* `text` is an object, or what else JSON is. */
static void check_bounds(struct slice text, enum todo_json result)
{
	struct buf content = BUF_INIT;
	CHECK(read_between(" \t", text, "\r\n", &content) == result);
	CHECK(read_between("", text, "}", &content) == TODO_JSON_MALFORMED);
	CHECK(read_between("[", text, "]", &content) != TODO_JSON_OK);
	while (text.len > 0 && is_white_space(text.data[text.len - 1]))
		text.len--;
	if (result != TODO_JSON_NO_OBJECT)
		for (size_t len = text.len - 1; len > 0; len /= 2)
			CHECK(read_content((struct slice){text.data, len}, &content) == TODO_JSON_MALFORMED);
	buf_release(&content);
}

/* Out and in again. NUL goes out, as \u0000, but never comes in. */
static void check_round_trip(const struct todo *todo)
{
	struct buf json = BUF_INIT, content = BUF_INIT;
	todo_json_append(&json, todo);
	bool has_nul = todo->content.len > 0 && memchr(todo->content.data, '\0', todo->content.len);
	enum todo_json result = read_content(buf_slice(&json), &content);
	CHECK(result == (has_nul ? TODO_JSON_MALFORMED : TODO_JSON_OK));
	CHECK(has_nul || slice_equal(content_of(&content), todo->content));
	buf_release(&content);

	struct todo_page *page = todo_page_new();
	todo_page_add(page, todo);
	todo_page_add(page, todo);
	todo_page_seal(page);
	result = read_content(todo_page_json(page), &content);
	CHECK(result == (has_nul ? TODO_JSON_MALFORMED : TODO_JSON_NO_CONTENT));
	todo_page_drop(page);
	buf_release(&content);
	buf_release(&json);
}

/* The digits are those of the nearest microsecond. */
static void check_seconds(double seconds)
{
	struct todo todo = {.content = SLICE("a"), .created_at = seconds};
	struct buf json = BUF_INIT;
	long long whole;
	unsigned micros;
	int end = 0;
	todo_json_append(&json, &todo);
	buf_append(&json, "", 1);
	const char *text = strstr(json.data, "\"created_at\": ");
	CHECK(text && sscanf(text, "\"created_at\": %lld.%6u, %n", &whole, &micros, &end) == 2 && end > 0);
	text += strlen("\"created_at\": ");
	CHECK(text[strcspn(text, ".")] == '.' && strcspn(strchr(text, '.') + 1, ",") == 6 &&
	      micros < 1000000);
	int64_t expected = todo_microseconds(seconds);
	CHECK(whole * 1000000 + (text[0] == '-' ? -(int64_t)micros : (int64_t)micros) == expected);
	buf_release(&json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = {(const char *)data, size};
	struct todo todo = {.content = text};
	struct buf content = BUF_INIT;
	memcpy(&todo.id, data, size < sizeof(todo.id) ? size : sizeof(todo.id));
	memcpy(&todo.created_at, data, size < sizeof(double) ? size : sizeof(double));
	if (todo.created_at - todo.created_at !=
	    0) /* a todo has no infinite time, and none that is no number */
		todo.created_at = (double)size;
	todo.finished_at = todo.created_at;
	todo.is_finished = size % 2;
	check_seconds(todo.created_at);
	if (utf8_is_valid(text))
		check_round_trip(&todo);

	enum todo_json result = read_content(text, &content);
	if (result != TODO_JSON_MALFORMED)
		check_bounds(text, result);
	if (result == TODO_JSON_OK) {
		todo.content = content_of(&content);
		CHECK(utf8_is_valid(todo.content) && !memchr(todo.content.data, '\0', todo.content.len));
		check_round_trip(&todo);
	}
	buf_release(&content);
	return 0;
}
