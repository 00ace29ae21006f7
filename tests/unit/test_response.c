#include "http/response.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#define DATE         "Sun, 06 Nov 1994 08:49:37 GMT"
#define OK           "HTTP/1.1 200 OK\r\nDate: " DATE "\r\nContent-Type: application/json\r\nContent-Length: "
#define NO_BODY      "HTTP/1.1 204 No Content\r\nDate: " DATE "\r\n"
#define NOT_MODIFIED "HTTP/1.1 304 Not Modified\r\nDate: " DATE "\r\n"
#define PROBLEM      "\r\nDate: " DATE "\r\nContent-Type: application/problem+json\r\nContent-Length: "

static void expect_bytes(const struct response *res, struct response_context context, const char *wanted)
{
	struct buf out = BUF_INIT;
	buf_append_str(&out, "before|");
	context.date = DATE;
	response_write(res, &context, &out);
	buf_append(&out, "", 1);
	assert_memory_equal(out.data, "before|", 7);
	assert_string_equal(out.data + 7, wanted);
	buf_release(&out);
}

static void test_json(void **state)
{
	(void)state;
	struct response res = {.status = 200, .type = RESPONSE_JSON};
	buf_append_str(&res.body, "{\"a\": 1}");
	expect_bytes(&res, (struct response_context){.minor = 1, .keep_alive = true},
		     OK "8\r\n\r\n{\"a\": 1}");
	expect_bytes(&res, (struct response_context){.minor = 1, .keep_alive = true, .head_only = true},
		     OK "8\r\n\r\n");
	expect_bytes(&res, (struct response_context){.minor = 1, .keep_alive = false},
		     OK "8\r\nConnection: close\r\n\r\n{\"a\": 1}");
	expect_bytes(&res, (struct response_context){.minor = 0, .keep_alive = true},
		     OK "8\r\nConnection: keep-alive\r\n\r\n{\"a\": 1}");
	expect_bytes(&res, (struct response_context){.minor = 0, .keep_alive = false},
		     OK "8\r\nConnection: close\r\n\r\n{\"a\": 1}");
	res.close = true;
	expect_bytes(&res, (struct response_context){.minor = 0, .keep_alive = true},
		     OK "8\r\nConnection: close\r\n\r\n{\"a\": 1}");
	response_release(&res);
}

static void test_shared_body(void **state)
{
	(void)state;
	struct response res = {.status = 200, .type = RESPONSE_JSON, .shared_body = SLICE("[]")};
	buf_append_str(&res.body, "not this");
	expect_bytes(&res, (struct response_context){.minor = 1, .keep_alive = true}, OK "2\r\n\r\n[]");
	response_release(&res);
}

static void test_fields(void **state)
{
	(void)state;
	struct response res = {.status = 200,
			       .type = RESPONSE_JSON,
			       .retry_after_s = 12,
			       .allow = SLICE("GET, HEAD")};
	buf_append_str(&res.location, "/todo/1");
	buf_append_str(&res.link, "</todo?after=x>; rel=\"next\"");
	expect_bytes(&res, (struct response_context){.minor = 1, .keep_alive = false},
		     OK
		     "0\r\nLocation: /todo/1\r\nLink: </todo?after=x>; rel=\"next\"\r\nAllow: GET, HEAD\r\n"
		     "Retry-After: 12\r\nConnection: close\r\n\r\n");

	/* Nothing of it survives a reset. */
	char *memory = res.link.data;
	response_reset(&res);
	assert_ptr_equal(res.link.data, memory);
	res.status = 200;
	res.type = RESPONSE_JSON;
	expect_bytes(&res, (struct response_context){.minor = 1, .keep_alive = true}, OK "0\r\n\r\n");
	response_release(&res);
}

