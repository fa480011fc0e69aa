#ifndef ROWTAP_HTTP_ANSWER_H
#define ROWTAP_HTTP_ANSWER_H

#include "http/request.h"

/* Answers to a request; each sends a whole response. The request's own thread. */

/* `headers` (may be NULL) are whole lines, each with its CRLF. */
void answer(struct request *r, int status, const char *type, const char *headers, const void *data,
    size_t len);
/* What the buffer holds, or 503 when it ran out of memory. */
void answer_json(struct request *r, int status, struct buf *json);
/* {"error":{"code","message"}} */
void answer_error(struct request *r, int status, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void answer_error_with(struct request *r, int status, const char *headers, const char *code,
    const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* The lines of a head that every answer has: the date, and who may read it. */
void answer_put_date(struct buf *out);
void answer_put_readers(struct buf *out, const struct request *r);

/*
 * An error for what could not be parsed as a request; the connection closes. Without a message the
 * body is empty.
 */
void answer_unparsed(struct mg_connection *conn, int status, const char *message);

#endif
