#include "net/ws.h"
#include "base/mem.h"
#include "base/text.h"
#include "net/inflate.h"

#include <string.h>

/*
 * A frame, RFC 6455 section 5.2:
 *
 *     byte 0   FIN(1) RSV(3) opcode(4)
 *     byte 1   MASK(1) length(7)
 *     2 or 8   the length itself when the 7 bits say 126 or 127, big-endian
 *     4        mask key, when MASK is set
 *              payload
 *
 * The header is collected in p->head and judged at the first byte, the second, and the last of the
 * length, so that the verdict does not depend on how the input was cut.
 */
#define FIN 0x80
#define RSV 0x70
#define RSV1 0x40 /* of a message's first frame: it is compressed (RFC 7692 section 6) */
#define OPCODE 0x0f
#define MASK 0x80
#define LENGTH 0x7f
#define CONTROL_MAX 125

void ws_parser_init(struct ws_parser *p, bool client, size_t max_message)
{
    *p = (struct ws_parser){.client = client, .max_message = max_message, .length_end = 2};
}

static void forget_message(struct ws_parser *p)
{
    if (p->message)
        buf_fini(p->message);
    mem_free(p->message);
    p->message = NULL;
}

void ws_parser_fini(struct ws_parser *p)
{
    forget_message(p);
    mem_free(p->control);
    p->control = NULL;
    p->closed = true;
}

size_t ws_held(const struct ws_parser *p)
{
    return p->message ? p->message->cap : 0;
}

static bool is_control(uint8_t opcode)
{
    return opcode & 0x8;
}

static int judge_first(struct ws_parser *p)
{
    uint8_t opcode = p->head[0] & OPCODE, rsv = p->head[0] & RSV;

    p->opcode = opcode;
    p->fin = p->head[0] & FIN;
    if (rsv && !(rsv == RSV1 && p->inflater && (opcode == WS_TEXT || opcode == WS_BINARY)))
        return WS_CLOSE_PROTOCOL;
    switch (opcode) {
    case WS_CONTINUATION:
        return p->in_message ? 0 : WS_CLOSE_PROTOCOL;
    case WS_TEXT:
    case WS_BINARY:
        if (p->in_message)
            return WS_CLOSE_PROTOCOL;
        p->compressed = rsv;
        return 0;
    case WS_CLOSE:
    case WS_PING:
    case WS_PONG:
        return p->fin ? 0 : WS_CLOSE_PROTOCOL;
    default:
        return WS_CLOSE_PROTOCOL;
    }
}

static int judge_second(struct ws_parser *p)
{
    uint8_t len = p->head[1] & LENGTH;
    bool masked = p->head[1] & MASK;

    if (masked == p->client)
        return WS_CLOSE_PROTOCOL;
    if (is_control(p->opcode) && (len > CONTROL_MAX || (p->opcode == WS_CLOSE && len == 1)))
        return WS_CLOSE_PROTOCOL;
    p->length_end = (uint8_t)(2 + (len == 126 ? 2 : len == 127 ? 8 : 0));
    return 0;
}

/* Bytes that may arrive of a message. */
static size_t most(const struct ws_parser *p)
{
    return p->compressed ? inflater_limit(p->max_message) : p->max_message;
}

static int judge_length(struct ws_parser *p)
{
    uint64_t len = p->head[1] & LENGTH;
    int i;

    if (p->length_end > 2) {
        for (len = 0, i = 2; i < p->length_end; i++)
            len = len << 8 | p->head[i];
    }
    /* "The minimal number of bytes MUST be used"; the top bit of 64 must be 0. */
    if ((p->length_end == 4 && len < 126) || (p->length_end == 10 && len <= 0xffff) || len >> 63)
        return WS_CLOSE_PROTOCOL;
    if (!is_control(p->opcode) && len > most(p) - (p->message ? p->message->len : 0))
        return WS_CLOSE_TOO_LARGE;
    p->frame_left = len;
    return 0;
}

/* What can be said now that one more byte of the header is there. 0 or a close code. */
static int judge(struct ws_parser *p)
{
    int rc = 0;

    if (p->head_len == 1)
        return judge_first(p);
    if (p->head_len == 2)
        rc = judge_second(p);
    if (rc == 0 && p->head_len == p->length_end)
        rc = judge_length(p);
    return rc;
}

static void begin_payload(struct ws_parser *p)
{
    if (!p->client)
        memcpy(p->mask, p->head + p->length_end, 4);
    p->mask_at = 0;
    p->control_len = 0;
    p->head_len = 0;
    p->length_end = 2;
    p->in_frame = true;
    if (!is_control(p->opcode) && !p->in_message) {
        p->in_message = true;
        p->message_opcode = p->opcode;
        p->utf8 = 0;
    }
}

/* Takes header bytes until the payload begins or the input ends. */
static int take_head(struct ws_parser *p, const uint8_t *data, size_t len, size_t *pos)
{
    uint8_t key = p->client ? 0 : 4;

    while (*pos < len) {
        int rc;

        p->head[p->head_len++] = data[(*pos)++];
        rc = judge(p);
        if (rc)
            return rc;
        if (p->head_len == p->length_end + key) {
            begin_payload(p);
            return 0;
        }
    }
    return 0;
}

