#include "http/response.h"

#include <assert.h>
#include <stdio.h>
#include <time.h>

/* Every status that todod sends; the most frequent first. */
#define STATUS(code, reason)                                            \
	{                                                               \
		code, reason, "HTTP/1.1 " #code " " reason "\r\nDate: " \
	}

static const struct status {
	uint16_t code;
	const char *reason;
	const char *line; /* up to the value of Date */
} statuses[] = {
    STATUS(200, "OK"),
    STATUS(304, "Not Modified"),
    STATUS(204, "No Content"),
    STATUS(400, "Bad Request"),
    STATUS(404, "Not Found"),
    STATUS(405, "Method Not Allowed"),
    STATUS(408, "Request Timeout"),
    STATUS(412, "Precondition Failed"),
    STATUS(413, "Content Too Large"),
    STATUS(414, "URI Too Long"),
    STATUS(415, "Unsupported Media Type"),
    STATUS(417, "Expectation Failed"),
    STATUS(429, "Too Many Requests"),
    STATUS(431, "Request Header Fields Too Large"),
    STATUS(500, "Internal Server Error"),
    STATUS(501, "Not Implemented"),
    STATUS(503, "Service Unavailable"),
    STATUS(504, "Gateway Timeout"),
    STATUS(505, "HTTP Version Not Supported"),
    STATUS(507, "Insufficient Storage"),
};

static const struct status *status_find(uint16_t code)
{
	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
		if (statuses[i].code == code)
			return &statuses[i];
	return NULL;
}

struct slice response_reason(uint16_t status)
{
	const struct status *s = status_find(status);
	return s ? slice_of(s->reason) : SLICE("");
}

void response_reset(struct response *res)
{
	struct buf location = res->location, link = res->link, body = res->body;
	buf_clear(&location);
	buf_clear(&link);
	buf_clear(&body);
	*res = (struct response){.location = location, .link = link, .body = body};
}

void response_release(struct response *res)
{
	buf_release(&res->location);
	buf_release(&res->link);
	buf_release(&res->body);
	*res = (struct response){0};
}

/* So that it may stand in a JSON string as it is. */
static bool is_plain(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == '"' || *text == '\\')
			return false;
	return true;
}

void response_problem(struct response *res, uint16_t status, const char *detail)
{
	const struct status *s = status_find(status);
	assert(s && status >= 400 && is_plain(detail));
	res->status = status;
	res->type = RESPONSE_PROBLEM;
	res->shared_body = res->fields = res->cache_status = res->ready = (struct slice){NULL, 0};
	res->has_age = false;
	buf_clear(&res->location);
	buf_clear(&res->link);
	buf_clear(&res->body);
	buf_append_str(&res->body, "{\"title\": \"");
	buf_append_str(&res->body, s->reason);
	buf_append_str(&res->body, "\", \"status\": ");
	buf_append_u64(&res->body, status);
	buf_append_str(&res->body, ", \"detail\": \"");
	buf_append_str(&res->body, detail);
	buf_append_str(&res->body, "\"}");
}

void response_problem_format(struct response *res, uint16_t status, const char *format, ...)
{
	char detail[512];
	va_list args;
	va_start(args, format);
	int len = vsnprintf(detail, sizeof(detail), format, args);
	va_end(args);
	assert(len >= 0 && (size_t)len < sizeof(detail));
	response_problem(res, status, detail);
}

static void append_field(struct buf *out, struct slice name_and_colon, struct slice value)
{
	if (value.len == 0)
		return;
	buf_append_slice(out, name_and_colon);
	buf_append_slice(out, value);
	buf_append_slice(out, SLICE("\r\n"));
}

static void append_number(struct buf *out, struct slice name_and_colon, uint32_t number)
{
	buf_append_slice(out, name_and_colon);
	buf_append_u64(out, number);
	buf_append_slice(out, SLICE("\r\n"));
}

