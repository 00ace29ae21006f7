#include "http/media.h"

#include "http/cursor.h"

/* More cannot be checked for doubles without going over them again and again. */
enum { MEDIA_PARAMETERS_MAX = 16 };

/* The view is of what stands between the quotes, escapes included. */
static bool take_quoted(struct cursor *c, struct slice *value)
{
	if (!take_char(c, '"'))
		return false;
	const char *begin = c->at;
	while (c->at < c->end && *c->at != '"') {
		if (*c->at == '\\' && ++c->at == c->end)
			return false;
		if (!char_is(*c->at, CHAR_VALUE))
			return false;
		c->at++;
	}
	*value = (struct slice){begin, (size_t)(c->at - begin)};
	return take_char(c, '"');
}

/* Compares without the escapes, which a token has none of. */
static bool is_utf8_name(struct slice value)
{
	char plain[8];
	size_t len = 0;
	for (size_t i = 0; i < value.len; i++) {
		if (value.data[i] == '\\')
			i++;
		if (len == sizeof(plain))
			return false;
		plain[len++] = value.data[i];
	}
	struct slice name = {plain, len};
	return slice_equal_nocase(name, SLICE("utf-8")) || slice_equal_nocase(name, SLICE("utf8"));
}

/* parameters = *( OWS ";" OWS [ name "=" ( token / quoted-string ) ] )
 * Returns false where the rest is nothing of that kind. */
static bool take_parameters(struct cursor *c, bool *charset_is_utf8)
{
	struct slice names[MEDIA_PARAMETERS_MAX], value;
	size_t count = 0;
	*charset_is_utf8 = true;
	for (;;) {
		skip_space(c);
		if (c->at == c->end)
			return true;
		if (!take_char(c, ';'))
			return false;
		skip_space(c);
		if (c->at == c->end || *c->at == ';')
			continue;
		if (count == MEDIA_PARAMETERS_MAX || !take_token(c, &names[count]) || !take_char(c, '=') ||
		    !(take_token(c, &value) || take_quoted(c, &value)))
			return false;
		for (size_t i = 0; i < count; i++)
			if (slice_equal_nocase(names[i], names[count]))
				return false;
		if (slice_equal_nocase(names[count], SLICE("charset")))
			*charset_is_utf8 = is_utf8_name(value);
		count++;
	}
}

enum media_type media_parse(struct slice value)
{
	struct cursor c = cursor_of(value);
	struct slice type, subtype;
	bool charset_is_utf8;
	if (!take_token(&c, &type) || !take_char(&c, '/') || !take_token(&c, &subtype) ||
	    !take_parameters(&c, &charset_is_utf8))
		return MEDIA_MALFORMED;

	enum media_type known = MEDIA_OTHER;
	if (slice_equal_nocase(type, SLICE("application"))) {
		if (slice_equal_nocase(subtype, SLICE("json")))
			known = MEDIA_JSON;
		else if (slice_equal_nocase(subtype, SLICE("x-www-form-urlencoded")))
			known = MEDIA_FORM;
	}
	return known == MEDIA_OTHER || charset_is_utf8 ? known : MEDIA_BAD_CHARSET;
}
