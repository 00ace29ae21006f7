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

struct slice request_field(const struct request *r, struct slice name, struct buf *joined)
{
	struct slice found = {NULL, 0};
	uint32_t lines = 0;
	for (uint32_t i = 0; i < r->field_count; i++) {
		const struct field *field = &r->fields[i];
		if (field->name.len != name.len || !slice_equal_nocase(request_view(r, field->name), name))
			continue;
		struct slice value = request_view(r, field->value);
		if (++lines == 1) {
			found = value;
			continue;
		}
		if (lines == 2) {
			buf_clear(joined);
			buf_append_slice(joined, found);
		}
		buf_append_slice(joined, SLICE(", "));
		buf_append_slice(joined, value);
		found = buf_slice(joined);
	}
	return found;
}
