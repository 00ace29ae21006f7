/*
 * Bytes of a client into the parser: whole, byte by byte and in pieces the outcome has to be the same,
 * nothing may be written that is not the body's, and whatever is accepted has to hold what the headers
 * promise. Then target, query, form and media type are read as the api does.
 */
#include "http/form.h"
#include "http/media.h"
#include "http/parser.h"
#include "http/target.h"

#include <stdio.h>
#include <stdlib.h>

enum { BODY_MAX = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An assert(3) that no build can switch off. */
#define CHECK(condition)                                                                \
	do {                                                                            \
		if (!(condition)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                        \
		}                                                                       \
	} while (0)

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
	CHECK(a->content_length == b->content_length);
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

static void read_pairs(struct slice text, bool refuse_control)
{
	struct form_rules rules = {.plus_is_space = true, .refuse_control = refuse_control};
	struct slice name, value, rest = text;
	while (form_next(&rest, &name, &value)) {
		CHECK(name.len + value.len < text.len || name.len == text.len);
		char *out = malloc(value.len ? value.len : 1);
		struct slice decoded;
		CHECK(out);
		if (form_decode(value, rules, out, &decoded) == FORM_OK) {
			CHECK(decoded.data == out && decoded.len <= value.len && utf8_is_valid(decoded));
			for (size_t i = 0; i < decoded.len && refuse_control; i++)
				CHECK((uint8_t)decoded.data[i] >= 0x20 && decoded.data[i] != 0x7f);
		}
		free(out);
	}
}

static void read_target(const struct request *r)
{
	struct target t;
	const char *detail = NULL;
	struct slice raw = request_view(r, r->target), segments[TARGET_SEGMENTS_MAX];
	if (target_parse(&t, r->method, raw, &detail) != 0) {
		CHECK(detail && detail[0]);
		return;
	}
	CHECK(t.path.len + t.query.len + t.authority.len <= raw.len + 1);
	if (t.path.len == 0) {
		CHECK(t.form == TARGET_ASTERISK || t.form == TARGET_AUTHORITY);
		return;
	}
	CHECK(t.path.data[0] == '/');
	read_pairs(t.query, true);
	char *scratch = malloc(t.path.len);
	CHECK(scratch);
	int count = target_segments(t.path, scratch, segments);
	CHECK(count == -1 || (count >= 1 && count <= TARGET_SEGMENTS_MAX + 1));
	for (int i = 0; i < count && i < TARGET_SEGMENTS_MAX; i++)
		CHECK(utf8_is_valid(segments[i]));
	free(scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct run whole, other;
	static const size_t pieces[] = {1, 3, 17, 200, 5000};
	uint32_t seed = size > 0 ? data[size - 1] + (uint32_t)size : 0;
	run_feed(&whole, data, size, 0, 0);
	check_promises(&whole, data);
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		run_feed(&other, data, size, pieces[i], seed);
		check_promises(&other, data);
		check_same(&whole, &other);
		free(other.msg);
	}
	if (whole.result == PARSE_DONE) {
		const struct request *r = &whole.parser.req;
		read_target(r);
		read_pairs(request_view(r, r->body), false);
		enum media_type type = media_parse(request_view(r, r->content_type));
		CHECK(type == MEDIA_MALFORMED || r->has_content_type);
	}
	free(whole.msg);
	return 0;
}
