#include "hub/login.h"

#include "access/tokens.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/status.h"
#include "hub/session.h"
#include "hub/shard.h"

#include <assert.h>

#define WARNING_MS 60000 /* before the end, or half of what is left if that is less */
#define FAILURES_MAX 5   /* tokens refused in a row */
#define EXPIRED "the token has expired"

/* The heap: the parent of i is i / 2, counted from 1, and not due later. */

void logins_fini(struct logins *l)
{
    assert(l->count == 0);
    mem_free(l->heap);
}

static void put(struct logins *l, uint32_t place, struct login_due due)
{
    l->heap[place - 1] = due;
    due.session->login_place = place;
}

/* Puts it where it belongs, from a free place on. */
static void settle(struct logins *l, uint32_t place, struct login_due due)
{
    uint32_t child;

    for (; place > 1 && l->heap[place / 2 - 1].at_ms > due.at_ms; place /= 2)
        put(l, place, l->heap[place / 2 - 1]);
    for (; (child = place * 2) <= l->count; place = child) {
        if (child < l->count && l->heap[child].at_ms < l->heap[child - 1].at_ms)
            child++;
        if (l->heap[child - 1].at_ms >= due.at_ms)
            break;
        put(l, place, l->heap[child - 1]);
    }
    put(l, place, due);
}

static void forget(struct session *s)
{
    struct logins *l = &s->shard->logins;
    uint32_t place = s->login_place;
    struct login_due last;

    if (!place)
        return;
    s->login_place = 0;
    last = l->heap[--l->count];
    if (place <= l->count)
        settle(l, place, last);
}

static int reserve(struct logins *l)
{
    uint32_t cap = l->cap ? l->cap * 2 : 16;
    struct login_due *heap;

    if (l->count < l->cap)
        return 0;
    heap = mem_realloc(l->heap, cap * sizeof(*heap));
    if (!heap)
        return STATUS_NOMEM;
    l->heap = heap;
    l->cap = cap;
    return 0;
}

static int remind(struct session *s, int64_t at_ms)
{
    struct logins *l = &s->shard->logins;
    uint32_t place = s->login_place;
    int64_t in_ms = at_ms - clock_wall_ms();

    if (!place) {
        if (reserve(l) < 0)
            return STATUS_NOMEM;
        place = ++l->count;
    }
    settle(l, place, (struct login_due){at_ms, s});
    if (in_ms < 1000)
        loop_tick_by(s->shard->loop, clock_mono_ms() + (in_ms > 0 ? in_ms : 0));
    return 0;
}

/* Coming, going and renewing. */

int login_enter(struct session *s)
{
    int64_t end = s->who ? s->who->expires_ms : 0, left, ahead;

    if (!end) {
        forget(s);
        return 0;
    }
    left = end - clock_wall_ms();
    ahead = left / 2 < WARNING_MS ? left / 2 : WARNING_MS;
    /* A stream has no way to renew. */
    s->login_warned = session_is_stream(s) || ahead <= 0;
    return remind(s, s->login_warned ? end : end - ahead);
}

void login_leave(struct session *s)
{
    forget(s);
    identity_unref(s->who);
    s->who = NULL;
}

static void refuse(
    struct session *s, const struct command *cmd, const char *code, const char *message)
{
    struct reply r = {.type = REPLY_AUTH,
        .request_id = cmd->request_id,
        .user_id = session_user(s),
        .code = code,
        .message = message};

    log_event(LOG_INFO, "token refused", log_uint("connection", conn_id(s->conn)),
        log_text("address", s->address), log_text("user", session_user(s)),
        log_text("why", message));
    session_reply(s, &r);
    if (++s->login_failures >= FAILURES_MAX)
        conn_close(s->conn, WS_CLOSE_POLICY, "too many refused tokens");
}

static void accept_token(struct session *s, const struct command *cmd, struct identity *who)
{
    struct reply r = {.type = REPLY_AUTH,
        .request_id = cmd->request_id,
        .user_id = who->user_id,
        .role = who->role,
        .expires_ms = who->expires_ms};

    identity_unref(s->who);
    s->who = who;
    s->login_failures = 0;
    if (login_enter(s) < 0)
        session_fail(s);
    else
        session_reply(s, &r);
}

void login_run(struct session *s, const struct command *cmd)
{
    struct tokens *tokens = s->shard->options->tokens;
    struct identity *who;
    const char *why;

    if (!tokens) {
        refuse(s, cmd, ERROR_UNAUTHORIZED,
            "this server was started without keys: it verifies no tokens, and needs none");
        return;
    }
    who = tokens_verify(tokens, cmd->token.p, cmd->token.len, &why);
    if (!who && !why) {
        session_fail(s);
    } else if (!who) {
        refuse(s, cmd, ERROR_UNAUTHORIZED, why);
    } else if (!identity_same_rights(s->who, who)) {
        identity_unref(who);
        refuse(s, cmd, ERROR_FORBIDDEN,
            "the token is of another user, or has another role or other claims, than the one that "
            "this connection began with: connect again with it");
    } else {
        accept_token(s, cmd, who);
    }
}

/* The end. */

static void warn(struct session *s)
{
    struct reply r = {.type = REPLY_EXPIRING, .expires_ms = s->who->expires_ms};

    s->login_warned = true;
    remind(s, s->who->expires_ms); /* has its place already */
    session_reply(s, &r);
}

static void end(struct session *s)
{
    struct reply r = {.type = REPLY_ERROR, .code = ERROR_UNAUTHORIZED, .message = EXPIRED};

    forget(s);
    if (conn_closing(s->conn))
        return;
    log_event(LOG_INFO, "token expired", log_uint("connection", conn_id(s->conn)),
        log_text("address", s->address), log_text("user", session_user(s)));
    session_end(s, &r, WS_CLOSE_POLICY);
}

void login_tick(struct shard *shard, int64_t mono_ms)
{
    struct logins *l = &shard->logins;
    int64_t now = clock_wall_ms();

    while (l->count && l->heap[0].at_ms <= now) {
        struct session *s = l->heap[0].session;

        if (s->login_warned || s->who->expires_ms <= now)
            end(s);
        else
            warn(s);
    }
    if (l->count)
        loop_tick_by(shard->loop, mono_ms + (l->heap[0].at_ms - now));
}
