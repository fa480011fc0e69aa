#include "capture/database.h"
#include "http/answer.h"
#include "http/route.h"
#include "hub/report.h"

static void answer_health(
    struct request *r, void (*report)(struct buf *out, struct hub *h, bool ok))
{
    bool ok = database_ping(r->http->db) == 0;
    struct buf json = {0};

    report(&json, r->http->hub, ok);
    answer_json(r, ok ? 200 : 503, &json);
    buf_fini(&json);
}

void api_health(struct request *r, const char *rest)
{
    (void)rest;
    answer_health(r, report_health);
}

void api_websocket_health(struct request *r, const char *rest)
{
    (void)rest;
    answer_health(r, report_websocket_health);
}

void api_ws_status(struct request *r, const char *rest)
{
    struct buf json = {0};

    (void)rest;
    report_status(&json, r->http->hub);
    answer_json(r, 200, &json);
    buf_fini(&json);
}
