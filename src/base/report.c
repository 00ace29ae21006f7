#include "base/report.h"

#include <ctype.h>
#include <stdarg.h>

enum { REPORT_TEXT_BYTES = 1200 }; /* two struct err and some words */

__attribute__((format(printf, 4, 0))) static void
write_line(struct report *r, const char *level, const char *what, const char *format, va_list args)
{
	char text[REPORT_TEXT_BYTES];
	if (vsnprintf(text, sizeof(text), format, args) < 0)
		text[0] = '\0';
	for (char *c = text; *c; c++)
		if (iscntrl((unsigned char)*c))
			*c = '?';
	fprintf(r->out, "%-4s  %s: %s\n", level, what, text);
}

void report_ok(struct report *r, const char *what, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	write_line(r, "ok", what, format, args);
	va_end(args);
}

void report_warn(struct report *r, const char *what, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	write_line(r, "warn", what, format, args);
	va_end(args);
}

void report_fail(struct report *r, enum exit_code code, const char *what, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	write_line(r, "FAIL", what, format, args);
	va_end(args);
	if (r->code == EXIT_CODE_OK)
		r->code = code;
}
