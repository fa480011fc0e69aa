#include "dialect/sse.h"

#include "dialect/native.h"

#include <assert.h>
#include <string.h>

/*
 * A change's event is "data: {" and the native prefix, then what all its receivers share: the
 * native body and, since the order of an event's fields is free, the id behind it.
 */
#define RETRY_MS "2000"

void sse_put_head(struct buf *out, const char *headers)
{
    buf_puts(out, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n");
    buf_puts(out, headers);
    buf_puts(out, "Connection: close\r\n\r\n");
}

static void put_id(struct buf *out, const char *epoch, uint64_t seq)
{
    buf_puts(out, "id: ");
    buf_puts(out, epoch);
    buf_putc(out, ':');
    buf_put_u64(out, seq);
    buf_putc(out, '\n');
}

static void put_event(struct buf *out, const struct reply *r, const char *name)
{
    buf_puts(out, "event: ");
    buf_puts(out, name);
    buf_puts(out, "\ndata: ");
    native_encode_reply(out, r);
    buf_putc(out, '\n');
    if (r->resumable)
        put_id(out, r->epoch, r->position);
    buf_putc(out, '\n');
}

const char *sse_status(const char *code)
{
    if (strcmp(code, ERROR_NOT_FOUND) == 0)
        return "404 Not Found";
    return strcmp(code, ERROR_FORBIDDEN) == 0 ? "403 Forbidden" : "400 Bad Request";
}

/* An EventSource gives up at any other status than 200. */
static void put_failure(struct buf *out, const struct reply *r)
{
    struct buf body = {0};

    buf_printf(&body, "{\"error\":{\"code\":\"%s\",\"message\":", r->code);
    buf_put_json_text(&body, r->message);
    buf_puts(&body, "}}");
    buf_printf(out, "HTTP/1.1 %s\r\n", sse_status(r->code));
    buf_printf(out, "Content-Type: application/json\r\nContent-Length: %zu\r\n", body.len);
    buf_puts(out, r->headers);
    buf_puts(out, "Connection: close\r\n\r\n");
    buf_put(out, body.data, body.len);
    if (buf_error(&body))
        out->err = buf_error(&body);
    buf_fini(&body);
}

static void encode_reply(struct buf *out, const struct reply *r)
{
    static const char *const names[] = {
        [REPLY_SUBSCRIBED] = "subscribed",
        [REPLY_ERROR] = "error",
        [REPLY_RESYNC] = "resync",
        [REPLY_SNAPSHOT] = "snapshot",
    };

    assert((size_t)r->type < sizeof(names) / sizeof(names[0]) && names[r->type]);
    if (r->headers && r->type == REPLY_ERROR && !r->busy) {
        put_failure(out, r);
        return;
    }
    if (r->headers) {
        sse_put_head(out, r->headers);
        buf_puts(out, r->busy ? SSE_COME_BACK : "retry: " RETRY_MS "\n");
    }
    put_event(out, r, names[r->type]);
}

static void encode_body(struct buf *out, const struct change_message *m)
{
    native_encode_body(out, m);
    buf_putc(out, '\n');
    put_id(out, m->epoch, m->change->seq);
    buf_putc(out, '\n');
}

static void encode_prefix(struct buf *out, const struct change_prefix *p)
{
    buf_puts(out, "data: ");
    native_encode_prefix(out, p);
}

/* Without the id, which is on the line after. */
static void encode_item(
    struct buf *items, const struct change_prefix *p, const char *body, size_t body_len)
{
    const char *end = memrchr(body, '\n', body_len - strlen("\n\n"));

    native_encode_item(items, p, body, (size_t)(end - body));
}

static void encode_batch(struct buf *out, const struct batch_message *m)
{
    buf_puts(out, "data: ");
    native_encode_batch(out, m);
    buf_putc(out, '\n');
    put_id(out, m->epoch, m->seq);
    buf_putc(out, '\n');
}

/* An event without data is not dispatched, but its id counts. */
static void encode_keep_alive(struct buf *out, const char *epoch, uint64_t seq)
{
    buf_puts(out, ":\n");
    if (epoch)
        put_id(out, epoch, seq);
    buf_putc(out, '\n');
}

const struct dialect sse_dialect = {
    .name = "sse",
    .decode = sse_decode,
    .command_fini = sse_decode_fini,
    .put_reply = encode_reply,
    .put_body = encode_body,
    .put_prefix = encode_prefix,
    .put_item = encode_item,
    .put_batch = encode_batch,
    .put_row = native_encode_row,
    .put_keep_alive = encode_keep_alive,
};
