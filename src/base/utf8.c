#include "base/utf8.h"

#include <stdint.h>
#include <string.h>

/* The multi-byte forms, as the grammar of RFC 3629 section 4 lists them: first byte, second byte, length. */
static const struct utf8_form {
	uint8_t first_min, first_max, second_min, second_max, len;
} utf8_forms[] = {
    {0xc2, 0xdf, 0x80, 0xbf, 2},
    {0xe0, 0xe0, 0xa0, 0xbf, 3},
    {0xe1, 0xec, 0x80, 0xbf, 3},
    {0xed, 0xed, 0x80, 0x9f, 3},
    {0xee, 0xef, 0x80, 0xbf, 3},
    {0xf0, 0xf0, 0x90, 0xbf, 4},
    {0xf1, 0xf3, 0x80, 0xbf, 4},
    {0xf4, 0xf4, 0x80, 0x8f, 4},
};

/* The length of the multi-byte character that `at` begins with, or 0. */
static size_t utf8_char_len(const uint8_t *at, size_t left)
{
	for (size_t i = 0; i < sizeof(utf8_forms) / sizeof(utf8_forms[0]); i++) {
		const struct utf8_form *form = &utf8_forms[i];
		if (at[0] < form->first_min || at[0] > form->first_max)
			continue;
		if (left < form->len || at[1] < form->second_min || at[1] > form->second_max)
			return 0;
		for (size_t k = 2; k < form->len; k++)
			if ((at[k] & 0xc0) != 0x80)
				return 0;
		return form->len;
	}
	return 0;
}

bool utf8_is_valid(struct slice text)
{
	const uint64_t high_bits = 0x8080808080808080;
	const uint8_t *bytes = (const uint8_t *)text.data;
	uint64_t eight;
	for (size_t i = 0; i < text.len;) {
		if (text.len - i >= sizeof(eight)) {
			memcpy(&eight, bytes + i, sizeof(eight));
			if (!(eight & high_bits)) {
				i += sizeof(eight);
				continue;
			}
		}
		size_t char_len = bytes[i] < 0x80 ? 1 : utf8_char_len(bytes + i, text.len - i);
		if (char_len == 0)
			return false;
		i += char_len;
	}
	return true;
}
