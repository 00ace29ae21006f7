#include "http/parser.h"

#include "http/chars.h"
#include "http/target.h"

#include <assert.h>

/*
 * One function per phase. It judges bytes from parser->scanned on and below `end`, and returns STEP_NEXT when
 * it changed the phase. An error is found at the same byte however much has arrived behind it: a length is
 * checked before the byte that ends the run.
 */
enum step { STEP_NEXT, STEP_MORE, STEP_DONE, STEP_BAD };

enum seen {
	SEEN_HOST = 1,
	SEEN_CONTENT_LENGTH = 2,
	SEEN_TRANSFER_ENCODING = 4,
	SEEN_OTHER_CODING = 8,
	SEEN_EXPECT = 16,
	SEEN_OTHER_EXPECT = 32,
	SEEN_CLOSE = 64,
	SEEN_KEEP_ALIVE = 128,
};

enum {
	CONTENT_LENGTH_MAX_DIGITS = 19, /* fit into 64 bits */
	CHUNK_SIZE_MAX_DIGITS = 16,     /* hexadecimal: the same */
	BODY_MAX_BYTES = 1 << 30,       /* offsets have 32 bits */
};

static enum step bad(struct parser *p, uint16_t status, const char *detail)
{
	p->status = status;
	p->detail = detail;
	return STEP_BAD;
}

static uint32_t skip(const char *msg, uint32_t at, uint32_t end, uint8_t class)
{
	while (at < end && char_is(msg[at], class))
		at++;
	return at;
}

/* CR and LF are taken together or not at all. */
static enum step take_crlf(struct parser *p, const char *msg, uint32_t end)
{
	for (uint32_t i = 0; i < 2; i++) {
		if (p->scanned + i == end)
			return STEP_MORE;
		if (msg[p->scanned + i] != "\r\n"[i])
			return bad(p, 400, "every line has to end in CR LF");
	}
	p->scanned += 2;
	return STEP_NEXT;
}

/* The request line (RFC 9112 section 3). */

static enum step scan_start(struct parser *p, char *msg, uint32_t end)
{
	if (end == 0)
		return STEP_MORE;
	if (msg[0] == '\r') {
		enum step step = take_crlf(p, msg, end);
		if (step != STEP_NEXT)
			return step;
	}
	p->req.method_text.off = p->scanned;
	p->phase = PARSER_METHOD;
	return STEP_NEXT;
}

static enum step scan_method(struct parser *p, char *msg, uint32_t end)
{
	struct span *method = &p->req.method_text;
	p->scanned = skip(msg, p->scanned, end, CHAR_TOKEN);
	method->len = p->scanned - method->off;
	if (method->len > HTTP_METHOD_MAX_BYTES)
		return bad(p, 501, "the method is longer than any that is known here");
	if (p->scanned == end)
		return STEP_MORE;
	if (method->len == 0 || msg[p->scanned] != ' ')
		return bad(p, 400, "a request has to begin with a method and one space");
	p->req.method = http_method_of(request_view(&p->req, *method));
	p->req.target.off = ++p->scanned;
	p->phase = PARSER_TARGET;
	return STEP_NEXT;
}

static enum step scan_target(struct parser *p, char *msg, uint32_t end)
{
	struct span *target = &p->req.target;
	p->scanned = skip(msg, p->scanned, end, CHAR_TARGET);
	target->len = p->scanned - target->off;
	if (target->len > HTTP_TARGET_MAX_BYTES)
		return bad(p, 414, "the request target is longer than 4096 bytes");
	if (p->scanned == end)
		return STEP_MORE;
	if (target->len == 0 || msg[p->scanned] != ' ')
		return bad(p, 400,
			   "the request target has to be printable ASCII, percent-encoded where needed and "
			   "without a fragment, and be followed by one space and the version");
	p->scanned++;
	p->phase = PARSER_VERSION;
	return STEP_NEXT;
}

static enum step scan_version(struct parser *p, char *msg, uint32_t end)
{
	static const char pattern[] = "HTTP/d.d\r\n"; /* d: a digit */
	enum { MAJOR_AT = 5, MINOR_AT = 7, PATTERN_LEN = sizeof(pattern) - 1 };

