#include "hub/command.h"

#include "access/grant.h"
#include "base/status.h"
#include "base/text.h"
#include "hub/broadcast.h"
#include "hub/login.h"
#include "hub/moves.h"
#include "hub/permit.h"
#include "hub/presence.h"
#include "hub/query.h"
#include "hub/replay.h"
#include "hub/request.h"
#include "hub/session.h"
#include "hub/shard.h"
#include "hub/snapshot.h"

#include <string.h>

/* Subscriptions. */

static bool under_limit(struct session *s, const struct command *cmd)
{
    uint32_t max = s->shard->options->max_subscriptions;
    size_t all = s->shard->options->max_all_subscriptions;

    if (all && hub_subscriptions(s->shard->hub) >= all) {
        session_refuse(s, cmd, ERROR_LIMIT_EXCEEDED,
            "the server has as many subscriptions as --max-all-subscriptions allows: try again "
            "later");
        return false;
    }
    if ((!max || s->sub_count + s->membership_count < max) && s->last_number < UINT32_MAX)
        return true;
    session_refuse(s, cmd, ERROR_LIMIT_EXCEEDED,
        "a connection may have at most %u subscriptions: unsubscribe from some first", max);
    return false;
}

/* The table that a subscription names; false: the client was told what is wrong. */
static bool find_table(struct session *s, const struct command *cmd, const struct table **table)
{
    const struct table *t = schema_find(s->shard->topics.schema, cmd->table.p, cmd->table.len);
    int len = (int)(cmd->table.len < 128 ? cmd->table.len : 128);
    int allowed = t && s->policy ? view_allows(s, t) : 0;

    if (allowed == STATUS_NOMEM) {
        session_fail(s);
        return false;
    }
    if (allowed < 0)
        t = NULL;
    *table = t;
    if (t && table_has_events(t))
        return true;
    if (t && !t->internal && t->kind == TABLE_VIEW)
        session_refuse(s, cmd, ERROR_NOT_FOUND,
            "%.128s is a view, whose rows are not reported: subscribe to the tables it reads",
            t->name);
    else if (t && !t->internal && t->kind == TABLE_VIRTUAL)
        session_refuse(s, cmd, ERROR_NOT_FOUND,
            "%.128s is a virtual table, whose rows are not reported", t->name);
    else
        session_refuse(s, cmd, ERROR_NOT_FOUND, "no such table: %.*s", len, cmd->table.p);
    return false;
}

static bool every_table(struct session *s, const struct command *cmd)
{
    if (cmd->has_filter && cmd->filter_count)
        session_refuse(s, cmd, ERROR_INVALID_FILTER,
            "a filter needs the columns of one table: name a table instead of *");
    else if (cmd->has_columns)
        session_refuse(s, cmd, ERROR_INVALID_FORMAT,
            "columns are those of one table: name a table instead of *");
    else if (!grant_reads_all(s->policy, s->who))
        session_refuse(s, cmd, ERROR_FORBIDDEN,
            "your role may not read every table: name a table instead of *");
    else
        return true;
    return false;
}

static void report_failure(
    struct session *s, const struct command *cmd, int status, const struct error_text *err)
{
    if (status == STATUS_NOMEM)
        session_fail(s);
    else if (err->code)
        session_error(s, cmd, err);
    else
        session_refuse(s, cmd, ERROR_LIMIT_EXCEEDED,
            "a subscription may have at most %d conditions and %d bytes of filters and columns",
            FILTER_MAX_TERMS, SUBSCRIPTION_MAX_TEXT);
}

/* A client with its own past to go on from needs no snapshot. */
static bool needs_snapshot(const struct session *s, const struct command *cmd)
{
    uint64_t seq;

    return cmd->snapshot && (!cmd->since || replay_position(s->shard, cmd, &seq));
}

/*
 * Answers a subscription, which is live now, and sets it on its way through the past that it asked
 * for; one that gets a snapshot is answered when that begins. `sub` or `m` is NULL.
 */
static void begin(struct session *s, const struct command *cmd, struct subscription *sub,
    struct membership *m, struct reply *r)
{
    const char *reason = NULL;

