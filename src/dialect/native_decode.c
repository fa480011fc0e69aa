#include "dialect/native.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/status.h"
#include "dialect/arguments.h"
#include "dialect/native_args.h"
#include "dialect/native_channel.h"
#include "dialect/native_query.h"
#include "dialect/native_request.h"

#include <string.h>

/* What stands in its data is for others. */
static bool passes_on(const json_t *root)
{
    const char *type = json_string_value(json_object_get(root, "type"));

    return type && strcmp(type, "broadcast") == 0 && json_object_get(root, "channel");
}

static int read_request_id(struct command *cmd)
{
    struct native_memory *m = cmd->memory;
    const char *name = "requestId";
    json_t *j = json_object_get(m->root, name);

    if (!j && (j = json_object_get(m->root, "id")))
        name = "id";
    if (!j && !passes_on(m->root))
        j = native_argument(cmd, "requestId");
    return native_echo(cmd, name, j, &m->request_id, &cmd->request_id);
}

/* "insert,update", ["INSERT", "update"] or "*". */
static int read_events(struct command *cmd)
{
    json_t *j = native_argument(cmd, "events");

    cmd->events = EVENTS_ALL;
    if (!j)
        return 0;
    cmd->events = 0;
    if (json_is_string(j))
        return arguments_events(cmd, json_string_value(j), json_string_length(j));
    if (!json_is_array(j))
        return arguments_refuse(
            cmd, ERROR_INVALID_FORMAT, "events must be a list of strings or a string");
    for (size_t i = 0; i < json_array_size(j); i++) {
        json_t *e = json_array_get(j, i);

        if (!json_is_string(e))
            return arguments_refuse(cmd, ERROR_INVALID_FORMAT, "events must be a list of strings");
        if (arguments_event(cmd, json_string_value(e), json_string_length(e)) < 0)
            return STATUS_INVALID;
    }
    if (!cmd->events)
        return arguments_refuse(
            cmd, ERROR_INVALID_FORMAT, "events is empty: leave it out to get every event");
    return 0;
}

/* A list of strings, or one string. */
static int read_list(struct command *cmd, const char *name, int which, int *count)
{
    struct native_memory *m = cmd->memory;
    json_t *j = native_argument(cmd, name);
    size_t n = json_is_array(j) ? json_array_size(j) : 1;

    if (!json_is_string(j) && !json_is_array(j))
        return arguments_refuse(
            cmd, ERROR_INVALID_FORMAT, "%s must be a string or a list of strings", name);
    if (n > 100000)
        return arguments_refuse(cmd, ERROR_LIMIT_EXCEEDED, "%s has more than 100000 members", name);
    m->texts[which] = mem_array(n, sizeof(*m->texts[which]));
    m->lens[which] = mem_array(n, sizeof(*m->lens[which]));
    if (!m->texts[which] || !m->lens[which])
        return STATUS_NOMEM;
    for (size_t i = 0; i < n; i++) {
        json_t *e = json_is_array(j) ? json_array_get(j, i) : j;

        if (!json_is_string(e))
            return arguments_refuse(
                cmd, ERROR_INVALID_FORMAT, "%s must be a list of strings", name);
        m->texts[which][i] = json_string_value(e);
        m->lens[which][i] = json_string_length(e);
    }
    *count = (int)n;
    return 0;
}

static int read_filter(struct command *cmd)
{
    struct native_memory *m = cmd->memory;
    int rc;

    cmd->has_filter = native_argument(cmd, "filter") != NULL;
    if (!cmd->has_filter)
        return 0;
    rc = read_list(cmd, "filter", FILTERS, &cmd->filter_count);
    cmd->filters = m->texts[FILTERS];
    cmd->filter_lens = m->lens[FILTERS];
    return rc;
}

static int read_columns(struct command *cmd)
{
    struct native_memory *m = cmd->memory;
    int rc;

    cmd->has_columns = native_argument(cmd, "columns") != NULL;
    if (!cmd->has_columns)
        return 0;
    rc = read_list(cmd, "columns", COLUMNS, &cmd->column_count);
    cmd->columns = m->texts[COLUMNS];
    cmd->column_lens = m->lens[COLUMNS];
    if (rc == 0 && cmd->column_count == 0)
        return arguments_refuse(
            cmd, ERROR_INVALID_FORMAT, "columns is empty: leave it out to get every column");
    return rc;
}

static int read_snapshot(struct command *cmd)
{
    if (native_bool(cmd, "snapshot", &cmd->snapshot) < 0)
        return STATUS_INVALID;
    return cmd->snapshot ? arguments_snapshot(cmd) : 0;
}

/* A number, "EPOCH:N" or "earliest". */
static int read_since(struct command *cmd)
{
    json_t *j = native_argument(cmd, "since");
    int rc = native_text(cmd, "epoch", &cmd->epoch);

    if (rc < 0)
        return rc;
    if (!j)
        return cmd->epoch.p ? arguments_refuse(cmd, ERROR_INVALID_FORMAT, "epoch goes with since")
                            : 0;
    if (!json_is_integer(j) || json_integer_value(j) < 0)
        return arguments_since(cmd, (struct text){json_string_value(j), json_string_length(j)});
    cmd->since = SINCE_SEQ;
    cmd->since_seq = (uint64_t)json_integer_value(j);
    return 0;
}

