#include "hub/permit.h"

#include "access/grant.h"
#include "access/policy.h"
#include "base/log.h"
#include "hub/channel.h"
#include "hub/session.h"
#include "hub/shard.h"

bool permit_join(const struct session *s, struct text channel)
{
    return grant_join(s->policy, s->who, channel.p, channel.len);
}

static bool broadcast(const struct session *s, struct text channel)
{
    return grant_broadcast(s->policy, s->who, channel.p, channel.len);
}

static bool refuse_channel(struct session *s, const struct command *cmd, const char *what)
{
    /* One that is not well-formed is told so by who would take it. */
    if (!channel_name_valid(cmd->channel.p, cmd->channel.len))
        return true;
    session_refuse(s, cmd, ERROR_FORBIDDEN, "your role may not %s the channel %.*s", what,
        (int)cmd->channel.len, cmd->channel.p);
    return false;
}

static bool permit_sql(struct session *s, const struct command *cmd)
{
    if (grant_sql(s->policy, s->who))
        return true;
    session_refuse(s, cmd, ERROR_FORBIDDEN, "your role may not run SQL");
    return false;
}

bool permit_command(struct session *s, const struct command *cmd)
{
    static const struct text collaboration = {
        CHANNEL_COLLABORATION, sizeof(CHANNEL_COLLABORATION) - 1};

    if (!s->policy)
        return true;
    switch (cmd->type) {
    case COMMAND_SUBSCRIBE:
        return !cmd->channel.p || permit_join(s, cmd->channel) || refuse_channel(s, cmd, "join");
    case COMMAND_BROADCAST:
        return broadcast(s, cmd->channel) || refuse_channel(s, cmd, "broadcast to");
    case COMMAND_CURSOR:
        if (broadcast(s, collaboration))
            return true;
        session_refuse(s, cmd, ERROR_FORBIDDEN, "your role may not broadcast to the channel %s",
            CHANNEL_COLLABORATION);
        return false;
    case COMMAND_SQL:
    case COMMAND_QUERY_START:
        return permit_sql(s, cmd);
    default:
        return true;
    }
}

/* What it was sent so far was right at that time; nothing that still waits is sent. */
static void expel(struct session *s)
{
    struct reply r = {.type = REPLY_ERROR, .code = ERROR_FORBIDDEN, .message = PERMIT_CHANGED};

    if (conn_closing(s->conn))
        return;
    log_event(LOG_INFO, "rights changed", log_uint("connection", conn_id(s->conn)),
        log_text("address", s->address), log_text("user", session_user(s)));
    session_end(s, &r, WS_CLOSE_RESTART);
}

void permit_follow(struct shard *shard, struct policy *now)
{
    struct list *n = shard->sessions.next, *next;

    for (; n != &shard->sessions; n = next) {
        struct session *s = list_entry(n, struct session, node);
        const char *role = s->who ? s->who->role : NULL;

        next = n->next;
        if (!policy_same_role(s->policy, now, role)) {
            expel(s);
        } else {
            policy_unref(s->policy);
            s->policy = policy_ref(now);
        }
    }
    policy_unref(shard->policy);
    shard->policy = policy_ref(now);
}
