#ifndef ROWTAP_DIALECT_ARGUMENTS_H
#define ROWTAP_DIALECT_ARGUMENTS_H

#include "hub/dialect.h"

/* The arguments of a subscription that are written alike in every dialect. Any thread. */

/* Says what is wrong with the command. Returns STATUS_INVALID. */
int arguments_refuse(struct command *cmd, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

bool arguments_is(struct text t, const char *s);

/* Each adds to the command, or refuses it: STATUS_INVALID. The texts are kept by reference. */
int arguments_event(struct command *cmd, const char *p, size_t len);  /* "INSERT", in any case */
int arguments_events(struct command *cmd, const char *p, size_t len); /* "insert, update", "*" */
/* "EPOCH:SEQ" or "earliest". Refused with no text as well. */
int arguments_since(struct command *cmd, struct text s);
bool arguments_seq(struct command *cmd, struct text s); /* "SEQ", or false */
int arguments_snapshot(struct command *cmd);            /* it was asked for: is the table one? */

#endif