static bool is_common_case(const struct response *res, const struct response_context *context)
{
	return context->minor == 1 && context->keep_alive && !context->head_only && !res->close;
}

size_t response_write(const struct response *res, const struct response_context *context, struct buf *out)
{
	static const char *const content_types[] = {
	    [RESPONSE_JSON] = "\r\nContent-Type: application/json\r\nContent-Length: ",
	    [RESPONSE_PROBLEM] = "\r\nContent-Type: application/problem+json\r\nContent-Length: ",
	    [RESPONSE_METRICS] =
		"\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: ",
	};
	const struct status *status = status_find(res->status);
	/* Without a length, only these end with their head (RFC 9112 section 6.3). */
	assert(status && (res->type == RESPONSE_NO_BODY) == (res->status == 204 || res->status == 304));
	struct slice body = res->shared_body.data ? res->shared_body : buf_slice(&res->body);
	if (res->ready.len > 0 && is_common_case(res, context)) {
		size_t begin = out->len;
		buf_append_slice(out, res->ready);
		memcpy(out->data + begin + strlen(status->line), context->date, HTTP_DATE_BYTES);
		return body.len;
	}

	buf_reserve(out,
		    512 + res->location.len + res->link.len + res->allow.len + res->fields.len + body.len);
	buf_append_str(out, status->line);
	buf_append(out, context->date, HTTP_DATE_BYTES);
	if (res->type != RESPONSE_NO_BODY) {
		buf_append_str(out, content_types[res->type]);
		buf_append_u64(out, body.len);
	}
	buf_append_slice(out, SLICE("\r\n"));
	buf_append_slice(out, res->fields);
	append_field(out, SLICE("Cache-Status: "), res->cache_status);
	if (res->has_age)
		append_number(out, SLICE("Age: "), res->age_s);
	append_field(out, SLICE("Location: "), buf_slice(&res->location));
	append_field(out, SLICE("Link: "), buf_slice(&res->link));
	append_field(out, SLICE("Allow: "), res->allow);
	if (res->retry_after_s > 0)
		append_number(out, SLICE("Retry-After: "), res->retry_after_s);
	if (res->close || !context->keep_alive)
		buf_append_slice(out, SLICE("Connection: close\r\n"));
	else if (context->minor == 0)
		buf_append_slice(out, SLICE("Connection: keep-alive\r\n"));
	buf_append_slice(out, SLICE("\r\n"));
	if (res->type == RESPONSE_NO_BODY || context->head_only)
		return 0;
	buf_append_slice(out, body);
	return body.len;
}

void response_prepare(const struct response *res, struct buf *out)
{
	char date[HTTP_DATE_BYTES];
	response_format_date(0, date);
	struct response_context context = {.date = date, .minor = 1, .keep_alive = true};
	assert(res->ready.len == 0 && is_common_case(res, &context));
	(void)response_write(res, &context, out);
}

static void two_digits(char *at, int value)
{
	at[0] = (char)('0' + value / 10 % 10);
	at[1] = (char)('0' + value % 10);
}

void response_format_date(int64_t epoch_s, char date[HTTP_DATE_BYTES])
{
	static const char days[] = "SunMonTueWedThuFriSat";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	time_t when = epoch_s;
	struct tm tm;
	struct tm *filled = gmtime_r(&when, &tm);
	assert(filled);

	memcpy(date, "Day, 00 Mon 0000 00:00:00 GMT", HTTP_DATE_BYTES);
	memcpy(date, days + 3 * tm.tm_wday, 3);
	two_digits(date + 5, tm.tm_mday);
	memcpy(date + 8, months + 3 * tm.tm_mon, 3);
	two_digits(date + 12, (tm.tm_year + 1900) / 100);
	two_digits(date + 14, tm.tm_year % 100);
	two_digits(date + 17, tm.tm_hour);
	two_digits(date + 20, tm.tm_min);
	two_digits(date + 23, tm.tm_sec);
}