static int deliver_close(
    struct ws_parser *p, const struct ws_events *events, void *ctx, const uint8_t *data, size_t len)
{
    int code = len ? data[0] << 8 | data[1] : WS_CLOSE_NO_STATUS;

    if (len && !ws_close_code_valid(code))
        return WS_CLOSE_PROTOCOL;
    if (len && !utf8_valid(data + 2, len - 2))
        return WS_CLOSE_BAD_DATA;
    p->closed = true;
    return events->close(ctx, code, len ? (const char *)data + 2 : "", len ? len - 2 : 0) ? -1 : 0;
}

static int deliver_control(
    struct ws_parser *p, const struct ws_events *events, void *ctx, const uint8_t *data, size_t len)
{
    p->in_frame = false;
    p->idle += WS_IDLE_CONTROL;
    if (p->opcode == WS_CLOSE)
        return deliver_close(p, events, ctx, data, len);
    if (p->opcode == WS_PING)
        return events->ping(ctx, (const char *)data, len) ? -1 : 0;
    return events->pong(ctx, (const char *)data, len) ? -1 : 0;
}

/* n bytes at data are the next, perhaps the last, of a control frame's payload. */
static int take_control(
    struct ws_parser *p, const struct ws_events *events, void *ctx, const uint8_t *data, size_t n)
{
    int rc;

    if (p->frame_left == 0 && p->control_len == 0)
        return deliver_control(p, events, ctx, data, n);
    if (n == 0)
        return 0;
    if (!p->control)
        p->control = mem_alloc(CONTROL_MAX);
    if (!p->control)
        return WS_CLOSE_INTERNAL;
    memcpy(p->control + p->control_len, data, n);
    p->control_len = (uint8_t)(p->control_len + n);
    if (p->frame_left)
        return 0;
    rc = deliver_control(p, events, ctx, p->control, p->control_len);
    mem_free(p->control);
    p->control = NULL;
    return rc;
}

static int deliver_inflated(
    struct ws_parser *p, const struct ws_events *events, void *ctx, const char *data, size_t len)
{
    const char *text;
    int rc = inflater_run(p->inflater, data, len, p->max_message, &text, &len);

    if (rc)
        return rc;
    p->inflated += (uint32_t)len;
    if (p->message_opcode == WS_TEXT && !utf8_valid(text, len))
        rc = WS_CLOSE_BAD_DATA;
    else
        rc = events->message(ctx, p->message_opcode, text, len) ? -1 : 0;
    inflater_done(p->inflater);
    return rc;
}

static int deliver_message(
    struct ws_parser *p, const struct ws_events *events, void *ctx, const char *data, size_t len)
{
    int rc;

    if (p->utf8)
        return WS_CLOSE_BAD_DATA;
    p->in_message = false;
    if (p->compressed)
        rc = deliver_inflated(p, events, ctx, data, len);
    else
        rc = events->message(ctx, p->message_opcode, data, len) ? -1 : 0;
    forget_message(p);
    return rc;
}

static bool keep(struct ws_parser *p, const uint8_t *data, size_t n)
{
    if (n == 0)
        return true;
    if (!p->message)
        p->message = mem_zalloc(sizeof(*p->message));
    if (!p->message)
        return false;
    buf_put(p->message, data, n);
    return !buf_error(p->message);
}

/* The same for a data frame. A message that lies whole in the input is not copied. */
static int take_data(
    struct ws_parser *p, const struct ws_events *events, void *ctx, const uint8_t *data, size_t n)
{
    bool last = p->fin && p->frame_left == 0;

    p->in_frame = p->frame_left > 0;
    if (n == 0 && !p->in_frame && !last)
        p->idle++;
    if (p->message_opcode == WS_TEXT && !p->compressed && !utf8_feed(&p->utf8, data, n))
        return WS_CLOSE_BAD_DATA;
    if (last && !p->message)
        return deliver_message(p, events, ctx, (const char *)data, n);
    if (!keep(p, data, n))
        return WS_CLOSE_INTERNAL;
    return last ? deliver_message(p, events, ctx, p->message->data, p->message->len) : 0;
}

static int take_payload(struct ws_parser *p, const struct ws_events *events, void *ctx,
    uint8_t *data, size_t len, size_t *pos)
{
    uint8_t *chunk = data + *pos;
    size_t n = len - *pos;

    if (n > p->frame_left)
        n = (size_t)p->frame_left;
    if (!p->client)
        ws_mask(chunk, n, p->mask, p->mask_at);
    p->mask_at = (p->mask_at + n) & 3;
    p->frame_left -= n;
    *pos += n;
    if (is_control(p->opcode))
        return take_control(p, events, ctx, chunk, n);
    return take_data(p, events, ctx, chunk, n);
}

int ws_feed(
    struct ws_parser *p, const struct ws_events *events, void *ctx, uint8_t *data, size_t len)
{
    size_t pos = 0;
    int rc = 0;

    while (rc == 0 && !p->closed && pos < len && p->inflated <= WS_INFLATED_MAX &&
           !(p->bounded && p->idle >= WS_IDLE_MAX) && !p->pause) {
        if (!p->in_frame)
            rc = take_head(p, data, len, &pos);
        if (rc == 0 && p->in_frame)
            rc = take_payload(p, events, ctx, data, len, &pos);
    }
    p->left = (uint32_t)(len - pos);
    if (rc || p->closed) {
        p->left = 0;
        ws_parser_fini(p);
    }
    return rc;
}