    r->seq = s->shard->seq;
    if (cmd->since) {
        reason = replay_position(s->shard, cmd, &r->seq);
        r->resumed = true;
        r->recovered = !reason;
        r->seq = reason ? s->shard->seq : r->seq;
    }
    if (sub && cmd->snapshot && (!cmd->since || reason)) {
        if (snapshot_start(sub, cmd, reason) < 0)
            session_fail(s);
        return;
    }
    if (r->seq < s->shard->seq && !(m && m->from <= r->seq)) {
        if (replay_start(s, sub, m, r->seq) < 0) {
            session_fail(s);
            return;
        }
        if (m)
            m->from = r->seq;
    }
    r->resumable = !reason;
    r->position = r->seq;
    session_reply(s, r);
    if (reason)
        session_resync(s, sub, m, reason);
}

static void subscribe_table(struct session *s, const struct command *cmd)
{
    bool every = cmd->table.len == 1 && cmd->table.p[0] == '*';
    const struct table *table = NULL;
    struct error_text err = {0};
    struct reply r = {.type = REPLY_SUBSCRIBED, .request_id = cmd->request_id, .table = cmd->table};
    int status;

    if (!(every ? every_table(s, cmd) : find_table(s, cmd, &table)) || !under_limit(s, cmd))
        return;
    if (needs_snapshot(s, cmd) && !snapshot_allowed(s, cmd))
        return;
    status = session_subscribe(s, cmd, table, &err);
    if (status < 0) {
        report_failure(s, cmd, status, &err);
        return;
    }
    if (table)
        r.table = (struct text){table->name, strlen(table->name)};
    r.subscriptions = &s->last_number;
    r.subscription_count = 1;
    begin(s, cmd, s->subs[s->sub_count - 1], NULL, &r);
}

static bool is_topic(const struct subscription *sub, struct text table)
{
    if (!sub->topic)
        return table.len == 1 && table.p[0] == '*';
    return text_same_nocase(sub->topic->name, sub->topic->len, table.p, table.len);
}

/* Ends the subscriptions to one table, or all (no name). */
static void unsubscribe_table(struct session *s, const struct command *cmd)
{
    struct reply r = {.type = REPLY_UNSUBSCRIBED,
        .request_id = cmd->request_id,
        .table = cmd->table,
        .subscriptions = s->shard->numbers,
        .all = true};

    r.subscription_count =
        session_unsubscribe_if(s, cmd->table.p ? is_topic : NULL, cmd->table, s->shard->numbers);
    if (cmd->table.p && !r.subscription_count)
        session_refuse(s, cmd, ERROR_NOT_FOUND, "this connection has no subscription to %.*s",
            (int)(cmd->table.len < 128 ? cmd->table.len : 128), cmd->table.p);
    else
        session_reply(s, &r);
}

/* "s12" -> 12; 0 for anything else. */
static uint32_t subscription_number(struct text id)
{
    int64_t v;

    if (id.len < 2 || id.p[0] != 's' || id.p[1] < '1' || id.p[1] > '9' ||
        text_parse_i64(id.p + 1, id.len - 1, &v) < 0 || v > UINT32_MAX)
        return 0;
    return (uint32_t)v;
}

static void unsubscribe_one(struct session *s, const struct command *cmd)
{
    uint32_t number = subscription_number(cmd->subscription);
    uint32_t place = session_find(s, number);
    struct reply r = {.type = REPLY_UNSUBSCRIBED,
        .request_id = cmd->request_id,
        .subscriptions = &number,
        .subscription_count = 1};

    if (place == s->sub_count) {
        session_refuse(s, cmd, ERROR_NOT_FOUND, "this connection has no subscription %.*s",
            (int)(cmd->subscription.len < 32 ? cmd->subscription.len : 32), cmd->subscription.p);
        return;
    }
    session_unsubscribe(s, place);
    session_reply(s, &r);
}

/* Channels. */

static bool is_notifications(struct text name)
{
    return channel_is(name.p, name.len, CHANNEL_NOTIFICATIONS);
}

bool command_channel_ok(struct session *s, const struct command *cmd)
{
    if (channel_name_valid(cmd->channel.p, cmd->channel.len))
        return true;
    session_refuse(s, cmd, ERROR_INVALID_FORMAT,
        "a channel's name has 1 to %d characters of A-Z a-z 0-9 _ : . -", CHANNEL_NAME_MAX);
    return false;
}

