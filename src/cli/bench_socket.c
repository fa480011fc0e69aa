#include "cli/bench_socket.h"
#include "base/status.h"
#include "cli/bench_frames.h"

#include <stdlib.h>
#include <string.h>

#define SQL_MEMBER "{\"action\":\"sql\","

int bench_socket_begin(struct bench_socket *s, const struct bench_address *address, struct buf *out)
{
    *s = (struct bench_socket){.address = address};
    handshake_init(&s->handshake);
    return handshake_put_request(
        &s->handshake, bench_address_base(address), "/ws", bench_address_token(address), out);
}

void bench_socket_fini(struct bench_socket *s)
{
    if (s->address && !s->shaken)
        handshake_fini(&s->handshake);
    buf_fini(&s->message);
    *s = (struct bench_socket){0};
}

void bench_socket_put(struct bench_socket *s, const char *object, size_t len, struct buf *out)
{
    buf_reset(&s->message);
    buf_puts(&s->message, "{\"type\":\"request\",\"requestId\":");
    buf_put_u64(&s->message, ++s->sent);
    buf_puts(&s->message, ",\"payload\":" SQL_MEMBER);
    buf_put(&s->message, object + 1, len - 1);
    buf_putc(&s->message, '}');
    if (buf_error(&s->message))
        out->err = s->message.err;
    else
        bench_frames_put(out, WS_TEXT, s->message.data, s->message.len);
}

struct taking {
    struct bench_socket *s;
    struct buf *out;
    const struct bench_socket_ops *ops;
    void *ctx;
    const char *wrong;
};

static bool has(const struct bench_frame *f, const char *what)
{
    return memmem(f->data, f->len, what, strlen(what)) != NULL;
}

/* Of the request, or 0. */
static uint64_t request_id(const struct bench_frame *f)
{
    static const char name[] = "\"requestId\":";
    const char *at = memmem(f->data, f->len, name, sizeof(name) - 1);

    return at ? strtoull(at + sizeof(name) - 1, NULL, 10) : 0; /* a `}` ends it */
}

static const char *take_text(struct taking *t, const struct bench_frame *f)
{
    struct bench_socket *s = t->s;
    bool good = has(f, "\"type\":\"response\"");

    if (!s->open) {
        s->open = has(f, "\"connection:ack\"");
        if (!s->open)
            return "the server's greeting is not the expected one";
        t->ops->opened(t->ctx);
        return NULL;
    }
    if (!good && !has(f, "\"type\":\"error\""))
        return NULL;
    /* What is refused may be so before others are answered. */
    if (good && (s->answered == s->sent || request_id(f) != s->answered + 1))
        return "the answers do not come in the order of the requests";
    s->answered++;
    t->ops->answered(t->ctx, good, f->data, f->len);
    return NULL;
}

static int take_frame(void *ctx, const struct bench_frame *f)
{
    struct taking *t = ctx;

    if (f->opcode == WS_TEXT)
        t->wrong = take_text(t, f);
    else if (f->opcode == WS_PING)
        bench_frames_put(t->out, WS_PONG, f->data, f->len);
    else if (f->opcode != WS_PONG)
        t->wrong =
            f->opcode == WS_CLOSE ? "closed by the server" : "a frame that is not understood";
    return t->wrong != NULL;
}

static const char *take_handshake(struct bench_socket *s, struct buf *in)
{
    struct handshake *h = &s->handshake;
    struct buf why = {0};
    bool again;
    int status;

    if (handshake_feed(h, in->data, in->len) < 0)
        return "the server's answer to the handshake is not one";
    buf_reset(in);
    if (!handshake_done(h))
        return NULL;
    status = handshake_check(h, bench_address_base(s->address), &again, &why);
    buf_fini(&why);
    if (status < 0)
        return "the server refused the WebSocket";
    buf_put(in, h->rest.data, h->rest.len);
    handshake_fini(h);
    s->shaken = true;
    return buf_error(in) ? "out of memory" : NULL;
}

const char *bench_socket_take(struct bench_socket *s, struct buf *in, struct buf *out,
    const struct bench_socket_ops *ops, void *ctx)
{
    struct taking t = {s, out, ops, ctx, NULL};
    ssize_t used;

    if (!s->shaken)
        t.wrong = take_handshake(s, in);
    if (t.wrong || !s->shaken || in->len == 0)
        return t.wrong;
    used = bench_frames_read((uint8_t *)in->data, in->len, take_frame, &t);
    if (used < 0)
        return t.wrong ? t.wrong : "a frame is too large";
    memmove(in->data, in->data + used, in->len - (size_t)used);
    buf_truncate(in, in->len - (size_t)used);
    return NULL;
}
