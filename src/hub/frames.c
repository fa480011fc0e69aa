#include "hub/frames.h"

#include <string.h>

#define BODY_SIZE 65536u
#define FRAME_MAX (BODY_SIZE / 8) /* of a larger one the copies cost nothing beside the sending */

void frames_fini(struct frames *f)
{
    body_unref(f->body);
    *f = (struct frames){0};
}

void frames_next(struct frames *f)
{
    f->count = 0;
    f->full = false;
    /* Sent to all: what is in the processor's cache is used again. */
    if (f->body && f->body->refs == 1)
        f->used = 0;
}

/* Room for one more frame. */
static bool reserve(struct frames *f, size_t size)
{
    if (f->body && BODY_SIZE - f->used >= size)
        return true;
    /* What is in it belongs to those that have not been sent it; the frames of this change too. */
    body_unref(f->body);
    f->count = 0;
    f->used = 0;
    f->body = body_new_empty(BODY_SIZE);
    if (f->body)
        f->body->number = ++f->number ? f->number : ++f->number;
    return f->body;
}

struct text frames_body(const struct frames *f, const struct projection *p)
{
    for (uint32_t i = 0; i < f->count; i++) {
        const struct frame *known = &f->frame[i];

        if (known->projection == p)
            return (struct text){
                f->body->data + known->from + known->before, known->size - known->before};
    }
    return (struct text){NULL, 0};
}

/* The prefix, then what all get, which may be there already. */
static int put_payload(const struct frames *f, struct buf *out, const struct projection *p,
    const struct change_prefix *prefix, const struct change_message *m, size_t *prefix_len)
{
    const struct text same = frames_body(f, p);

    buf_reset(out);
    p->dialect->put_prefix(out, prefix);
    *prefix_len = out->len;
    if (same.p)
        buf_put(out, same.p, same.len);
    else if (p->body)
        buf_put(out, p->body->data, p->body->len);
    else
        p->dialect->put_body(out, m);
    return buf_error(out);
}

const struct frame *frames_add(struct frames *f, const struct projection *p, uint32_t number,
    enum transition transition, const struct change_message *m, struct buf *scratch)
{
    const struct change_prefix prefix = {&number, 1, transition};
    uint8_t head[WS_HEADER_MAX];
    size_t prefix_len, head_len;
    struct frame *frame;

    if (f->full || f->count == FRAMES_MAX)
        return NULL;
    f->full = true;
    if (put_payload(f, scratch, p, &prefix, m, &prefix_len) < 0 || scratch->len > FRAME_MAX)
        return NULL;
    head_len = ws_header(head, WS_TEXT, scratch->len);
    if (!reserve(f, head_len + scratch->len))
        return NULL;
    f->full = false;
    frame = &f->frame[f->count++];
    *frame = (struct frame){.projection = p,
        .number = number,
        .transition = (uint8_t)transition,
        .from = f->used,
        .size = (uint32_t)(head_len + scratch->len),
        .before = (uint32_t)(head_len + prefix_len),
        .payload = (uint32_t)scratch->len};
    memcpy(f->body->data + f->used, head, head_len);
    memcpy(f->body->data + f->used + head_len, scratch->data, scratch->len);
    f->used += frame->size;
    return frame;
}
