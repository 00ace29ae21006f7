#include "http/form.h"

#include "http/chars.h"

#include <stdint.h>

/* Takes what comes before the first `c` off *rest, and `c` with it. */
static struct slice take_until(struct slice *rest, char c)
{
	const char *found = memchr(rest->data, c, rest->len);
	struct slice taken = {rest->data, found ? (size_t)(found - rest->data) : rest->len};
	size_t used = taken.len + (found ? 1 : 0);
	*rest = (struct slice){rest->data + used, rest->len - used};
	return taken;
}

bool form_next(struct slice *rest, struct slice *name, struct slice *value)
{
	while (rest->len > 0) {
		struct slice pair = take_until(rest, '&');
		if (pair.len == 0)
			continue;
		*name = take_until(&pair, '=');
		*value = pair;
		return true;
	}
	return false;
}

enum form_decode form_decode(struct slice text, struct form_rules rules, char *out, struct slice *decoded)
{
	size_t len = 0;
	for (size_t i = 0; i < text.len; i++) {
		char c = text.data[i];
		if (c == '%') {
			if (text.len - i < 3)
				return FORM_BROKEN_ESCAPE;
			int high = char_hex_value(text.data[i + 1]), low = char_hex_value(text.data[i + 2]);
			if (high < 0 || low < 0)
				return FORM_BROKEN_ESCAPE;
			c = (char)(high << 4 | low);
			i += 2;
		} else if (c == '+' && rules.plus_is_space) {
			c = ' ';
		}
		if (rules.refuse_control && ((uint8_t)c < 0x20 || c == 0x7f))
			return FORM_CONTROL;
		out[len++] = c;
	}
	*decoded = (struct slice){out, len};
	return utf8_is_valid(*decoded) ? FORM_OK : FORM_NOT_UTF8;
}

struct slice form_decode_name(struct slice raw, char scratch[FORM_NAME_MAX_BYTES])
{
	struct slice name;
	if (raw.len > FORM_NAME_MAX_BYTES ||
	    form_decode(raw, (struct form_rules){.plus_is_space = true}, scratch, &name) != FORM_OK)
		return SLICE("");
	return name;
}
