#ifndef ROWTAP_CLI_BENCH_ANSWER_H
#define ROWTAP_CLI_BENCH_ANSWER_H

#include "base/buf.h"
#include <stdbool.h>
#include <stddef.h>

/* An answer over HTTP/1.1 whose length is said in its head (RFC 9112 section 6.2); it points into
 * what was read. */
struct bench_answer {
    int status;
    const char *body;
    size_t len;
    bool closes; /* the server closes the connection after it */
};

/* 1: it has come whole; 0: not yet; STATUS_INVALID. */
int bench_answer_read(struct bench_answer *a, const char *data, size_t len);
/* Why a request was refused, in the server's words if there are any. */
void bench_answer_explain(int status, const char *body, size_t len, struct buf *out);

#endif