/* The past can be had where it is kept, and only before what this connection hears already. */
static bool since_ok(struct session *s, const struct command *cmd, uint32_t place)
{
    uint64_t seq;

    if (!cmd->since)
        return true;
    if (cmd->channel.len != strlen("tables") || memcmp(cmd->channel.p, "tables", 6) != 0)
        session_refuse(s, cmd, ERROR_INVALID_FORMAT,
            "since needs a table or the channel tables: messages of other channels are not kept");
    else if (place < s->membership_count && !replay_position(s->shard, cmd, &seq) &&
             seq < s->memberships[place]->from)
        session_refuse(s, cmd, ERROR_CONFLICT,
            "this connection hears the channel tables since %llu already: unsubscribe first",
            (unsigned long long)s->memberships[place]->from);
    else
        return true;
    return false;
}

static void subscribe_channel(struct session *s, const struct command *cmd)
{
    struct reply r = {.type = REPLY_SUBSCRIBED,
        .request_id = cmd->request_id,
        .channel = cmd->channel,
        .seq = s->shard->seq};
    uint32_t place;

    if (!command_channel_ok(s, cmd))
        return;
    place = session_membership(s, cmd->channel);
    if (!since_ok(s, cmd, place))
        return;
    if (is_notifications(cmd->channel)) {
        s->notifications = true;
        s->notifications_self = cmd->self;
        session_reply(s, &r);
    } else if (place == s->membership_count && !under_limit(s, cmd)) {
        return;
    } else if (session_join(s, cmd) < 0 || presence_enter(s, s->memberships[place], &r) < 0) {
        session_fail(s);
    } else {
        begin(s, cmd, NULL, s->memberships[place], &r);
    }
}

static void unsubscribe_channel(struct session *s, const struct command *cmd)
{
    struct reply r = {
        .type = REPLY_UNSUBSCRIBED, .request_id = cmd->request_id, .channel = cmd->channel};
    bool notifications = is_notifications(cmd->channel);
    uint32_t place = session_membership(s, cmd->channel);

    if (!command_channel_ok(s, cmd))
        return;
    if (notifications ? !s->notifications : place == s->membership_count) {
        session_refuse(s, cmd, ERROR_NOT_FOUND, "this connection has not joined the channel %.*s",
            (int)cmd->channel.len, cmd->channel.p);
        return;
    }
    if (notifications) {
        s->notifications = false;
    } else {
        session_leave(s, place);
    }
    session_reply(s, &r);
}

static void run_subscribe(struct session *s, const struct command *cmd)
{
    if (cmd->channel.p)
        subscribe_channel(s, cmd);
    else
        subscribe_table(s, cmd);
}

static void run_unsubscribe(struct session *s, const struct command *cmd)
{
    if (cmd->channel.p)
        unsubscribe_channel(s, cmd);
    else if (cmd->subscription.p)
        unsubscribe_one(s, cmd);
    else
        unsubscribe_table(s, cmd);
}

static void run_ping(struct session *s, const struct command *cmd)
{
    struct reply r = {.type = REPLY_PONG, .request_id = cmd->request_id, .sent_at = cmd->sent_at};

    session_reply(s, &r);
}

static void run_heartbeat(struct session *s, const struct command *cmd)
{
    struct reply r = {.type = REPLY_HEARTBEAT, .request_id = cmd->request_id};

    session_reply(s, &r);
}

void command_run(struct session *s, const struct command *cmd)
{
    static void (*const run[])(struct session *, const struct command *) = {
        [COMMAND_SUBSCRIBE] = run_subscribe,
        [COMMAND_UNSUBSCRIBE] = run_unsubscribe,
        [COMMAND_PING] = run_ping,
        [COMMAND_HEARTBEAT] = run_heartbeat,
        [COMMAND_SQL] = request_run,
        [COMMAND_SYNC] = request_run,
        [COMMAND_REPORT] = request_run,
        [COMMAND_QUERY_START] = query_start,
        [COMMAND_QUERY_CANCEL] = query_cancel,
        [COMMAND_BROADCAST] = broadcast_run,
        [COMMAND_CURSOR] = moves_take,
        [COMMAND_AUTH] = login_run,
    };

    if (permit_command(s, cmd))
        run[cmd->type](s, cmd);
}
