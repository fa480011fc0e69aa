#ifndef ROWTAP_HUB_POLL_H
#define ROWTAP_HUB_POLL_H

#include "hub/dialect.h"
#include "net/conn.h"
#include <stdbool.h>
#include <stdint.h>

/*
 * Long polls: a stream (hub/dialect.h, `once`) whose changes are collected until there are enough,
 * or no more for now, or the time is up. Then they are sent as one answer, which says where to go
 * on, and the connection ends. Loop thread only.
 */
struct session;
struct poll;

/* Bytes of changes after which an answer is full, if max_queue allows; one may be longer. */
#define POLL_MAX_BYTES (1u << 20)

struct poll *poll_new(struct session *s); /* NULL: no memory */
void poll_free(struct poll *p);           /* NULL is allowed */
/* Its command is about to run. */
void poll_begin(struct poll *p, const struct command *cmd);

/* Adds a change, with which the answer may be full: then it is sent. 0 or STATUS_NOMEM. */
int poll_add(
    struct poll *p, const struct change_prefix *prefix, const struct body *body, uint64_t seq);
/* Takes what the session would tell the client; false: that is the answer. */
bool poll_takes(struct poll *p, struct reply *r);
/* What to answer when the answer is past the connection's bound. */
struct reply poll_too_large(void);
void poll_finish(struct poll *p); /* answers what there is, if only nothing */
void poll_end(struct poll *p);    /* the loop ends */

/* A shard's. */
struct shard;
void poll_run(struct shard *s); /* at the end of a turn: answers those that are through */
void poll_tick(void *shard, int64_t mono_ms);

#endif
