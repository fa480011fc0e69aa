#ifndef ROWTAP_SERVER_H
#define ROWTAP_SERVER_H

#include "base/buf.h"

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

/*
 * Serves until SIGTERM or SIGINT, which must be blocked in every thread; announces the addresses on
 * stderr. The process's exit status.
 */
int server_run(const struct config *config);

#endif
