#include "http/limits.h"

#include "base/status.h"
#include "base/text.h"
#include "http/answer.h"
#include "http/route.h"

#include <civetweb.h>
#include <stdio.h>
#include <string.h>

static bool is_trusted(const struct http *h, const struct address *a)
{
    for (int i = 0; i < h->proxy_count; i++)
        if (network_has(&h->proxies[i], a))
            return true;
    return false;
}

/* Back along the list, over all its lines, as long as who spoke last is to be believed. */
static bool find_client(const struct request *r, struct address *a)
{
    const struct mg_request_info *info = r->info;
    bool forwarded = false;

    for (int i = info->num_headers; i-- > 0;) {
        const char *list = info->http_headers[i].value;
        size_t len = strlen(list);

        if (text_casecmp(info->http_headers[i].name, "X-Forwarded-For") != 0)
            continue;
        while (len) {
            if (!is_trusted(r->http, a) || !address_last_forwarded(a, list, &len))
                return forwarded;
            forwarded = true;
        }
    }
    return forwarded;
}

/* The peer is the same for all requests of a connection: it is read once. */
static bool peer_address(struct request *r, struct address *a)
{
    const char *peer = r->info->remote_addr;
    struct worker *w = r->worker;

    _Static_assert(sizeof(r->client) >= sizeof(w->address_text), "an address fits");
    if (!w->address_text[0] && address_parse(&w->address, peer, strlen(peer)) == 0)
        address_format(w->address_text, &w->address);
    if (!w->address_text[0]) {
        snprintf(r->client, sizeof(r->client), "%s", peer);
        return false;
    }
    memcpy(r->client, w->address_text, sizeof(w->address_text));
    *a = w->address;
    return true;
}

void limits_begin(struct request *r)
{
    struct address a = {{0}};

    if (peer_address(r, &a)) {
        r->forwarded = r->http->proxy_count && find_client(r, &a);
        if (r->forwarded)
            address_format(r->client, &a);
    }
    limiter_begin(&r->limits, r->http->limiter, &a, r->forwarded);
}

void limits_end(struct request *r)
{
    limiter_end(&r->limits);
}

static void refuse(struct request *r, int64_t wait_ms, const char *what)
{
    char header[48];

    if (api_changes_wanted(r)) {
        api_changes_later(r);
        return;
    }
    snprintf(header, sizeof(header), "Retry-After: %lld\r\n", (long long)((wait_ms + 999) / 1000));
    r->retry_ms = wait_ms;
    answer_error_with(
        r, 429, header, "RATE_LIMITED", "too many %s: go on in %lld ms", what, (long long)wait_ms);
}

static bool judge(struct request *r, struct verdict v, enum rate_kind kind)
{
    if (v.wait_ms)
        refuse(r, v.wait_ms, kind == RATE_HTTP ? "HTTP requests" : rate_kind_name(kind));
    return !v.wait_ms;
}

bool limits_take(struct request *r, enum rate_kind kind)
{
    return r->weighed || judge(r, limiter_take(&r->limits, kind), kind);
}

bool limits_admit(struct request *r)
{
    return limits_take(r, RATE_HTTP);
}

bool limits_identify(struct request *r, const char *user, const char *role)
{
    limiter_identify(&r->limits, user, role);
    return r->weighed || judge(r, limiter_take_of(&r->limits, RATE_HTTP, RATE_USER), RATE_HTTP);
}

bool limits_connect(struct request *r)
{
    int64_t barred = limiter_barred(&r->limits);
    int rc;

    if (barred) {
        refuse(r, barred, "messages in spite of RATE_LIMITED");
        return false;
    }
    if (!limits_take(r, RATE_HANDSHAKES))
        return false;
    rc = limiter_connect(&r->limits);
    if (rc == 0)
        return true;
    if (api_changes_wanted(r))
        api_changes_later(r);
    else if (rc == STATUS_NOMEM)
        answer_error_with(r, 503, "Retry-After: 5\r\n", "LIMIT_EXCEEDED", "out of memory");
    else
        answer_error_with(r, 429, "Retry-After: 5\r\n", "LIMIT_EXCEEDED",
            "this address has as many connections as --max-connections-per-address allows");
    return false;
}
