#ifndef ROWTAP_CAPTURE_SQLERROR_H
#define ROWTAP_CAPTURE_SQLERROR_H

#include "capture/database.h"
#include "capture/sqlconn.h"

/* What users are told when SQL fails. */

void sqlerror_init(struct sql_error *e); /* no error */
void sqlerror_set(struct sql_error *e, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/*
 * From the connection's last error, before anything else runs on it. `base` is where the statement
 * begins in the text that the user sent.
 */
void sqlerror_from(struct sql_error *e, struct sqlconn *c, int rc, size_t base, int64_t timeout_ms);

#endif
