#include "http/request_log.h"

#include "access/identity.h"
#include "base/clock.h"
#include "base/log.h"
#include "dialect/dialects.h"
#include "http/route.h"

#include <civetweb.h>
#include <stdio.h>

/* A request that was malformed has only its peer. */
static const char *who(const struct request *r)
{
    return r->client[0] ? r->client : r->info->remote_addr;
}

static void count(struct request *r, int64_t ns)
{
    struct request_stats *s = &r->http->stats;

    if (r->status >= 100 && r->status < 100 + REQUEST_STATUSES)
        atomic_fetch_add_explicit(&s->by_status[r->status - 100], 1, memory_order_relaxed);
    tally_add(&s->times, &tally_durations, ns);
}

static const char *tls_of(const struct request *r)
{
    return r->worker->client.id ? r->worker->client.version : NULL;
}

/*
 * What an error said is shown only where nothing in it comes from a body or a query string: a
 * handshake is refused for what its head looks like, and the rest are limits.
 */
static void say(enum log_level level, const char *event, const struct request *r, const char *why)
{
    char address[80];

    snprintf(address, sizeof(address), "%s:%d", who(r), r->info->remote_port);
    log_event(level, event, log_text("address", address), log_text("method", r->method),
        log_text("path", r->path), log_int("status", r->status), log_text("code", r->code),
        log_text("user", identity_user(r->who)), log_text("tls", tls_of(r)), log_text("why", why));
}

static void say_answered(const struct request *r, int64_t ns)
{
    log_event(LOG_DEBUG, "request", log_text("address", who(r)),
        log_int("port", r->info->remote_port), log_text("method", r->method),
        log_text("path", r->path), log_int("status", r->status), log_seconds("duration", ns),
        log_text("code", r->code), log_text("user", identity_user(r->who)),
        log_text("tls", tls_of(r)));
}

void request_log(struct request *r)
{
    int64_t ns = clock_mono_ns() - r->began_ns;
    bool upgrade = dialects_find(r->path) != NULL;

    count(r, ns);
    if (r->status >= 400 && upgrade)
        say(LOG_INFO, "handshake refused", r, r->why);
    else if (r->status >= 400 && api_changes_wanted(r))
        say(LOG_INFO, "handshake refused", r, NULL);
    else if (r->status == 413 || r->status == 429)
        say(LOG_WARN, "limit reached", r, r->why);
    else
        say_answered(r, ns);
}
