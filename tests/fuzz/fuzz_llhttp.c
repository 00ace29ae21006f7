/*
 * Our parser against llhttp, the one of Node.js, in strict mode. Of every message either both refuse it, or both accept it with the
 * same method, target, version, fields, body, end, and the same answer to whether the connection lives on. Where they differ, the
 * table below has to say so: who is right by the RFC, and why todod stays as it is. What no row explains aborts.
 *
 * Each row brings a message that needs it; a row that its own message does not reach aborts, too. So none outlives its reason.
 *
 * One that waits for more has not decided: it is held against one that accepts, not against one that refuses.
 */
#include "check.h"

/* Its methods have the names of ours. */
#define HTTP_GET     LLHTTP_GET
#define HTTP_HEAD    LLHTTP_HEAD
#define HTTP_POST    LLHTTP_POST
#define HTTP_PUT     LLHTTP_PUT
#define HTTP_DELETE  LLHTTP_DELETE
#define HTTP_OPTIONS LLHTTP_OPTIONS
#define HTTP_PATCH   LLHTTP_PATCH
#define HTTP_TRACE   LLHTTP_TRACE
#define HTTP_CONNECT LLHTTP_CONNECT
#include <llhttp.h>
#undef HTTP_GET
#undef HTTP_HEAD
#undef HTTP_POST
#undef HTTP_PUT
#undef HTTP_DELETE
#undef HTTP_OPTIONS
#undef HTTP_PATCH
#undef HTTP_TRACE
#undef HTTP_CONNECT

#include "http/parser.h"
#include "http/target.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);

enum { BODY_MAX = 4096, LLHTTP_FIELDS_MAX = 4096 };

enum verdict { WAITS, ACCEPTS, REFUSES };

struct theirs {
	enum verdict verdict;
	llhttp_t parser;
	llhttp_errno_t error;
	size_t at; /* of the error, or the end of the message */
	const char *method;
	struct slice target;
	struct buf body;
	bool keep_alive, in_trailers, trailing_connection;
	unsigned flags; /* enum llhttp_flags, at its end */
	size_t field_count;
	struct {
		struct slice name, value;
	} fields[LLHTTP_FIELDS_MAX];
};

struct ours {
	enum verdict verdict;
	char *msg;
	struct parser parser;
	const char *detail;
};

/* One message, as both see it. */
struct pair {
	const char *data;
	size_t size;
	struct ours ours;
	struct theirs theirs;
};

/* ---- llhttp */

static struct theirs *theirs_of(llhttp_t *parser)
{
	return parser->data;
}

static void extend(struct slice *s, const char *at, size_t len)
{
	if (!s->data)
		s->data = at;
	s->len += len;
}

static int on_url(llhttp_t *parser, const char *at, size_t len)
{
	extend(&theirs_of(parser)->target, at, len);
	return 0;
}

static bool is_connection_name(struct slice name)
{
	return slice_equal_nocase(name, SLICE("Connection")) ||
	       slice_equal_nocase(name, SLICE("Proxy-Connection"));
}

static int on_name(llhttp_t *parser, const char *at, size_t len)
{
	struct theirs *t = theirs_of(parser);
	if (t->in_trailers)
		t->trailing_connection =
		    t->trailing_connection || is_connection_name((struct slice){at, len});
	else if (t->field_count < LLHTTP_FIELDS_MAX)
		extend(&t->fields[t->field_count].name, at, len);
	return 0;
}

static int on_value(llhttp_t *parser, const char *at, size_t len)
{
	struct theirs *t = theirs_of(parser);
	if (!t->in_trailers && t->field_count < LLHTTP_FIELDS_MAX)
		extend(&t->fields[t->field_count].value, at, len);
	return 0;
}

static int on_value_end(llhttp_t *parser)
{
	struct theirs *t = theirs_of(parser);
	if (!t->in_trailers && t->field_count < LLHTTP_FIELDS_MAX)
		t->field_count++;
	return 0;
}

static int on_head_end(llhttp_t *parser)
{
	theirs_of(parser)->in_trailers = true;
	return 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t len)
{
	buf_append(&theirs_of(parser)->body, at, len);
	return 0;
}

static int on_end(llhttp_t *parser)
{
	struct theirs *t = theirs_of(parser);
	t->verdict = ACCEPTS;
	t->flags = parser->flags;
	t->keep_alive = llhttp_should_keep_alive(parser);
	return HPE_PAUSED; /* one message */
}

/* `body` keeps its memory. */
static void ask_llhttp(struct theirs *t, const char *data, size_t size, struct buf body)
{
	static const llhttp_settings_t settings = {
	    .on_url = on_url,
	    .on_header_field = on_name,
	    .on_header_value = on_value,
	    .on_header_value_complete = on_value_end,
	    .on_headers_complete = on_head_end,
	    .on_body = on_body,
	    .on_message_complete = on_end,
	};
	memset(t, 0, offsetof(struct theirs, fields));
	memset(t->fields, 0, sizeof(t->fields));
	t->body = body;
	llhttp_init(&t->parser, HTTP_REQUEST, &settings);
	t->parser.data = t;
	t->error = llhttp_execute(&t->parser, data, size);
	t->method = llhttp_method_name((llhttp_method_t)t->parser.method);
	if (t->error != HPE_OK) {
		t->at = (size_t)(llhttp_get_error_pos(&t->parser) - data);
		if (t->verdict != ACCEPTS)
			t->verdict = REFUSES;
	}
}

