#ifndef ROWTAP_CAPTURE_WAIT_H
#define ROWTAP_CAPTURE_WAIT_H

#include "capture/database.h"

/* database_post, and waits until the request is done, instead of calling r->done. */
void wait_post(struct database *db, struct sql_request *r);

#endif
