#include "dialect/native_request.h"

#include "base/mem.h"
#include "base/status.h"
#include "dialect/arguments.h"
#include "dialect/native.h"
#include "dialect/native_args.h"
#include "dialect/sql_json.h"
#include "dialect/sync_json.h"
#include "hub/roster.h"

#include <string.h>

struct text native_request_id(const struct reply *r, bool *response)
{
    struct text id = r->request_id;

    *response = id.len && id.p[id.len - 1] == NATIVE_REQUEST_MARK;
    id.len -= *response;
    return id;
}

void native_request_fini(struct native_memory *m)
{
    if (m->sql)
        sql_request_fini(m->sql);
    mem_free(m->sql);
    if (m->sync)
        sync_fini(m->sync);
    mem_free(m->sync);
}

/* STATUS_INVALID with what is wrong in err. */
static int outcome(struct command *cmd, int rc, struct buf *err)
{
    if (rc == STATUS_INVALID)
        rc = buf_text(err) ? arguments_refuse(cmd, ERROR_INVALID_FORMAT, "%s", buf_text(err))
                           : STATUS_NOMEM;
    buf_fini(err);
    return rc;
}

static int decode_sql(struct command *cmd)
{
    static const char *const names[] = {"sql", "params", "statements"};
    struct native_memory *m = cmd->memory;
    json_t *object = json_object();
    struct buf err = {0};
    int rc = STATUS_NOMEM;

    cmd->type = COMMAND_SQL;
    cmd->sql = m->sql = mem_zalloc(sizeof(*m->sql));
    if (object && m->sql)
        rc = 0;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && rc == 0; i++) {
        json_t *j = native_argument(cmd, names[i]);

        if (j && json_object_set(object, names[i], j) < 0)
            rc = STATUS_NOMEM;
    }
    if (rc == 0)
        rc = sql_json_request(m->sql, object, &err);
    json_decref(object);
    return outcome(cmd, rc, &err);
}

static int decode_sync(struct command *cmd)
{
    struct native_memory *m = cmd->memory;
    struct buf err = {0};

    cmd->type = COMMAND_SYNC;
    cmd->sync = m->sync = mem_zalloc(sizeof(*m->sync));
    if (!m->sync)
        return STATUS_NOMEM;
    return outcome(cmd, sync_json_read(m->sync, native_argument(cmd, "operations"), &err), &err);
}

static int decode_table(struct command *cmd)
{
    int rc = native_text(cmd, "table", &cmd->table);

    if (rc == 0 && !cmd->table.p)
        rc = native_text(cmd, "name", &cmd->table);
    if (rc == 0 && !cmd->table.p)
        return arguments_refuse(cmd, ERROR_INVALID_FORMAT, "the action table needs a table");
    return rc;
}

static int decode_stats(struct command *cmd)
{
    json_t *j = native_argument(cmd, "limit");

    cmd->report_limit = ROSTER_LIMIT;
    if (!j)
        return 0;
    if (!json_is_integer(j) || json_integer_value(j) < 0 || json_integer_value(j) > ROSTER_MAX)
        return arguments_refuse(cmd, ERROR_INVALID_FORMAT,
            "limit is the number of clients to list, 0 to %d", ROSTER_MAX);
    cmd->report_limit = (uint32_t)json_integer_value(j);
    return 0;
}

static const struct {
    const char *name;
    enum report report;
    int (*decode)(struct command *cmd); /* NULL: it has no arguments */
} actions[] = {
    {"health", REPORT_HEALTH, NULL},
    {"websocketHealth", REPORT_WEBSOCKET_HEALTH, NULL},
    {"status", REPORT_STATUS, NULL},
    {"stats", REPORT_STATS, decode_stats},
    {"realtime", REPORT_REALTIME, NULL},
    {"tables", REPORT_TABLES, NULL},
    {"table", REPORT_TABLE, decode_table},
    {"sql", 0, decode_sql},
    {"sync", 0, decode_sync},
};

static int decode_action(struct command *cmd, const char *name, size_t len)
{
    int rc = STATUS_NOT_FOUND;

    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
        if (len == strlen(actions[i].name) && memcmp(name, actions[i].name, len) == 0) {
            cmd->type = COMMAND_REPORT;
            cmd->report = actions[i].report;
            return actions[i].decode ? actions[i].decode(cmd) : 0;
        }
    /* What has a colon is answered in messages of its own. */
    if (!memchr(name, ':', len) && strcmp(name, "request") != 0)
        rc = native_decode_named(cmd, name, len);
    if (rc == STATUS_NOT_FOUND)
        return arguments_refuse(
            cmd, ERROR_NOT_FOUND, "there is no action \"%.*s\"", (int)(len < 64 ? len : 64), name);
    return rc;
}

/* The object in which the action stands is the message from now on. */
static json_t *enter(struct native_memory *m)
{
    static const char *const places[] = {"payload", "data"};
    json_t *action = json_object_get(m->root, "action");

    for (size_t i = 0; !action && i < sizeof(places) / sizeof(places[0]); i++) {
        json_t *inner = json_object_get(m->root, places[i]);

        action = json_object_get(inner, "action");
        if (action) {
            json_incref(inner);
            json_decref(m->root);
            m->root = inner;
        }
    }
    return action;
}

static int mark(struct command *cmd, struct buf *id)
{
    id->max = 0;
    buf_putc(id, NATIVE_REQUEST_MARK);
    if (buf_error(id))
        return STATUS_NOMEM;
    cmd->request_id = (struct text){id->data, id->len};
    return 0;
}

int native_request_decode(struct command *cmd)
{
    struct native_memory *m = cmd->memory;
    json_t *action;

    if (cmd->request_id.p && arguments_is(cmd->request_id, "null"))
        cmd->request_id = (struct text){0};
    if (!cmd->request_id.p)
        return arguments_refuse(cmd, ERROR_INVALID_FORMAT, "a request needs a requestId");
    if (mark(cmd, &m->request_id) < 0)
        return STATUS_NOMEM;
    action = enter(m);
    if (!json_is_string(action))
        return arguments_refuse(cmd, ERROR_INVALID_FORMAT, "payload.action %s",
            action ? "must be a string" : "is missing");
    return decode_action(cmd, json_string_value(action), json_string_length(action));
}
