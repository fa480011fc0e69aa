#include "cli/bench_frames.h"
#include "base/text.h"

#include <string.h>

#define TYPE_WITHIN 250 /* bytes at a message's start: a change's type stands there */

/* The frame at data: its head's length, or 0 when that is not all there. */
static size_t head_of(const uint8_t *data, size_t len, uint64_t *payload)
{
    size_t head;

    if (len < 2)
        return 0;
    *payload = data[1] & 0x7f;
    head = *payload == 126 ? 4 : *payload == 127 ? 10 : 2;
    if (len < head)
        return 0;
    if (head > 2)
        *payload = 0;
    for (size_t i = 2; i < head; i++)
        *payload = *payload << 8 | data[i];
    return head;
}

ssize_t bench_frames_read(
    uint8_t *data, size_t len, int (*take)(void *ctx, const struct bench_frame *frame), void *ctx)
{
    size_t used = 0, head;
    uint64_t payload;

    while ((head = head_of(data + used, len - used, &payload)) > 0) {
        if (payload > BENCH_FRAMES_READ - 16)
            return -1;
        if (len - used - head < payload)
            break;
        if (take(ctx, &(struct bench_frame){.opcode = data[used] & 0x80 ? data[used] & 0x0f : -1,
                          .data = (const char *)data + used + head,
                          .len = (size_t)payload}) != 0)
            return -1;
        used += head + (size_t)payload;
    }
    return (ssize_t)used;
}

void bench_frames_put(struct buf *out, enum ws_opcode opcode, const char *data, size_t len)
{
    uint64_t random = random_u64();
    uint8_t header[WS_HEADER_MAX], key[4];
    size_t header_len;

    memcpy(key, &random, sizeof(key));
    header_len = ws_header_client(header, opcode, len, key);
    buf_put(out, header, header_len);
    buf_put(out, data, len);
    if (!buf_error(out))
        ws_mask((uint8_t *)out->data + out->len - len, len, key, 0);
}

static bool find(const char *text, size_t len, const char *what, size_t what_len, size_t *place)
{
    const char *p;

    if (*place + what_len <= len && memcmp(text + *place, what, what_len) == 0)
        return true;
    p = memmem(text, len, what, what_len);
    if (p)
        *place = (size_t)(p - text);
    return p != NULL;
}

bool bench_change_is(struct bench_places *p, const char *text, size_t len)
{
    static const char type[] = "\"type\":\"database_change\"";

    return find(text, len < TYPE_WITHIN ? len : TYPE_WITHIN, type, sizeof(type) - 1, &p->type);
}

/* The number behind `name`, looked for from *text on, which moves behind it. */
static bool take(const char **text, const char *end, const char *name, size_t *place, int64_t *v)
{
    size_t len = strlen(name);
    const char *at;
    int64_t n = 0;

    if (!find(*text, (size_t)(end - *text), name, len, place))
        return false;
    for (at = *text + *place + len; at < end && *at >= '0' && *at <= '9'; at++)
        n = (int64_t)((uint64_t)n * 10 + (uint64_t)(*at - '0'));
    *text = at;
    *v = n;
    return true;
}

bool bench_change_read(struct bench_places *p, const char *text, size_t len, struct bench_change *c)
{
    const char *end = text + len;

    return take(&text, end, "\"seq\":", &p->seq, &c->seq) &&
           take(&text, end, "\"k\":", &p->key, &c->key) &&
           take(&text, end, "\"at\":", &p->at, &c->at);
}