	uint32_t start = p->req.target.off + p->req.target.len + 1;
	for (uint32_t i = p->scanned - start; i < PATTERN_LEN; i++, p->scanned++) {
		if (p->scanned == end)
			return STEP_MORE;
		char c = msg[p->scanned];
		if (pattern[i] == 'd' ? !char_is_digit(c) : c != pattern[i])
			return bad(p, 400, "the request line has to end in HTTP/1.1 or HTTP/1.0 and CR LF");
	}
	if (msg[start + MAJOR_AT] != '1')
		return bad(p, 505, "only HTTP/1.1 and HTTP/1.0 are spoken here");
	p->req.minor = msg[start + MINOR_AT] == '0' ? 0 : 1;
	p->phase = PARSER_FIELD;
	return STEP_NEXT;
}

/* The fields that framing depends on. Each gets its value when its line is complete. */

static bool see_first(struct parser *p, enum seen what)
{
	bool first = !(p->seen & what);
	p->seen |= (uint8_t)what;
	return first;
}

/* The next element of a comma-separated list (RFC 9110 section 5.6.1), without the white space around it. */
static bool list_next(struct slice *rest, struct slice *element)
{
	if (!rest->data)
		return false;
	const char *comma = memchr(rest->data, ',', rest->len);
	size_t len = comma ? (size_t)(comma - rest->data) : rest->len;
	*element = (struct slice){rest->data, len};
	*rest = comma ? (struct slice){comma + 1, rest->len - len - 1} : (struct slice){NULL, 0};
	while (element->len && char_is_space(element->data[0])) {
		element->data++;
		element->len--;
	}
	while (element->len && char_is_space(element->data[element->len - 1]))
		element->len--;
	return true;
}

static enum step take_host(struct parser *p, struct slice value)
{
	if (!see_first(p, SEEN_HOST))
		return bad(p, 400, "Host may be given only once");
	if (!target_authority_is_valid(value))
		return bad(p, 400, "Host has to be a host name or address, with a port where needed");
	return STEP_NEXT;
}

static enum step take_content_type(struct parser *p, struct slice value)
{
	if (p->req.has_content_type)
		return bad(p, 400, "Content-Type may be given only once");
	p->req.has_content_type = true;
	p->req.content_type = (struct span){(uint32_t)(value.data - p->req.base), (uint32_t)value.len};
	return STEP_NEXT;
}

static enum step take_content_length(struct parser *p, struct slice value)
{
	if (!see_first(p, SEEN_CONTENT_LENGTH))
		return bad(p, 400, "Content-Length may be given only once");
	if (p->seen & SEEN_TRANSFER_ENCODING)
		return bad(p, 400, "Content-Length and Transfer-Encoding exclude each other");
	if (value.len == 0 || value.len > CONTENT_LENGTH_MAX_DIGITS)
		return bad(p, 400, "Content-Length has to be a number of 1 to 19 digits");
	uint64_t length = 0;
	for (size_t i = 0; i < value.len; i++) {
		if (!char_is_digit(value.data[i]))
			return bad(p, 400, "Content-Length has to be a number of 1 to 19 digits");
		length = length * 10 + (uint64_t)(value.data[i] - '0');
	}
	p->req.content_length = length;
	return STEP_NEXT;
}

/* Only `chunked` alone is spoken. Where it stands at another place than the end, or is not plain, nobody can
 * tell where the message ends (RFC 9112 section 6.1); any other coding is merely unknown. */
static enum step take_transfer_encoding(struct parser *p, struct slice value)
{
	if (!see_first(p, SEEN_TRANSFER_ENCODING))
		return bad(p, 400, "Transfer-Encoding may be given only once");
	if (p->seen & SEEN_CONTENT_LENGTH)
		return bad(p, 400, "Content-Length and Transfer-Encoding exclude each other");
	if (p->req.minor == 0)
		return bad(p, 400, "HTTP/1.0 has no Transfer-Encoding");
	struct slice rest = value, coding;
	while (list_next(&rest, &coding)) {
		size_t name_len = 0, after;
		while (name_len < coding.len && char_is(coding.data[name_len], CHAR_TOKEN))
			name_len++;
		for (after = name_len; after < coding.len && char_is_space(coding.data[after]);)
			after++;
		bool plain = name_len == coding.len;
		if (name_len == 0 || !(plain || coding.data[after] == ';'))
			return bad(p, 400, "Transfer-Encoding has to be a list of codings");
		if (!slice_equal_nocase((struct slice){coding.data, name_len}, SLICE("chunked")))
			p->seen |= SEEN_OTHER_CODING;
		else if (!plain || rest.data)
			return bad(p, 400,
				   "in Transfer-Encoding, chunked has to be the last coding, and plain");
		else
			p->req.chunked = true;
	}
	return STEP_NEXT;
}