/* ---- todod */

static void ask_todod(struct ours *o, const char *data, size_t size)
{
	static const enum verdict verdicts[] = {
	    [PARSE_MORE] = WAITS, [PARSE_DONE] = ACCEPTS, [PARSE_BAD] = REFUSES};
	size_t len = size;
	parser_init(&o->parser, BODY_MAX);
	o->msg = (char *)(uintptr_t)copy_exactly(data, size).data;
	o->verdict = verdicts[parser_feed(&o->parser, o->msg, &len)];
	o->detail = o->verdict == REFUSES ? o->parser.detail : "";
	if (o->verdict != ACCEPTS)
		return;
	/* The router would answer 400 to a target that is none. */
	struct target target;
	const struct request *r = &o->parser.req;
	if (target_parse(&target, r->method, request_view(r, r->target), &o->detail) == 0)
		return;
	o->verdict = REFUSES;
	o->parser.status = 400;
	o->parser.scanned = r->target.off;
}

/* ---- what is looked at to tell why */

/* The byte that todod did not take; 0 behind the end. */
static char refused_byte(const struct pair *p)
{
	return p->ours.parser.scanned < p->size ? p->data[p->ours.parser.scanned] : 0;
}

static struct slice target_of(const struct pair *p)
{
	struct span target = p->ours.parser.req.target;
	return (struct slice){p->data + target.off, target.len};
}

