#include "cli/handshake.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

#define HEAD_MAX 65536
#define BODY_MAX 65536

void handshake_init(struct handshake *h)
{
    memset(h, 0, sizeof(*h));
    buf_init(&h->head, HEAD_MAX);
}

void handshake_fini(struct handshake *h)
{
    buf_fini(&h->head);
    buf_fini(&h->rest);
}

static int put_key(struct handshake *h, struct buf *out)
{
    uint64_t nonce[2] = {random_u64(), random_u64()};
    struct buf key = {0};
    int status;

    base64_encode(&key, nonce, sizeof(nonce));
    status = buf_text(&key) ? ws_accept(h->accept, buf_text(&key)) : STATUS_NOMEM;
    if (status == 0)
        buf_printf(out, "Sec-WebSocket-Key: %s\r\n", buf_text(&key));
    buf_fini(&key);
    return status;
}

int handshake_put_request(
    struct handshake *h, const char *base, const char *path, const char *token, struct buf *out)
{
    const char *host = strstr(base, "://") + 3;
    int host_len = (int)strcspn(host, "/");
    int status;

    buf_printf(out, "GET %s%s HTTP/1.1\r\nHost: %.*s\r\n", host + host_len, path, host_len, host);
    buf_puts(out, "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n");
    status = put_key(h, out);
    if (token)
        buf_printf(out, "Authorization: Bearer %s\r\n", token);
    buf_puts(out, "User-Agent: rowtap\r\n\r\n");
    return status < 0 ? status : buf_error(out);
}

/* The value of a header, NULL when there is none. The head is NUL-terminated by then. */
static const char *header(const struct handshake *h, const char *name, size_t *len)
{
    size_t name_len = strlen(name);

    for (const char *line = strstr(h->head.data, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (text_ncasecmp(line, name, name_len) == 0 && line[name_len] == ':') {
            line += name_len + 1;
            line += strspn(line, " \t");
            *len = strcspn(line, "\r\n");
            while (*len && (line[*len - 1] == ' ' || line[*len - 1] == '\t'))
                --*len;
            return line;
        }
    }
    return NULL;
}

static int read_head(struct handshake *h)
{
    const char *head = buf_text(&h->head), *value;
    size_t len;
    int64_t n;

    if (!head)
        return STATUS_NOMEM;
    if (strlen(head) != h->head.len || strncmp(head, "HTTP/1.", 7) != 0 || h->head.len < 12)
        return STATUS_INVALID;
    h->status = atoi(head + 9);
    h->body = SIZE_MAX;
    value = header(h, "Content-Length", &len);
    if (value && text_parse_i64(value, len, &n) == 0 && n >= 0)
        h->body = (size_t)n;
    return h->status >= 100 && h->status <= 599 ? 0 : STATUS_INVALID;
}

int handshake_feed(struct handshake *h, const char *p, size_t len)
{
    const char *end;
    size_t before = h->head.len, head_len;

    if (len == 0)
        return 0;
    if (h->status) {
        buf_put(&h->rest, p, len);
        return buf_error(&h->rest);
    }
    buf_put(&h->head, p, len);
    if (buf_error(&h->head))
        return buf_error(&h->head) == STATUS_NOMEM ? STATUS_NOMEM : STATUS_INVALID;
    before = before > 3 ? before - 3 : 0;
    end = memmem(h->head.data + before, h->head.len - before, "\r\n\r\n", 4);
    if (!end)
        return 0;
    head_len = (size_t)(end - h->head.data) + 4;
    buf_put(&h->rest, h->head.data + head_len, h->head.len - head_len);
    buf_truncate(&h->head, head_len);
    return buf_error(&h->rest) ? buf_error(&h->rest) : read_head(h);
}

int handshake_end(struct handshake *h)
{
    h->body = 0;
    return h->status ? 0 : STATUS_CLOSED;
}

bool handshake_done(const struct handshake *h)
{
    return h->status && (h->status == 101 || h->rest.len >= h->body || h->rest.len >= BODY_MAX);
}

static bool agreed(const struct handshake *h)
{
    size_t upgrade_len = 0, accept_len = 0;
    const char *upgrade = header(h, "Upgrade", &upgrade_len);
    const char *accept = header(h, "Sec-WebSocket-Accept", &accept_len);

    return upgrade && text_same_nocase(upgrade, upgrade_len, "websocket", 9) && accept &&
           accept_len == WS_ACCEPT_LEN && memcmp(accept, h->accept, accept_len) == 0;
}

int handshake_check(struct handshake *h, const char *base, bool *again, struct buf *err)
{
    char why[128];
    json_t *body;
    const char *message;

    if (h->status == 101 && agreed(h))
        return 0;
    *again = h->status == 429 || h->status >= 500;
    body = json_read(h->rest.data ? h->rest.data : "", h->rest.len, why, sizeof(why));
    message = json_string_value(json_object_get(json_object_get(body, "error"), "message"));
    if (h->status == 101)
        buf_printf(err, "%s did not prove that it speaks WebSocket", base);
    else if (message)
        buf_printf(err, "%s refused the connection: %s", base, message);
    else
        buf_printf(err, "%s refused the connection with HTTP status %d; is it a rowtap server?",
            base, h->status);
    if (h->status == 401)
        buf_puts(err, " (give a token with --token)");
    json_decref(body);
    return STATUS_FORBIDDEN;
}
