/*
 * What `status` answers (master/control.h), for programs and for people. Words that this program does not know are passed over, and
 * fields that are missing are not known.
 */
#ifndef CTL_FACTS_H
#define CTL_FACTS_H

#include "base/buf.h"

#include <stdint.h>

/* An object of JSON with every name that there is, known or not (null), and a line break. */
void facts_to_json(struct slice facts, struct buf *out);

/* Lines of text. */
void facts_to_table(struct slice facts, struct buf *out);

#endif