/* A list in any number of lines, whose empty elements say nothing (RFC 9110 section 5.6.1.2). */
static enum step take_expect(struct parser *p, struct slice value)
{
	struct slice rest = value, expectation;
	while (list_next(&rest, &expectation))
		if (expectation.len > 0)
			p->seen |= slice_equal_nocase(expectation, SLICE("100-continue")) ? SEEN_EXPECT
											  : SEEN_OTHER_EXPECT;
	return STEP_NEXT;
}

static enum step take_condition(struct parser *p, struct slice value)
{
	(void)value;
	p->req.has_conditions = true;
	return STEP_NEXT;
}

static enum step take_connection(struct parser *p, struct slice value)
{
	struct slice rest = value, option;
	while (list_next(&rest, &option)) {
		if (slice_equal_nocase(option, SLICE("close")))
			p->seen |= SEEN_CLOSE;
		else if (slice_equal_nocase(option, SLICE("keep-alive")))
			p->seen |= SEEN_KEEP_ALIVE;
	}
	return STEP_NEXT;
}

/* By the length of the name: no two of them share one. */
static const struct known_field {
	const char *name;
	enum step (*take)(struct parser *p, struct slice value);
} known_fields[] = {
    [4] = {"host",              take_host             },
    [6] = {"expect",            take_expect           },
    [8] = {"if-match",          take_condition        },
    [10] = {"connection",        take_connection       },
    [12] = {"content-type",      take_content_type     },
    [13] = {"if-none-match",     take_condition        },
    [14] = {"content-length",    take_content_length   },
    [17] = {"transfer-encoding", take_transfer_encoding},
};

static enum step take_field(struct parser *p, struct field field)
{
	p->req.fields[p->req.field_count++] = field;
	struct slice name = request_view(&p->req, field.name);
	if (name.len >= sizeof(known_fields) / sizeof(known_fields[0]))
		return STEP_NEXT;
	const struct known_field *known = &known_fields[name.len];
	if (!known->take || !slice_equal_nocase(name, (struct slice){known->name, name.len}))
		return STEP_NEXT;
	return known->take(p, request_view(&p->req, field.value));
}

/* Field lines (RFC 9112 section 5): of the head, and once it is complete those of the trailers. */

static bool in_trailers(const struct parser *p)
{
	return p->head_len > 0;
}

static enum step finish_message(struct parser *p)
{
	p->consumed = p->scanned;
	p->phase = PARSER_DONE;
	return STEP_NEXT;
}

static enum step finish_head(struct parser *p)
{
	struct request *r = &p->req;
	p->head_len = p->scanned;
	r->body.off = p->head_len;
	if (r->minor == 1 && !(p->seen & SEEN_HOST))
		return bad(p, 400, "an HTTP/1.1 request has to name its Host");
	if (p->seen & SEEN_OTHER_CODING)
		return bad(p, 501, "the only transfer coding spoken here is chunked");
	if (r->minor == 1 && (p->seen & SEEN_OTHER_EXPECT))
		return bad(p, 417, "the only expectation that can be met is 100-continue");
	if (r->content_length > p->body_max)
		return bad(p, 413, "the body is larger than this server takes");
	r->wants_continue = r->minor == 1 && (p->seen & SEEN_EXPECT);
	r->keep_alive = !(p->seen & SEEN_CLOSE) && (r->minor == 1 || (p->seen & SEEN_KEEP_ALIVE));
	r->has_body = r->chunked || r->content_length > 0;
	if (!r->has_body)
		return finish_message(p);
	p->phase = r->chunked ? PARSER_CHUNK_SIZE : PARSER_BODY_LENGTH;
	return STEP_NEXT;
}

