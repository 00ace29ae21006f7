/*
 * Cursors and ids as clients send them: what is taken is what would be written, letter by letter, so that there is one text of each; what
 * is written is taken and says the same.
 */
#include "check.h"

#include "todo/todo.h"

#include <ctype.h>
#include <math.h>

static const struct todo_position untouched = {.created_at = 17, .id = {{1, 2, 3}}};

static bool same_position(const struct todo_position *a, const struct todo_position *b)
{
	return memcmp(&a->created_at, &b->created_at, sizeof(a->created_at)) == 0 &&
	       uuid_compare_to(&a->id, &b->id) == 0;
}

static void read_cursor(struct slice text)
{
	struct todo_position position = untouched;
	char again[TODO_CURSOR_TEXT_BYTES];
	if (todo_cursor_read(&position, text) != 0) {
		CHECK(same_position(&position, &untouched));
		return;
	}
	CHECK(isfinite(position.created_at) && !signbit(position.created_at));
	todo_cursor_write(&position, again);
	CHECK(slice_equal((struct slice){again, sizeof(again)}, text));
}

/* Every position comes back, but one that no todo has. */
static void write_cursor(const struct todo_position *position)
{
	struct todo_position back = untouched;
	char text[TODO_CURSOR_TEXT_BYTES];
	todo_cursor_write(position, text);
	bool may_be = isfinite(position->created_at) && !signbit(position->created_at);
	CHECK((todo_cursor_read(&back, (struct slice){text, sizeof(text)}) == 0) == may_be);
	CHECK(same_position(&back, may_be ? position : &untouched));
}

static void read_uuid(struct slice text)
{
	struct uuid id = untouched.id, back;
	char again[UUID_TEXT_BYTES];
	if (uuid_from_text(&id, text) != 0) {
		CHECK(uuid_compare_to(&id, &untouched.id) == 0);
		return;
	}
	uuid_to_text(&id, again);
	CHECK(text.len == sizeof(again));
	for (size_t i = 0; i < sizeof(again); i++)
		CHECK(again[i] == tolower((unsigned char)text.data[i]));
	CHECK(uuid_from_text(&back, (struct slice){again, sizeof(again)}) == 0 &&
	      uuid_compare_to(&back, &id) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = copy_exactly(data, size);
	struct todo_position position = untouched;
	size_t bytes = sizeof(position.created_at) + UUID_BYTES;
	read_cursor(text);
	read_uuid(text);
	if (size >= bytes) {
		memcpy(&position.created_at, data, sizeof(position.created_at));
		memcpy(position.id.bytes, data + sizeof(position.created_at), UUID_BYTES);
		write_cursor(&position);
	}
	if (size > TODO_CURSOR_TEXT_BYTES)
		read_cursor((struct slice){text.data, TODO_CURSOR_TEXT_BYTES});
	if (size > UUID_TEXT_BYTES)
		read_uuid((struct slice){text.data, UUID_TEXT_BYTES});
	free_copy(text);
	return 0;
}
