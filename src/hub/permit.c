#include "hub/permit.h"

#include "access/policy.h"
#include "hub/channel.h"
#include "hub/session.h"

#include <string.h>

static const char *role_of(const struct session *s)
{
    return s->who ? s->who->role : NULL;
}

bool permit_join(const struct session *s, struct text channel)
{
    const struct policy_role *role = s->policy ? policy_role(s->policy, role_of(s)) : NULL;

    return !s->policy || (role && policy_channel(&role->join, channel.p, channel.len));
}

static bool broadcast(const struct session *s, struct text channel)
{
    const struct policy_role *role = policy_role(s->policy, role_of(s));

    return role && policy_channel(&role->broadcast, channel.p, channel.len);
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
    if (policy_unlimited(s->policy, role_of(s)))
        return true;
    session_refuse(s, cmd, ERROR_FORBIDDEN, "your role may not run SQL");
    return false;
}

static bool permit_report(struct session *s, const struct command *cmd)
{
    bool tables = cmd->report == REPORT_TABLES || cmd->report == REPORT_TABLE;

    if (!tables || policy_reads_all(s->policy, role_of(s)))
        return true;
    session_refuse(s, cmd, ERROR_FORBIDDEN, "your role may not list the tables");
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
    case COMMAND_SYNC:
    case COMMAND_QUERY_START:
        return permit_sql(s, cmd);
    case COMMAND_REPORT:
        return permit_report(s, cmd);
    default:
        return true;
    }
}
