#ifndef ROWTAP_DIALECT_NATIVE_H
#define ROWTAP_DIALECT_NATIVE_H

#include "hub/dialect.h"

/*
 * The server's own format: one JSON object per text message, both ways. Arguments of a command
 * stand at the top level, under "data" or under "payload"; null is the same as left out.
 */
extern const struct dialect native_dialect;

/* Bytes of a requestId or sentAt, written as JSON, that the server sends back. */
#define NATIVE_ECHO_MAX 256

int native_decode(struct command *cmd, const char *data, size_t len);
/* A command by the name of its type; STATUS_NOT_FOUND: there is none. */
int native_decode_named(struct command *cmd, const char *name, size_t len);
void native_decode_fini(struct command *cmd);

/* The members that every message but a change's begins with; the type is a name. */
void native_encode_head(struct buf *out, const struct reply *r, const char *type);
void native_encode_typed(struct buf *out, const struct reply *r, struct text type); /* any type */
/* A reply's members, at least one, begin here: in "data", or in a response's "payload". */
void native_encode_data(struct buf *out, const struct reply *r);
void native_encode_reply(struct buf *out, const struct reply *r);
void native_encode_body(struct buf *out, const struct change_message *m);
void native_encode_prefix(struct buf *out, const struct change_prefix *p);
void native_encode_item(
    struct buf *items, const struct change_prefix *p, const char *body, size_t body_len);
void native_encode_batch(struct buf *out, const struct batch_message *m);
void native_encode_row(struct buf *rows, const struct change_message *m);

#endif
