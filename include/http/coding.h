/*
 * Content codings (RFC 9110 section 8.4.1): todod has one, gzip.
 */
#ifndef HTTP_CODING_H
#define HTTP_CODING_H

#include "base/buf.h"

#include <stdbool.h>

/* `accept_encoding` is the value of that field, all of its lines; empty when absent (RFC 9110 section 12.5.3). True when the
 * client takes gzip, and would not rather have no coding. A malformed value says nothing: false. */
bool coding_gzip_is_wanted(struct slice accept_encoding);

/* Appends `text` in the coding gzip (RFC 1952). The same text always gives the same bytes. */
void coding_append_gzip(struct buf *out, struct slice text);

/* Name and version of the library that compresses. */
const char *coding_library(void);

#endif
