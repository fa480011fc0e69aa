#ifndef ROWTAP_HTTP_HTTP_H
#define ROWTAP_HTTP_HTTP_H

#include "base/buf.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The HTTP side, on civetweb: routes, the checks before an upgrade, and the hand-over of upgraded
 * sockets to the hub. The only place that sees civetweb.
 */
struct database;
struct hub;
struct http;
struct limiter;     /* access/limiter.h */
struct policies;    /* access/policies.h */
struct tokens;      /* access/tokens.h */
struct tls_context; /* net/tls.h */

struct http_options {
    const char *const *listen; /* "ADDR:PORT", "[::1]:8080", port 0 for any free one */
    int listen_count;
    const char *const *origins; /* allowed besides the same origin */
    int origin_count;
    int threads;     /* workers; 0 for the default */
    int swift;       /* threads for what is read swiftly (http/swift.h); 0: none */
    size_t max_body; /* bytes of a request body */
    int64_t
        silence_ms; /* a client's time for a request's head, and for a pause in its body; 0: 5 s */
    bool compress;  /* WebSocket clients may have permessage-deflate: hub_options.compress is set */
    const char *const *proxies; /* networks whose X-Forwarded-For is believed */
    int proxy_count;
    struct limiter *limiter; /* NULL: nothing is bounded; outlives the http object */
    struct database *db;     /* both outlive the http object */
    struct hub *hub;
    struct tokens *tokens;     /* likewise; NULL: requests need none */
    struct policies *policies; /* likewise; NULL: everybody may do everything */
    struct tls_context *tls; /* the addresses speak TLS; a reference is taken. NULL: they do not */
};

/* NULL and a sentence for the user on failure (address in use, not permitted, …). */
struct http *http_start(const struct http_options *options, struct buf *err);
/* The i-th address really listened on, "http://127.0.0.1:43211", or NULL past the last. */
const char *http_address(const struct http *h, int i);
/* For connections that come from now on; there was one at the start. Takes a reference. */
void http_set_tls(struct http *h, struct tls_context *tls);
/* Closes the listening sockets; further requests on open connections get 503. Once. */
void http_stop_accepting(struct http *h);
/* Waits until no request is under way, at most timeout_ms; false: some still are. */
bool http_drain(struct http *h, int64_t timeout_ms);
/* Waits for the requests under way, whose answers are cut off, and frees. NULL is allowed. */
void http_stop(struct http *h);

#endif