static void test_cache_fields(void **state)
{
	(void)state;
	struct response res = {.status = 200,
			       .type = RESPONSE_JSON,
			       .fields = SLICE("ETag: \"x\"\r\nVary: Accept-Encoding\r\n"),
			       .cache_status = SLICE("todod; hit"),
			       .has_age = true,
			       .shared_body = SLICE("[]")};
	const struct response_context context = {.minor = 1, .keep_alive = true};
	buf_append_str(&res.link, "<a>");
	expect_bytes(&res, context,
		     OK "2\r\nETag: \"x\"\r\nVary: Accept-Encoding\r\nCache-Status: todod; hit\r\nAge: 0\r\n"
			"Link: <a>\r\n\r\n[]");
	res.age_s = UINT32_MAX;
	res.status = 304;
	res.type = RESPONSE_NO_BODY;
	expect_bytes(&res, context,
		     NOT_MODIFIED "ETag: \"x\"\r\nVary: Accept-Encoding\r\nCache-Status: todod; hit\r\n"
				  "Age: 4294967295\r\nLink: <a>\r\n\r\n");

	/* A problem has none of it, and neither has the next answer. */
	struct response problem = res;
	problem.link = (struct buf)BUF_INIT;
	response_problem(&problem, 400, "No.");
	expect_bytes(&problem, context,
		     "HTTP/1.1 400 Bad Request" PROBLEM
		     "56\r\n\r\n{\"title\": \"Bad Request\", \"status\": 400, \"detail\": \"No.\"}");
	response_release(&problem);
	response_reset(&res);
	res.status = 200;
	res.type = RESPONSE_JSON;
	expect_bytes(&res, context, OK "0\r\n\r\n");
	response_release(&res);
}

/* What is ready is sent where it suits, and only there: told by what it is not. */
static void test_ready(void **state)
{
	(void)state;
	struct response res = {.status = 200,
			       .type = RESPONSE_JSON,
			       .fields = SLICE("A: b\r\n"),
			       .shared_body = SLICE("[]")};
	struct buf ready = BUF_INIT;
	buf_append_str(&ready, "before|");
	response_prepare(&res, &ready);
	static const char wanted[] = "before|HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
				     "Content-Type: application/json\r\nContent-Length: 2\r\nA: b\r\n\r\n[]";
	assert_int_equal(ready.len, sizeof(wanted) - 1);
	assert_memory_equal(ready.data, wanted, ready.len);

	ready.data[ready.len - 1] = '!';
	res.ready = (struct slice){ready.data + 7, ready.len - 7};
	struct response_context context = {.minor = 1, .keep_alive = true};
	expect_bytes(&res, context, OK "2\r\nA: b\r\n\r\n[!");
	expect_bytes(&res, context, OK "2\r\nA: b\r\n\r\n[!");
	context.head_only = true;
	expect_bytes(&res, context, OK "2\r\nA: b\r\n\r\n");
	context.head_only = false;
	context.minor = 0;
	expect_bytes(&res, context, OK "2\r\nA: b\r\nConnection: keep-alive\r\n\r\n[]");
	context.minor = 1;
	context.keep_alive = false;
	expect_bytes(&res, context, OK "2\r\nA: b\r\nConnection: close\r\n\r\n[]");
	context.keep_alive = true;
	res.close = true;
	expect_bytes(&res, context, OK "2\r\nA: b\r\nConnection: close\r\n\r\n[]");
	res.close = false;
	response_problem(&res, 400, "No.");
	expect_bytes(&res, context,
		     "HTTP/1.1 400 Bad Request" PROBLEM
		     "56\r\n\r\n{\"title\": \"Bad Request\", \"status\": 400, \"detail\": \"No.\"}");
	response_release(&res);
	buf_release(&ready);
}

/* The place of the Date depends on the status. */
static void test_ready_of_any_status(void **state)
{
	(void)state;
	struct response res = {.status = 304, .type = RESPONSE_NO_BODY, .fields = SLICE("A: b\r\n")};
	struct buf ready = BUF_INIT;
	response_prepare(&res, &ready);
	res.ready = buf_slice(&ready);
	expect_bytes(&res, (struct response_context){.minor = 1, .keep_alive = true},
		     NOT_MODIFIED "A: b\r\n\r\n");
	response_release(&res);
	buf_release(&ready);
}

/* RFC 9110 section 8.6: no Content-Length with 204. */
static void test_no_body(void **state)
{
	(void)state;
	struct response res = {.status = 204, .allow = SLICE("GET")};
	buf_append_str(&res.body, "ignored");
	expect_bytes(&res, (struct response_context){.minor = 1, .keep_alive = true},
		     NO_BODY "Allow: GET\r\n\r\n");
	response_release(&res);
}

