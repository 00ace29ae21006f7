/*
 * What the doctor looks at. Each check reports one line or more; whatever it makes ends with its process.
 */
#ifndef DOCTOR_CHECKS_H
#define DOCTOR_CHECKS_H

#include "base/report.h"
#include "config/config.h"

struct check {
	const char *name;
	void (*run)(const struct config *config, struct report *report);
	bool as_user;          /* the master leaves it to those that run as `user` */
	const char *when_late; /* what to do when it does not come to an end */
};

extern const struct check checks[];
extern const size_t check_count;

#endif
