#ifndef ROWTAP_HTTP_SERVE_H
#define ROWTAP_HTTP_SERVE_H

#include "http/request.h"

/*
 * Serves a request, or ends one that could not be read and has been answered, and then those that
 * follow over the same connection and need not go through civetweb (http/again.h). The worker's
 * thread.
 */
void serve_request(struct request *r, bool readable);

/* For http/swift.c, of a connection that was lent, with the loan's lock. */
struct again;

enum serve_end {
    SERVE_NOTHING,  /* there is no request yet */
    SERVE_ANSWERED, /* the next one, for serve_send to send the answer */
    SERVE_BACK      /* what comes next is its worker's */
};

enum serve_end serve_swiftly(struct again *a, struct database_turn *turn);
bool serve_send(struct again *a); /* false: the connection goes back */

#endif
