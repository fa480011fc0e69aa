#ifndef ROWTAP_HTTP_AUTH_H
#define ROWTAP_HTTP_AUTH_H

#include "http/request.h"

/*
 * Who sends a request: by the token in its header Authorization, in its URL (?token=) or in the
 * cookie AUTH_COOKIE, where the server has keys. The request's own thread.
 */
#define AUTH_COOKIE "rowtap_token"

/* Takes ?token= out of r->query, so that nothing else sees it. False: it has been answered. */
bool auth_init(struct request *r);
/* Fills in r->who. False: nobody who may do anything; it has been answered, with 401 or 403. */
bool auth_admit(struct request *r, bool upgrade);
void auth_fini(struct request *r); /* after the request was logged */

/* Of who was admitted; false: it has been answered, with 403. */
bool auth_known(struct request *r); /* the policy knows the role */
bool auth_sql(struct request *r);   /* which may run SQL */

#endif
