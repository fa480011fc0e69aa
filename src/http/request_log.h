#ifndef ROWTAP_HTTP_REQUEST_LOG_H
#define ROWTAP_HTTP_REQUEST_LOG_H

#include "http/request.h"

/*
 * Counts a request that was answered, and says in the log what it was: never its query string,
 * headers or body.
 */
void request_log(struct request *r);

#endif