static enum step scan_field(struct parser *p, char *msg, uint32_t end)
{
	if (p->scanned == end)
		return STEP_MORE;
	char c = msg[p->scanned];
	if (c == '\r') {
		enum step step = take_crlf(p, msg, end);
		if (step != STEP_NEXT)
			return step;
		return in_trailers(p) ? finish_message(p) : finish_head(p);
	}
	if (char_is_space(c))
		return bad(p, 400, "a field may not be folded over several lines");
	if (!char_is(c, CHAR_TOKEN))
		return bad(p, 400, "a field has to begin with its name, and every line to end in CR LF");
	if (p->field_lines++ == HTTP_FIELDS_MAX_COUNT)
		return bad(p, 431, "the request has more than 64 fields");
	if (!in_trailers(p))
		p->req.fields[p->req.field_count].name.off = p->scanned;
	p->phase = PARSER_FIELD_NAME;
	return STEP_NEXT;
}

static enum step scan_field_name(struct parser *p, char *msg, uint32_t end)
{
	p->scanned = skip(msg, p->scanned, end, CHAR_TOKEN);
	if (p->scanned == end)
		return STEP_MORE;
	if (msg[p->scanned] != ':')
		return bad(p, 400, "the name of a field has to be a token, followed by a colon at once");
	if (!in_trailers(p)) {
		struct field *field = &p->req.fields[p->req.field_count];
		field->name.len = p->scanned - field->name.off;
	}
	p->scanned++;
	p->phase = PARSER_FIELD_VALUE;
	return STEP_NEXT;
}

static enum step scan_field_value(struct parser *p, char *msg, uint32_t end)
{
	p->scanned = skip(msg, p->scanned, end, CHAR_VALUE);
	if (p->scanned == end)
		return STEP_MORE;
	if (msg[p->scanned] != '\r')
		return bad(p, 400, "the value of a field may not contain control characters or a lone LF");
	uint32_t value_end = p->scanned;
	enum step step = take_crlf(p, msg, end);
	if (step != STEP_NEXT)
		return step;
	p->phase = PARSER_FIELD;
	if (in_trailers(p))
		return STEP_NEXT;

	struct field field = p->req.fields[p->req.field_count];
	uint32_t value_off = field.name.off + field.name.len + 1;
	while (value_off < value_end && char_is_space(msg[value_off]))
		value_off++;
	while (value_end > value_off && char_is_space(msg[value_end - 1]))
		value_end--;
	field.value = (struct span){value_off, value_end - value_off};
	return take_field(p, field);
}

/* The body (RFC 9112 sections 6 and 7). */

static enum step scan_body_length(struct parser *p, char *msg, uint32_t end)
{
	(void)msg;
	uint64_t missing = p->req.content_length - p->req.body.len;
	uint32_t here = end - p->scanned;
	uint32_t taken = here < missing ? here : (uint32_t)missing;
	p->scanned += taken;
	p->req.body.len += taken;
	return p->req.body.len == p->req.content_length ? finish_message(p) : STEP_MORE;
}

/*
 * chunk-ext = *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )   (RFC 9112 section 7.1.1)
 * What comes after the size is checked by this table, and then ignored. BWS has to be tolerated (RFC 9110
 * section 5.6.3), but only before ';' and '=' and after them.
 */
enum ext_state {
	EXT_BAD,
	EXT_END,  /* complete: after the size, or after a quoted value */
	EXT_GAP,  /* white space behind something complete */
	EXT_SEMI, /* after ';' */
	EXT_NAME,
	EXT_NAME_GAP,
	EXT_EQUALS,
	EXT_TOKEN,
	EXT_QUOTED,
	EXT_ESCAPE,
};

enum ext_char { IS_OTHER, IS_TOKEN, IS_SPACE, IS_SEMI, IS_EQUALS, IS_QUOTE, IS_BACKSLASH, EXT_CHARS };

