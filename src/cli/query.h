#ifndef ROWTAP_CLI_QUERY_H
#define ROWTAP_CLI_QUERY_H

#include "base/buf.h"
#include "cli/client.h"
#include <stdbool.h>
#include <stddef.h>

/* Sends SQL to the server and prints what comes back. */
enum query_format { QUERY_TABLE, QUERY_JSON, QUERY_CSV };

struct query {
    struct client *client; /* not owned */
    enum query_format format;
    size_t max_width; /* columns of one value in a table; 0: no bound */
    bool colour;      /* of standard output */
    bool wait;        /* for the subscribers; query_print says how many there were */
    /* The rest is private. */
    struct buf body, answer, out;
    json_t *result;  /* of the last request, NULL when it failed */
    int sqlite_code; /* of the last failure, SQLite's extended code; 0 when it had none */
    json_int_t delivered, pending; /* the most that one request since query_print had */
};

/* Zeroed but for the members above. */
void query_fini(struct query *q);

/*
 * Sends one script; params (NULL-terminated texts of the command line, by position) may be NULL.
 * The result stays in q->result. On failure the message, with the place in the text where it is
 * known, is printed to standard error; `line` is the number of the text's first line. Returns 0, or
 * a negative status: STATUS_TOO_LARGE when the server takes no request of that size (nothing is
 * printed then).
 */
int query_send(struct query *q, const char *sql, size_t len, char *const *params, size_t line);

/* Prints q->result of that text. STATUS_CLOSED: standard output is gone; see term_flush. */
int query_print(struct query *q, const char *sql, size_t len);

#endif
