#include "net/private.h"

/*
 * A text message is private bytes, then perhaps a body that others get too. Compressed (RFC 7692
 * section 7.2.1) it is
 *
 *     frame header, RSV1 set
 *     00 LEN ~LEN, the private bytes     a stored block; left out when there are none
 *     compressed blocks of the body      the same for all
 *
 * and a text without a body is compressed as if it were one.
 */
#define RSV1 0x40

static struct body *deflated(struct conn *c, struct framed *f)
{
    struct deflater *d = c->loop->deflater;
    struct body *b;

    if (f->body)
        return f->len <= DEFLATE_STORED_MAX ? deflater_body(d, f->body, c->window_bits) : NULL;
    b = deflater_text(d, f->data, f->len, c->window_bits);
    if (b)
        f->len = 0;
    return b;
}

static void set_deflated(struct framed *f, struct body *b)
{
    size_t stored = f->len ? DEFLATE_STORED_HEAD : 0;

    f->deflated = true;
    f->body = b;
    f->head_len = ws_header(f->head, WS_TEXT, stored + f->len + b->len);
    f->head[0] |= RSV1;
    if (stored)
        deflate_stored_head(f->head + f->head_len, f->len);
    f->head_len += stored;
}

void framing_text(struct conn *c, struct framed *f, const char *data, size_t len, struct body *body)
{
    struct body *b;

    f->data = data;
    f->len = len;
    f->body = body;
    f->plain = len + (body ? body->len : 0);
    f->deflated = false;
    f->head_len = 0;
    if (conn_is_stream(c))
        return;
    b = c->window_bits ? deflated(c, f) : NULL;
    if (b)
        set_deflated(f, b);
    else
        f->head_len = ws_header(f->head, WS_TEXT, f->plain);
}

void framing_count(struct conn *c, const struct framed *f)
{
    struct deflater_totals *t = deflater_totals(c->loop->deflater);

    loop_count(&t->messages, 1);
    loop_count(&t->before, f->plain);
    loop_count(&t->after, f->len + (f->len ? DEFLATE_STORED_HEAD : 0) + f->body->len);
}