static bool begins(struct slice s, struct slice start)
{
	return s.len >= start.len && slice_equal_nocase((struct slice){s.data, start.len}, start);
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

static struct slice trim(struct slice s)
{
	while (s.len > 0 && is_space(s.data[0])) {
		s.data++;
		s.len--;
	}
	while (s.len > 0 && is_space(s.data[s.len - 1]))
		s.len--;
	return s;
}

/* The value of the last field that todod took: what it refuses, where that is a field. */
static struct slice last_value(const struct pair *p)
{
	const struct request *r = &p->ours.parser.req;
	if (r->field_count == 0)
		return SLICE("");
	struct span value = r->fields[r->field_count - 1].value;
	return (struct slice){p->data + value.off, value.len};
}

/* ---- where they differ */

enum kind { TODOD_REFUSES, LLHTTP_REFUSES, BOTH_ACCEPT };

/* What may differ between two that accept. */
enum aspect { METHOD = 1, TARGET = 2, VERSION = 4, FIELDS = 8, BODY = 16, END = 32, KEEP_ALIVE = 64 };

struct row {
	enum kind kind;
	unsigned aspects; /* of BOTH_ACCEPT */
	const char *said; /* what who refuses says, a part of it; "" of BOTH_ACCEPT */
	bool (*applies)(const struct pair *p);
	const char *section, *verdict;
	const char *example; /* needs the row */
};

/* In messages. */
#define HOST           "Host: a\r\n"
#define GET            "GET / HTTP/1.1\r\n" HOST
#define CHUNKED        GET "Transfer-Encoding: chunked\r\n\r\n"
#define END_CHUNK      "0\r\n\r\n"
#define TIMES_4(text)  text text text text
#define TIMES_16(text) TIMES_4(TIMES_4(text))
#define TIMES_64(text) TIMES_4(TIMES_16(text))

static bool always(const struct pair *p)
{
	(void)p;
	return true;
}

/* Has llhttp a field of that name and value, in any case and without the white space around it? */
static bool they_have(const struct pair *p, struct slice name, struct slice value)
{
	for (size_t i = 0; i < p->theirs.field_count; i++)
		if (slice_equal_nocase(p->theirs.fields[i].name, name) &&
		    slice_equal_nocase(trim(p->theirs.fields[i].value), value))
			return true;
	return false;
}

/* How many fields of that name llhttp has found in the head. */
static size_t count_of(const struct pair *p, struct slice name)
{
	size_t count = 0;
	for (size_t i = 0; i < p->theirs.field_count; i++)
		count += slice_equal_nocase(p->theirs.fields[i].name, name);
	return count;
}

/* From the begin of the line up to the byte that todod did not take. */
static struct slice refused_line(const struct pair *p)
{
	size_t end = p->ours.parser.scanned, begin = end;
	while (begin > 0 && p->data[begin - 1] != '\n')
		begin--;
	return (struct slice){p->data + begin, end - begin};
}

/* ---- what todod does not take */

static bool at_cr(const struct pair *p)
{
	return refused_byte(p) == '\r';
}

static bool at_lf(const struct pair *p)
{
	return refused_byte(p) == '\n';
}

static bool at_first_byte(const struct pair *p)
{
	return p->ours.parser.scanned == 0;
}

static bool at_line_end(const struct pair *p)
{
	return at_cr(p) || at_lf(p);
}

static bool at_space(const struct pair *p)
{
	return refused_byte(p) == ' ';
}

static bool at_space_before_target(const struct pair *p)
{
	return at_space(p) && target_of(p).len == 0;
}

static bool at_white_space(const struct pair *p)
{
	return is_space(refused_byte(p));
}

static bool at_colon(const struct pair *p)
{
	return refused_byte(p) == ':';
}

static bool at_fragment(const struct pair *p)
{
	return refused_byte(p) == '#';
}

static bool at_backslash(const struct pair *p)
{
	return refused_byte(p) == '\\';
}

static bool at_other_protocol(const struct pair *p)
{
	return refused_byte(p) == 'R' || refused_byte(p) == 'I';
}

static bool has_version(const struct pair *p, const char *version)
{
	struct slice target = target_of(p);
	const char *at = target.data + target.len + sizeof(" HTTP/") - 1;
	size_t len = strlen(version);
	return (size_t)(p->data + p->size - at) >= len && memcmp(at, version, len) == 0;
}

static bool is_version_2_or_0_9(const struct pair *p)
{
	return has_version(p, "2.0") || has_version(p, "0.9");
}

static bool is_long_number(const struct pair *p)
{
	struct slice value = last_value(p);
	for (size_t i = 0; i < value.len; i++)
		if (value.data[i] < '0' || value.data[i] > '9')
			return false;
	return value.len > 19;
}

static bool has_empty_element(const struct pair *p)
{
	struct slice value = last_value(p);
	bool is_empty = true;
	for (size_t i = 0; i < value.len; i++) {
		if (value.data[i] == ',' && is_empty)
			return true;
		is_empty = value.data[i] == ',' || (is_empty && is_space(value.data[i]));
	}
	return is_empty && value.len > 0;
}

static bool is_empty_or_folded(const struct pair *p)
{
	return last_value(p).len == 0;
}

static bool is_folded(const struct pair *p)
{
	return last_value(p).len == 0 && at_white_space(p);
}

static bool is_no_list(const struct pair *p)
{
	return last_value(p).len > 0 && !has_empty_element(p);
}

static bool has_semicolon_or_tab(const struct pair *p)
{
	struct slice value = last_value(p);
	return memchr(value.data, ';', value.len) || memchr(value.data, '\t', value.len);
}

static bool is_asterisk_and_more(const struct pair *p)
{
	return begins(target_of(p), SLICE("*")) && target_of(p).len > 1;
}

static bool is_long_target(const struct pair *p)
{
	return target_of(p).len > HTTP_TARGET_MAX_BYTES;
}

static bool is_after_64_lines(const struct pair *p)
{
	size_t lines = 0;
	for (size_t i = 0; i < p->ours.parser.scanned; i++)
		lines += p->data[i] == '\n';
	return lines > HTTP_FIELDS_MAX_COUNT;
}

static bool is_after_8_kib(const struct pair *p)
{
	return p->size >= HTTP_HEAD_MAX_BYTES;
}

static bool has_no_host(const struct pair *p)
{
	return count_of(p, SLICE("Host")) == 0;
}

static bool has_two_hosts(const struct pair *p)
{
	return count_of(p, SLICE("Host")) > 1;
}

static bool is_bad_host(const struct pair *p)
{
	return count_of(p, SLICE("Host")) > 0 && !target_authority_is_valid(last_value(p));
}

static bool has_two_types(const struct pair *p)
{
	return count_of(p, SLICE("Content-Type")) > 1;
}

static bool has_two_codings(const struct pair *p)
{
	return count_of(p, SLICE("Transfer-Encoding")) > 1;
}

static bool is_1_0(const struct pair *p)
{
	return has_version(p, "1.0");
}

static bool has_other_expectation(const struct pair *p)
{
	size_t met = 0;
	for (size_t i = 0; i < p->theirs.field_count; i++)
		met += slice_equal_nocase(p->theirs.fields[i].name, SLICE("Expect")) &&
		       slice_equal_nocase(trim(p->theirs.fields[i].value), SLICE("100-continue"));
	return met < count_of(p, SLICE("Expect"));
}

static bool has_other_coding(const struct pair *p)
{
	return !they_have(p, SLICE("Transfer-Encoding"), SLICE("chunked"));
}

static bool is_long_body(const struct pair *p)
{
	const struct theirs *t = &p->theirs;
	return t->body.len > BODY_MAX ||
	       (p->ours.parser.req.method == HTTP_CONNECT && p->ours.parser.req.has_body);
}

static bool is_long_size(const struct pair *p)
{
	struct slice line = refused_line(p);
	size_t digits = 0;
	while (digits < line.len && strchr("0123456789abcdefABCDEF", line.data[digits]))
		digits++;
	return digits == line.len && digits >= 16;
}

static bool is_long_extension(const struct pair *p)
{
	return refused_line(p).len > HTTP_CHUNK_EXT_MAX_BYTES || p->size > HTTP_CHUNK_EXT_TOTAL_MAX_BYTES;
}

static bool at_bad_extension(const struct pair *p)
{
	return strchr(";=\"", refused_byte(p)) && refused_byte(p);
}

static bool is_other_scheme(const struct pair *p)
{
	struct slice target = target_of(p);
	return memmem(target.data, target.len, "://", 3) && target.data[0] != '/';
}

static bool is_their_upgrade(const struct pair *p)
{
	return p->theirs.parser.upgrade;
}

/* ---- what llhttp does not take */

static bool is_unknown_method(const struct pair *p)
{
	return p->ours.parser.req.method == HTTP_METHOD_UNKNOWN;
}

static bool is_later_minor(const struct pair *p)
{
	return has_version(p, "1.") && !has_version(p, "1.0") && !has_version(p, "1.1");
}

static char their_byte(const struct pair *p)
{
	return p->theirs.at < p->size ? p->data[p->theirs.at] : 0;
}

static bool at_their_tab(const struct pair *p)
{
	return their_byte(p) == '\t';
}

static bool at_their_white_space(const struct pair *p)
{
	return is_space(their_byte(p));
}

/* Some of its errors point behind the byte. */
static bool near_their_white_space(const struct pair *p)
{
	return at_their_white_space(p) || is_space(p->data[p->theirs.at - 1]);
}

static bool behind_their_semicolon(const struct pair *p)
{
	return p->data[p->theirs.at - 1] == ';';
}

/* In a field's value, or behind it. Every line that todod takes ends in CR. */
static bool has_tab(const char *value)
{
	return value[strcspn(value, "\t\r")] == '\t';
}

static bool have_tab(const struct pair *p, struct slice name)
{
	const struct request *r = &p->ours.parser.req;
	for (uint32_t i = 0; i < r->field_count; i++)
		if (slice_equal_nocase(request_view(r, r->fields[i].name), name) &&
		    has_tab(p->data + r->fields[i].value.off))
			return true;
	return false;
}

static bool have_tab_behind_coding(const struct pair *p)
{
	return have_tab(p, SLICE("Transfer-Encoding"));
}

static bool in_their_trailers(const struct pair *p)
{
	return p->theirs.in_trailers;
}

/* ---- what both take */

static bool have_field(const struct pair *p, struct slice name)
{
	const struct request *r = &p->ours.parser.req;
	for (uint32_t i = 0; i < r->field_count; i++)
		if (slice_equal_nocase(request_view(r, r->fields[i].name), name))
			return true;
	return false;
}

static bool have_proxy_connection(const struct pair *p)
{
	return have_field(p, SLICE("Proxy-Connection"));
}

static bool have_connection_in_trailers(const struct pair *p)
{
	return p->theirs.trailing_connection;
}

static bool have_close_and_keep_alive(const struct pair *p)
{
	unsigned flags = p->theirs.flags;
	return p->ours.parser.req.minor == 0 && (flags & F_CONNECTION_CLOSE) &&
	       (flags & F_CONNECTION_KEEP_ALIVE);
}

static bool is_pri(const struct pair *p)
{
	return p->theirs.parser.method == HTTP_PRI &&
	       (p->theirs.verdict == WAITS || p->theirs.error == HPE_PAUSED_H2_UPGRADE);
}

static bool is_connect(const struct pair *p)
{
	return p->ours.parser.req.method == HTTP_CONNECT;
}

static bool is_connect_with_content(const struct pair *p)
{
	return is_connect(p) && p->ours.parser.head_len > 0 && p->ours.parser.req.has_body;
}

static bool is_upgrade_with_tab_behind_coding(const struct pair *p)
{
	return p->theirs.parser.upgrade && p->ours.parser.head_len > 0 && have_tab_behind_coding(p);
}

static bool have_tab_in_connection(const struct pair *p)
{
	return have_tab(p, SLICE("Connection"));
}

/*
 * "llhttp" or "todod" in front of a verdict is who is right; "both", that the RFC leaves it open.
 */
/* clang-format off */
#pragma GCC diagnostic ignored "-Woverlength-strings" /* the limits take long examples */
static const struct row rows[] = {
	/* The request line. */
	{TODOD_REFUSES, 0, "every line has to end", at_first_byte, "9112 2.2",
	 "todod: what may be skipped before a request is CRLF, and a CR alone is no line end",
	 "\rGET / HTTP/1.1\r\n" HOST "\r\n"},
	{TODOD_REFUSES, 0, "a request has to begin with a method", at_lf, "9112 2.2",
	 "both: LF alone MAY be taken for a line end; parsers that disagree about it can be played off against each other",
	 "\n" GET "\r\n"},
	{TODOD_REFUSES, 0, "a request has to begin with a method", at_cr, "9112 2.2",
	 "both: at least one empty line SHOULD be skipped; todod skips one, llhttp any number",
	 "\r\n\r\n" GET "\r\n"},
	{LLHTTP_REFUSES, 0, "Invalid method encountered", is_unknown_method, "9110 9.1",
	 "todod: a method is any token; one that nobody knows is answered 501, and framed like any other",
	 "BREW / HTTP/1.1\r\n" HOST "\r\n"},
	{LLHTTP_REFUSES, 0, "Expected space after method", is_unknown_method, "9110 9.1", "todod: the same, of GETX",
	 "GETX / HTTP/1.1\r\n" HOST "\r\n"},
	{LLHTTP_REFUSES, 0, "Invalid method for HTTP/x.x request", is_unknown_method, "9110 9.1",
	 "todod: the same, of a method of RTSP", "PLAY / HTTP/1.1\r\n" HOST "\r\n"},
	{LLHTTP_REFUSES, 0, "Expected HTTP/2 Connection Preface", is_unknown_method, "9110 9.1",
	 "todod: the same, of the word that HTTP/2 begins with", "PRI / HTTP/1.1\r\n" HOST "\r\n"},
	{BOTH_ACCEPT, END, "", is_pri, "9110 9.1", "todod: the same, and llhttp waits for the rest of what HTTP/2 begins with",
	 "PRI / HTTP/1.0\r\n\r\n"},
	{LLHTTP_REFUSES, 0, "Pause on PRI/Upgrade", is_pri, "9110 9.1", "todod: the same, of all that HTTP/2 begins with",
	 "PRI / HTTP/1.0\r\n\r\nSM\r\n\r\n"},
	{TODOD_REFUSES, 0, "the request target has to be printable", at_space_before_target, "9112 3",
	 "todod: one space; to split at more is a MAY, and lenient", "GET  / HTTP/1.1\r\n" HOST "\r\n"},
	{TODOD_REFUSES, 0, "the request target has to be printable", at_fragment, "9110 4.2.5",
	 "todod: no form of target has a fragment", "GET /#a HTTP/1.1\r\n" HOST "\r\n"},
	{TODOD_REFUSES, 0, "the request target has to be printable", at_backslash, "3986 2",
	 "todod: it is no character of a URI, and some take it for a slash", "GET /\\a HTTP/1.1\r\n" HOST "\r\n"},
	{TODOD_REFUSES, 0, "the request target has to be printable", at_line_end, "9112 3",
	 "todod: a request line has a version; HTTP/0.9 is not spoken", "GET /\r\n\r\n"},
	{TODOD_REFUSES, 0, "the request target is longer", is_long_target, "9110 15.5.15", "both: a limit, 414",
	 "GET /" TIMES_64(TIMES_64("a")) " HTTP/1.1\r\n" HOST "\r\n"},
	{TODOD_REFUSES, 0, "the request line has to end in HTTP", at_space, "9112 3",
	 "todod: one space; to split at more is a MAY, and lenient", "GET /  HTTP/1.1\r\n" HOST "\r\n"},
	{TODOD_REFUSES, 0, "the request line has to end in HTTP", at_lf, "9112 2.2",
	 "both: LF alone MAY be taken for a line end", "GET / HTTP/1.1\n" HOST "\r\n"},
	{TODOD_REFUSES, 0, "the request line has to end in HTTP", at_other_protocol, "9112 2.3",
	 "todod: llhttp speaks RTSP and ICE, too", "OPTIONS / RTSP/1.0\r\n" HOST "\r\n"},
	{TODOD_REFUSES, 0, "only HTTP/1.1 and HTTP/1.0", is_version_2_or_0_9, "9110 15.6.6",
	 "todod: another major version is 505; llhttp reads 2.0 and 0.9 like 1.1", "GET / HTTP/2.0\r\n" HOST "\r\n"},
	{LLHTTP_REFUSES, 0, "Invalid HTTP version", is_later_minor, "9110 2.5",
	 "todod: a later minor version is to be read like the latest that one knows", "GET / HTTP/1.2\r\n" HOST "\r\n"},

	/* The target, which the api looks at. */
	{TODOD_REFUSES, 0, "the target * is for OPTIONS alone", always, "9112 3.2.4", "todod: OPTIONS alone has it",
	 "GET * HTTP/1.1\r\n" HOST "\r\n"},
	{TODOD_REFUSES, 0, "the request target has to be a path", is_asterisk_and_more, "9112 3.2.4",
	 "todod: the asterisk stands alone", "OPTIONS *a HTTP/1.1\r\n" HOST "\r\n"},
	{TODOD_REFUSES, 0, "the request target has to be a path", is_other_scheme, "9110 7.4",
	 "todod: an origin of http has nothing under another scheme", "GET ftp://a/ HTTP/1.1\r\n" HOST "\r\n"},
	{TODOD_REFUSES, 0, "the URI has to name a host", always, "9110 4.2",
	 "todod: an empty host, user information and what is no authority are to be refused; llhttp looks at characters alone",
	 "GET http://u@a/ HTTP/1.1\r\n" HOST "\r\n"},
	{TODOD_REFUSES, 0, "the target of CONNECT", always, "9112 3.2.3",
	 "todod: host and port; llhttp looks at characters alone", "CONNECT a HTTP/1.1\r\n" HOST "\r\n"},

	/* Field lines. */
	{TODOD_REFUSES, 0, "a field may not be folded", at_white_space, "9112 5.2",
	 "todod: a fold MUST be refused or replaced; llhttp leaves it in", GET "A: b\r\n c\r\n\r\n"},
	{TODOD_REFUSES, 0, "a field has to begin with its name", at_lf, "9112 2.2",
	 "both: LF alone MAY be taken for a line end", GET "\n"},
	{TODOD_REFUSES, 0, "a field has to begin with its name", at_colon, "9112 5",
	 "todod: a field has a name; llhttp takes an empty one", GET ": a\r\n\r\n"},
	{TODOD_REFUSES, 0, "the request has more than 64 fields", is_after_64_lines, "9110 5.4", "both: a limit, 431",
	 GET TIMES_64("a:\r\n") "\r\n"},
	{TODOD_REFUSES, 0, "request line and fields are longer", is_after_8_kib, "9110 5.4", "both: a limit, 431",
	 GET "a: " TIMES_64(TIMES_64("bc")) "\r\n\r\n"},
	{TODOD_REFUSES, 0, "an HTTP/1.1 request has to name its Host", has_no_host, "9112 3.2",
	 "todod: 400 is a MUST; llhttp leaves Host to others", "GET / HTTP/1.1\r\n\r\n"},
	{TODOD_REFUSES, 0, "Host may be given only once", has_two_hosts, "9112 3.2", "todod: 400 is a MUST", GET HOST "\r\n"},
	{TODOD_REFUSES, 0, "Host has to be", is_bad_host, "9112 3.2", "todod: 400 is a MUST",
	 "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"},
	{TODOD_REFUSES, 0, "Content-Type may be given only once", has_two_types, "9110 5.3",
	 "todod: it is no list, so that two of them mean nothing", GET "Content-Type: a/b\r\nContent-Type: a/b\r\n\r\n"},
	{TODOD_REFUSES, 0, "the only expectation", has_other_expectation, "9110 10.1.1", "both: 417 is a MAY", GET "Expect: a\r\n\r\n"},

	/* How long a message is. */
	{TODOD_REFUSES, 0, "Content-Length has to be", is_long_number, "9110 8.6",
	 "both: overflow is to be expected and prevented; todod counts digits, leading zeros too",
	 GET "Content-Length: 00000000000000000000\r\n\r\n"},
	{TODOD_REFUSES, 0, "Content-Length has to be", is_folded, "9112 5.2",
	 "todod: a fold MUST be refused or replaced; llhttp leaves it in", GET "Content-Length:\r\n 0\r\n\r\n"},
	{LLHTTP_REFUSES, 0, "Invalid character in Content-Length", at_their_tab, "9110 5.5",
	 "todod: a tab behind a value does not belong to it", GET "Content-Length: 0\t\r\n\r\n"},
	{TODOD_REFUSES, 0, "the body is larger", is_long_body, "9110 15.5.14", "both: a limit, 413",
	 GET "Transfer-Encoding: chunked\r\n\r\n1001\r\n" TIMES_64(TIMES_64("a")) "a\r\n" END_CHUNK},
	{TODOD_REFUSES, 0, "Transfer-Encoding may be given only once", has_two_codings, "9112 6.1",
	 "both: several lines make one list; todod is to be sent one coding, and who sends two wants two parsers to disagree",
	 GET "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n" END_CHUNK},
	{TODOD_REFUSES, 0, "HTTP/1.0 has no Transfer-Encoding", is_1_0, "9112 6.1",
	 "todod: framing that is to be taken for faulty; llhttp reads it",
	 "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" END_CHUNK},
	{TODOD_REFUSES, 0, "Transfer-Encoding has to be a list", has_empty_element, "9110 5.6.1.2",
	 "llhttp: empty elements MUST be passed over; where it is about framing, todod takes no list that others may read otherwise",
	 GET "Transfer-Encoding: , chunked\r\n\r\n" END_CHUNK},
	{TODOD_REFUSES, 0, "Transfer-Encoding has to be a list", is_empty_or_folded, "9112 6.1",
	 "todod: it says that a coding was applied, and names none, or folds; llhttp counts neither for an error",
	 GET "Transfer-Encoding:\r\n\r\n"},
	{TODOD_REFUSES, 0, "Content-Length and Transfer-Encoding exclude", is_empty_or_folded, "9112 6.1",
	 "todod: the same, where a length stands in front", GET "Content-Length: 0\r\nTransfer-Encoding:\r\n\r\n"},
	{TODOD_REFUSES, 0, "Transfer-Encoding has to be a list", is_no_list, "9112 7",
	 "todod: a coding is a token with parameters; llhttp looks at the last element alone",
	 GET "Transfer-Encoding: a b, chunked\r\n\r\n" END_CHUNK},
	{TODOD_REFUSES, 0, "in Transfer-Encoding, chunked has to be", is_their_upgrade, "9112 6.3",
	 "todod: nobody can tell where it ends, and 400 is a MUST; llhttp does not mind before a tunnel",
	 "CONNECT a:1 HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked;a\r\n\r\n"},
	{TODOD_REFUSES, 0, "in Transfer-Encoding, chunked has to be", has_semicolon_or_tab, "9112 7.1",
	 "todod: chunked has no parameters, and a tab is white space; llhttp takes both for parts of another coding's name",
	 GET "Transfer-Encoding: chunked;a, chunked\r\n\r\n" END_CHUNK},
	{TODOD_REFUSES, 0, "the only transfer coding spoken here", has_other_coding, "9112 6.1", "both: 501 SHOULD be the answer",
	 GET "Transfer-Encoding: gzip, chunked\r\n\r\n" END_CHUNK},
	{LLHTTP_REFUSES, 0, "Request has invalid `Transfer-Encoding`", have_tab_behind_coding, "9110 5.5",
	 "todod: a tab behind a value does not belong to it", GET "Transfer-Encoding: chunked\t\r\n\r\n" END_CHUNK},
	{BOTH_ACCEPT, BODY | END, "", is_connect, "9110 9.3.6",
	 "both: CONNECT has no content, and what follows is the tunnel's; todod makes no tunnel, answers 405, and by 9112 6.3 "
	 "skips what the fields announce",
	 "CONNECT a:1 HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\na"},
	{TODOD_REFUSES, 0, "", is_connect_with_content, "9110 9.3.6", "both: the same, where that content is broken",
	 "CONNECT a:1 HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\na:"},
	{BOTH_ACCEPT, BODY | END, "", is_upgrade_with_tab_behind_coding, "9110 5.5",
	 "todod: a tab behind a value does not belong to it, nor does Upgrade take the content away",
	 GET "Connection: upgrade\r\nUpgrade: a\r\nTransfer-Encoding: chunked\t\r\n\r\n1\r\na\r\n" END_CHUNK},
	{TODOD_REFUSES, 0, "", is_upgrade_with_tab_behind_coding, "9110 5.5", "todod: the same, where that content is broken",
	 GET "Connection: upgrade\r\nUpgrade: a\r\nTransfer-Encoding: chunked\t\r\n\r\na:"},

	/* Chunks and trailers. */
	{TODOD_REFUSES, 0, "the size of a chunk may have 16 digits", is_long_size, "9112 7.1",
	 "both: overflow is to be prevented; todod counts digits, leading zeros too", CHUNKED "00000000000000000\r\n\r\n"},
	{TODOD_REFUSES, 0, "what follows the size of a chunk", at_bad_extension, "9112 7.1.1",
	 "todod: an extension has a name; llhttp takes one without", CHUNKED "0;;a\r\n\r\n"},
	{TODOD_REFUSES, 0, "a chunk extension is incomplete", always, "9112 7.1.1",
	 "todod: behind = has to be a value; llhttp takes none", CHUNKED "0;a=\r\n\r\n"},
	{TODOD_REFUSES, 0, "the chunk extensions are too long", is_long_extension, "9112 7.1.1", "both: a server ought to limit them",
	 CHUNKED "0;" TIMES_64("abcde") "\r\n\r\n"},
	{LLHTTP_REFUSES, 0, "Invalid character in chunk size", at_their_white_space, "9112 7.1.1",
	 "todod: white space before ; is bad, and MUST be taken", CHUNKED "0 ;a\r\n\r\n"},
	{LLHTTP_REFUSES, 0, "Invalid character in chunk extensions", near_their_white_space, "9112 7.1.1",
	 "todod: the same, around = and behind ;", CHUNKED "0;a =b\r\n\r\n"},
	{LLHTTP_REFUSES, 0, "Invalid character in chunk size", behind_their_semicolon, "9112 7.1.1",
	 "todod: a second extension may follow a value; llhttp 8.1 forgets that", CHUNKED "0;a=b;c\r\n\r\n"},
	{LLHTTP_REFUSES, 0, "Invalid character in chunk extensions quoted value", always, "9110 5.6.4",
	 "todod: quoted-pair and tab belong to a quoted string", CHUNKED "0;a=\"\\b\"\r\n\r\n"},
	{LLHTTP_REFUSES, 0, "Invalid `Transfer-Encoding` header value", in_their_trailers, "9110 6.5.1",
	 "todod: a trailer says nothing about framing any more; todod drops them all",
	 CHUNKED "0\r\nTransfer-Encoding: chunked\r\n\r\n"},
	{LLHTTP_REFUSES, 0, "Content-Length", in_their_trailers, "9110 6.5.1", "todod: the same",
	 CHUNKED "0\r\nContent-Length: a\r\n\r\n"},

	/* Whether the connection lives on. */
	{BOTH_ACCEPT, KEEP_ALIVE, "", have_proxy_connection, "9112 C.2.2",
	 "todod: it is no field of HTTP; llhttp reads it like Connection", GET "Proxy-Connection: close\r\n\r\n"},
	{BOTH_ACCEPT, KEEP_ALIVE, "", have_close_and_keep_alive, "9112 9.3",
	 "todod: close ends it, whatever else is said", "GET / HTTP/1.0\r\nConnection: close, keep-alive\r\n\r\n"},
	{BOTH_ACCEPT, KEEP_ALIVE, "", have_tab_in_connection, "9110 5.6.1",
	 "todod: a tab between elements is white space", GET "Connection: close\t\r\n\r\n"},
	{BOTH_ACCEPT, KEEP_ALIVE, "", have_connection_in_trailers, "9110 6.5.1",
	 "todod: a trailer does not count", CHUNKED "0\r\nConnection: close\r\n\r\n"},
};
/* clang-format on */

/* ---- the comparison */

static bool same_text(const char *a, struct slice b)
{
	return slice_equal(slice_of(a), b);
}

static bool fields_differ(const struct pair *p)
{
	const struct request *r = &p->ours.parser.req;
	if (r->field_count != p->theirs.field_count)
		return true;
	for (uint32_t i = 0; i < r->field_count; i++)
		if (!slice_equal(request_view(r, r->fields[i].name), p->theirs.fields[i].name) ||
		    !slice_equal(request_view(r, r->fields[i].value), trim(p->theirs.fields[i].value)))
			return true;
	return false;
}

/* Both accept. */
static unsigned compare(const struct pair *p)
{
	const struct parser *ours = &p->ours.parser;
	const struct request *r = &ours->req;
	const struct theirs *t = &p->theirs;
	unsigned differ = 0;
	if (!same_text(t->method, request_view(r, r->method_text)))
		differ |= METHOD;
	if (!slice_equal(t->target, request_view(r, r->target)))
		differ |= TARGET;
	if (t->parser.http_major != 1 || t->parser.http_minor != r->minor)
		differ |= VERSION;
	if (fields_differ(p))
		differ |= FIELDS;
	if (!slice_equal(buf_slice(&t->body), request_view(r, r->body)))
		differ |= BODY;
	if (t->at != ours->consumed)
		differ |= END;
	if (t->keep_alive != r->keep_alive)
		differ |= KEEP_ALIVE;
	return differ;
}

static void print_text(const char *data, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		char c = data[i];
		if (c == '\r' || c == '\n')
			fprintf(stderr, c == '\r' ? "\\r" : "\\n");
		else
			fprintf(stderr, c >= ' ' && c < 127 ? "%c" : "\\x%02x", (uint8_t)c);
	}
}

