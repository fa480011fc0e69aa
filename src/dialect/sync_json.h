#ifndef ROWTAP_DIALECT_SYNC_JSON_H
#define ROWTAP_DIALECT_SYNC_JSON_H

#include "base/json.h"
#include "hub/sync.h"

/*
 * The operations of POST /api/realtime and of the action `sync`: a list of
 * {"type":"INSERT","table","data":{…}}, {"type":"UPDATE","table","data","key":{…}},
 * {"type":"DELETE","table","key"} (`where` is another name for `key`) and {"sql","params"}. Pure;
 * any thread.
 */

/*
 * Adds them to *s (zeroed), whose texts point into the JSON. STATUS_INVALID with a sentence for the
 * user in err; STATUS_NOMEM. sync_fini is due in every case.
 */
int sync_json_read(struct sync *s, json_t *operations, struct buf *err);

/* The members "results" and "seq" of what the transaction answered, or "results":[] and the error.
 */
void sync_json_put_outcome(struct buf *out, const struct sql_request *r);

#endif
