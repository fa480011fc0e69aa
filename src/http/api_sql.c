#include "base/status.h"
#include "base/text.h"
#include "capture/database.h"
#include "http/answer.h"
#include "http/route.h"
#include "http/sql_json.h"

#include <string.h>

static const struct {
    const char *code;
    int status;
} statuses[] = {
    {"SQL_ERROR", 400},
    {"INVALID_FORMAT", 400},
    {"FORBIDDEN", 403},
    {"NOT_FOUND", 404},
    {"QUERY_CANCELLED", 408},
    {"CONFLICT", 409},
    {"TOO_LARGE", 413},
};

static int status_of(const struct request *r, const char *code)
{
    /* What the end of the server stops may be tried again. */
    if (atomic_load(&r->http->stopping) && strcmp(code, "QUERY_CANCELLED") == 0)
        return 503;
    for (size_t i = 0; i < sizeof(statuses) / sizeof(*statuses); i++)
        if (strcmp(statuses[i].code, code) == 0)
            return statuses[i].status;
    return 503;
}

static bool is_json(const char *type)
{
    size_t len = type ? strcspn(type, "; \t") : 0;

    return text_same_nocase(type ? type : "", len, "application/json", 16);
}

static void execute(struct request *r, struct sql_request *sql)
{
    struct buf error = {0};

    database_execute(r->http->db, sql);
    if (!sql->error.code[0]) {
        answer_json(r, 200, &sql->json);
        return;
    }
    sql_json_put_error(&error, &sql->error);
    answer_json(r, status_of(r, sql->error.code), &error);
    buf_fini(&error);
}

void api_sql(struct request *r, const char *rest)
{
    struct sql_request sql = {0};
    struct buf body = {0}, err = {0};
    int rc;

    (void)rest;
    if (!is_json(request_header(r, "Content-Type"))) {
        answer_error(r, 415, "INVALID_FORMAT", "send the body as Content-Type: application/json");
        return;
    }
    if (request_body(r, &body)) {
        rc = sql_json_read(&sql, body.data ? body.data : "", body.len, &err);
        buf_fini(&body);
        if (rc == STATUS_NOMEM || buf_error(&err))
            answer_error(r, 503, "LIMIT_EXCEEDED", "out of memory for the request");
        else if (rc < 0)
            answer_error(r, 400, "INVALID_FORMAT", "%s", buf_text(&err));
        else
            execute(r, &sql);
    }
    sql_request_fini(&sql);
    buf_fini(&body);
    buf_fini(&err);
}
