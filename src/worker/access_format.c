#include "worker/access_format.h"

#include "base/utf8.h"
#include "config/config.h"
#include "http/response.h"

#include <assert.h>
#include <stdbool.h>
#include <time.h>

enum {
	ACCESS_FIXED_MAX_BYTES = 640, /* of a line, without what the client sent: */
	ACCESS_GROWTH_MAX = 6,        /* of that, a byte may become so many */
};

struct access_style {
	char *(*append)(char *at, const struct access_entry *e, struct slice second);
	char *(*put_second)(char *at, int64_t second);
};

/* ---- pieces: each writes at `at`, where there is room enough, and returns where the next one goes to */

static char *put(char *at, struct slice s)
{
	if (s.len)
		memcpy(at, s.data, s.len);
	return at + s.len;
}

static char *put_text(char *at, const char *text)
{
	return put(at, slice_of(text));
}

/* Decimal, at least `width` digits. */
static char *put_number(char *at, uint64_t value, int width)
{
	char digits[20];
	int count = 0;
	do
		digits[count++] = (char)('0' + value % 10);
	while ((value /= 10) || count < width);
	while (count)
		*at++ = digits[--count];
	return at;
}

static char *put_client(char *at, const struct ip *client)
{
	char text[IP_TEXT_BYTES];
	ip_to_text(client, text);
	return put_text(at, text);
}

static char *put_hex(char *at, uint8_t byte, const char *digits)
{
	*at++ = digits[byte >> 4];
	*at++ = digits[byte & 15];
	return at;
}

/* What stands as it is in either style: what nginx does not escape in its log. */
static bool is_plain(uint8_t byte)
{
	return byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
}

typedef uint8_t sixteen __attribute__((vector_size(16)));

/* Copies sixteen bytes, if each of them is plain. */
static bool copy_plain(char *to, const char *from)
{
	uint64_t halves[2];
	sixteen bytes;
	memcpy(&bytes, from, sizeof(bytes));
	sixteen others = (sixteen)((bytes < 0x20) | (bytes >= 0x7f) | (bytes == '"') | (bytes == '\\'));
	memcpy(halves, &others, sizeof(halves));
	if (halves[0] | halves[1])
		return false;
	memcpy(to, &bytes, sizeof(bytes));
	return true;
}

/* Copies what is plain at the head of *s, and takes it off. */
static char *put_plain(char *at, struct slice *s)
{
	const size_t step = sizeof(sixteen);
	size_t i = 0;
	while (s->len - i >= step && copy_plain(at + i, s->data + i))
		i += step;
	size_t rest = s->len - i;
	if (rest < step && i > 0 && copy_plain(at + s->len - step, s->data + s->len - step))
		i = s->len; /* the last sixteen, of which some were there already */
	for (; i < s->len && is_plain((uint8_t)s->data[i]); i++)
		at[i] = s->data[i];
	s->data += i;
	s->len -= i;
	return at + i;
}

/* ---- combined */

static char *put_escaped(char *at, struct slice s)
{
	while (at = put_plain(at, &s), s.len > 0) {
		uint8_t byte = (uint8_t)*s.data++;
		s.len--;
		at = put(at, SLICE("\\x"));
		at = put_hex(at, byte, "0123456789ABCDEF");
	}
	return at;
}

static char *put_or_dash(char *at, struct slice s)
{
	return s.len ? put_escaped(at, s) : put(at, SLICE("-"));
}

static char *put_request_line(char *at, const struct access_entry *e)
{
	if (!e->method.len)
		return put(at, SLICE("-"));
	at = put_escaped(at, e->method);
	*at++ = ' ';
	at = put_escaped(at, e->target);
	at = put(at, SLICE(" HTTP/1."));
	return put_number(at, e->minor, 1);
}

static char *append_combined(char *at, const struct access_entry *e, struct slice second)
{
	at = put_client(at, e->client);
	at = put(at, SLICE(" - - ["));
	at = put(at, second);
	at = put(at, SLICE("] \""));
	at = put_request_line(at, e);
	at = put(at, SLICE("\" "));
	at = put_number(at, e->status, 1);
	*at++ = ' ';
	at = put_number(at, e->body_bytes, 1);
	at = put(at, SLICE(" \""));
	at = put_or_dash(at, e->referer);
	at = put(at, SLICE("\" \""));
	at = put_or_dash(at, e->user_agent);
	at = put(at, SLICE("\" "));
	at = put_number(at, (uint64_t)e->latency_us / 1000000, 1);
	*at++ = '.';
	at = put_number(at, (uint64_t)e->latency_us % 1000000, 6);
	*at++ = ' ';
	at = put(at, e->id.len ? e->id : SLICE("-"));
	*at++ = ' ';
	at = put_text(at, e->route);
	*at++ = ' ';
	at = put_text(at, e->store);
	*at++ = ' ';
	at = put_text(at, e->cache);
	*at++ = '\n';
	return at;
}

/* The pieces of an IMF-fixdate, "Sun, 06 Nov 1994 08:49:37 GMT", in another order. */
static char *put_combined_second(char *at, int64_t second)
{
	char date[HTTP_DATE_BYTES];
	response_format_date(second, date);
	at = put(at, (struct slice){date + 5, 2});
	*at++ = '/';
	at = put(at, (struct slice){date + 8, 3});
	*at++ = '/';
	at = put(at, (struct slice){date + 12, 4});
	*at++ = ':';
	at = put(at, (struct slice){date + 17, 8});
	return put(at, SLICE(" +0000"));
}

