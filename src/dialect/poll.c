#include "dialect/poll.h"

#include "dialect/native.h"
#include "dialect/sse.h"

#include <assert.h>
#include <string.h>

static void put_head(struct buf *out, const struct reply *r, const char *status, size_t len)
{
    buf_printf(out, "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n",
        status, len);
    if (r->headers)
        buf_puts(out, r->headers);
    buf_puts(out, "Connection: close\r\n");
}

static void put_changes(struct buf *out, const struct reply *r)
{
    put_head(out, r, "200 OK", r->rows.len + strlen("[]"));
    buf_printf(out, "Rowtap-Position: %s:%llu\r\n\r\n[", r->epoch, (unsigned long long)r->position);
    buf_put(out, r->rows.p, r->rows.len);
    buf_putc(out, ']');
}

static void put_error(struct buf *out, const struct reply *r)
{
    struct buf body = {0};

    buf_printf(&body, "{\"error\":{\"code\":\"%s\",\"message\":", r->code);
    buf_put_json_text(&body, r->message);
    buf_puts(&body, "}}");
    put_head(out, r, r->busy ? "503 Service Unavailable" : sse_status(r->code), body.len);
    if (r->busy)
        buf_puts(out, "Retry-After: 1\r\n");
    buf_puts(out, "\r\n");
    buf_put(out, body.data, body.len);
    if (buf_error(&body))
        out->err = buf_error(&body);
    buf_fini(&body);
}

static void encode_reply(struct buf *out, const struct reply *r)
{
    assert(r->type == REPLY_CHANGES || r->type == REPLY_ERROR || r->type == REPLY_RESYNC);
    if (r->type == REPLY_CHANGES) {
        put_changes(out, r);
    } else if (r->type == REPLY_ERROR) {
        put_error(out, r);
    } else {
        if (out->len)
            buf_putc(out, ',');
        native_encode_reply(out, r);
    }
}

/* Nothing may come before the response. */
static void encode_keep_alive(struct buf *out, const char *epoch, uint64_t seq)
{
    (void)out;
    (void)epoch;
    (void)seq;
}

const struct dialect poll_dialect = {
    .name = "poll",
    .once = true,
    .decode = sse_decode_poll,
    .command_fini = sse_decode_fini,
    .put_reply = encode_reply,
    .put_body = native_encode_body,
    .put_prefix = native_encode_prefix,
    .put_item = native_encode_item,
    .put_keep_alive = encode_keep_alive,
};