static _Noreturn void complain(const struct pair *p, unsigned differ)
{
	static const char *const verdicts[] = {
	    [WAITS] = "waits", [ACCEPTS] = "accepts", [REFUSES] = "refuses"};
	print_text(p->data, p->size);
	fprintf(stderr, "\ntodod %s: %u %s, at %u of %zu, head %u, body %u, end %zu\n",
		verdicts[p->ours.verdict], p->ours.parser.status, p->ours.detail, p->ours.parser.scanned,
		p->size, p->ours.parser.head_len, p->ours.parser.req.body.len, p->ours.parser.consumed);
	fprintf(stderr, "llhttp %s: %s %s, at %zu, body %zu\n", verdicts[p->theirs.verdict],
		llhttp_errno_name(p->theirs.error),
		p->theirs.verdict == REFUSES ? p->theirs.parser.reason : "", p->theirs.at,
		p->theirs.body.len);
	fprintf(stderr, "no row explains it (aspects %#x)\n", differ);
	abort();
}

/* What of `differ` the row explains. */
static unsigned explains(const struct row *row, const struct pair *p, enum kind kind, unsigned differ)
{
	const char *said = kind == TODOD_REFUSES    ? p->ours.detail
			   : kind == LLHTTP_REFUSES ? p->theirs.parser.reason
						    : "";
	bool it_is = row->kind == kind && strstr(said, row->said) && row->applies(p);
	return !it_is ? 0 : kind == BOTH_ACCEPT ? differ & row->aspects : differ;
}

