/*
 * The request parser: bytes to struct request, strictly by RFC 9112. It allocates nothing and does no I/O;
 * what it knows between two calls stands in struct parser, which belongs to the caller. Ambiguous framing is
 * refused, never repaired.
 *
 *     START -> METHOD -> TARGET -> VERSION -> FIELD
 *     FIELD -> FIELD_NAME -> FIELD_VALUE -> FIELD       a line of the head, later of the trailers
 *     FIELD, at the empty line                          -> BODY_LENGTH, CHUNK_SIZE or DONE; trailers: DONE
 *     BODY_LENGTH                                       -> DONE
 *     CHUNK_SIZE -> CHUNK_EXT -> CHUNK_DATA -> CHUNK_END -> CHUNK_SIZE
 *                   CHUNK_EXT, of the last chunk        -> FIELD
 *
 * Every byte is judged when it comes, and what a line says when its CRLF is there. So the outcome is the same
 * however the bytes were cut on their way, and a broken message is refused at its first broken byte.
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
	PARSER_START,
	PARSER_METHOD,
	PARSER_TARGET,
	PARSER_VERSION,
	PARSER_FIELD, /* at the first byte of a line */
	PARSER_FIELD_NAME,
	PARSER_FIELD_VALUE,
	PARSER_BODY_LENGTH,
	PARSER_CHUNK_SIZE,
	PARSER_CHUNK_EXT, /* the rest of the line with the size */
	PARSER_CHUNK_DATA,
	PARSER_CHUNK_END,
	PARSER_DONE,
	PARSER_PHASE_COUNT,
};

struct parser {
	enum parser_phase phase;
	uint32_t scanned;     /* offset of the first byte not yet judged; a CR is judged with its LF */
	uint32_t head_len;    /* bytes up to and including the empty line; 0 while the head is incomplete */
	uint32_t line_bytes;  /* head and trailers so far: what HTTP_HEAD_MAX_BYTES limits */
	uint32_t field_lines; /* the same for HTTP_FIELDS_MAX_COUNT */
	uint32_t chunk_ext_bytes, chunk_ext_total;
	uint8_t chunk_digits; /* of the chunk size at hand */
	uint8_t ext_state;    /* within CHUNK_EXT */
	uint8_t seen;         /* which of the fields that may come only once did */
	uint16_t status;      /* valid after PARSE_BAD: 400, 413, 414, 417, 431, 501, 505 */
	uint64_t chunk_left;  /* bytes still missing of the current chunk */
	uint64_t body_max;    /* bytes; a longer body is 413 */
	size_t consumed;      /* valid after PARSE_DONE */
	const char
	    *detail; /* valid after PARSE_BAD: one sentence for the client, a literal without full stop */
	struct request req; /* head valid once head_len > 0, whole after PARSE_DONE */
};

/* Prepares for the first byte of a message. One leading CRLF before the request line is skipped (RFC 9112
 * section 2.2). body_max_bytes is 1 GiB at most. */
void parser_init(struct parser *p, uint64_t body_max_bytes);

/*
 * msg is the message from its first byte on, *len the bytes present (those of earlier calls included, with
 * the bytes after them appended). With PARSE_MORE, *len may shrink: a chunked body was decoded and what
 * follows was moved down; append behind the new *len. With PARSE_DONE the bytes from msg + consumed on belong
 * to the next request, and are untouched. PARSE_DONE and PARSE_BAD are final: further calls repeat them.
 */
enum parse_result parser_feed(struct parser *p, char *msg, size_t *len);

/* True when the head is complete, the client waits for "100 Continue" and no byte of the body has come. */
bool parser_awaits_continue(const struct parser *p, size_t len);

#endif
