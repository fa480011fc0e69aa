#ifndef ROWTAP_HTTP_EXECUTE_H
#define ROWTAP_HTTP_EXECUTE_H

#include "http/request.h"

struct sql_request;

/*
 * database_execute, with room for what users' SQL takes of the stack: http/stack.h. The request's
 * thread. False: no memory for that, and nothing was done.
 */
bool execute_run(struct request *r, struct sql_request *sql);

#endif
