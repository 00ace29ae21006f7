#include "net/activation.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { ACTIVATION_FIRST_FD = 3 }; /* SD_LISTEN_FDS_START */

/* A decimal number from 1, or 0. */
static long number_of(const char *name)
{
	const char *text = getenv(name);
	char *end;
	if (!text || *text < '0' || *text > '9')
		return 0;
	errno = 0;
	long number = strtol(text, &end, 10);
	return *end || errno ? 0 : number;
}

int activation_adopt(struct listener *listeners, size_t max, size_t *count, struct err *err)
{
	long passed = number_of("LISTEN_PID") == getpid() ? number_of("LISTEN_FDS") : 0;
	(void)unsetenv("LISTEN_PID");
	(void)unsetenv("LISTEN_FDS");
	(void)unsetenv("LISTEN_FDNAMES");
	*count = 0;
	if (passed > (long)max)
		return err_set(err, EXIT_CODE_CONFIG, "%ld sockets were passed; at most %zu are taken",
			       passed, max);
	for (; *count < (size_t)passed; ++*count) {
		struct err found;
		if (listener_adopt(&listeners[*count], ACTIVATION_FIRST_FD + (int)*count, &found) != 0)
			return err_set(err, found.code,
				       "what the service manager passed cannot be used: %s (Accept= has to "
				       "be no, and each Listen a ListenStream)",
				       found.text);
	}
	return 0;
}
