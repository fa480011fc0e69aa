#ifndef ROWTAP_CAPTURE_QUERY_H
#define ROWTAP_CAPTURE_QUERY_H

#include "capture/executor.h"

/*
 * On a read connection. False when the request is not made of queries alone, or does not compile:
 * nothing was run then, and it belongs to the writer.
 */
bool query_run(struct sqlconn *c, const struct published *published,
    const struct database_options *options, struct job *j);

#endif
