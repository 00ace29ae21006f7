/*
 * The service as the master is to run it: of each configuration it makes a plan (the kinds of processes, the addresses, the memory that
 * they share), and it holds what plans share. It is where the rooms below meet; the master knows it as a struct master_ops.
 *
 *     an address that stays in the configuration keeps its socket, and what waits in its queue
 *     a store keeps its claim (SQLite's PATH.owner) as long as any plan uses it
 *     the first page's memory crosses from plan to plan while store and cache are the same and its places suffice. Else there are two for
 *     as long as both have workers, and neither vouches for anything meanwhile: page_rivals_begin
 */
#ifndef SERVICE_SERVICE_H
#define SERVICE_SERVICE_H

#include "config/config.h"
#include "master/handover.h"
#include "master/privileges.h"
#include "net/listener.h"

/* Where the configuration is read from, again and again. All borrowed. */
struct service_settings {
	int argc;
	char *const *argv;
	const struct config *
	    config; /* as read at the start: the first plan is made by it. NULL, after an upgrade: it is wrong now */
	const struct config_sources *sources;
	struct handover *from; /* see struct master_settings */
};

/* Who the processes are, and whose the unix sockets: what the system makes of the names in the configuration. */
struct service_names {
	struct privileges privileges;
	struct listener_rights rights;
};

/* What the configuration cannot judge by itself: those names, and the store's URI, which its driver parses. May block on the name
 * service. Returns 0, or -1 and *err; release names->privileges in either case. */
int service_check(struct service_names *names, const struct config *config,
		  const struct config_sources *sources, struct err *err);

/* Can the file be read more than once? What a pipe had is gone: it would be waited for, or found empty. Returns 0, or -1 and *err. */
int service_check_again(const struct config_sources *sources, struct err *err);

/* Runs until told to stop. Returns the exit code, or -1 and *err. Blocks all signals of the calling thread for good. */
int service_run(const struct service_settings *settings, struct err *err);

#endif
