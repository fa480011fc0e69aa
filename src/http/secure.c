#include "http/secure.h"
#include "base/status.h"
#include "http/handover.h"
#include "http/http.h"
#include "net/front.h"

#include <civetweb.h>
#include <stdio.h>
#include <string.h>

int secure_listen(struct http *h, const struct http_options *o, struct buf *err)
{
    struct sockaddr_storage addresses[64] = {0};
    struct front_options options = {.addresses = addresses,
        .count = h->address_count,
        .low_fd = peer_low(),
        .timeout_ms = h->silence_ms};
    struct buf why = {0};

    if (h->address_count > (int)(sizeof(addresses) / sizeof(*addresses))) {
        buf_puts(err, "too many addresses to listen on");
        return STATUS_TOO_LARGE;
    }
    for (int i = 0; i < h->address_count; i++)
        memcpy(&addresses[i], &h->addresses[i], sizeof(h->addresses[i]));
    h->front = front_new(&options, o->tls, &why);
    if (!h->front) {
        buf_puts(err, "cannot listen on ");
        for (int i = 0; i < o->listen_count; i++)
            buf_printf(err, "%s%s", i ? "," : "", o->listen[i]);
        buf_printf(err, ": %s", buf_text(&why) ? buf_text(&why) : "out of memory");
        buf_fini(&why);
        return STATUS_IO;
    }
    for (int i = 0; i < h->address_count; i++)
        memcpy(&h->addresses[i], &addresses[i], sizeof(h->addresses[i]));
    return 0;
}

bool secure_identify(struct http *h, struct worker *w, struct mg_connection *conn)
{
    /* civetweb's own memory; it reads these members for its messages only. */
    struct mg_request_info *info = (struct mg_request_info *)(uintptr_t)mg_get_request_info(conn);

    if (!h->front || w->client.id)
        return true;
    w->port = info->remote_port;
    if (!front_peer(h->front, w->port, &w->client))
        return false;
    snprintf(info->remote_addr, sizeof(info->remote_addr), "%s", w->client.address);
    info->remote_port = w->client.port;
    info->is_ssl = 1;
    return true;
}

int secure_take(struct request *r, bool more_allowed, struct tls **tls, const char **why)
{
    struct front_taking t = {.id = r->worker->client.id,
        .port = r->worker->port,
        .server_fd = request_socket(r),
        .bytes = (uint64_t)r->worker->bytes_before + r->head_len,
        .more_allowed = more_allowed};
    int rc = front_take(r->http->front, &t);

    if (rc == 0) {
        *tls = t.tls;
        return t.fd;
    }
    *why = rc == STATUS_INVALID ? handover_not_alone : "the connection could not be handed over";
    return -1;
}
