#ifndef ROWTAP_SERVER_H
#define ROWTAP_SERVER_H

#include "base/buf.h"
#include <stdbool.h>

/*
 * The whole server: the database, the hub and the HTTP side, put together. Its functions run on one
 * thread, the one that owns it.
 */
struct config;
struct server;

/* NULL and a sentence for the user in err. *config must outlive the server. */
struct server *server_start(const struct config *config, struct buf *err);
/* The i-th address, "http://127.0.0.1:8080", or NULL past the last. */
const char *server_address(const struct server *s, int i);
/*
 * Finishes what runs (a statement is interrupted after 1.5 seconds), closes the clients with 1012
 * and frees; less than 5 seconds in all. NULL is allowed.
 */
void server_stop(struct server *s);

bool server_works(struct server *s);       /* all threads have answered since the last call */
void server_change_demo(struct server *s); /* one of the demonstration's changes */

/*
 * Reads the keys for tokens and the policy again; false: one of them is bad, so that from before
 * stays in use. server_refresh: the keys only, if they have changed. Without them nothing is done.
 */
bool server_reload(struct server *s);
void server_refresh(struct server *s);
/* The certificate likewise, where there is one; the connections of before keep theirs. */
bool server_reload_tls(struct server *s);

/* A line in the log each: what it is and with which options; what it has done. */
void server_log_start(const struct server *s, const char *options);
void server_log_stop(struct server *s);

#endif
