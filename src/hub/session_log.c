#include "hub/session_log.h"

#include "base/clock.h"
#include "base/log.h"
#include "hub/hub.h"
#include "hub/shard.h"

#include <string.h>

void session_log_opened(const struct session *s)
{
    log_event(LOG_INFO, "connection opened", log_uint("connection", conn_id(s->conn)),
        log_text("address", s->address), log_text("dialect", s->dialect->name),
        log_text("user", session_user(s)), log_text("tls", conn_tls(s->conn)));
}

static void count_code(struct shard *shard, int code)
{
    int i = 0;

    while (i < HUB_CODES - 1 && hub_codes[i] != code)
        i++;
    atomic_fetch_add_explicit(&shard->closed[i], 1, memory_order_relaxed);
}

void session_log_closed(struct session *s, int code)
{
    count_code(s->shard, code);
    if (code == WS_CLOSE_TOO_LARGE)
        log_event(LOG_WARN, "message too large", log_uint("connection", conn_id(s->conn)),
            log_text("address", s->address), log_uint("limit", s->shard->options->max_message));
    log_event(LOG_INFO, "connection closed", log_uint("connection", conn_id(s->conn)),
        log_text("address", s->address), log_text("dialect", s->dialect->name),
        log_int("code", code), log_seconds("duration", clock_mono_ns() - s->opened_ns),
        log_uint("messages", conn_messages(s->conn)), log_text("user", session_user(s)));
}

/* A client that asks for more than it may have is of interest to whoever set the limit. */
static bool is_limit(const char *code)
{
    static const char *const codes[] = {"LIMIT_EXCEEDED", "TOO_LARGE", "RATE_LIMITED"};

    for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++)
        if (strcmp(code, codes[i]) == 0)
            return true;
    return false;
}

void session_log_refused(const struct session *s, const char *code)
{
    if (is_limit(code))
        log_event(LOG_WARN, "limit reached", log_uint("connection", conn_id(s->conn)),
            log_text("address", s->address), log_text("code", code));
    else
        log_event(LOG_DEBUG, "command refused", log_uint("connection", conn_id(s->conn)),
            log_text("address", s->address), log_text("code", code));
}

void session_log_slow(const struct session *s, const char *consequence)
{
    log_event(LOG_WARN, "slow consumer", log_uint("connection", conn_id(s->conn)),
        log_text("address", s->address), log_uint("queued", conn_queued(s->conn)),
        log_text("consequence", consequence));
}
