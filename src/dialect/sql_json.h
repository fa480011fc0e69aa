#ifndef ROWTAP_DIALECT_SQL_JSON_H
#define ROWTAP_DIALECT_SQL_JSON_H

#include "base/buf.h"
#include <stddef.h>

/*
 * The JSON of POST /api/sql, both ways: {"sql","params"} or {"statements":[{"sql","params"},…]}
 * into a request, and a failed request's error out of it. Pure; any thread.
 */
#define SQL_JSON_WAIT_MS 5000 /* when "wait" comes without "waitMs" */
#define SQL_JSON_WAIT_MAX 60000

struct sql_request;
struct sql_error;

/*
 * Fills *r (zeroed) from the text, and *wait_ms: -1, or with "wait":"delivered" how long to wait
 * until all subscribers have been handed the changes. STATUS_INVALID with a sentence for the user
 * in err; STATUS_NOMEM. sql_request_fini is due in every case.
 */
int sql_json_read(
    struct sql_request *r, const char *text, size_t len, int64_t *wait_ms, struct buf *err);

/* {"error":{"code","message","sqliteCode","offset",…}} */
void sql_json_put_error(struct buf *out, const struct sql_error *e);

#endif