/* True where `needed` explained something; any row may where it is NULL. */
static bool judge(const char *data, size_t size, const struct row *needed)
{
	static struct pair p;
	p.data = data;
	p.size = size;
	buf_clear(&p.theirs.body);
	struct buf body = p.theirs.body;
	ask_llhttp(&p.theirs, data, size, body);
	ask_todod(&p.ours, data, size);
	unsigned differ = 0;
	enum kind kind = BOTH_ACCEPT;
	bool reached = false;
	if (p.ours.verdict == REFUSES || p.theirs.verdict == REFUSES) {
		kind = p.ours.verdict == REFUSES ? TODOD_REFUSES : LLHTTP_REFUSES;
		differ = p.ours.verdict == ACCEPTS || p.theirs.verdict == ACCEPTS;
	} else if (p.ours.verdict == ACCEPTS || p.theirs.verdict == ACCEPTS) {
		differ = p.ours.verdict == p.theirs.verdict ? compare(&p) : END;
	}
	for (size_t i = 0; differ != 0 && i < sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned explained = explains(&rows[i], &p, kind, differ);
		differ &= ~explained;
		reached = reached || (explained != 0 && &rows[i] == needed);
	}
	if (differ != 0)
		complain(&p, differ);
	free(p.ours.msg);
	return reached;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (!judge(rows[i].example, strlen(rows[i].example), &rows[i])) {
			fprintf(stderr, "not what its example needs: %s, %s\n", rows[i].section,
				rows[i].verdict);
			abort();
		}
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = copy_exactly(data, size);
	(void)judge(text.data, text.len, NULL);
	free_copy(text);
	return 0;
}
