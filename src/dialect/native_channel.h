#ifndef ROWTAP_DIALECT_NATIVE_CHANNEL_H
#define ROWTAP_DIALECT_NATIVE_CHANNEL_H

#include "hub/dialect.h"

/* The part of the native format that clients use among themselves: broadcasts and presence. */

#define NATIVE_EVENT_MAX 128 /* bytes of what a broadcast is called */

int native_decode_broadcast(struct command *cmd);
int native_decode_cursor(struct command *cmd);

void native_put_broadcast(struct buf *out, const struct reply *r);
void native_put_broadcast_ack(struct buf *out, const struct reply *r);
void native_put_user_joined(struct buf *out, const struct reply *r);
void native_put_user_left(struct buf *out, const struct reply *r);
void native_put_user_cursor(struct buf *out, const struct reply *r);
/* The members of "data" that say who is there; nothing where nobody can be. */
void native_put_presence(struct buf *out, const struct reply *r);

/* The server's own messages have this type, or may some day: nobody else's may. */
bool native_type_reserved(struct text type);

#endif
