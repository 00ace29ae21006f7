#include "http/request.h"

/* RFC 9110 section 9.3 and RFC 5789. */
static const char *const names[HTTP_METHOD_COUNT] = {
    [HTTP_METHOD_UNKNOWN] = "", [HTTP_GET] = "GET",     [HTTP_HEAD] = "HEAD",
    [HTTP_POST] = "POST",       [HTTP_PUT] = "PUT",     [HTTP_DELETE] = "DELETE",
    [HTTP_OPTIONS] = "OPTIONS", [HTTP_PATCH] = "PATCH", [HTTP_TRACE] = "TRACE",
    [HTTP_CONNECT] = "CONNECT",
};

struct slice http_method_name(enum http_method method)
{
	return slice_of(names[method]);
}

enum http_method http_method_of(struct slice name)
{
	for (enum http_method m = HTTP_GET; m < HTTP_METHOD_COUNT; m++)
		if (slice_equal(name, slice_of(names[m])))
			return m;
	return HTTP_METHOD_UNKNOWN;
}
