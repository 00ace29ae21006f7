/*
 * Socket activation, sd_listen_fds(3): listeners that the service manager has opened before it started this
 * process, and keeps while there is none. They take the place of those that the configuration names.
 */
#ifndef NET_ACTIVATION_H
#define NET_ACTIVATION_H

#include "net/listener.h"

#include <stddef.h>

/* Adopts what $LISTEN_FDS passes, if $LISTEN_PID means this process, and unsets the variables in either case:
 * whatever it starts has been passed nothing. Returns 0 and how many there are, 0 for none; or -1 and *err
 * (EXIT_CODE_CONFIG). */
int activation_adopt(struct listener *listeners, size_t max, size_t *count, struct err *err);

#endif