/* ---- json */

/* RFC 8259. Of what is no UTF-8, each byte that is no ASCII stands as the code point of its number. */
static char *put_string(char *at, struct slice s)
{
	bool is_utf8 = utf8_is_valid(s);
	*at++ = '"';
	while (at = put_plain(at, &s), s.len > 0) {
		uint8_t byte = (uint8_t)*s.data++;
		s.len--;
		if (is_utf8 && byte >= 0x80) {
			*at++ = (char)byte;
		} else if (byte == '"' || byte == '\\') {
			*at++ = '\\';
			*at++ = (char)byte;
		} else {
			at = put(at, SLICE("\\u00"));
			at = put_hex(at, byte, "0123456789abcdef");
		}
	}
	*at++ = '"';
	return at;
}

static char *put_string_or_null(char *at, struct slice s)
{
	return s.len ? put_string(at, s) : put(at, SLICE("null"));
}

/* Its own words: nothing in them needs an escape. */
static char *put_word_or_null(char *at, const char *word)
{
	if (strcmp(word, "-") == 0)
		return put(at, SLICE("null"));
	*at++ = '"';
	at = put_text(at, word);
	*at++ = '"';
	return at;
}

static char *put_version(char *at, const struct access_entry *e)
{
	if (!e->method.len)
		return put(at, SLICE("null"));
	at = put(at, SLICE("\"1."));
	at = put_number(at, e->minor, 1);
	*at++ = '"';
	return at;
}

static char *append_json(char *at, const struct access_entry *e, struct slice second)
{
	at = put(at, SLICE("{\"time\":\""));
	at = put(at, second);
	*at++ = '.';
	at = put_number(at, (uint64_t)e->wall_us % 1000000, 6);
	at = put(at, SLICE("Z\",\"client\":\""));
	at = put_client(at, e->client);
	at = put(at, SLICE("\",\"method\":"));
	at = put_string_or_null(at, e->method);
	at = put(at, SLICE(",\"target\":"));
	at = put_string_or_null(at, e->target);
	at = put(at, SLICE(",\"version\":"));
	at = put_version(at, e);
	at = put(at, SLICE(",\"status\":"));
	at = put_number(at, e->status, 1);
	at = put(at, SLICE(",\"bytes\":"));
	at = put_number(at, e->body_bytes, 1);
	at = put(at, SLICE(",\"referer\":"));
	at = put_string_or_null(at, e->referer);
	at = put(at, SLICE(",\"user_agent\":"));
	at = put_string_or_null(at, e->user_agent);
	at = put(at, SLICE(",\"latency_us\":"));
	at = put_number(at, (uint64_t)e->latency_us, 1);
	at = put(at, SLICE(",\"id\":"));
	at = put_string_or_null(at, e->id);
	at = put(at, SLICE(",\"route\":"));
	at = put_word_or_null(at, e->route);
	at = put(at, SLICE(",\"store\":"));
	at = put_word_or_null(at, e->store);
	at = put(at, SLICE(",\"cache\":"));
	at = put_word_or_null(at, e->cache);
	return put(at, SLICE("}\n"));
}

static char *put_json_second(char *at, int64_t second)
{
	time_t when = (time_t)second;
	struct tm utc = {0};
	(void)gmtime_r(&when, &utc);
	at = put_number(at, (uint64_t)utc.tm_year + 1900, 4);
	*at++ = '-';
	at = put_number(at, (uint64_t)utc.tm_mon + 1, 2);
	*at++ = '-';
	at = put_number(at, (uint64_t)utc.tm_mday, 2);
	*at++ = 'T';
	at = put_number(at, (uint64_t)utc.tm_hour, 2);
	*at++ = ':';
	at = put_number(at, (uint64_t)utc.tm_min, 2);
	*at++ = ':';
	return put_number(at, (uint64_t)utc.tm_sec, 2);
}

/* ---- lines */

static const struct access_style styles[] = {
    [CONFIG_ACCESS_LOG_COMBINED] = {append_combined, put_combined_second},
    [CONFIG_ACCESS_LOG_JSON] = {append_json,     put_json_second    },
};

void access_format_init(struct access_format *f, uint32_t style)
{
	assert(style < sizeof(styles) / sizeof(styles[0]));
	*f = (struct access_format){.style = &styles[style], .second = -1};
}

static void set_second(struct access_format *f, int64_t second)
{
	f->second = second;
	f->text_len = (size_t)(f->style->put_second(f->text, second) - f->text);
}

void access_format_append(struct access_format *f, const struct access_entry *e, struct buf *out)
{
	int64_t second = e->wall_us / 1000000;
	if (second != f->second)
		set_second(f, second);
	size_t sent = e->method.len + e->target.len + e->referer.len + e->user_agent.len + e->id.len;
	size_t room = ACCESS_FIXED_MAX_BYTES + ACCESS_GROWTH_MAX * sent;
	buf_reserve(out, room);
	char *from = out->data + out->len,
	     *end = f->style->append(from, e, (struct slice){f->text, f->text_len});
	assert((size_t)(end - from) <= room);
	out->len += (size_t)(end - from);
}