static void test_problem(void **state)
{
	(void)state;
	struct response res = {.status = 200, .type = RESPONSE_JSON, .shared_body = SLICE("x")};
	buf_append_str(&res.body, "begun");
	buf_append_str(&res.location, "/begun");
	buf_append_str(&res.link, "begun");
	response_problem(&res, 400, "No.");
	expect_bytes(&res, (struct response_context){.minor = 1, .keep_alive = true},
		     "HTTP/1.1 400 Bad Request" PROBLEM
		     "56\r\n\r\n{\"title\": \"Bad Request\", \"status\": 400, \"detail\": \"No.\"}");

	response_problem_format(&res, 413, "More than %d %s.", 65536, "bytes");
	expect_bytes(&res, (struct response_context){.minor = 1, .keep_alive = true, .head_only = true},
		     "HTTP/1.1 413 Content Too Large" PROBLEM "81\r\n\r\n");
	assert_int_equal(res.body.len, 81);
	assert_memory_equal(
	    res.body.data,
	    "{\"title\": \"Content Too Large\", \"status\": 413, \"detail\": \"More than 65536 bytes.\"}",
	    81);

	/* What belongs to the answer and not to the body stays. */
	response_reset(&res);
	res.allow = SLICE("GET");
	res.retry_after_s = 1;
	res.close = true;
	response_problem(&res, 405, "No.");
	expect_bytes(&res, (struct response_context){.minor = 1, .keep_alive = true},
		     "HTTP/1.1 405 Method Not Allowed" PROBLEM
		     "63\r\nAllow: GET\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
		     "{\"title\": \"Method Not Allowed\", \"status\": 405, \"detail\": \"No.\"}");
	response_release(&res);
}

static void test_reasons(void **state)
{
	(void)state;
	/* clang-format off */
	static const struct {
		uint16_t status;
		const char *reason;
	} rows[] = {
		{200, "OK"},
		{204, "No Content"},
		{304, "Not Modified"},
		{404, "Not Found"},
		{408, "Request Timeout"},
		{412, "Precondition Failed"},
		{414, "URI Too Long"},
		{415, "Unsupported Media Type"},
		{417, "Expectation Failed"},
		{429, "Too Many Requests"},
		{431, "Request Header Fields Too Large"},
		{500, "Internal Server Error"},
		{501, "Not Implemented"},
		{503, "Service Unavailable"},
		{504, "Gateway Timeout"},
		{505, "HTTP Version Not Supported"},
		{507, "Insufficient Storage"},
		{0, ""},
		{299, ""},
	};
	/* clang-format on */
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_true(slice_equal(response_reason(rows[i].status), slice_of(rows[i].reason)));
}

static void test_dates(void **state)
{
	(void)state;
	/* clang-format off */
	static const struct {
		int64_t epoch_s;
		const char *date;
	} rows[] = {
		{0, "Thu, 01 Jan 1970 00:00:00 GMT"},
		{784111777, DATE},
		{951782400, "Tue, 29 Feb 2000 00:00:00 GMT"},
		{1735689599, "Tue, 31 Dec 2024 23:59:59 GMT"},
		{1795415696, "Mon, 23 Nov 2026 06:34:56 GMT"},
		{4102444800, "Fri, 01 Jan 2100 00:00:00 GMT"},
	};
	/* clang-format on */
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char date[HTTP_DATE_BYTES + 1] = {0};
		response_format_date(rows[i].epoch_s, date);
		assert_string_equal(date, rows[i].date);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_json),    cmocka_unit_test(test_shared_body),
	    cmocka_unit_test(test_fields),  cmocka_unit_test(test_no_body),
	    cmocka_unit_test(test_problem), cmocka_unit_test(test_reasons),
	    cmocka_unit_test(test_dates),   cmocka_unit_test(test_cache_fields),
	    cmocka_unit_test(test_ready),   cmocka_unit_test(test_ready_of_any_status),
	};
	return cmocka_run_group_tests_name("response", tests, NULL, NULL);
}