/* clang-format off */
static const uint8_t ext_next[][EXT_CHARS] = {
	[EXT_END]      = {[IS_SPACE] = EXT_GAP, [IS_SEMI] = EXT_SEMI},
	[EXT_GAP]      = {[IS_SPACE] = EXT_GAP, [IS_SEMI] = EXT_SEMI},
	[EXT_SEMI]     = {[IS_SPACE] = EXT_SEMI, [IS_TOKEN] = EXT_NAME},
	[EXT_NAME]     = {[IS_SPACE] = EXT_NAME_GAP, [IS_TOKEN] = EXT_NAME, [IS_SEMI] = EXT_SEMI, [IS_EQUALS] = EXT_EQUALS},
	[EXT_NAME_GAP] = {[IS_SPACE] = EXT_NAME_GAP, [IS_SEMI] = EXT_SEMI, [IS_EQUALS] = EXT_EQUALS},
	[EXT_EQUALS]   = {[IS_SPACE] = EXT_EQUALS, [IS_TOKEN] = EXT_TOKEN, [IS_QUOTE] = EXT_QUOTED},
	[EXT_TOKEN]    = {[IS_SPACE] = EXT_GAP, [IS_TOKEN] = EXT_TOKEN, [IS_SEMI] = EXT_SEMI},
	[EXT_QUOTED]   = {EXT_QUOTED, EXT_QUOTED, EXT_QUOTED, EXT_QUOTED, EXT_QUOTED,
	                  [IS_QUOTE] = EXT_END, [IS_BACKSLASH] = EXT_ESCAPE},
	[EXT_ESCAPE]   = {EXT_QUOTED, EXT_QUOTED, EXT_QUOTED, EXT_QUOTED, EXT_QUOTED, EXT_QUOTED, EXT_QUOTED},
};
/* clang-format on */

static enum ext_char ext_char(char c)
{
	switch (c) {
	case ' ':
	case '\t': return IS_SPACE;
	case ';': return IS_SEMI;
	case '=': return IS_EQUALS;
	case '"': return IS_QUOTE;
	case '\\': return IS_BACKSLASH;
	default: return char_is(c, CHAR_TOKEN) ? IS_TOKEN : IS_OTHER;
	}
}

static bool ext_may_end(enum ext_state state)
{
	return state == EXT_END || state == EXT_NAME || state == EXT_TOKEN;
}

static enum step scan_chunk_size(struct parser *p, char *msg, uint32_t end)
{
	int value;
	for (; p->scanned < end && (value = char_hex_value(msg[p->scanned])) >= 0; p->scanned++) {
		if (p->chunk_digits++ == CHUNK_SIZE_MAX_DIGITS)
			return bad(p, 400, "the size of a chunk may have 16 digits at most");
		p->chunk_left = p->chunk_left << 4 | (uint64_t)value;
	}
	if (p->scanned == end)
		return STEP_MORE;
	if (p->chunk_digits == 0)
		return bad(p, 400, "the size of a chunk has to be a hexadecimal number");
	p->chunk_ext_bytes = 0;
	p->ext_state = EXT_END;
	p->phase = PARSER_CHUNK_EXT;
	return STEP_NEXT;
}

static enum step scan_chunk_ext(struct parser *p, char *msg, uint32_t end)
{
	for (; p->scanned < end && msg[p->scanned] != '\r'; p->scanned++) {
		char c = msg[p->scanned];
		p->ext_state = char_is(c, CHAR_VALUE) ? ext_next[p->ext_state][ext_char(c)] : EXT_BAD;
		if (p->ext_state == EXT_BAD)
			return bad(p, 400, "what follows the size of a chunk is no chunk extension");
		if (++p->chunk_ext_bytes > HTTP_CHUNK_EXT_MAX_BYTES ||
		    ++p->chunk_ext_total > HTTP_CHUNK_EXT_TOTAL_MAX_BYTES)
			return bad(p, 400, "the chunk extensions are too long");
	}
	if (p->scanned == end)
		return STEP_MORE;
	if (!ext_may_end(p->ext_state))
		return bad(p, 400, "a chunk extension is incomplete");
	enum step step = take_crlf(p, msg, end);
	if (step != STEP_NEXT)
		return step;
	if (p->chunk_left > p->body_max - p->req.body.len)
		return bad(p, 413, "the body is larger than this server takes");
	p->phase = p->chunk_left > 0 ? PARSER_CHUNK_DATA : PARSER_FIELD;
	return STEP_NEXT;
}

static char *decoded_end(const struct parser *p, char *msg)
{
	return msg + p->head_len + p->req.body.len;
}

