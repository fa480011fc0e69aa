#include "base/status.h"
#include "base/text.h"
#include "capture/database.h"
#include "http/answer.h"
#include "http/route.h"
#include "hub/report.h"

#include <string.h>

void api_tables(struct request *r, const char *rest)
{
    struct schema *schema = database_schema(r->http->db);
    struct buf json = {0};

    (void)rest;
    report_tables(&json, schema, r->policy, r->who);
    schema_unref(schema);
    answer_json(r, 200, &json);
    buf_fini(&json);
}

static void answer_table(struct request *r, const char *name, size_t len)
{
    struct schema *schema = database_schema(r->http->db);
    struct buf json = {0};

    if (report_table(&json, schema, r->policy, r->who, name, len))
        answer_json(r, 200, &json);
    else
        answer_error(
            r, 404, "NOT_FOUND", "no such table: %.*s", (int)(len < 200 ? len : 200), name);
    buf_fini(&json);
    schema_unref(schema);
}

void api_table(struct request *r, const char *rest)
{
    struct buf name = {0};
    int rc = text_url_decode(&name, rest, strlen(rest), false);

    if (rc == STATUS_INVALID)
        answer_error(
            r, 400, "INVALID_FORMAT", "the path has a %% that is not followed by two hex digits");
    else if (rc < 0)
        answer_json(r, 503, &name);
    else
        answer_table(r, buf_text(&name), name.len);
    buf_fini(&name);
}
