/*
 * A form, or a query: it is cut into pairs and decoded as a second, plain reading of the rules says, in place as well as into other
 * memory; and what is encoded again decodes to the same.
 */
#include "check.h"

#include "http/form.h"

/* ---- the second reading */

static int digit_of(char c)
{
	static const char digits[] = "0123456789abcdef0123456789ABCDEF";
	const char *found = c ? strchr(digits, c) : NULL;
	return found ? (int)(found - digits) % 16 : -1;
}

/* By code points; RFC 3629 says it by bytes. */
static bool is_utf8(const uint8_t *at, size_t len)
{
	static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
	for (size_t i = 0; i < len;) {
		size_t more = at[i] < 0x80       ? 0
			      : at[i] >> 5 == 6  ? 1
			      : at[i] >> 4 == 14 ? 2
			      : at[i] >> 3 == 30 ? 3
						 : 4;
		if (more == 4 || len - i <= more)
			return false;
		uint32_t point = more == 0 ? at[i] : at[i] & (0x3fu >> more);
		for (size_t k = 1; k <= more; k++) {
			if (at[i + k] >> 6 != 2)
				return false;
			point = point << 6 | (at[i + k] & 0x3fu);
		}
		if (point < least[more] || point > 0x10ffff || point >> 11 == 0x1b)
			return false;
		i += more + 1;
	}
	return true;
}

/* As form_decode; *out is made longer. */
static enum form_decode decode_plainly(struct slice text, struct form_rules rules, struct buf *out)
{
	for (size_t i = 0; i < text.len; i++) {
		char c = text.data[i] == '+' && rules.plus_is_space ? ' ' : text.data[i];
		if (c == '%') {
			int high = i + 1 < text.len ? digit_of(text.data[i + 1]) : -1;
			int low = i + 2 < text.len ? digit_of(text.data[i + 2]) : -1;
			if (high < 0 || low < 0)
				return FORM_BROKEN_ESCAPE;
			c = (char)(16 * high + low);
			i += 2;
		}
		if (rules.refuse_control && ((c >= 0 && c < ' ') || c == 127))
			return FORM_CONTROL;
		buf_append(out, &c, 1);
	}
	return is_utf8((const uint8_t *)out->data, out->len) ? FORM_OK : FORM_NOT_UTF8;
}

/* ---- the checks */

static void check_encoded_again(struct slice decoded, struct form_rules rules)
{
	struct buf text = BUF_INIT;
	struct slice again;
	for (size_t i = 0; i < decoded.len; i++)
		buf_printf(&text, i % 2 ? "%%%02X" : "%%%02x", (uint8_t)decoded.data[i]);
	if (decoded.len > 0) {
		CHECK(form_decode(buf_slice(&text), rules, text.data, &again) == FORM_OK);
		CHECK(slice_equal(decoded, again));
	}
	buf_release(&text);
}

static void check_decode(struct slice text, struct form_rules rules)
{
	struct buf expected = BUF_INIT;
	struct slice decoded, in_place, copy = copy_exactly(text.data, text.len),
					out = copy_exactly(text.data, text.len);
	enum form_decode result = decode_plainly(text, rules, &expected);
	CHECK(form_decode(copy, rules, (char *)(uintptr_t)out.data, &decoded) == result);
	CHECK(form_decode(copy, rules, (char *)(uintptr_t)copy.data, &in_place) == result);
	if (result == FORM_OK) {
		CHECK(decoded.data == out.data && in_place.data == copy.data);
		CHECK(slice_equal(decoded, buf_slice(&expected)) && slice_equal(in_place, decoded));
		check_encoded_again(decoded, rules);
	}
	free_copy(out);
	free_copy(copy);
	buf_release(&expected);
}

static void check_name(struct slice raw)
{
	char scratch[FORM_NAME_MAX_BYTES];
	struct buf expected = BUF_INIT;
	bool is_ok = raw.len <= FORM_NAME_MAX_BYTES &&
		     decode_plainly(raw, (struct form_rules){.plus_is_space = true}, &expected) == FORM_OK;
	struct slice name = form_decode_name(raw, scratch);
	CHECK(slice_equal(name, is_ok ? buf_slice(&expected) : SLICE("")));
	buf_release(&expected);
}

/* Every byte of the text is one of a pair, or a separator, in order. */
static void check_pairs(struct slice text)
{
	struct slice rest = text, name, value;
	const char *at = text.data, *end = text.data + text.len;
	while (form_next(&rest, &name, &value)) {
		while (at < name.data)
			CHECK(*at++ == '&');
		CHECK(at == name.data && !memchr(name.data, '=', name.len) &&
		      !memchr(name.data, '&', name.len));
		at += name.len;
		if (at < end && *at == '=')
			at++;
		else
			CHECK(value.len == 0 && name.len > 0);
		CHECK(value.len == 0 || (value.data == at && !memchr(value.data, '&', value.len)));
		at += value.len;
		CHECK(at == end || *at == '&');
		check_name(name);
	}
	CHECK(rest.len == 0);
	while (at < end)
		CHECK(*at++ == '&');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = copy_exactly(data, size);
	CHECK(utf8_is_valid(text) == is_utf8(data, size));
	check_pairs(text);
	for (int rules = 0; rules < 4; rules++)
		check_decode(text,
			     (struct form_rules){.plus_is_space = rules & 1, .refuse_control = rules & 2});
	free_copy(text);
	return 0;
}
