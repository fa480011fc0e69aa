#ifndef ROWTAP_HTTP_SERVE_H
#define ROWTAP_HTTP_SERVE_H

#include "http/request.h"

/*
 * Serves a request, or ends one that could not be read and has been answered, and then those that
 * follow over the same connection and need not go through civetweb (http/again.h). The worker's
 * thread.
 */
void serve_request(struct request *r, bool readable);

/*
 * For http/swift.c: serves the next request of a connection that was lent, if there is one. False:
 * the connection goes back. With the loan's lock.
 */
struct again;
bool serve_swiftly(struct again *a);

#endif
