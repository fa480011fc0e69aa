#ifndef ROWTAP_DIALECT_NATIVE_ARGS_H
#define ROWTAP_DIALECT_NATIVE_ARGS_H

#include "base/json.h"
#include "hub/dialect.h"

/*
 * The arguments of a command in the native format. Each function that reads one leaves *to alone
 * when it was not given, and refuses the command (STATUS_INVALID) when it is of another type.
 */

/* What a decoded command's texts point into; its `memory`. */
struct native_memory {
    json_t *root;
    struct buf request_id, sent_at, query_id, data;
    const char **texts[2]; /* filters, columns */
    size_t *lens[2];
    struct sql_request *sql;
    struct sync *sync;
};

enum { FILTERS, COLUMNS };

/* The named argument wherever it may stand, or NULL. */
json_t *native_argument(const struct command *cmd, const char *name);

int native_text(struct command *cmd, const char *name, struct text *to);
int native_bool(struct command *cmd, const char *name, bool *to);
/* Writes what was read, in the shortest form. */
void native_put_json(struct buf *out, const json_t *j);
/* A scalar that is sent back later, kept as JSON in *b. STATUS_NOMEM. */
int native_echo(
    struct command *cmd, const char *name, const json_t *j, struct buf *b, struct text *to);

#endif
