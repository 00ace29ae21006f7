/*
 * Bytes of a client into the parser, message after message as long as it takes them: whole, byte by byte and in pieces the outcome has to
 * be the same, nothing may be written that is not the body's, and whatever is accepted has to hold what the headers promise.
 */
#include "check.h"

#include "http/parser.h"

#include <ctype.h>

enum { BODY_MAX = 4096, MESSAGES_MAX = 4 };

struct run {
	struct parser parser;
	enum parse_result result;
	char *msg; /* exactly as large as the raw message */
	size_t len, moved, taken;
};

/* 0 is the whole message at once; else pieces of 1 to piece_max bytes. */
static void run_feed(struct run *run, const uint8_t *data, size_t size, size_t piece_max, uint32_t seed)
{
	run->msg = malloc(size);
	CHECK(size == 0 || run->msg);
	run->result = PARSE_MORE;
	run->len = run->moved = run->taken = 0;
	memset(&run->parser, 0x5a, sizeof(run->parser));
	parser_init(&run->parser, BODY_MAX);
	while (run->result == PARSE_MORE && run->taken < size) {
		seed = seed * 1664525 + 1013904223;
		size_t left = size - run->taken, piece = piece_max ? 1 + (seed >> 8) % piece_max : left;
		if (piece > left)
			piece = left;
		memcpy(run->msg + run->len, data + run->taken, piece);
		run->taken += piece;
		run->len += piece;
		size_t len = run->len;
		run->result = parser_feed(&run->parser, run->msg, &len);
		CHECK(len <= run->len && (len == run->len || run->result == PARSE_MORE));
		run->moved += run->len - len;
		run->len = len;
		bool waits = parser_awaits_continue(&run->parser, run->len);
		CHECK(!waits || (run->result == PARSE_MORE && run->parser.req.body.len == 0));
	}
}

static bool same_span(struct span a, struct span b)
{
	return a.off == b.off && a.len == b.len;
}

static void check_same_head(const struct request *a, const struct request *b)
{
	CHECK(a->method == b->method && a->minor == b->minor && a->keep_alive == b->keep_alive);
	CHECK(a->wants_continue == b->wants_continue && a->chunked == b->chunked);
	CHECK(a->has_content_type == b->has_content_type && a->has_body == b->has_body);
	CHECK(a->has_conditions == b->has_conditions);
	CHECK(a->content_length == b->content_length && a->has_conditions == b->has_conditions);
	CHECK(same_span(a->method_text, b->method_text) && same_span(a->target, b->target));
	CHECK(same_span(a->content_type, b->content_type));
	CHECK(a->field_count == b->field_count);
	for (uint32_t i = 0; i < a->field_count; i++) {
		CHECK(same_span(a->fields[i].name, b->fields[i].name));
		CHECK(same_span(a->fields[i].value, b->fields[i].value));
	}
}

static void check_same(const struct run *a, const struct run *b)
{
	CHECK(a->result == b->result);
	if (a->result == PARSE_BAD) {
		CHECK(a->parser.status == b->parser.status && a->parser.detail == b->parser.detail);
		return;
	}
	CHECK(a->parser.head_len == b->parser.head_len && a->parser.phase == b->parser.phase);
	CHECK(a->len + a->moved == b->len + b->moved || a->result == PARSE_DONE);
	if (a->parser.head_len == 0)
		return;
	check_same_head(&a->parser.req, &b->parser.req);
	CHECK(same_span(a->parser.req.body, b->parser.req.body));
	CHECK(memcmp(a->msg, b->msg, a->parser.head_len + a->parser.req.body.len) == 0);
	CHECK(a->parser.consumed + a->moved == b->parser.consumed + b->moved || a->result != PARSE_DONE);
}

static void check_span(const struct run *run, struct span s, bool may_be_empty)
{
	CHECK(s.off <= run->parser.head_len && s.len <= run->parser.head_len - s.off);
	CHECK(s.len > 0 || may_be_empty);
}

