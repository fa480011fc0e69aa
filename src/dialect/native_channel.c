#include "dialect/native_channel.h"

#include "base/status.h"
#include "dialect/arguments.h"
#include "dialect/native.h"
#include "dialect/native_args.h"

#include <string.h>

/* Decoding. */

/*
 * The arguments of a broadcast stand where its channel stands; those of the others are searched for
 * in `data` too, but here that is what somebody else is to get, whatever is in it.
 */
static json_t *arguments_of(json_t *root)
{
    static const char *const places[] = {"data", "payload"};

    for (size_t i = 0; i < 2; i++) {
        json_t *inner = json_object_get(root, places[i]);

        if (json_object_get(root, "channel"))
            return root;
        if (json_object_get(inner, "channel"))
            return inner;
    }
    return root;
}

static int text_member(struct command *cmd, const json_t *from, const char *name, struct text *to)
{
    json_t *j = json_object_get(from, name);

    if (!j || json_is_null(j))
        return 0;
    if (!json_is_string(j))
        return arguments_refuse(cmd, ERROR_INVALID_FORMAT, "%s must be a string", name);
    *to = (struct text){json_string_value(j), json_string_length(j)};
    return 0;
}

static int keep(struct command *cmd)
{
    struct buf *b = &((struct native_memory *)cmd->memory)->data;

    if (buf_error(b))
        return STATUS_NOMEM;
    cmd->data = (struct text){b->data, b->len};
    return 0;
}

int native_decode_broadcast(struct command *cmd)
{
    struct native_memory *m = cmd->memory;
    json_t *from = arguments_of(m->root), *data = json_object_get(from, "data");
    json_t *self = json_object_get(from, "self");
    int rc;

    if ((rc = text_member(cmd, from, "channel", &cmd->channel)) < 0 ||
        (rc = text_member(cmd, from, "event", &cmd->event)) < 0)
        return rc;
    if (!cmd->channel.p)
        return arguments_refuse(cmd, ERROR_INVALID_FORMAT, "broadcast needs a channel");
    if (cmd->event.p && (cmd->event.len < 1 || cmd->event.len > NATIVE_EVENT_MAX))
        return arguments_refuse(
            cmd, ERROR_INVALID_FORMAT, "event must have 1 to %d bytes", NATIVE_EVENT_MAX);
    if (self && !json_is_null(self) && !json_is_boolean(self))
        return arguments_refuse(cmd, ERROR_INVALID_FORMAT, "self must be true or false");
    if (!data)
        data = json_object_get(json_object_get(from, "payload"), "data");
    if (!data)
        return arguments_refuse(cmd, ERROR_INVALID_FORMAT,
            "broadcast needs data: what the channel's subscribers are to get");
    cmd->self = !json_is_false(self);
    native_put_json(&m->data, data);
    return keep(cmd);
}

static bool position_ok(const char *name, const json_t *j)
{
    if (!j)
        return true;
    if (strcmp(name, "row") == 0)
        return !json_is_array(j) && !json_is_boolean(j);
    return json_is_string(j) || (json_is_integer(j) && strcmp(name, "column") == 0);
}

/* "table":null takes the cursor away; without any table it was forgotten. */
static bool names_no_table(const json_t *root)
{
    return !json_object_get(root, "table") &&
           !json_object_get(json_object_get(root, "data"), "table") &&
           !json_object_get(json_object_get(root, "payload"), "table");
}

int native_decode_cursor(struct command *cmd)
{
    static const char *const names[] = {"table", "row", "column"};
    struct native_memory *m = cmd->memory;

    if (names_no_table(m->root))
        return arguments_refuse(cmd, ERROR_INVALID_FORMAT,
            "user:cursor needs data such as {\"table\":\"users\",\"row\":1,\"column\":\"name\"}");
    for (size_t i = 0; i < 3; i++) {
        json_t *j = native_argument(cmd, names[i]);

        if (!position_ok(names[i], j))
            return arguments_refuse(cmd, ERROR_INVALID_FORMAT, "%s must be %s", names[i],
                i == 1 ? "a key: a number, a string or an object" : "a name");
        buf_puts(&m->data, i ? ",\"" : "{\"");
        buf_puts(&m->data, names[i]);
        buf_puts(&m->data, "\":");
        if (j)
            native_put_json(&m->data, j);
        else
            buf_puts(&m->data, "null");
    }
    buf_putc(&m->data, '}');
    if (!native_argument(cmd, "table"))
        return 0;
    return keep(cmd);
}

/* Encoding. */

static void put_member(struct buf *out, const char *name, struct text t)
{
    buf_puts(out, name);
    if (t.p)
        buf_put_json(out, t.p, t.len);
    else
        buf_puts(out, "null");
}

static void put_connection(struct buf *out, uint64_t connection)
{
    buf_puts(out, ",\"connectionId\":\"c");
    buf_put_u64(out, connection);
    buf_putc(out, '"');
}

