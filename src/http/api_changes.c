#include "base/status.h"
#include "base/text.h"
#include "dialect/sse.h"
#include "http/answer.h"
#include "http/handover.h"
#include "http/route.h"
#include "hub/hub.h"

#include <string.h>

/* The query string as the dialect wants it, with the header that a browser adds when it is back. */
static void put_command(struct buf *out, const struct request *r)
{
    const char *id = request_header(r, "Last-Event-ID");

    buf_puts(out, r->query ? r->query : "");
    if (!id || !*id)
        return;
    buf_puts(out, "&last_event_id=");
    text_url_encode(out, id);
}

static void put_headers(struct buf *out, const struct request *r)
{
    answer_put_date(out);
    buf_puts(out, "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
                  "X-Accel-Buffering: no\r\n"); /* nginx would hold events back */
    answer_put_readers(out, r);
}

/* What is wrong with it whatever the database holds; false: it has been answered. */
static bool check(struct request *r, const char *command)
{
    struct command cmd;
    bool good = false;

    if (sse_decode(&cmd, command, strlen(command)) < 0)
        api_changes_later(r);
    else if (cmd.error.code)
        answer_error(r, 400, cmd.error.code, "%s", cmd.error.message);
    else
        good = true;
    sse_decode_fini(&cmd);
    return good;
}

static void send_head(struct request *r, const char *headers)
{
    struct buf head = {0};

    request_close_after(r);
    sse_put_head(&head, headers);
    if (!buf_error(&head))
        request_write(r, head.data, head.len);
    r->status = 200;
    buf_fini(&head);
}

void api_changes_later(struct request *r)
{
    request_close_after(r);
    answer(r, 200, "text/event-stream", "X-Accel-Buffering: no\r\n", SSE_COME_BACK,
        strlen(SSE_COME_BACK));
}

static void stream(struct request *r, const char *command, const char *headers)
{
    struct hub_client client = {.request = command, .headers = headers};

    if (!check(r, command))
        return;
    if (r->head)
        send_head(r, headers);
    else if (handover_run(r, &sse_dialect, &client, ""))
        api_changes_later(r);
    else
        r->status = 200;
}

bool api_changes_wanted(const struct request *r)
{
    return strcmp(r->path, "/api/changes") == 0 && request_accepts(r, "text/event-stream");
}

void api_changes(struct request *r, const char *rest)
{
    struct buf command = {0}, headers = {0};

    (void)rest;
    put_command(&command, r);
    put_headers(&headers, r);
    if (!request_accepts(r, "text/event-stream"))
        answer_error(r, 406, "INVALID_FORMAT",
            "changes come as a stream of events: ask for it with \"Accept: text/event-stream\"");
    else if (!r->body_read)
        answer_error(r, 400, "INVALID_FORMAT", "a request for a stream of events has no body");
    else if (buf_text(&command) && buf_text(&headers))
        stream(r, buf_text(&command), buf_text(&headers));
    else
        api_changes_later(r);
    buf_fini(&command);
    buf_fini(&headers);
}
