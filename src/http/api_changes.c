#include "base/status.h"
#include "base/text.h"
#include "dialect/poll.h"
#include "dialect/sse.h"
#include "http/answer.h"
#include "http/handover.h"
#include "http/limits.h"
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

static void put_headers(struct buf *out, const struct request *r, const struct dialect *dialect)
{
    answer_put_date(out);
    buf_puts(out, "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n");
    if (dialect == &sse_dialect)
        buf_puts(out, "X-Accel-Buffering: no\r\n"); /* nginx would hold events back */
    else
        buf_puts(out, "Vary: Accept\r\n");
    answer_put_readers(out, r);
    if (r->origin && dialect == &poll_dialect)
        buf_puts(out, "Access-Control-Expose-Headers: Rowtap-Position\r\n");
}

/* A stream of events must not be answered with anything but 200 for what may pass. */
static void refuse(struct request *r, const struct dialect *dialect, const char *why)
{
    if (dialect == &sse_dialect)
        api_changes_later(r);
    else
        answer_error_with(r, 503, "Retry-After: 5\r\n", "LIMIT_EXCEEDED", "%s", why);
}

/* What is wrong with it whatever the database holds; false: it has been answered. */
static bool check(struct request *r, const struct dialect *dialect, const char *command)
{
    struct command cmd;
    bool good = false;

    if (dialect->decode(&cmd, command, strlen(command)) < 0)
        refuse(r, dialect, "out of memory");
    else if (cmd.error.code)
        answer_error(r, 400, cmd.error.code, "%s", cmd.error.message);
    else
        good = true;
    dialect->command_fini(&cmd);
    return good;
}

static void send_head(struct request *r, const struct dialect *dialect, const char *headers)
{
    struct buf head = {0};

    request_close_after(r);
    if (dialect == &poll_dialect)
        buf_printf(&head,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%s"
            "Connection: close\r\n\r\n",
            headers);
    else
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

static void start(
    struct request *r, const struct dialect *dialect, const char *command, const char *headers)
{
    struct hub_client client = {.who = r->who, .request = command, .headers = headers};
    const char *why;

    if (!check(r, dialect, command))
        return;
    if (r->head) {
        send_head(r, dialect, headers);
        return;
    }
    if (!limits_connect(r))
        return;
    why = handover_run(r, dialect, &client, "");
    if (why)
        refuse(r, dialect, why);
    else
        r->status = 200;
}

bool api_changes_wanted(const struct request *r)
{
    return strcmp(r->path, "/api/changes") == 0 && request_accepts(r, "text/event-stream");
}

void api_changes(struct request *r, const char *rest)
{
    bool events = request_accepts(r, "text/event-stream");
    const struct dialect *dialect = events ? &sse_dialect : &poll_dialect;
    struct buf command = {0}, headers = {0};

    (void)rest;
    put_command(&command, r);
    put_headers(&headers, r, dialect);
    if (!r->body_read)
        answer_error(r, 400, "INVALID_FORMAT", "a request for changes has no body");
    else if (buf_text(&command) && buf_text(&headers))
        start(r, dialect, buf_text(&command), buf_text(&headers));
    else
        refuse(r, dialect, "out of memory");
    buf_fini(&command);
    buf_fini(&headers);
}
