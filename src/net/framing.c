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

struct body *framing_deflate(struct conn *c, const char *data, size_t len, struct body *body)
{
    struct deflater *d = c->loop->deflater;

    if (!body)
        return deflater_text(d, data, len, c->window_bits);
    return len <= DEFLATE_STORED_MAX ? deflater_body(d, body, c->window_bits) : NULL;
}

/* Bytes that go in front of what is compressed. */
static size_t stored(size_t len, const struct body *body)
{
    return body && len ? DEFLATE_STORED_HEAD + len : 0;
}

size_t framing_len(size_t len, const struct body *body, const struct body *deflated)
{
    return WS_HEADER_MAX + stored(len, body) + deflated->len;
}

int framing_put(struct conn *c, const char *data, size_t len, const struct body *body,
    struct body *deflated, bool news)
{
    struct deflater_totals *t = deflater_totals(c->loop->deflater);
    size_t front = stored(len, body), payload = front + deflated->len;
    uint8_t head[WS_HEADER_MAX + DEFLATE_STORED_HEAD];
    size_t n = ws_header(head, WS_TEXT, payload);
    int rc;

    head[0] |= RSV1;
    if (front) {
        deflate_stored_head(head + n, len);
        n += DEFLATE_STORED_HEAD;
    }
    rc = outq_put(&c->out, &c->loop->pool, head, n, data, front ? len : 0, deflated, news);
    if (rc)
        return rc;
    len += body ? body->len : 0;
    loop_count_sent(c->loop, len);
    loop_count(&t->messages, 1);
    loop_count(&t->before, len);
    loop_count(&t->after, payload);
    return 0;
}