/* Who may use the HTTP API names the type itself; anybody else's is "broadcast". */
void native_put_broadcast(struct buf *out, const struct reply *r)
{
    bool named = r->event.p && !r->connection;

    if (named)
        native_encode_typed(out, r, r->event);
    else
        native_encode_head(out, r, "broadcast");
    put_member(out, ",\"channel\":", r->channel);
    if (r->event.p)
        put_member(out, ",\"event\":", r->event);
    put_member(out, ",\"userId\":", r->user);
    if (r->connection)
        put_connection(out, r->connection);
    buf_puts(out, ",\"data\":");
    buf_put(out, r->data.p, r->data.len);
    buf_putc(out, '}');
}

void native_put_broadcast_ack(struct buf *out, const struct reply *r)
{
    native_encode_head(out, r, "broadcast:ack");
    put_member(out, ",\"channel\":", r->channel);
    buf_puts(out, ",\"delivered\":");
    buf_put_u64(out, r->delivered);
    native_encode_data(out, r);
    put_member(out, "\"channel\":", r->channel);
    buf_puts(out, ",\"delivered\":");
    buf_put_u64(out, r->delivered);
    buf_puts(out, "}}");
}

/* A cursor is named by its connection; its position is an object, as it was decoded above. */
static void put_cursor(struct buf *out, uint64_t connection, struct text position)
{
    buf_puts(out, "\"connectionId\":\"c");
    buf_put_u64(out, connection);
    if (position.p)
        buf_puts(out, "\",");
    else
        buf_puts(out, "\",\"table\":null,\"row\":null,\"column\":null}");
    if (position.p)
        buf_put(out, position.p + 1, position.len - 1);
}

static void put_user(struct buf *out, const struct present *p, size_t count)
{
    const char *comma = "";

    put_member(out, "{\"userId\":", p->user);
    buf_puts(out, ",\"connectionIds\":[");
    for (size_t i = 0; i < count; i++) {
        buf_puts(out, i ? ",\"c" : "\"c");
        buf_put_u64(out, p[i].connection);
        buf_putc(out, '"');
    }
    buf_puts(out, "],\"cursors\":[");
    for (size_t i = 0; i < count; i++) {
        if (!p[i].position.p)
            continue;
        buf_puts(out, comma);
        buf_putc(out, '{');
        put_cursor(out, p[i].connection, p[i].position);
        comma = ",";
    }
    buf_puts(out, "]}");
}

static void put_users(struct buf *out, const struct reply *r)
{
    const struct present *p = r->present, *end = p + r->present_count;

    buf_puts(out, ",\"connectedUsers\":[");
    while (p < end) {
        const struct present *next = p + 1;

        while (next < end && next->same_user)
            next++;
        if (p > r->present)
            buf_putc(out, ',');
        put_user(out, p, (size_t)(next - p));
        p = next;
    }
    buf_putc(out, ']');
}

void native_put_presence(struct buf *out, const struct reply *r)
{
    if (!r->user.p)
        return;
    put_member(out, ",\"userId\":", r->user);
    put_connection(out, r->connection);
    if (r->present)
        put_users(out, r);
    buf_puts(out, ",\"userCount\":");
    buf_put_u64(out, r->user_count);
}

static void put_user_head(struct buf *out, const struct reply *r, const char *type)
{
    native_encode_head(out, r, type);
    put_member(out, ",\"channel\":", r->channel);
    put_member(out, ",\"userId\":", r->user);
    buf_puts(out, ",\"data\":{");
}

static void put_user_news(struct buf *out, const struct reply *r, const char *type)
{
    put_user_head(out, r, type);
    put_member(out, "\"userId\":", r->user);
    put_connection(out, r->connection);
    if (r->present)
        put_users(out, r);
    buf_puts(out, ",\"userCount\":");
    buf_put_u64(out, r->user_count);
    buf_puts(out, "}}");
}

void native_put_user_joined(struct buf *out, const struct reply *r)
{
    put_user_news(out, r, "user:joined");
}

void native_put_user_left(struct buf *out, const struct reply *r)
{
    put_user_news(out, r, "user:left");
}

void native_put_user_cursor(struct buf *out, const struct reply *r)
{
    put_user_head(out, r, "user:cursor");
    put_member(out, "\"userId\":", r->user);
    buf_putc(out, ',');
    put_cursor(out, r->connection, r->data);
    buf_putc(out, '}');
}

bool native_type_reserved(struct text type)
{
    static const char *const names[] = {"auth_response", "changes", "database_change", "error",
        "heartbeat", "pong", "response", "resync", "snapshot", "subscribed", "token_expiring",
        "unsubscribed"};
    static const char *const families[] = {
        "broadcast:", "connection:", "query:", "table:", "user:"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (arguments_is(type, names[i]))
            return true;
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
        if (type.len >= strlen(families[i]) &&
            memcmp(type.p, families[i], strlen(families[i])) == 0)
            return true;
    return false;
}
