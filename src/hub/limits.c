#include "hub/limits.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/status.h"
#include "hub/session.h"
#include "hub/shard.h"

#include <stdio.h>

static enum rate_kind kind_of(const struct command *cmd)
{
    if (!cmd || cmd->error.code)
        return RATE_COMMANDS;
    switch (cmd->type) {
    case COMMAND_SQL:
    case COMMAND_SYNC:
    case COMMAND_QUERY_START:
        return RATE_QUERIES;
    case COMMAND_BROADCAST:
        return RATE_BROADCASTS;
    case COMMAND_CURSOR:
        return RATE_CURSORS;
    default:
        return RATE_COMMANDS;
    }
}

static void tell(struct session *s, const struct command *cmd, enum rate_kind kind, int64_t wait_ms)
{
    static const struct command none;
    struct error_text e = {.code = ERROR_RATE_LIMITED, .retry_ms = wait_ms};

    snprintf(e.message, sizeof(e.message), "too many %s: go on in %lld ms", rate_kind_name(kind),
        (long long)wait_ms);
    session_error(s, cmd ? cmd : &none, &e);
    conn_wasted(s->conn);
}

static void end(struct session *s, enum rate_kind kind)
{
    limiter_bar(s->limits);
    log_event(LOG_WARN, "stubborn client closed", log_uint("connection", conn_id(s->conn)),
        log_text("address", s->address), log_text("user", session_user(s)),
        log_text("kind", rate_kind_name(kind)));
    conn_close_now(s->conn, WS_CLOSE_POLICY, "too many messages in spite of RATE_LIMITED", NULL, 0);
}

bool limits_allow(struct session *s, const struct command *cmd)
{
    enum rate_kind kind = kind_of(cmd);
    struct verdict v;

    /* What a stream connected with was counted as a handshake. */
    if (!s->limits || session_is_stream(s))
        return true;
    v = limiter_take(s->limits, kind);
    if (v.stubborn)
        end(s, kind);
    else if (v.wait_ms)
        tell(s, cmd, kind, v.wait_ms);
    return !v.wait_ms;
}

void limits_free(struct limiter_client *c)
{
    if (c)
        limiter_end(c);
    mem_free(c);
}

int limits_text(const struct session *s, size_t len, struct error_text *err)
{
    const struct shard *shard = s->shard;

    err->code = ERROR_LIMIT_EXCEEDED;
    if (s->text_bytes + len > SESSION_MAX_TEXT)
        snprintf(err->message, sizeof(err->message),
            "the filters and columns of a connection may have at most %u bytes together",
            SESSION_MAX_TEXT);
    else if (shard->text_bytes + len > SESSIONS_MAX_TEXT / (size_t)hub_loops(shard->hub))
        snprintf(err->message, sizeof(err->message),
            "the filters and columns of all connections have as many bytes as they may have: try "
            "again later");
    else
        err->code = NULL;
    return err->code ? STATUS_TOO_LARGE : 0;
}
