#ifndef ROWTAP_DIALECT_NATIVE_REQUEST_H
#define ROWTAP_DIALECT_NATIVE_REQUEST_H

#include "hub/dialect.h"

/*
 * {"type":"request","requestId","payload":{"action",…}} is the command of that name, or one that is
 * only there as an action; its reply comes as {"type":"response","requestId","payload":{…}}. So
 * that every reply finds its way, the id as the hub has it ends in a mark then, which no JSON ends
 * in.
 */
#define NATIVE_REQUEST_MARK '>'

struct native_memory;

int native_request_decode(struct command *cmd);
void native_request_fini(struct native_memory *m);

/* The id, without the mark if it has one. */
struct text native_request_id(const struct reply *r, bool *response);

#endif
