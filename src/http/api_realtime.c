#include "access/identity.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/text.h"
#include "capture/database.h"
#include "dialect/sql_json.h"
#include "dialect/sync_json.h"
#include "http/answer.h"
#include "http/auth.h"
#include "http/execute.h"
#include "http/limits.h"
#include "http/route.h"
#include "hub/report.h"
#include "hub/roster.h"

#include <civetweb.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

/* Where the WebSocket is, under the name that the client used. */
static void put_ws_url(struct buf *out, const struct request *r)
{
    const char *host = request_header(r, "Host");

    if (!host || !*host)
        host = strstr(r->http->urls[0], "//") + 2;
    buf_printf(out, "%s://%s/ws", r->info->is_ssl ? "wss" : "ws", host);
}

void api_realtime(struct request *r, const char *rest)
{
    struct buf url = {0}, json = {0};

    (void)rest;
    put_ws_url(&url, r);
    report_realtime(&json, buf_text(&url), identity_user(r->who));
    answer_json(r, 200, &json);
    buf_fini(&url);
    buf_fini(&json);
}

/* A roster on its way through the loops, which may take longer than the client is kept waiting. */
#define ROSTER_MS 2000

struct enquiry {
    struct roster roster;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool done, abandoned;
};

static void enquiry_free(struct enquiry *e)
{
    roster_fini(&e->roster);
    pthread_mutex_destroy(&e->lock);
    pthread_cond_destroy(&e->wake);
    mem_free(e);
}

static void enquiry_done(struct roster *roster)
{
    struct enquiry *e = (struct enquiry *)roster;
    bool abandoned;

    pthread_mutex_lock(&e->lock);
    e->done = true;
    abandoned = e->abandoned;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->lock);
    if (abandoned)
        enquiry_free(e);
}

static struct enquiry *enquiry_new(struct request *r, uint32_t limit)
{
    struct enquiry *e = mem_zalloc(sizeof(*e));
    pthread_condattr_t attr;

    if (!e)
        return NULL;
    e->roster = (struct roster){.hub = r->http->hub, .limit = limit, .done = enquiry_done};
    roster_limit_to(&e->roster, r->policy, r->who);
    pthread_mutex_init(&e->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&e->wake, &attr);
    pthread_condattr_destroy(&attr);
    return e;
}

/* False: the loops are busy; whoever comes last frees it. */
static bool enquiry_wait(struct enquiry *e)
{
    struct timespec until;
    bool done;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ROSTER_MS / 1000;
    pthread_mutex_lock(&e->lock);
    while (!e->done && pthread_cond_timedwait(&e->wake, &e->lock, &until) == 0)
        ;
    done = e->done;
    e->abandoned = !done;
    pthread_mutex_unlock(&e->lock);
    return done;
}

/* "limit=50" and nothing else. */
static bool read_limit(const struct request *r, uint32_t *limit)
{
    int64_t n;

    *limit = ROSTER_LIMIT;
    if (!r->query || !*r->query)
        return true;
    if (strncmp(r->query, "limit=", 6) != 0 ||
        text_parse_i64(r->query + 6, strlen(r->query + 6), &n) < 0 || n < 0 || n > ROSTER_MAX)
        return false;
    *limit = (uint32_t)n;
    return true;
}

void api_realtime_stats(struct request *r, const char *rest)
{
    struct buf json = {0};
    struct enquiry *e;
    uint32_t limit;

    (void)rest;
    if (!auth_known(r))
        return;
    if (!read_limit(r, &limit)) {
        answer_error(r, 400, "INVALID_FORMAT",
            "the only parameter is limit, the number of clients to list, 0 to %d", ROSTER_MAX);
        return;
    }
    e = enquiry_new(r, limit);
    if (e)
        roster_start(&e->roster);
    if (!e || !enquiry_wait(e)) {
        answer_error_with(r, 503, "Retry-After: 1\r\n", "LIMIT_EXCEEDED",
            "the server is too busy to list its clients");
        return;
    }
    roster_put_json(&json, &e->roster);
    enquiry_free(e);
    answer_json(r, 200, &json);
    buf_fini(&json);
}

/* Writing. */

static void answer_sync(struct request *r, int status, const struct sql_request *sql)
{
    struct buf json = {0};

    buf_putc(&json, '{');
    sync_json_put_outcome(&json, sql);
    buf_puts(&json, ",\"timestamp\":");
    buf_put_i64(&json, clock_wall_ms());
    buf_putc(&json, '}');
    answer_json(r, status, &json);
    buf_fini(&json);
}

static int build(struct request *r, struct sync *s)
{
    struct schema *schema = database_schema(r->http->db);
    int rc = sync_build(s, schema, r->policy, r->who);

    schema_unref(schema);
    return rc;
}

/* {"type":"SYNC","operations":[…]} */
static json_t *find_operations(json_t *root, struct buf *err)
{
    const char *type = json_string_value(json_object_get(root, "type")), *name;
    json_t *value;

    json_object_foreach(root, name, value)
    {
        if (strcmp(name, "type") == 0 || strcmp(name, "operations") == 0)
            continue;
        buf_printf(err, "unknown member \"%.60s\"; known are \"type\" and \"operations\"", name);
        return NULL;
    }
    if (!type || text_casecmp(type, "SYNC") != 0) {
        buf_puts(err, "type must be \"SYNC\"");
        return NULL;
    }
    value = json_object_get(root, "operations");
    if (!value)
        buf_puts(err, "operations is missing");
    return value;
}

static void run_sync(struct request *r, json_t *root)
{
    json_t *operations;
    struct sync s = {0};
    struct buf err = {0};
    int rc = STATUS_INVALID;

    operations = find_operations(root, &err);
    if (operations)
        rc = sync_json_read(&s, operations, &err);
    if (rc == 0)
        rc = build(r, &s);
    sql_request_restrict(&s.sql, r->policy, r->who);
    if (rc == 0 && s.count && !execute_run(r, &s.sql))
        rc = STATUS_NOMEM;
    if (rc == STATUS_NOMEM || buf_error(&err))
        answer_error(r, 503, "LIMIT_EXCEEDED", "out of memory for the request");
    else if (rc == STATUS_INVALID)
        answer_error(r, 400, "INVALID_FORMAT", "%s", buf_text(&err));
    else
        answer_sync(r, s.sql.error.code[0] ? api_sql_status(r, s.sql.error.code) : 200, &s.sql);
    sync_fini(&s);
    buf_fini(&err);
}

void api_sync(struct request *r, const char *rest)
{
    struct buf body = {0}, err = {0};
    json_t *root;

    (void)rest;
    if (!auth_known(r) || !api_sql_is_json(r) || !limits_take(r, RATE_QUERIES) ||
        !request_body(r, &body))
        return;
    root = sql_json_body(
        body.data ? body.data : "", body.len, "{\"type\":\"SYNC\",\"operations\":[…]}", &err);
    buf_fini(&body);
    if (root)
        run_sync(r, root);
    else
        answer_error(
            r, 400, "INVALID_FORMAT", "%s", buf_text(&err) ? buf_text(&err) : "out of memory");
    json_decref(root);
    buf_fini(&err);
}
