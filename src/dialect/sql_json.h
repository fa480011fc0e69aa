#ifndef ROWTAP_DIALECT_SQL_JSON_H
#define ROWTAP_DIALECT_SQL_JSON_H

#include "base/buf.h"
#include "base/json.h"
#include <stddef.h>

/*
 * The JSON of POST /api/sql, both ways: {"sql","params"} or {"statements":[{"sql","params"},…]}
 * into a request, and a failed request's error out of it. Pure; any thread.
 */
#define SQL_JSON_WAIT_MS 5000 /* when "wait" comes without "waitMs" */
#define SQL_JSON_WAIT_MAX 60000

struct sql_request;
struct sql_statement;
struct sql_error;

/* Where a value stands, for messages: "params[2]", "operations[1].data.name". */
struct sql_json_place {
    const char *list;
    int item;  /* of the list; -1: there is only one */
    int index; /* of a value by position, -1: none */
    const char *name;
    const char *member;
};

/*
 * Fills *r (zeroed) from the text, and *wait_ms: -1, or with "wait":"delivered" how long to wait
 * until all subscribers have been handed the changes. The request points into the text, which must
 * stay. STATUS_INVALID with a sentence for the user in err; STATUS_NOMEM. sql_request_fini is due
 * in every case.
 */
int sql_json_read(
    struct sql_request *r, const char *text, size_t len, int64_t *wait_ms, struct buf *err);

/*
 * The parts of it. An object's text, or NULL and what is wrong with it (the caller owns the
 * result);
 * {"sql","params"} or {"statements"}; one statement, of a list if item >= 0; one parameter. Results
 * as above.
 */
json_t *sql_json_body(const char *text, size_t len, const char *example, struct buf *err);
int sql_json_request(struct sql_request *r, json_t *object, struct buf *err);
int sql_json_statement(
    struct sql_request *r, json_t *object, const char *list, int item, struct buf *err);
int sql_json_bind(struct sql_statement *s, const char *name, json_t *value,
    const struct sql_json_place *at, struct buf *err);
const char *sql_json_type(const json_t *j); /* "an object" */
/* What stands between the braces of an error; `item` names the index of what failed. */
void sql_json_put_error_members(struct buf *out, const struct sql_error *e, const char *item);
/* {"error":{"code","message","sqliteCode","offset",…}} */
void sql_json_put_error(struct buf *out, const struct sql_error *e);

#endif
