#include "http/handover.h"

#include "base/log.h"
#include "http/secure.h"
#include "hub/dialect.h"
#include "hub/hub.h"

#include <civetweb.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

const char handover_not_alone[] =
    "there is something before or behind the handshake; a client sends nothing more until it has "
    "the answer (RFC 6455 section 4.1)";

/* A descriptor of our own, or -1 and why. */
static int take(struct request *r, const char **why)
{
    int fd = request_socket(r), moved;

    if (fd < 0) {
        *why = "this connection's addresses are not unique on this machine; connect again";
        return -1;
    }
    moved = peer_detach(fd);
    if (moved < 0)
        *why = errno == EMFILE ? "the server is out of file descriptors; raise ulimit -n"
                               : "the connection could not be handed over";
    return moved;
}

const char *handover_run(
    struct request *r, const struct dialect *dialect, struct hub_client *client, const char *hello)
{
    char address[80];
    bool v6 = strchr(r->client, ':') != NULL;
    struct limiter_client limits = r->limits;
    const char *why;
    int fd;

    if (!hub_reserve(r->http->hub)) {
        log_event(
            LOG_WARN, "server full", log_text("address", r->client), log_text("path", r->path));
        return "the server has as many clients as --max-connections allows";
    }
    if (r->http->front)
        fd = secure_take(r, dialect->put_keep_alive, &client->tls, &why);
    else
        fd = take(r, &why);
    if (fd < 0) {
        hub_unreserve(r->http->hub);
        return why;
    }
    /* The watch over slow clients must not find the socket by its addresses any more. */
    workers_set(&r->http->workers, r->worker, WORKER_BUSY, &(struct peer){0});
    request_close_after(r);
    snprintf(address, sizeof(address), v6 ? "[%s]:%d" : "%s:%d", r->client, r->info->remote_port);
    if (r->forwarded) /* the port is the proxy's */
        snprintf(address, sizeof(address), "%s", r->client);
    /* It is the connection's from now on. */
    client->limits = &limits;
    r->limits = (struct limiter_client){0};
    client->address = address;
    hub_adopt(r->http->hub, fd, dialect, client, hello, strlen(hello));
    return NULL;
}