static int decode_subscribe(struct command *cmd)
{
    int rc = 0;

    if ((rc = native_text(cmd, "table", &cmd->table)) < 0 ||
        (rc = native_text(cmd, "channel", &cmd->channel)) < 0 || (rc = read_events(cmd)) < 0 ||
        (rc = read_filter(cmd)) < 0 || (rc = read_columns(cmd)) < 0 ||
        (rc = native_bool(cmd, "self", &cmd->self)) < 0 ||
        (rc = native_bool(cmd, "batch", &cmd->batch)) < 0 || (rc = read_since(cmd)) < 0)
        return rc;
    if (!cmd->table.p == !cmd->channel.p)
        return arguments_refuse(cmd, ERROR_INVALID_FORMAT, "subscribe needs a table or a channel%s",
            cmd->table.p ? ", not both" : "");
    if (cmd->channel.p &&
        (cmd->has_filter || cmd->has_columns || cmd->batch || native_argument(cmd, "events")))
        return arguments_refuse(cmd, ERROR_INVALID_FORMAT,
            "filter, columns, events and batch need a table, not a channel");
    return read_snapshot(cmd);
}

static int decode_unsubscribe(struct command *cmd)
{
    int rc;

    if ((rc = native_text(cmd, "table", &cmd->table)) < 0 ||
        (rc = native_text(cmd, "channel", &cmd->channel)) < 0 ||
        (rc = native_text(cmd, "subscription", &cmd->subscription)) < 0)
        return rc;
    if (!!cmd->table.p + !!cmd->channel.p + !!cmd->subscription.p > 1)
        return arguments_refuse(
            cmd, ERROR_INVALID_FORMAT, "unsubscribe takes one of subscription, table and channel");
    return 0;
}

static int decode_ping(struct command *cmd)
{
    struct native_memory *m = cmd->memory;

    return native_echo(cmd, "sentAt", native_argument(cmd, "sentAt"), &m->sent_at, &cmd->sent_at);
}

static int decode_heartbeat(struct command *cmd)
{
    (void)cmd;
    return 0;
}

static int decode_auth(struct command *cmd)
{
    int rc = native_text(cmd, "token", &cmd->token);

    if (rc == 0 && !cmd->token.p)
        return arguments_refuse(cmd, ERROR_INVALID_FORMAT, "auth needs a token");
    return rc;
}

static const struct {
    const char *name;
    enum command_type type;
    int (*decode)(struct command *cmd);
} commands[] = {
    {"subscribe", COMMAND_SUBSCRIBE, decode_subscribe},
    {"unsubscribe", COMMAND_UNSUBSCRIBE, decode_unsubscribe},
    {"ping", COMMAND_PING, decode_ping},
    {"heartbeat", COMMAND_HEARTBEAT, decode_heartbeat},
    {"request", COMMAND_REPORT, native_request_decode}, /* or what its action says */
    {"query:start", COMMAND_QUERY_START, native_query_start},
    {"query:cancel", COMMAND_QUERY_CANCEL, native_query_cancel},
    {"broadcast", COMMAND_BROADCAST, native_decode_broadcast},
    {"user:cursor", COMMAND_CURSOR, native_decode_cursor},
    {"auth", COMMAND_AUTH, decode_auth},
};

int native_decode_named(struct command *cmd, const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (len == strlen(commands[i].name) && memcmp(name, commands[i].name, len) == 0) {
            cmd->type = commands[i].type;
            return commands[i].decode(cmd);
        }
    return STATUS_NOT_FOUND;
}

static int decode_type(struct command *cmd, const json_t *type)
{
    size_t len = json_string_length(type);
    int rc;

    if (!json_is_string(type))
        return arguments_refuse(
            cmd, ERROR_INVALID_FORMAT, "%s", type ? "type must be a string" : "type is missing");
    rc = native_decode_named(cmd, json_string_value(type), len);
    if (rc == STATUS_NOT_FOUND)
        return arguments_refuse(cmd, ERROR_UNKNOWN_TYPE, "unknown message type \"%.*s\"",
            (int)(len < 64 ? len : 64), json_string_value(type));
    return rc;
}

int native_decode(struct command *cmd, const char *data, size_t len)
{
    struct native_memory *m;
    char err[256];
    int rc;

    *cmd = (struct command){.self = true};
    cmd->memory = m = mem_zalloc(sizeof(*m));
    if (!m)
        return STATUS_NOMEM;
    m->root = json_read(data, len, err, sizeof(err));
    if (!m->root) {
        arguments_refuse(cmd, ERROR_INVALID_FORMAT, "the message is not JSON: %s", err);
        return 0;
    }
    if (!json_is_object(m->root)) {
        arguments_refuse(cmd, ERROR_INVALID_FORMAT,
            "a message is a JSON object such as {\"type\":\"subscribe\",\"table\":\"users\"}");
        return 0;
    }
    rc = read_request_id(cmd);
    if (rc == 0)
        rc = decode_type(cmd, json_object_get(m->root, "type"));
    return rc == STATUS_NOMEM ? rc : 0;
}

void native_decode_fini(struct command *cmd)
{
    struct native_memory *m = cmd->memory;

    if (!m)
        return;
    native_request_fini(m);
    json_decref(m->root);
    buf_fini(&m->request_id);
    buf_fini(&m->sent_at);
    buf_fini(&m->query_id);
    buf_fini(&m->data);
    for (int i = 0; i < 2; i++) {
        mem_free(m->texts[i]);
        mem_free(m->lens[i]);
    }
    mem_free(m);
    cmd->memory = NULL;
}