static enum step scan_chunk_data(struct parser *p, char *msg, uint32_t end)
{
	uint32_t here = end - p->scanned;
	uint32_t taken = here < p->chunk_left ? here : (uint32_t)p->chunk_left;
	memmove(decoded_end(p, msg), msg + p->scanned, taken);
	p->scanned += taken;
	p->req.body.len += taken;
	p->chunk_left -= taken;
	if (p->chunk_left > 0)
		return STEP_MORE;
	p->phase = PARSER_CHUNK_END;
	return STEP_NEXT;
}

static enum step scan_chunk_end(struct parser *p, char *msg, uint32_t end)
{
	enum step step = take_crlf(p, msg, end);
	if (step != STEP_NEXT)
		return step;
	p->chunk_digits = 0;
	p->phase = PARSER_CHUNK_SIZE;
	return STEP_NEXT;
}

static enum step scan_done(struct parser *p, char *msg, uint32_t end)
{
	(void)p, (void)msg, (void)end;
	return STEP_DONE;
}

static enum step (*const scan[PARSER_PHASE_COUNT])(struct parser *p, char *msg, uint32_t end) = {
    [PARSER_START] = scan_start,
    [PARSER_METHOD] = scan_method,
    [PARSER_TARGET] = scan_target,
    [PARSER_VERSION] = scan_version,
    [PARSER_FIELD] = scan_field,
    [PARSER_FIELD_NAME] = scan_field_name,
    [PARSER_FIELD_VALUE] = scan_field_value,
    [PARSER_BODY_LENGTH] = scan_body_length,
    [PARSER_CHUNK_SIZE] = scan_chunk_size,
    [PARSER_CHUNK_EXT] = scan_chunk_ext,
    [PARSER_CHUNK_DATA] = scan_chunk_data,
    [PARSER_CHUNK_END] = scan_chunk_end,
    [PARSER_DONE] = scan_done,
};

/* Head or trailers: the phases whose bytes are limited. */
static enum step scan_lines(struct parser *p, char *msg, uint32_t len)
{
	uint32_t begin = p->scanned;
	uint32_t room = HTTP_HEAD_MAX_BYTES - p->line_bytes;
	uint32_t end = len - begin < room ? len : begin + room;
	enum step step;
	do
		step = scan[p->phase](p, msg, end);
	while (step == STEP_NEXT && p->phase <= PARSER_FIELD_VALUE);
	p->line_bytes += p->scanned - begin;
	if (p->phase > PARSER_FIELD_VALUE)
		p->line_bytes -= 2; /* the empty line counts once: trailers end in another one */
	if (step == STEP_MORE && end - begin == room)
		return bad(p, 431, "request line and fields are longer than 8192 bytes");
	return step;
}

void parser_init(struct parser *p, uint64_t body_max_bytes)
{
	assert(body_max_bytes <= BODY_MAX_BYTES);
	memset(p, 0, offsetof(struct parser, req.fields));
	p->body_max = body_max_bytes;
}

enum parse_result parser_feed(struct parser *p, char *msg, size_t *len)
{
	assert(*len <= UINT32_MAX && *len >= p->scanned);
	if (p->status != 0)
		return PARSE_BAD;
	p->req.base = msg;
	uint32_t end = (uint32_t)*len;
	enum step step;
	do
		step = p->phase <= PARSER_FIELD_VALUE ? scan_lines(p, msg, end) : scan[p->phase](p, msg, end);
	while (step == STEP_NEXT);

	if (step == STEP_MORE && p->req.chunked && p->head_len > 0) {
		/* What is decoded closes up with what is still to be judged: a lone CR at most. */
		char *to = decoded_end(p, msg);
		memmove(to, msg + p->scanned, end - p->scanned);
		*len -= (size_t)(msg + p->scanned - to);
		p->scanned = (uint32_t)(to - msg);
	}
	return step == STEP_MORE ? PARSE_MORE : step == STEP_DONE ? PARSE_DONE : PARSE_BAD;
}

bool parser_awaits_continue(const struct parser *p, size_t len)
{
	/* Framing bytes of chunks are moved away, but a size leaves its digits, and a chunk its data. */
	bool before_body = p->phase == PARSER_BODY_LENGTH ||
			   (p->phase == PARSER_CHUNK_SIZE && p->chunk_digits == 0 && p->req.body.len == 0);
	return p->req.wants_continue && before_body && len == p->head_len;
}
