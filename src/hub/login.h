#ifndef ROWTAP_HUB_LOGIN_H
#define ROWTAP_HUB_LOGIN_H

#include "hub/dialect.h"
#include <stdint.h>

/*
 * Tokens of connections: one came with the handshake, `auth` brings the next, and when the last has
 * ended so does the connection, with 1008. Loop thread only.
 *
 * A shard has one heap of the times at which something is due, with an entry for each connection
 * whose token ends; the others cost nothing.
 */
struct session;
struct shard;

struct login_due {
    int64_t at_ms; /* wall clock */
    struct session *session;
};

struct logins {
    struct login_due *heap;
    uint32_t count, cap;
};
void logins_fini(struct logins *l);

int login_enter(struct session *s);  /* it has opened; STATUS_NOMEM */
void login_leave(struct session *s); /* lets go of its identity as well */
/* `auth`: a token with the same user, role and other claims, that may end later. */
void login_run(struct session *s, const struct command *cmd);
/* Warns those whose token ends soon, and ends those whose token has. */
void login_tick(struct shard *s, int64_t mono_ms);

#endif
