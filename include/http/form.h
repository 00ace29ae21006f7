/*
 * Pairs of application/x-www-form-urlencoded, as in a query and in a form's body (WHATWG URL section 5.1,
 * read strictly: a broken escape is an error), and the decoding of percent-encoded text.
 */
#ifndef HTTP_FORM_H
#define HTTP_FORM_H

#include "base/buf.h"
#include "base/utf8.h"

#include <stdbool.h>

/* Takes the next pair off *rest, still encoded; empty pairs ("a=1&&b") are skipped. False when there is none
 * left. */
bool form_next(struct slice *rest, struct slice *name, struct slice *value);

enum form_decode {
	FORM_OK,
	FORM_BROKEN_ESCAPE, /* '%' without two hexadecimal digits */
	FORM_NOT_UTF8,      /* the decoded bytes are no UTF-8 (RFC 3629: no overlong forms, no surrogates) */
	FORM_CONTROL,       /* with refuse_control: a byte below 0x20, or 0x7f */
};

struct form_rules {
	bool plus_is_space;
	bool refuse_control;
};

/* Decodes `text` into out, which has room for text.len bytes and may be text.data itself. *decoded views out.
 */
enum form_decode form_decode(struct slice text, struct form_rules rules, char *out, struct slice *decoded);

enum { FORM_NAME_MAX_BYTES = 32 };

/* The name of a pair, decoded where it is of that many bytes at most; else, or where it is broken, "". */
struct slice form_decode_name(struct slice raw, char scratch[FORM_NAME_MAX_BYTES]);

#endif
