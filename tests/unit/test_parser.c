/*
 * The request parser against tables of raw bytes. Every case is fed in one piece that ends at an inaccessible
 * page, byte by byte, cut at every length, in random pieces, and with bytes of a next message behind it; all
 * of that has to agree. A case's bytes end where the outcome is due: at the last byte of the message, or at
 * the first byte that makes it unacceptable. Before that byte the answer has to be PARSE_MORE.
 */
#include "http/parser.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

enum { ROW_BODY_MAX = 64, ARENA_BYTES = 256 * 1024, RANDOM_RUNS = 6 };

#define GET     "GET / HTTP/1.1\r\n"
#define GET10   "GET / HTTP/1.0\r\n"
#define HOST    "Host: x\r\n"
#define POST    "POST / HTTP/1.1\r\nHost: x\r\n"
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"

/* Memory whose end cannot be read past. */
static char *arena_end;

static int arena_open(void **state)
{
	(void)state;
	long page = sysconf(_SC_PAGESIZE);
	char *arena = mmap(NULL, ARENA_BYTES + (size_t)page, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (arena == MAP_FAILED || mprotect(arena + ARENA_BYTES, (size_t)page, PROT_NONE) != 0)
		return -1;
	arena_end = arena + ARENA_BYTES;
	return 0;
}

struct outcome {
	enum parse_result result;
	uint16_t status;
	const char *detail;
	size_t raw_consumed;
	struct buf text; /* what the request says, for people */
};

static void describe(const struct parser *p, struct buf *text)
{
	const struct request *r = &p->req;
	buf_append_slice(text, request_view(r, r->method_text));
	buf_append_str(text, " ");
	buf_append_slice(text, request_view(r, r->target));
	buf_printf(text, " 1.%d %s", r->minor, r->keep_alive ? "keep" : "close");
	if (r->wants_continue)
		buf_append_str(text, " continue");
	for (uint32_t i = 0; i < r->field_count; i++) {
		buf_append_str(text, " [");
		buf_append_slice(text, request_view(r, r->fields[i].name));
		buf_append_str(text, ":");
		buf_append_slice(text, request_view(r, r->fields[i].value));
		buf_append_str(text, "]");
	}
	if (r->has_content_type) {
		buf_append_str(text, " type=");
		buf_append_slice(text, request_view(r, r->content_type));
	}
	if (r->has_body) {
		buf_append_str(text, r->chunked ? " chunked=" : " body=");
		buf_append_slice(text, request_view(r, r->body));
	}
}

/* Feeds raw in pieces of 1 to piece_max bytes, of which the last may end anywhere. */
static struct outcome feed(struct slice raw, uint64_t body_max, size_t piece_max)
{
	static struct parser p;
	char *msg = arena_end - raw.len;
	size_t len = 0, taken = 0, moved = 0;
	enum parse_result result = PARSE_MORE;
	memset(&p, 0xee, sizeof(p));
	memset(msg, 0, raw.len);
	parser_init(&p, body_max);
	while (result == PARSE_MORE && taken < raw.len) {
		size_t piece = piece_max >= raw.len ? raw.len : 1 + (size_t)rand() % piece_max;
		piece = piece < raw.len - taken ? piece : raw.len - taken;
		memcpy(msg + len, raw.data + taken, piece);
		len += piece;
		taken += piece;
		size_t before = len;
		result = parser_feed(&p, msg, &len);
		assert_true(len <= before);
		if (result != PARSE_MORE)
			assert_int_equal(len, before);
		moved += before - len;
	}
	struct outcome o = {.result = result, .text = BUF_INIT};
	if (result == PARSE_BAD) {
		o.status = p.status;
		o.detail = p.detail;
	}
	if (result == PARSE_DONE) {
		o.raw_consumed = p.consumed + moved;
		assert_true(o.raw_consumed <= taken);
		assert_memory_equal(msg + p.consumed, raw.data + o.raw_consumed, taken - o.raw_consumed);
		describe(&p, &o.text);
	}
	if (result != PARSE_MORE) {
		assert_int_equal(parser_feed(&p, msg, &len), result);
		assert_int_equal(p.status, o.status);
	}
	return o;
}

static bool same(const struct outcome *a, const struct outcome *b)
{
	return a->result == b->result && a->status == b->status && a->detail == b->detail &&
	       a->raw_consumed == b->raw_consumed && slice_equal(buf_slice(&a->text), buf_slice(&b->text));
}

static void expect_same(const char *what, struct slice raw, uint64_t body_max, size_t piece_max,
			const struct outcome *wanted)
{
	struct outcome o = feed(raw, body_max, piece_max);
	if (!same(&o, wanted))
		fail_msg("%s: in pieces of up to %zu bytes: result %d, status %d, %zu consumed, %.*s", what,
			 piece_max, o.result, o.status, o.raw_consumed, (int)o.text.len,
			 o.text.data ? o.text.data : "");
	buf_release(&o.text);
}

/* `text` is what describe() says of the request when it is accepted; else status is not 0. */
static void check(const char *what, struct slice raw, uint64_t body_max, const char *text, uint16_t status)
{
	struct outcome o = feed(raw, body_max, raw.len);
	if (status != 0) {
		if (o.result != PARSE_BAD || o.status != status)
			fail_msg("%s: result %d, status %d instead of %d (%s)", what, o.result, o.status,
				 status, o.detail ? o.detail : "");
		assert_true(strlen(o.detail) > 10);
		assert_null(strpbrk(o.detail, "\"\\"));
	} else {
		if (o.result != PARSE_DONE)
			fail_msg("%s: result %d, status %d (%s)", what, o.result, o.status,
				 o.detail ? o.detail : "");
		assert_int_equal(o.raw_consumed, raw.len);
		if (text && !slice_equal(buf_slice(&o.text), slice_of(text)))
			fail_msg("%s:\n%.*s\ninstead of\n%s", what, (int)o.text.len, o.text.data, text);
	}

	expect_same(what, raw, body_max, 1, &o);
	for (size_t i = 0; i < RANDOM_RUNS; i++)
		expect_same(what, raw, body_max, 2 + (size_t)rand() % (raw.len + 1), &o);

	struct outcome more = {.result = PARSE_MORE};
	size_t stride = raw.len < 2000 ? 1 : raw.len / 500;
	for (size_t cut = stride; cut < raw.len; cut += stride)
		expect_same(what, (struct slice){raw.data, cut}, body_max, cut, &more);
	expect_same(what, (struct slice){raw.data, raw.len - 1}, body_max, raw.len, &more);

	struct buf followed = BUF_INIT;
	buf_append_slice(&followed, raw);
	buf_append_str(&followed, "\r\n\r\nGET /next HTTP/1.1\r\n");
	expect_same(what, buf_slice(&followed), body_max, followed.len, &o);
	expect_same(what, buf_slice(&followed), body_max, 7, &o);
	buf_release(&followed);
	buf_release(&o.text);
}

struct accepted {
	const char *what;
	struct slice raw;
	const char *text;
};

struct refused {
	const char *what;
	uint16_t status;
	struct slice raw;
};

#define RAW(literal)                            \
	{                                       \
		"" literal, sizeof(literal) - 1 \
	}

/* clang-format off */
static const struct accepted accepted_rows[] = {
	/* Request line: RFC 9112 section 3 */
	{"the least that 1.1 needs", RAW(GET HOST "\r\n"), "GET / 1.1 keep [Host:x]"},
	{"the least that 1.0 needs", RAW(GET10 "\r\n"), "GET / 1.0 close"},
	{"1.0 with Host", RAW(GET10 HOST "\r\n"), "GET / 1.0 close [Host:x]"},
	{"1.2 is spoken as 1.1", RAW("GET / HTTP/1.2\r\n" HOST "\r\n"), "GET / 1.1 keep [Host:x]"},
	{"1.9 is spoken as 1.1", RAW("GET / HTTP/1.9\r\n" HOST "\r\n"), "GET / 1.1 keep [Host:x]"},
	{"one empty line in front", RAW("\r\n" GET HOST "\r\n"), "GET / 1.1 keep [Host:x]"},
	{"authority form", RAW("CONNECT x:1 HTTP/1.1\r\n" HOST "\r\n"), "CONNECT x:1 1.1 keep [Host:x]"},
	{"an unknown method", RAW("BREW / HTTP/1.1\r\n" HOST "\r\n"), "BREW / 1.1 keep [Host:x]"},
	{"a method in lower case is an unknown one", RAW("get / HTTP/1.1\r\n" HOST "\r\n"), "get / 1.1 keep [Host:x]"},
	{"a method of all token characters", RAW("!#$%&'*+-.^_`|~09azAZ / HTTP/1.1\r\n" HOST "\r\n"), "!#$%&'*+-.^_`|~09azAZ / 1.1 keep [Host:x]"},
	{"32 bytes of method", RAW("ABCDEFGHIJKLMNOPQRSTUVWXYZ012345 / HTTP/1.1\r\n" HOST "\r\n"), "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345 / 1.1 keep [Host:x]"},
	{"asterisk form", RAW("OPTIONS * HTTP/1.1\r\n" HOST "\r\n"), "OPTIONS * 1.1 keep [Host:x]"},
	{"absolute form", RAW("GET http://y/a?b HTTP/1.1\r\n" HOST "\r\n"), "GET http://y/a?b 1.1 keep [Host:x]"},
	{"what RFC 3986 has not but clients send", RAW("GET /\"<>[]^`{|} HTTP/1.1\r\n" HOST "\r\n"), "GET /\"<>[]^`{|} 1.1 keep [Host:x]"},
	{"percent escapes are not decoded here", RAW("GET /%00%zz% HTTP/1.1\r\n" HOST "\r\n"), "GET /%00%zz% 1.1 keep [Host:x]"},

	/* Fields: RFC 9112 section 5, RFC 9110 section 5.5 */
	{"white space around a value", RAW(GET "Host: \t x \t \r\n\r\n"), "GET / 1.1 keep [Host:x]"},
	{"no white space before a value", RAW(GET "Host:x\r\n\r\n"), "GET / 1.1 keep [Host:x]"},
	{"white space inside a value", RAW(GET HOST "A: b \t c\r\n\r\n"), "GET / 1.1 keep [Host:x] [A:b \t c]"},
	{"empty values", RAW(GET HOST "A:\r\nB: \t\r\n\r\n"), "GET / 1.1 keep [Host:x] [A:] [B:]"},
	{"a field twice", RAW(GET HOST "A: 1\r\na: 2\r\n\r\n"), "GET / 1.1 keep [Host:x] [A:1] [a:2]"},
	{"colons in a value", RAW(GET HOST "A:::\r\n\r\n"), "GET / 1.1 keep [Host:x] [A:::]"},
	{"obs-text in a value", RAW(GET HOST "A: \200\377\r\n\r\n"), "GET / 1.1 keep [Host:x] [A:\200\377]"},
	{"a name of all token characters", RAW(GET HOST "!#$%&'*+-.^_`|~09azAZ: 1\r\n\r\n"), "GET / 1.1 keep [Host:x] [!#$%&'*+-.^_`|~09azAZ:1]"},
	{"names that only resemble known ones", RAW(GET HOST "Hos: 1\r\nHosts: 1\r\nContent_Length: 5\r\nContent-Length5: 1\r\n\r\n"),
	 "GET / 1.1 keep [Host:x] [Hos:1] [Hosts:1] [Content_Length:5] [Content-Length5:1]"},
	{"a content type", RAW(GET HOST "Content-Type: a/b; c\r\n\r\n"), "GET / 1.1 keep [Host:x] [Content-Type:a/b; c] type=a/b; c"},
	{"an empty content type is there", RAW(GET HOST "Content-Type:\r\n\r\n"), "GET / 1.1 keep [Host:x] [Content-Type:] type="},

	/* Host: RFC 9112 section 3.2 */
	{"a name in upper case", RAW(GET "HOST: X\r\n\r\n"), "GET / 1.1 keep [HOST:X]"},
	{"Host behind another field", RAW(GET "A: b\r\n" HOST "\r\n"), "GET / 1.1 keep [A:b] [Host:x]"},
	{"Host with a port", RAW(GET "Host: example.org:8080\r\n\r\n"), "GET / 1.1 keep [Host:example.org:8080]"},
	{"Host of IPv6", RAW(GET "Host: [::1]:80\r\n\r\n"), "GET / 1.1 keep [Host:[::1]:80]"},
	{"absolute form that differs from Host", RAW("GET http://y HTTP/1.1\r\n" HOST "\r\n"), "GET http://y 1.1 keep [Host:x]"},

	/* Connection: RFC 9112 section 9.3 */
	{"1.1 close", RAW(GET HOST "Connection: close\r\n\r\n"), "GET / 1.1 close [Host:x] [Connection:close]"},
	{"1.1 close, other case", RAW(GET HOST "connection: CLOSE\r\n\r\n"), "GET / 1.1 close [Host:x] [connection:CLOSE]"},
	{"1.1 close in a list", RAW(GET HOST "Connection: a ,\tclose\t, b\r\n\r\n"), "GET / 1.1 close [Host:x] [Connection:a ,\tclose\t, b]"},
	{"1.1 close in a second field", RAW(GET HOST "Connection: a\r\nConnection: close\r\n\r\n"), "GET / 1.1 close [Host:x] [Connection:a] [Connection:close]"},
	{"1.1 close wins", RAW(GET HOST "Connection: close\r\nConnection: keep-alive\r\n\r\n"), "GET / 1.1 close [Host:x] [Connection:close] [Connection:keep-alive]"},
	{"1.1 keep-alive", RAW(GET HOST "Connection: keep-alive\r\n\r\n"), "GET / 1.1 keep [Host:x] [Connection:keep-alive]"},
	{"1.1 something like close", RAW(GET HOST "Connection: closed, xclose, clo se\r\n\r\n"), "GET / 1.1 keep [Host:x] [Connection:closed, xclose, clo se]"},
	{"1.1 empty elements", RAW(GET HOST "Connection: ,, ,close,\r\n\r\n"), "GET / 1.1 close [Host:x] [Connection:,, ,close,]"},
	{"1.1 an empty Connection", RAW(GET HOST "Connection:\r\n\r\n"), "GET / 1.1 keep [Host:x] [Connection:]"},
	{"1.0 keep-alive", RAW(GET10 "Connection: Keep-Alive\r\n\r\n"), "GET / 1.0 keep [Connection:Keep-Alive]"},
	{"1.0 close wins", RAW(GET10 "Connection: keep-alive, close\r\n\r\n"), "GET / 1.0 close [Connection:keep-alive, close]"},

	/* Bodies with a length: RFC 9112 section 6.2 */
	{"POST without a length has no body", RAW(POST "\r\n"), "POST / 1.1 keep [Host:x]"},
	{"a length of 0", RAW(POST "Content-Length: 0\r\n\r\n"), "POST / 1.1 keep [Host:x] [Content-Length:0]"},
	{"a body", RAW(POST "Content-Length: 5\r\n\r\nhello"), "POST / 1.1 keep [Host:x] [Content-Length:5] body=hello"},
	{"a body of line ends", RAW(POST "Content-Length: 4\r\n\r\n\r\n\r\n"), "POST / 1.1 keep [Host:x] [Content-Length:4] body=\r\n\r\n"},
	{"leading zeros", RAW(POST "Content-Length: 0000000000000000003\r\n\r\nabc"), "POST / 1.1 keep [Host:x] [Content-Length:0000000000000000003] body=abc"},
	{"a body of GET is a body", RAW(GET HOST "Content-Length: 2\r\n\r\nab"), "GET / 1.1 keep [Host:x] [Content-Length:2] body=ab"},
	{"a body in 1.0", RAW("POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nab"), "POST / 1.0 close [Content-Length:2] body=ab"},
	{"a body of the largest size", RAW(POST "Content-Length: 64\r\n\r\n0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
	 "POST / 1.1 keep [Host:x] [Content-Length:64] body=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"},

	/* Chunked bodies: RFC 9112 section 7.1 */
	{"no chunk", RAW(CHUNKED "0\r\n\r\n"), "POST / 1.1 keep [Host:x] [Transfer-Encoding:chunked] chunked="},
	{"one chunk", RAW(CHUNKED "5\r\nhello\r\n0\r\n\r\n"), "POST / 1.1 keep [Host:x] [Transfer-Encoding:chunked] chunked=hello"},
	{"several chunks", RAW(CHUNKED "1\r\na\r\n2\r\nbc\r\n3\r\ndef\r\n0\r\n\r\n"), "POST / 1.1 keep [Host:x] [Transfer-Encoding:chunked] chunked=abcdef"},
	{"both cases of digits", RAW(CHUNKED "a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n"), "POST / 1.1 keep [Host:x] [Transfer-Encoding:chunked] chunked=01234567890123456789"},
	{"leading zeros of a size", RAW(CHUNKED "0000000000000002\r\nab\r\n0000000000000000\r\n\r\n"), "POST / 1.1 keep [Host:x] [Transfer-Encoding:chunked] chunked=ab"},
	{"line ends as data", RAW(CHUNKED "7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n"), "POST / 1.1 keep [Host:x] [Transfer-Encoding:chunked] chunked=\r\n0\r\n\r\n"},
	{"chunked in other case", RAW(POST "transfer-encoding: \tChunKED \r\n\r\n0\r\n\r\n"), "POST / 1.1 keep [Host:x] [transfer-encoding:ChunKED] chunked="},
	{"chunked with GET", RAW(GET HOST "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"), "GET / 1.1 keep [Host:x] [Transfer-Encoding:chunked] chunked=a"},
	{"chunks up to the largest size", RAW(CHUNKED "20\r\n0123456789abcdef0123456789abcdef\r\n20\r\n0123456789abcdef0123456789abcdef\r\n0\r\n\r\n"),
	 "POST / 1.1 keep [Host:x] [Transfer-Encoding:chunked] chunked=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"},
	{"extension: a name", RAW(CHUNKED "1;n\r\na\r\n0;n\r\n\r\n"), "POST / 1.1 keep [Host:x] [Transfer-Encoding:chunked] chunked=a"},
	{"extension: a value", RAW(CHUNKED "1;n=v\r\na\r\n0\r\n\r\n"), "POST / 1.1 keep [Host:x] [Transfer-Encoding:chunked] chunked=a"},
	{"extension: several", RAW(CHUNKED "1;n=v;m;o=\"p\"\r\na\r\n0\r\n\r\n"), "POST / 1.1 keep [Host:x] [Transfer-Encoding:chunked] chunked=a"},
	{"extension: quoted", RAW(CHUNKED "1;n=\";= \t\200\\\"\\\\#\"\r\na\r\n0\r\n\r\n"), "POST / 1.1 keep [Host:x] [Transfer-Encoding:chunked] chunked=a"},
	{"extension: an empty quoted value", RAW(CHUNKED "1;n=\"\";m\r\na\r\n0\r\n\r\n"), "POST / 1.1 keep [Host:x] [Transfer-Encoding:chunked] chunked=a"},
	{"extension: bad white space", RAW(CHUNKED "1 \t; n\t= v ; m = \"q\" ;o\r\na\r\n0\r\n\r\n"), "POST / 1.1 keep [Host:x] [Transfer-Encoding:chunked] chunked=a"},
	{"trailers are dropped", RAW(CHUNKED "1\r\na\r\n0\r\nA: b\r\nC: d\r\n\r\n"), "POST / 1.1 keep [Host:x] [Transfer-Encoding:chunked] chunked=a"},
	{"trailers that would change the framing do nothing", RAW(CHUNKED "0\r\nContent-Length: 5\r\nHost: y\r\nTransfer-Encoding: x\r\nConnection: close\r\n\r\n"),
	 "POST / 1.1 keep [Host:x] [Transfer-Encoding:chunked] chunked="},

	/* Expect: RFC 9110 section 10.1.1 */
	{"100-continue", RAW(POST "Expect: 100-continue\r\nContent-Length: 1\r\n\r\na"), "POST / 1.1 keep continue [Host:x] [Expect:100-continue] [Content-Length:1] body=a"},
	{"100-continue in other case", RAW(POST "expect: 100-CONTINUE\r\n\r\n"), "POST / 1.1 keep continue [Host:x] [expect:100-CONTINUE]"},
	{"100-continue twice", RAW(POST "Expect: 100-continue\r\nExpect: 100-continue\r\n\r\n"), "POST / 1.1 keep continue [Host:x] [Expect:100-continue] [Expect:100-continue]"},
	{"100-continue among empty elements", RAW(POST "Expect: , 100-continue\t,,\r\n\r\n"), "POST / 1.1 keep continue [Host:x] [Expect:, 100-continue\t,,]"},
	{"no expectation", RAW(POST "Expect:\r\nExpect: ,\r\n\r\n"), "POST / 1.1 keep [Host:x] [Expect:] [Expect:,]"},
	{"1.0 knows no expectation", RAW(GET10 "Expect: 100-continue\r\n\r\n"), "GET / 1.0 close [Expect:100-continue]"},
	{"1.0 knows no other expectation either", RAW(GET10 "Expect: x\r\nExpect: y\r\n\r\n"), "GET / 1.0 close [Expect:x] [Expect:y]"},
};

static const struct refused refused_rows[] = {
	/* Request line */
	{"a second empty line in front", 400, RAW("\r\n\r")},
	{"a lone LF in front", 400, RAW("\n")},
	{"a lone CR in front", 400, RAW("\rG")},
	{"a space in front", 400, RAW(" ")},
	{"a TLS hello", 400, RAW("\026")},
	{"a NUL", 400, RAW("\0")},
	{"a control character in the method", 400, RAW("GE\001")},
	{"a byte above ASCII in the method", 400, RAW("G\303")},
	{"a delimiter in the method", 400, RAW("GET(")},
	{"a tab behind the method", 400, RAW("GET\t")},
	{"a line with nothing but a method", 400, RAW("GET\r")},
	{"33 bytes of method", 501, RAW("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456")},
	{"two spaces before the target", 400, RAW("GET  ")},
	{"no target", 400, RAW("GET \r")},
	{"a control character in the target", 400, RAW("GET /\001")},
	{"a NUL in the target", 400, RAW("GET /\0")},
	{"a tab in the target", 400, RAW("GET /\t")},
	{"DEL in the target", 400, RAW("GET /\177")},
	{"a byte above ASCII in the target", 400, RAW("GET /\303")},
	{"a fragment", 400, RAW("GET /#")},
	{"a backslash", 400, RAW("GET /\\")},
	{"HTTP/0.9", 400, RAW("GET /\r")},
	{"a lone LF behind the target", 400, RAW("GET /\n")},
	{"no version", 400, RAW("GET / \r")},
	{"two spaces before the version", 400, RAW("GET /  ")},
	{"a space in the target", 400, RAW("GET /a b")},
	{"http in lower case", 400, RAW("GET / h")},
	{"half upper case", 400, RAW("GET / HTTp")},
	{"another protocol", 400, RAW("GET / HTTPS")},
	{"no slash", 400, RAW("GET / HTTP ")},
	{"no major version", 400, RAW("GET / HTTP/.")},
	{"no dot", 400, RAW("GET / HTTP/1\r")},
	{"a comma for the dot", 400, RAW("GET / HTTP/1,")},
	{"no minor version", 400, RAW("GET / HTTP/1.\r")},
	{"a minor version of two digits", 400, RAW("GET / HTTP/1.10")},
	{"a major version of two digits", 400, RAW("GET / HTTP/11")},
	{"a space behind the version", 400, RAW("GET / HTTP/1.1 ")},
	{"a lone LF behind the version", 400, RAW("GET / HTTP/1.1\n")},
	{"a lone CR behind the version", 400, RAW("GET / HTTP/1.1\rH")},
	{"two CRs behind the version", 400, RAW("GET / HTTP/1.1\r\r")},
	{"HTTP/2.0", 505, RAW("GET / HTTP/2.0\r\n")},
	{"the preface of HTTP/2", 505, RAW("PRI * HTTP/2.0\r\n")},
	{"HTTP/0.9 by name", 505, RAW("GET / HTTP/0.9\r\n")},
	{"HTTP/9.9", 505, RAW("GET / HTTP/9.9\r\n")},

	/* Fields */
	{"white space before the first field", 400, RAW(GET " ")},
	{"a folded line", 400, RAW(GET HOST "A: b\r\n ")},
	{"a line folded with a tab", 400, RAW(GET HOST "A: b\r\n\t")},
	{"an empty name", 400, RAW(GET ":")},
	{"a space before the colon", 400, RAW(GET "Host ")},
	{"a tab before the colon", 400, RAW(GET "Host\t")},
	{"no colon", 400, RAW(GET "Host\r")},
	{"no colon, lone LF", 400, RAW(GET "Host\n")},
	{"a NUL in a name", 400, RAW(GET "Ho\0")},
	{"a control character in a name", 400, RAW(GET "Ho\013")},
	{"a byte above ASCII in a name", 400, RAW(GET "Ho\303")},
	{"a delimiter in a name", 400, RAW(GET "Ho(")},
	{"a quote at the start of a name", 400, RAW(GET "\"")},
	{"a NUL in a value", 400, RAW(GET "A: b\0")},
	{"a control character in a value", 400, RAW(GET "A: b\001")},
	{"a vertical tab in a value", 400, RAW(GET "A: b\013")},
	{"an escape character in a value", 400, RAW(GET "A: b\033")},
	{"DEL in a value", 400, RAW(GET "A: b\177")},
	{"a lone LF behind a value", 400, RAW(GET "A: b\n")},
	{"a lone CR in a value", 400, RAW(GET "A: b\rc")},
	{"two CRs behind a value", 400, RAW(GET "A: b\r\r")},
	{"a lone LF for the empty line", 400, RAW(GET HOST "\n")},
	{"a lone CR for the empty line", 400, RAW(GET HOST "\rG")},
	{"Content-Type twice", 400, RAW(GET HOST "Content-Type: a/b\r\nContent-type: a/b\r\n")},

	/* Host */
	{"no Host in 1.1", 400, RAW(GET "\r\n")},
	{"no Host in 1.2", 400, RAW("GET / HTTP/1.2\r\nA: b\r\n\r\n")},
	{"no Host beside the absolute form", 400, RAW("GET http://x/ HTTP/1.1\r\n\r\n")},
	{"Host twice", 400, RAW(GET HOST "Host: y\r\n")},
	{"the same Host twice", 400, RAW(GET HOST "host: x\r\n")},
	{"Host twice in 1.0", 400, RAW(GET10 HOST HOST)},
	{"an empty Host", 400, RAW(GET "Host:\r\n")},
	{"an empty Host in 1.0", 400, RAW(GET10 "Host: \r\n")},
	{"Host with a user", 400, RAW(GET "Host: u@x\r\n")},
	{"Host with a path", 400, RAW(GET "Host: x/\r\n")},
	{"Host with a scheme", 400, RAW(GET "Host: http://x\r\n")},
	{"Host with a query", 400, RAW(GET "Host: x?\r\n")},
	{"Host of two names", 400, RAW(GET "Host: x,y\r\n")},
	{"Host with a space", 400, RAW(GET "Host: x y\r\n")},
	{"Host with a port of letters", 400, RAW(GET "Host: x:http\r\n")},
	{"Host with two ports", 400, RAW(GET "Host: x:1:2\r\n")},
	{"Host of a port alone", 400, RAW(GET "Host: :80\r\n")},
	{"Host above ASCII", 400, RAW(GET "Host: \303\244\r\n")},
	{"Host of half an IPv6 address", 400, RAW(GET "Host: [::1\r\n")},

	/* Content-Length: RFC 9112 section 6.3 */
	{"an empty length", 400, RAW(POST "Content-Length:\r\n")},
	{"a length with a plus", 400, RAW(POST "Content-Length: +5\r\n")},
	{"a length below 0", 400, RAW(POST "Content-Length: -1\r\n")},
	{"a hexadecimal length", 400, RAW(POST "Content-Length: 0x5\r\n")},
	{"a length in letters", 400, RAW(POST "Content-Length: five\r\n")},
	{"a length with a fraction", 400, RAW(POST "Content-Length: 5.0\r\n")},
	{"a length with an underscore", 400, RAW(POST "Content-Length: 1_0\r\n")},
	{"a length with a space inside", 400, RAW(POST "Content-Length: 1 0\r\n")},
	{"a quoted length", 400, RAW(POST "Content-Length: \"5\"\r\n")},
	{"a list of lengths", 400, RAW(POST "Content-Length: 5, 5\r\n")},
	{"a length with a comma", 400, RAW(POST "Content-Length: 5,\r\n")},
	{"a length in other digits", 400, RAW(POST "Content-Length: \331\245\r\n")},
	{"a length of 20 digits", 400, RAW(POST "Content-Length: 00000000000000000005\r\n")},
	{"a length beyond 64 bits", 400, RAW(POST "Content-Length: 18446744073709551621\r\n")},
	{"a length twice", 400, RAW(POST "Content-Length: 5\r\nContent-Length: 6\r\n")},
	{"the same length twice", 400, RAW(POST "Content-Length: 5\r\ncontent-length: 5\r\n")},
	{"a length of 0 twice", 400, RAW(POST "Content-Length: 0\r\nContent-Length: 0\r\n")},
	{"the largest length of 19 digits", 413, RAW(POST "Content-Length: 9999999999999999999\r\n\r\n")},
	{"a length above the largest", 413, RAW(POST "Content-Length: 65\r\n\r\n")},
	{"a length above the largest of GET", 413, RAW(GET HOST "Content-Length: 65\r\n\r\n")},
	{"a length above the largest in 1.0", 413, RAW(GET10 "Content-Length: 65\r\n\r\n")},

	/* Transfer-Encoding: RFC 9112 sections 6.1 and 6.3 */
	{"length, then chunked", 400, RAW(POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")},
	{"chunked, then length", 400, RAW(POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n")},
	{"chunked, then a broken length", 400, RAW(POST "Transfer-Encoding: chunked\r\nContent-Length: x\r\n")},
	{"another coding, then length", 400, RAW(POST "Transfer-Encoding: gzip\r\nContent-Length: 5\r\n")},
	{"length of 0, then chunked", 400, RAW(POST "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n")},
	{"two fields", 400, RAW(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")},
	{"two fields, the first of another coding", 400, RAW(POST "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n")},
	{"in 1.0", 400, RAW("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n")},
	{"another coding in 1.0", 400, RAW("POST / HTTP/1.0\r\nTransfer-Encoding: gzip\r\n")},
	{"empty", 400, RAW(POST "Transfer-Encoding:\r\n")},
	{"chunked twice in a list", 400, RAW(POST "Transfer-Encoding: chunked, chunked\r\n")},
	{"chunked not at the end", 400, RAW(POST "Transfer-Encoding: chunked, gzip\r\n")},
	{"chunked with a parameter", 400, RAW(POST "Transfer-Encoding: chunked;q=1\r\n")},
	{"chunked with an empty parameter", 400, RAW(POST "Transfer-Encoding: chunked ;\r\n")},
	{"chunked behind an empty element", 400, RAW(POST "Transfer-Encoding: , chunked\r\n")},
	{"chunked before an empty element", 400, RAW(POST "Transfer-Encoding: chunked,\r\n")},
	{"quoted", 400, RAW(POST "Transfer-Encoding: \"chunked\"\r\n")},
	{"two words", 400, RAW(POST "Transfer-Encoding: gzip chunked\r\n")},
	{"with a byte above ASCII", 400, RAW(POST "Transfer-Encoding: \240chunked\r\n")},
	{"with a vertical tab", 400, RAW(POST "Transfer-Encoding: \013")},
	{"another coding", 501, RAW(POST "Transfer-Encoding: gzip\r\n\r\n")},
	{"identity", 501, RAW(POST "Transfer-Encoding: identity\r\n\r\n")},
	{"something like chunked", 501, RAW(POST "Transfer-Encoding: xchunked\r\n\r\n")},
	{"another something like chunked", 501, RAW(POST "Transfer-Encoding: chunkedx\r\n\r\n")},
	{"another coding with a parameter", 501, RAW(POST "Transfer-Encoding: gzip; q=1\r\n\r\n")},
	{"another coding before chunked", 501, RAW(POST "Transfer-Encoding: gzip, chunked\r\n\r\n")},

	/* Chunks: RFC 9112 section 7.1 */
	{"no size", 400, RAW(CHUNKED "\r")},
	{"no size but an extension", 400, RAW(CHUNKED ";")},
	{"a space before the size", 400, RAW(CHUNKED " ")},
	{"a size with a plus", 400, RAW(CHUNKED "+")},
	{"a size below 0", 400, RAW(CHUNKED "-")},
	{"a size with 0x", 400, RAW(CHUNKED "0x")},
	{"a size with an underscore", 400, RAW(CHUNKED "1_")},
	{"a size with a letter behind f", 400, RAW(CHUNKED "1g")},
	{"a size with a fraction", 400, RAW(CHUNKED "1.")},
	{"a size of 17 digits", 400, RAW(CHUNKED "00000000000000001")},
	{"a space behind the size", 400, RAW(CHUNKED "1 \r")},
	{"a tab behind the size", 400, RAW(CHUNKED "1\t\r")},
	{"a space inside the size", 400, RAW(CHUNKED "1 0")},
	{"a lone LF behind the size", 400, RAW(CHUNKED "1\n")},
	{"a lone CR behind the size", 400, RAW(CHUNKED "1\ra")},
	{"the largest size", 413, RAW(CHUNKED "ffffffffffffffff\r\n")},
	{"a size above the largest body", 413, RAW(CHUNKED "41\r\n")},
	{"chunks above the largest body", 413, RAW(CHUNKED "40\r\n0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n1\r\n")},
	{"a chunk longer than its size", 400, RAW(CHUNKED "1\r\nab")},
	{"a lone LF behind a chunk", 400, RAW(CHUNKED "1\r\na\n")},
	{"a lone CR behind a chunk", 400, RAW(CHUNKED "1\r\na\r1")},
	{"nothing behind a chunk", 400, RAW(CHUNKED "1\r\na0")},
	{"a second chunk without size", 400, RAW(CHUNKED "1\r\na\r\n\r")},
	{"extension: no name", 400, RAW(CHUNKED "1;\r")},
	{"extension: no name, but a value", 400, RAW(CHUNKED "1;=")},
	{"extension: an empty one", 400, RAW(CHUNKED "1;;")},
	{"extension: no value", 400, RAW(CHUNKED "1;n=\r")},
	{"extension: two values", 400, RAW(CHUNKED "1;n=v=")},
	{"extension: words", 400, RAW(CHUNKED "1;n m")},
	{"extension: white space at the end", 400, RAW(CHUNKED "1;n \r")},
	{"extension: white space behind a value", 400, RAW(CHUNKED "1;n=v \r")},
	{"extension: a word behind a quoted value", 400, RAW(CHUNKED "1;n=\"v\"w")},
	{"extension: an open quote", 400, RAW(CHUNKED "1;n=\"v\r")},
	{"extension: an open escape", 400, RAW(CHUNKED "1;n=\"v\\\r")},
	{"extension: a quoted name", 400, RAW(CHUNKED "1;\"")},
	{"extension: a lone LF", 400, RAW(CHUNKED "1;n\n")},
	{"extension: a lone LF in quotes", 400, RAW(CHUNKED "1;n=\"\n")},
	{"extension: a lone CR", 400, RAW(CHUNKED "1;n\rm")},
	{"extension: a control character", 400, RAW(CHUNKED "1;n=\"\001")},
	{"extension: an escaped control character", 400, RAW(CHUNKED "1;n=\"\\\001")},
	{"extension: a NUL", 400, RAW(CHUNKED "1;n\0")},
	{"extension: a byte above ASCII outside quotes", 400, RAW(CHUNKED "1;n\200")},
	{"extension of the last chunk: no name", 400, RAW(CHUNKED "0;\r")},
	{"a lone LF behind the last chunk", 400, RAW(CHUNKED "0\r\n\n")},
	{"a lone CR behind the last chunk", 400, RAW(CHUNKED "0\r\n\rG")},
	{"a trailer without colon", 400, RAW(CHUNKED "0\r\nA\r")},
	{"a trailer without name", 400, RAW(CHUNKED "0\r\n:")},
	{"a trailer with a space before the colon", 400, RAW(CHUNKED "0\r\nA ")},
	{"a folded trailer", 400, RAW(CHUNKED "0\r\nA: b\r\n ")},
	{"a trailer with a control character", 400, RAW(CHUNKED "0\r\nA: \001")},
	{"a trailer with a lone LF", 400, RAW(CHUNKED "0\r\nA: b\n")},
	{"a trailer with a lone CR", 400, RAW(CHUNKED "0\r\nA: b\rc")},

	/* Expect */
	{"another expectation", 417, RAW(POST "Expect: 200-ok\r\n\r\n")},
	{"a list of expectations", 417, RAW(POST "Expect: 100-continue, x\r\n\r\n")},
	{"an expectation with a parameter", 417, RAW(POST "Expect: 100-continue;a\r\n\r\n")},
	{"another expectation in a second line", 417, RAW(POST "Expect: 100-continue\r\nExpect: x\r\n\r\n")},
	{"another expectation, quoted", 417, RAW(POST "Expect: x=\"100-continue, 100-continue\"\r\n\r\n")},
	{"a broken field beside a broken expectation", 400, RAW(POST "Expect: x\r\nA ")},
};
/* clang-format on */

static void test_accepted(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(accepted_rows) / sizeof(accepted_rows[0]); i++)
		check(accepted_rows[i].what, accepted_rows[i].raw, ROW_BODY_MAX, accepted_rows[i].text, 0);
}

static void test_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refused_rows) / sizeof(refused_rows[0]); i++)
		check(refused_rows[i].what, refused_rows[i].raw, ROW_BODY_MAX, NULL, refused_rows[i].status);
}

static void append_times(struct buf *b, const char *text, size_t times)
{
	for (size_t i = 0; i < times; i++)
		buf_append_str(b, text);
}

/* A message made of three parts, of which the middle one is repeated. */
static void check_repeated(const char *what, const char *before, const char *repeated, size_t times,
			   const char *after, uint16_t status)
{
	struct buf raw = BUF_INIT;
	buf_append_str(&raw, before);
	append_times(&raw, repeated, times);
	buf_append_str(&raw, after);
	check(what, buf_slice(&raw), 65536, NULL, status);
	buf_release(&raw);
}

static void test_lengths(void **state)
{
	(void)state;
	size_t head_rest = HTTP_HEAD_MAX_BYTES - strlen(GET HOST "A: ");
	size_t chunked_rest = HTTP_HEAD_MAX_BYTES - strlen(POST "Transfer-Encoding: chunked\r\nA: ");
	size_t trailer_rest = HTTP_HEAD_MAX_BYTES - strlen(CHUNKED "A: ");
	size_t ext = HTTP_CHUNK_EXT_MAX_BYTES - 1, fields = HTTP_FIELDS_MAX_COUNT - 1;

	check_repeated("4096 bytes of target", "GET ", "/", 4096, " HTTP/1.1\r\n" HOST "\r\n", 0);
	check_repeated("4097 bytes of target", "GET ", "/", 4097, "", 414);

	check_repeated("a head of 8192 bytes", GET HOST "A: ", "b", head_rest - 4, "\r\n\r\n", 0);
	check_repeated("a head of 8193 bytes", GET HOST "A: ", "b", head_rest - 3, "\r\n\r", 431);
	check_repeated("a value without end", GET HOST "A: ", "b", head_rest, "", 431);
	check_repeated("a name without end", GET HOST, "b", head_rest + 3, "", 431);
	check_repeated("a line end over the limit", GET HOST "A: ", "b", head_rest - 1, "\r", 431);

	check_repeated("64 fields", GET HOST, "A:\r\n", fields, "\r\n", 0);
	check_repeated("65 fields", GET HOST, "A:\r\n", fields, "A", 431);
	check_repeated("64 fields with trailers", CHUNKED "0\r\n", "A:\r\n", fields - 1, "\r\n", 0);
	check_repeated("65 fields with trailers", CHUNKED "0\r\n", "A:\r\n", fields - 1, "A", 431);

	check_repeated("trailers up to 8192 bytes", CHUNKED "0\r\nA: ", "b", trailer_rest - 2, "\r\n\r\n", 0);
	check_repeated("trailers up to 8193 bytes", CHUNKED "0\r\nA: ", "b", trailer_rest - 1, "\r\n\r", 431);
	check_repeated("no trailers behind a full head", POST "Transfer-Encoding: chunked\r\nA: ", "b",
		       chunked_rest - 4, "\r\n\r\n1\r\na\r\n0\r\n\r\n", 0);
	check_repeated("a trailer behind a full head", POST "Transfer-Encoding: chunked\r\nA: ", "b",
		       chunked_rest - 4, "\r\n\r\n1\r\na\r\n0\r\nA:", 431);

	check_repeated("256 bytes of extension", CHUNKED "0;", "n", ext, "\r\n\r\n", 0);
	check_repeated("257 bytes of extension", CHUNKED "0;", "n", ext + 1, "", 400);
	check_repeated("257 bytes of white space", CHUNKED "0;", " ", ext + 1, "", 400);
}

static void test_extension_total(void **state)
{
	(void)state;
	static const char chunk[] = "1;n234567\r\na\r\n"; /* 8 bytes of extension */
	check_repeated("4096 bytes of extensions", CHUNKED, chunk, 4096 / 8, "0\r\n\r\n", 0);
	check_repeated("4097 bytes of extensions", CHUNKED, chunk, 4096 / 8, "0;", 400);
}

static void test_large_bodies(void **state)
{
	(void)state;
	check_repeated("a body of 65536 bytes", POST "Content-Length: 65536\r\n\r\n", "x", 65536, "", 0);
	check_repeated("65537 bytes", POST "Content-Length: 65537\r\n\r\n", "", 0, "", 413);
	check_repeated("a chunk of 65536 bytes", CHUNKED "10000\r\n", "x", 65536, "\r\n0\r\n\r\n", 0);
	check_repeated("chunks of 1 byte", CHUNKED, "1\r\nx\r\n", 20000, "0\r\n\r\n", 0);
	check_repeated("65537 bytes in chunks", CHUNKED "10000\r\n", "x", 65536, "\r\n1\r\n", 413);
}

/* Whatever stands in a broken byte's place: each of the 256, at each kind of place. */
static void test_every_byte(void **state)
{
	(void)state;
	static const struct {
		const char *before;
		const char *allowed; /* besides letters and digits */
		bool high;           /* 0x80 to 0xff are allowed */
	} places[] = {
	    {"G",                "!#$%&'*+-.^_`|~ ",                        false},
	    {"GET /",            "!\"$%&'()*+,-./:;<=>?@[]^_`{|}~ ",        false},
	    {GET "A",            "!#$%&'*+-.^_`|~:",                        false},
	    {GET "A: b",         "\t !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\r", true },
	    {CHUNKED "1;n",      "!#$%&'*+-.^_`|~\t =;\r",                  false},
	    {CHUNKED "1;n=\"",   "\t !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",   true },
	    {CHUNKED "1;n=\"\\", "\t !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",   true },
	};
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		for (int c = 0; c < 256; c++) {
			bool letter =
			    (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
			bool allowed = letter || (c != 0 && strchr(places[i].allowed, c) && c < 0x80) ||
				       (c >= 0x80 && places[i].high);
			struct buf raw = BUF_INIT;
			buf_append_str(&raw, places[i].before);
			buf_append(&raw, &(char){(char)c}, 1);
			struct outcome o = feed(buf_slice(&raw), 64, raw.len);
			if (o.result != (allowed ? PARSE_MORE : PARSE_BAD) || (!allowed && o.status != 400))
				fail_msg("byte 0x%02x behind %s: result %d", (unsigned)c, places[i].before,
					 o.result);
			buf_release(&raw);
		}
	}
}

static void test_pipelined(void **state)
{
	(void)state;
	char msg[] = GET HOST "\r\n" CHUNKED "3\r\nabc\r\n0\r\n\r\n"
			      "\r\n" POST "Content-Length: 2\r\n\r\nhi" GET HOST "\r\n" GET;
	static const char *const texts[] = {
	    "GET / 1.1 keep [Host:x]",
	    "POST / 1.1 keep [Host:x] [Transfer-Encoding:chunked] chunked=abc",
	    "POST / 1.1 keep [Host:x] [Content-Length:2] body=hi",
	    "GET / 1.1 keep [Host:x]",
	};
	struct parser p;
	size_t at = 0, len;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct buf text = BUF_INIT;
		parser_init(&p, 64);
		len = sizeof(msg) - 1 - at;
		assert_int_equal(parser_feed(&p, msg + at, &len), PARSE_DONE);
		describe(&p, &text);
		assert_true(slice_equal(buf_slice(&text), slice_of(texts[i])));
		at += p.consumed;
		buf_release(&text);
	}
	parser_init(&p, 64);
	len = sizeof(msg) - 1 - at;
	assert_int_equal(parser_feed(&p, msg + at, &len), PARSE_MORE);
	assert_int_equal(len, strlen(GET));
}

/* The input buffer may be moved between two calls. */
static void test_moved_input(void **state)
{
	(void)state;
	static const char raw[] = POST "Content-Type: a/b\r\nContent-Length: 4\r\n\r\nabcd";
	char first[sizeof(raw)], second[sizeof(raw)];
	struct parser p;
	struct buf text = BUF_INIT;
	size_t len = sizeof(raw) - 1 - 2;
	memcpy(first, raw, len);
	parser_init(&p, 64);
	assert_int_equal(parser_feed(&p, first, &len), PARSE_MORE);
	memcpy(second, raw, sizeof(raw));
	memset(first, 'X', sizeof(first));
	len = sizeof(raw) - 1;
	assert_int_equal(parser_feed(&p, second, &len), PARSE_DONE);
	describe(&p, &text);
	buf_append(&text, "", 1);
	assert_string_equal(
	    text.data, "POST / 1.1 keep [Host:x] [Content-Type:a/b] [Content-Length:4] type=a/b body=abcd");
	buf_release(&text);
}

/* Undecoded bytes close up behind what is decoded, so that a body of small chunks needs no more memory than
 * the body. */
static void test_compaction(void **state)
{
	(void)state;
	char msg[512] = CHUNKED "1;ext=1\r\na\r\n2;ext=2\r\nbc\r";
	size_t head = strlen(CHUNKED), len = strlen(msg);
	struct parser p;
	parser_init(&p, 64);
	assert_int_equal(parser_feed(&p, msg, &len), PARSE_MORE);
	assert_int_equal(len, head + 4);
	assert_memory_equal(msg + head, "abc\r", 4);
	assert_int_equal(p.req.body.len, 3);
	memcpy(msg + len, "\n0\r\n\r\nGET", 9);
	len += 9;
	assert_int_equal(parser_feed(&p, msg, &len), PARSE_DONE);
	assert_int_equal(p.consumed, head + 4 + 6);
	assert_memory_equal(msg + p.consumed, "GET", 3);
}

static void test_awaits_continue(void **state)
{
	(void)state;
	/* Does the client wait when the head is complete? At every other length it does not. */
	static const struct {
		const char *raw;
		bool waits;
	} rows[] = {
	    {POST "Expect: 100-continue\r\nContent-Length: 2\r\n\r\nab",                            true },
	    {POST "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", true },
	    {POST "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",            true },
	    {POST "Expect: 100-continue\r\nContent-Length: 0\r\n\r\n",                              false},
	    {POST "Expect: 100-continue\r\n\r\n",						   false},
	    {POST "Content-Length: 2\r\n\r\nab",						    false},
	    {"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab",              false},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char msg[256];
		struct parser p;
		size_t len = 0, head_len = (size_t)(strstr(rows[i].raw, "\r\n\r\n") + 4 - rows[i].raw);
		parser_init(&p, 64);
		for (size_t n = 1; n <= strlen(rows[i].raw); n++) {
			msg[len++] = rows[i].raw[n - 1];
			assert_int_not_equal(parser_feed(&p, msg, &len), PARSE_BAD);
			if (parser_awaits_continue(&p, len) != (rows[i].waits && n == head_len))
				fail_msg("row %zu: wrong at %zu bytes", i, n);
		}
	}
	char msg[] = POST "Expect: 100-continue\r\nContent-Length: 2\r\n\r\na";
	size_t len = strlen(msg);
	struct parser p;
	parser_init(&p, 64);
	assert_int_equal(parser_feed(&p, msg, &len), PARSE_MORE);
	assert_false(parser_awaits_continue(&p, len));
}

static void test_conditions(void **state)
{
	(void)state;
	/* clang-format off */
	static const struct {
		const char *fields;
		bool has_conditions;
	} rows[] = {
		{"", false},
		{"If-Match: *\r\n", true},
		{"iF-mATCH:\r\n", true},
		{"If-None-Match: \"a\"\r\n", true},
		{"X: y\r\nIF-NONE-MATCH: *\r\n", true},
		{"If-Match: *\r\nIf-Match: *\r\nIf-None-Match: *\r\n", true},
		{"If-Matchx: *\r\nXf-Match: *\r\nIf-None-Matcx: *\r\nIf-Range: *\r\nIf-Modified-Since: *\r\n", false},
	};
	/* clang-format on */
	struct buf msg = BUF_INIT;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		buf_clear(&msg);
		buf_printf(&msg, "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", rows[i].fields);
		struct parser p;
		parser_init(&p, 0);
		assert_int_equal(parser_feed(&p, msg.data, &msg.len), PARSE_DONE);
		assert_int_equal(p.req.has_conditions, rows[i].has_conditions);
	}
	buf_release(&msg);
}

static void test_methods(void **state)
{
	(void)state;
	static const char *const names[] = {"",       "GET",     "HEAD",  "POST",  "PUT",
					    "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"};
	for (int m = HTTP_GET; m < HTTP_METHOD_COUNT; m++) {
		char msg[64];
		struct parser p;
		size_t len = (size_t)snprintf(msg, sizeof(msg), "%s / HTTP/1.0\r\n\r\n", names[m]);
		assert_true(slice_equal(http_method_name((enum http_method)m), slice_of(names[m])));
		parser_init(&p, 0);
		assert_int_equal(parser_feed(&p, msg, &len), PARSE_DONE);
		assert_int_equal(p.req.method, m);
	}
	static const char *const unknown[] = {"get", "GETS", "GE", "PROPFIND", ""};
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
		assert_int_equal(http_method_of(slice_of(unknown[i])), HTTP_METHOD_UNKNOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_accepted),     cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_lengths),      cmocka_unit_test(test_extension_total),
	    cmocka_unit_test(test_large_bodies), cmocka_unit_test(test_every_byte),
	    cmocka_unit_test(test_pipelined),    cmocka_unit_test(test_moved_input),
	    cmocka_unit_test(test_compaction),   cmocka_unit_test(test_awaits_continue),
	    cmocka_unit_test(test_conditions),   cmocka_unit_test(test_methods),
	};
	return cmocka_run_group_tests_name("parser", tests, arena_open, NULL);
}
