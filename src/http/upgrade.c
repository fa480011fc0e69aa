#include "http/upgrade.h"
#include "base/status.h"
#include "base/text.h"
#include "http/answer.h"
#include "http/handover.h"
#include "http/limits.h"
#include "hub/hub.h"
#include "net/extension.h"
#include "net/ws.h"

#include <civetweb.h>
#include <stdio.h>
#include <string.h>

/* Every line counts, in order. False: one is malformed. */
static bool negotiate(struct request *r, struct extension_choice *c)
{
    for (int i = 0; i < r->info->num_headers; i++) {
        const struct mg_header *h = &r->info->http_headers[i];

        if (text_casecmp(h->name, "Sec-WebSocket-Extensions") == 0 && extension_read(c, h->value))
            return false;
    }
    if (!r->http->compress)
        *c = (struct extension_choice){0};
    return true;
}

static bool check(struct request *r, char accept[WS_ACCEPT_LEN + 1], struct extension_choice *c)
{
    const char *version = request_header(r, "Sec-WebSocket-Version");
    const char *key = request_header(r, "Sec-WebSocket-Key");

    if (!request_header_has(r, "Upgrade", "websocket") ||
        !request_header_has(r, "Connection", "upgrade")) {
        answer_error_with(r, 426, "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            "INVALID_FORMAT", "%s is a WebSocket: connect with a WebSocket client", r->path);
    } else if (strcmp(r->info->http_version, "1.1") != 0) {
        answer_error(r, 400, "INVALID_FORMAT", "a WebSocket needs HTTP/1.1");
    } else if (!version || strcmp(version, "13") != 0 ||
               request_header_count(r, "Sec-WebSocket-Version") != 1) {
        answer_error_with(r, 426, "Sec-WebSocket-Version: 13\r\n", "INVALID_FORMAT",
            "the only WebSocket version spoken here is 13");
    } else if (!r->body_read) {
        answer_error(r, 400, "INVALID_FORMAT", "a WebSocket handshake has no body");
    } else if (!key || request_header_count(r, "Sec-WebSocket-Key") != 1) {
        answer_error(r, 400, "INVALID_FORMAT", "exactly one Sec-WebSocket-Key header is needed");
    } else if (ws_accept(accept, key) < 0) {
        answer_error(r, 400, "INVALID_FORMAT", "Sec-WebSocket-Key is not the base64 of 16 bytes");
    } else if (!negotiate(r, c)) {
        answer_error(r, 400, "INVALID_FORMAT",
            "Sec-WebSocket-Extensions is not a list of extensions as RFC 6455 section 9.1 has it");
    } else if (!request_alone(r)) {
        /* civetweb has it in its buffer and does not give it back. */
        r->body_read = false;
        answer_error(r, 400, "INVALID_FORMAT", "%s", handover_not_alone);
    } else {
        return true;
    }
    return false;
}

void upgrade_run(struct request *r, const struct dialect *dialect)
{
    char accept[WS_ACCEPT_LEN + 1], extensions[EXTENSION_ANSWER_MAX];
    char hello[192 + EXTENSION_ANSWER_MAX];
    struct extension_choice choice = {0};
    struct hub_client client = {0};
    const char *why;

    if (!check(r, accept, &choice))
        return;
    extension_answer(&choice, extensions);
    client.window_bits = choice.window_bits;
    client.who = r->who;
    snprintf(hello, sizeof(hello),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: %s\r\n%s\r\n",
        accept, extensions);
    if (!limits_connect(r))
        return;
    why = handover_run(r, dialect, &client, hello);
    if (why == handover_not_alone) {
        r->body_read = false;
        answer_error(r, 400, "INVALID_FORMAT", "%s", why);
    } else if (why) {
        answer_error_with(r, 503, "Retry-After: 5\r\n", "LIMIT_EXCEEDED", "%s", why);
    } else {
        r->status = 101;
    }
}
