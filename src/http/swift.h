#ifndef ROWTAP_HTTP_SWIFT_H
#define ROWTAP_HTTP_SWIFT_H

#include "http/again.h"

/*
 * A few threads that answer what is read swiftly, each for many kept connections, where a thread
 * for each would be woken and put to sleep for every request. A worker lends its connection once
 * several requests in a row were swift, and waits. It has it back with the first that is not, which
 * is found out by trying for a millisecond: such a request is put off, nothing has become of it and
 * its worker serves it. Likewise whatever does not have the same head (http/again.h), an answer
 * that the client does not take, an error, and the connection's end.
 */
struct swift;

/* NULL: no threads are wanted, or there is no memory for them; then nothing is lent. */
struct swift *swift_start(struct database *db, int threads);
void swift_stop(struct swift *s); /* nothing is lent any more; NULL is allowed */

/* Whether the connection, whose request was answered, should be lent. */
bool swift_wanted(struct again *a);
/*
 * Lends it, and returns when it is back, or has brought nothing for KEEP_ALIVE_MS. The request is
 * put off (a->r->weighed) or answered, perhaps apart from a->r->unsent. The worker's thread.
 */
void swift_lend(struct again *a);

#endif
