#include "base/clock.h"
#include "base/status.h"
#include "base/text.h"
#include "capture/database.h"
#include "dialect/sql_json.h"
#include "http/answer.h"
#include "http/auth.h"
#include "http/execute.h"
#include "http/limits.h"
#include "http/route.h"

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

int api_sql_status(const struct request *r, const char *code)
{
    /* What the end of the server stops may be tried again. */
    if (atomic_load(&r->http->stopping) && strcmp(code, "QUERY_CANCELLED") == 0)
        return 503;
    for (size_t i = 0; i < sizeof(statuses) / sizeof(*statuses); i++)
        if (strcmp(statuses[i].code, code) == 0)
            return statuses[i].status;
    return 503;
}

bool api_sql_is_json(struct request *r)
{
    const char *type = request_header(r, "Content-Type");
    size_t len = type ? strcspn(type, "; \t") : 0;

    if (text_same_nocase(type ? type : "", len, "application/json", 16))
        return true;
    answer_error(r, 415, "INVALID_FORMAT", "send the body as Content-Type: application/json");
    return false;
}

/* How long a stop of the server may go unnoticed. */
#define WAIT_STEP_MS 100

/* Waits for the subscribers' sockets, and adds to the answer what became of it. */
static void await_delivery(struct request *r, struct sql_request *sql, int64_t wait_ms)
{
    int64_t end = clock_mono_ms() + wait_ms, left = wait_ms;
    uint64_t delivered, pending;
    bool done;

    do {
        done = receipt_wait(
            sql->receipt, left < WAIT_STEP_MS ? left : WAIT_STEP_MS, &delivered, &pending);
        left = end - clock_mono_ms();
    } while (!done && left > 0 && !atomic_load(&r->http->stopping));
    if (buf_error(&sql->json) || sql->json.len == 0)
        return;
    buf_truncate(&sql->json, sql->json.len - 1);
    buf_printf(&sql->json, ",\"delivered\":%llu", (unsigned long long)delivered);
    if (!done)
        buf_printf(&sql->json, ",\"pending\":%llu", (unsigned long long)pending);
    buf_putc(&sql->json, '}');
}

/* Clearly, so that the next one is likely to be as well. */
static bool is_swift(const struct sql_request *sql)
{
    return sql->only_read && !sql->error.code[0] && !sql->policy &&
           sql->run_ns < DATABASE_SWIFT_MS * 1000000 / 4 &&
           sql->json.len < DATABASE_SWIFT_BYTES / 2;
}

static void execute(struct request *r, struct sql_request *sql, int64_t wait_ms)
{
    struct buf error = {0};

    if (wait_ms >= 0) {
        sql->receipt = receipt_new();
        if (!sql->receipt) {
            answer_error(r, 503, "LIMIT_EXCEEDED", "out of memory for the request");
            return;
        }
    }
    sql_request_restrict(sql, r->policy, r->who);
    if (r->swift) {
        r->put_off = sql->receipt || !database_execute_swiftly(r->http->db, r->swift, sql);
    } else if (!execute_run(r, sql)) {
        receipt_close(sql->receipt);
        answer_error(r, 503, "LIMIT_EXCEEDED", "out of memory for the request");
        return;
    }
    r->was_swift = is_swift(sql);
    if (sql->receipt && !sql->error.code[0] && !r->put_off)
        await_delivery(r, sql, wait_ms);
    receipt_close(sql->receipt);
    if (r->put_off)
        return;
    if (!sql->error.code[0]) {
        answer_json(r, 200, &sql->json);
        return;
    }
    sql_json_put_error(&error, &sql->error);
    answer_json(r, api_sql_status(r, sql->error.code), &error);
    buf_fini(&error);
}

void api_sql(struct request *r, const char *rest)
{
    struct sql_request sql = {0};
    struct buf body = {0}, err = {0};
    int64_t wait_ms = -1;
    int rc;

    (void)rest;
    if (!auth_sql(r) || !api_sql_is_json(r) || !limits_take(r, RATE_QUERIES))
        return;
    r->repeatable = !r->chunked && !request_header(r, "Expect");
    if (request_body(r, &body)) {
        rc = sql_json_read(&sql, body.data ? body.data : "", body.len, &wait_ms, &err);
        if (rc == STATUS_NOMEM || buf_error(&err))
            answer_error(r, 503, "LIMIT_EXCEEDED", "out of memory for the request");
        else if (rc < 0)
            answer_error(r, 400, "INVALID_FORMAT", "%s", buf_text(&err));
        else
            execute(r, &sql, wait_ms);
    }
    sql_request_fini(&sql);
    buf_fini(&body);
    buf_fini(&err);
}
