#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>

int err_set(struct err *e, enum exit_code code, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	e->code = code;
	if (vsnprintf(e->text, sizeof(e->text), format, args) < 0)
		e->text[0] = '\0';
	va_end(args);
	for (char *c = e->text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	return -1;
}
