#ifndef ROWTAP_BASE_BUF_H
#define ROWTAP_BASE_BUF_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A growing byte buffer and the server's builder of text. The error is sticky: after memory ran out
 * or `max` was passed every further put is ignored, and buf_error says so once at the end.
 * Not thread-safe. A zeroed struct is an empty, unbounded buffer.
 */
struct buf {
    char *data; /* not NUL-terminated; see buf_text */
    size_t len;
    size_t cap;
    size_t max; /* bytes; 0 is no bound */
    int err;    /* 0, STATUS_NOMEM or STATUS_TOO_LARGE */
};

void buf_init(struct buf *b, size_t max);
void buf_fini(struct buf *b);
void buf_reset(struct buf *b);                        /* empty, no error, memory kept */
void buf_truncate(struct buf *b, size_t len);         /* len <= b->len */
char *buf_reserve(struct buf *b, size_t len);         /* room for len more bytes, or NULL */
void buf_put(struct buf *b, const void *p, size_t n); /* n bytes */
void buf_putc(struct buf *b, char c);
void buf_puts(struct buf *b, const char *s);
void buf_put_i64(struct buf *b, int64_t v); /* decimal */
void buf_put_u64(struct buf *b, uint64_t v);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *b, const char *fmt, va_list ap);
int buf_error(const struct buf *b); /* 0 or the sticky status */
/* NUL-terminates; "" for an empty buffer. NULL after an error. Owned by the buffer. */
const char *buf_text(struct buf *b);
/* Gives the bytes away (mem_free them) and leaves the buffer empty. NULL after an error. */
char *buf_take(struct buf *b, size_t *len);

/* A JSON string with its quotes. Bytes that are not UTF-8 become U+FFFD; NUL becomes \u0000. */
void buf_put_json(struct buf *b, const char *s, size_t len);
void buf_put_json_text(struct buf *b, const char *s); /* NUL-terminated, NULL gives null */

#endif
