#ifndef ROWTAP_HTTP_UPGRADE_H
#define ROWTAP_HTTP_UPGRADE_H

#include "http/request.h"

struct dialect;

/*
 * The opening handshake (RFC 6455 section 4.2): either an answer that says what is wrong with it,
 * or the socket, taken from civetweb, goes to the hub with the 101 as its first bytes.
 */
void upgrade_run(struct request *r, const struct dialect *dialect);

#endif
