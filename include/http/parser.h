/*
 * The request parser: bytes to struct request, strictly by RFC 9112. It allocates nothing and does no I/O;
 * what it knows between two calls stands in struct parser, which belongs to the caller. Ambiguous framing is
 * refused, never repaired.
 *
 *     REQUEST_LINE -> FIELDS -> BODY_LENGTH ------------------------------> DONE
 *                            -> CHUNK_SIZE -> CHUNK_DATA -> CHUNK_END -> CHUNK_SIZE
 *                                          -> TRAILERS --------------------> DONE
 *
 * The caller keeps the message in one piece of memory from its first byte on, appends what arrives, and calls
 * again. A chunked body is decoded in place behind the head, so `msg` is written to.
 */
#ifndef HTTP_PARSER_H
#define HTTP_PARSER_H

#include "http/request.h"

enum parse_result {
	PARSE_MORE, /* incomplete so far: append bytes and call again */
	PARSE_DONE, /* a whole request; parser->consumed bytes of the input belong to it */
	PARSE_BAD,  /* parser->status and parser->detail say why; the connection has to be closed after the
		       answer */
};

enum parser_phase {
	PARSER_REQUEST_LINE,
	PARSER_FIELDS,
	PARSER_BODY_LENGTH,
	PARSER_CHUNK_SIZE,
	PARSER_CHUNK_DATA,
	PARSER_CHUNK_END,
	PARSER_TRAILERS,
	PARSER_DONE,
};

struct parser {
	enum parser_phase phase;
	uint32_t line;       /* offset of the first byte of the unfinished line */
	uint32_t scanned;    /* offset up to which bytes were looked at: no byte is scanned twice */
	uint32_t head_len;   /* bytes up to and including the empty line; 0 while the head is incomplete */
	uint64_t chunk_left; /* bytes still missing of the current chunk */
	uint32_t chunk_ext_bytes;
	uint32_t trailer_bytes;
	uint64_t body_max;  /* bytes; a longer body is 413 */
	size_t consumed;    /* valid after PARSE_DONE */
	uint16_t status;    /* valid after PARSE_BAD: 400, 413, 414, 417, 431, 501, 505 */
	const char *detail; /* valid after PARSE_BAD: one sentence for the client, a literal */
	struct request req; /* head valid once head_len > 0, whole after PARSE_DONE */
};

/* Prepares for the first byte of a message. One leading CRLF before the request line is skipped (RFC 9112
 * section 2.2). */
void parser_init(struct parser *p, uint64_t body_max_bytes);

/*
 * msg is the message from its first byte on, *len the bytes present (those of earlier calls included, with
 * the bytes after them appended). With PARSE_MORE, *len may shrink: a chunked body was decoded and what
 * follows was moved down; append behind the new *len. With PARSE_DONE the bytes from msg + consumed on belong
 * to the next request.
 */
enum parse_result parser_feed(struct parser *p, char *msg, size_t *len);

/* True when the head is complete, the client waits for "100 Continue" and no byte of the body has come. */
bool parser_awaits_continue(const struct parser *p, size_t len);

#endif
