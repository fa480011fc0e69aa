#include "http/upgrade.h"
#include "base/status.h"
#include "http/answer.h"
#include "hub/hub.h"
#include "net/ws.h"

#include <civetweb.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool check(struct request *r, char accept[WS_ACCEPT_LEN + 1])
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
    } else {
        return true;
    }
    return false;
}

static void busy(struct request *r, const char *why)
{
    answer_error_with(r, 503, "Retry-After: 5\r\n", "LIMIT_EXCEEDED", "%s", why);
}

static void hand_over(struct request *r, const struct dialect *dialect, int fd, const char *accept)
{
    char hello[256], address[80];
    bool v6 = strchr(r->info->remote_addr, ':') != NULL;
    struct hub_client client = {.address = address};
    int len = snprintf(hello, sizeof(hello),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: %s\r\n\r\n",
        accept);

    snprintf(address, sizeof(address), v6 ? "[%s]:%d" : "%s:%d", r->info->remote_addr,
        r->info->remote_port);
    hub_adopt(r->http->hub, fd, dialect, &client, hello, (size_t)len);
}

void upgrade_run(struct request *r, const struct dialect *dialect)
{
    char accept[WS_ACCEPT_LEN + 1];
    int fd, moved;

    if (!check(r, accept))
        return;
    if (!hub_reserve(r->http->hub)) {
        busy(r, "the server has as many WebSocket clients as --max-connections allows");
        return;
    }
    fd = peer_find(&r->worker->peer);
    if (fd < 0) {
        hub_unreserve(r->http->hub);
        busy(r, "this connection's addresses are not unique on this machine; connect again");
        return;
    }
    moved = peer_detach(fd);
    if (moved < 0) {
        hub_unreserve(r->http->hub);
        busy(r, errno == EMFILE ? "the server is out of file descriptors; raise ulimit -n"
                                : "the connection could not be handed over");
        return;
    }
    /* The watch over slow clients must not find the socket by its addresses any more. */
    workers_set(&r->http->workers, r->worker, WORKER_BUSY, &(struct peer){0});
    r->status = 101;
    request_close_after(r);
    hand_over(r, dialect, moved, accept);
}