static void check_promises(const struct run *run, const uint8_t *data)
{
	const struct parser *p = &run->parser;
	const struct request *r = &p->req;
	if (run->result == PARSE_BAD) {
		CHECK(p->status >= 400 && p->detail && p->detail[0]);
		return;
	}
	if (p->head_len == 0) {
		CHECK(run->taken < HTTP_HEAD_MAX_BYTES);
		return;
	}
	CHECK(p->head_len <= HTTP_HEAD_MAX_BYTES && memcmp(run->msg, data, p->head_len) == 0);
	CHECK(memcmp(run->msg + p->head_len - 4, "\r\n\r\n", 4) == 0);
	CHECK(r->body.off == p->head_len && r->body.len <= BODY_MAX && r->content_length <= BODY_MAX);
	CHECK(r->minor <= 1 && r->field_count <= HTTP_FIELDS_MAX_COUNT && !(r->chunked && r->content_length));
	check_span(run, r->method_text, false);
	check_span(run, r->target, false);
	check_span(run, r->content_type, true);
	for (uint32_t i = 0; i < r->field_count; i++) {
		check_span(run, r->fields[i].name, false);
		check_span(run, r->fields[i].value, true);
	}
	if (run->result != PARSE_DONE)
		return;
	CHECK(r->base == run->msg && p->consumed <= run->len);
	CHECK(memcmp(run->msg + p->consumed, data + p->consumed + run->moved, run->len - p->consumed) == 0);
	CHECK(r->chunked || (r->body.len == r->content_length && p->consumed == p->head_len + r->body.len));
}

/* The chunks of a message that was taken, by the shortest reading that there is: sizes, and what stands behind a line's end. */
static void check_chunks(const struct run *run, const uint8_t *data)
{
	const struct request *r = &run->parser.req;
	const char *at = (const char *)data + run->parser.head_len, *body = run->msg + r->body.off;
	const char *end = (const char *)data + run->parser.consumed + run->moved;
	for (size_t taken = 0, size;; at += size + 4, taken += size) {
		for (size = 0; isxdigit((unsigned char)*at); at++)
			size = 16 * size +
			       (size_t)(isdigit((unsigned char)*at) ? *at - '0' : (*at | 32) - 'a' + 10);
		at = memmem(at, (size_t)(end - at), "\r\n", 2);
		CHECK(at && memcmp(end - 4, "\r\n\r\n", 4) == 0);
		if (size == 0) {
			CHECK(taken == r->body.len);
			/* Their two empty lines count once. */
			CHECK(run->parser.head_len + (size_t)(end - at) - 4 <= HTTP_HEAD_MAX_BYTES);
			return;
		}
		CHECK(size + 4 < (size_t)(end - at) && taken + size <= r->body.len);
		CHECK(memcmp(at + 2, body + taken, size) == 0 && memcmp(at + 2 + size, "\r\n", 2) == 0);
	}
}

/* Returns how many bytes the first message takes; 0 when it is not taken. */
static size_t check_message(const uint8_t *data, size_t size, uint32_t seed)
{
	static struct run whole, other;
	static const size_t pieces[] = {1, 3, 17, 200, 5000};
	size_t used = 0;
	run_feed(&whole, data, size, 0, 0);
	check_promises(&whole, data);
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		run_feed(&other, data, size, pieces[i], seed);
		check_promises(&other, data);
		check_same(&whole, &other);
		free(other.msg);
	}
	if (whole.result == PARSE_DONE) {
		used = whole.parser.consumed + whole.moved;
		if (whole.parser.req.chunked)
			check_chunks(&whole, data);
	}
	free(whole.msg);
	return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t seed = size > 0 ? data[size - 1] + (uint32_t)size : 0;
	for (size_t count = 0, used = 1; count < MESSAGES_MAX && used > 0; count++) {
		used = check_message(data, size, seed + (uint32_t)count);
		data += used;
		size -= used;
	}
	return 0;
}
