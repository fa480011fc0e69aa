#include "dialect/native.h"

#include "change/change_json.h"
#include "dialect/native_channel.h"
#include "dialect/native_query.h"
#include "dialect/native_request.h"
#include "dialect/sql_json.h"

#include <string.h>

/* A literal, whose length the compiler knows: for what is written with every change. */
#define PUT(out, literal) buf_put(out, literal, sizeof(literal) - 1)

/*
 * Every message is {"id":…,"timestamp":…,"type":…,…}. A change's id is EPOCH:seq, the same for all
 * its receivers; any other's is a connection's id and a counter, or that of the HTTP API's
 * messages.
 */
void native_encode_typed(struct buf *out, const struct reply *r, struct text type)
{
    bool response;
    struct text id = native_request_id(r, &response);

    if (response && r->type != REPLY_ERROR)
        type = (struct text){"response", strlen("response")};
    buf_puts(out, r->connection ? "{\"id\":\"c" : "{\"id\":\"h");
    if (r->connection) {
        buf_put_u64(out, r->connection);
        buf_putc(out, '-');
    }
    buf_put_u64(out, r->number);
    buf_puts(out, "\",\"timestamp\":");
    buf_put_i64(out, r->time_ms);
    buf_puts(out, ",\"type\":");
    buf_put_json(out, type.p, type.len);
    if (id.p) {
        buf_puts(out, ",\"requestId\":");
        buf_put(out, id.p, id.len);
    }
}

static void put_head(struct buf *out, const struct reply *r, const char *type)
{
    native_encode_typed(out, r, (struct text){type, strlen(type)});
}

void native_encode_head(struct buf *out, const struct reply *r, const char *type)
{
    put_head(out, r, type);
}

/* The members of a reply, at least one, stand in "data", or in a response's "payload". */
static void open_data(struct buf *out, const struct reply *r)
{
    bool response;

    native_request_id(r, &response);
    buf_puts(out, response ? ",\"payload\":{\"success\":true," : ",\"data\":{");
}

void native_encode_data(struct buf *out, const struct reply *r)
{
    open_data(out, r);
}

static void put_text(struct buf *out, const char *name, struct text t)
{
    buf_putc(out, '"');
    buf_puts(out, name);
    buf_puts(out, "\":");
    buf_put_json(out, t.p, t.len);
}

static void put_subscription(struct buf *out, uint32_t number)
{
    PUT(out, "\"s");
    buf_put_u64(out, number);
    buf_putc(out, '"');
}

static void put_subscriptions(struct buf *out, const uint32_t *numbers, size_t count)
{
    PUT(out, "\"subscriptions\":[");
    for (size_t i = 0; i < count; i++) {
        if (i)
            buf_putc(out, ',');
        put_subscription(out, numbers[i]);
    }
    buf_putc(out, ']');
}

static void put_ack(struct buf *out, const struct reply *r)
{
    put_head(out, r, "connection:ack");
    buf_puts(out, ",\"data\":{\"connectionId\":\"c");
    buf_put_u64(out, r->connection);
    buf_puts(out, "\",\"userId\":");
    buf_put_json_text(out, r->user_id);
    buf_puts(out, ",\"version\":");
    buf_put_json_text(out, r->version);
    buf_puts(out, ",\"epoch\":");
    buf_put_json_text(out, r->epoch);
    buf_puts(out, ",\"seq\":");
    buf_put_u64(out, r->seq);
    buf_puts(out, ",\"heartbeatInterval\":");
    buf_put_i64(out, r->heartbeat_ms);
    buf_puts(out, ",\"maxMessageSize\":");
    buf_put_u64(out, r->max_message);
    buf_puts(out, r->notifications ? ",\"channels\":[\"notifications\"]}}" : ",\"channels\":[]}}");
}

/* Named at the top, as in the channel's messages, and again where "data" begins. */
static void put_channel(struct buf *out, const struct reply *r)
{
    buf_putc(out, ',');
    put_text(out, "channel", r->channel);
    open_data(out, r);
    put_text(out, "channel", r->channel);
}

static void put_subscribed(struct buf *out, const struct reply *r)
{
    put_head(out, r, "subscribed");
    if (r->channel.p) {
        put_channel(out, r);
    } else {
        open_data(out, r);
        buf_puts(out, "\"subscription\":");
        put_subscription(out, r->subscriptions[0]);
        buf_putc(out, ',');
        put_text(out, "table", r->table);
    }
    buf_puts(out, ",\"seq\":");
    buf_put_u64(out, r->seq);
    if (r->resumed)
        buf_puts(out, r->recovered ? ",\"recovered\":true" : ",\"recovered\":false");
    native_put_presence(out, r);
    buf_puts(out, "}}");
}

static void put_unsubscribed(struct buf *out, const struct reply *r)
{
    put_head(out, r, "unsubscribed");
    if (r->channel.p) {
        put_channel(out, r);
    } else {
        open_data(out, r);
        if (r->table.p) {
            put_text(out, "table", r->table);
            buf_putc(out, ',');
        }
        if (r->all) {
            put_subscriptions(out, r->subscriptions, r->subscription_count);
        } else {
            buf_puts(out, "\"subscription\":");
            put_subscription(out, r->subscriptions[0]);
        }
    }
    buf_puts(out, "}}");
}

static void put_sent_at(struct buf *out, const struct reply *r)
{
    if (!r->sent_at.p)
        return;
    buf_puts(out, "\"sentAt\":");
    buf_put(out, r->sent_at.p, r->sent_at.len);
    buf_putc(out, ',');
}

static void put_pong(struct buf *out, const struct reply *r)
{
    put_head(out, r, "pong");
    if (r->sent_at.p) {
        buf_puts(out, ",\"sentAt\":");
        buf_put(out, r->sent_at.p, r->sent_at.len);
    }
    open_data(out, r);
    put_sent_at(out, r);
    buf_puts(out, "\"timestamp\":");
    buf_put_i64(out, r->time_ms);
    buf_puts(out, "}}");
}

static void put_heartbeat(struct buf *out, const struct reply *r)
{
    bool response;

    put_head(out, r, "heartbeat");
    native_request_id(r, &response);
    buf_puts(out, response ? ",\"payload\":{\"success\":true}}" : "}");
}

static void put_result(struct buf *out, const struct reply *r)
{
    put_head(out, r, "response");
    open_data(out, r);
    buf_put(out, r->result.p + 1, r->result.len - 1);
    buf_putc(out, '}');
}

static void put_error_members(struct buf *out, const struct reply *r)
{
    if (r->sql) {
        sql_json_put_error_members(out, r->sql, r->operation ? "operation" : "statement");
        return;
    }
    buf_puts(out, "\"code\":");
    buf_put_json_text(out, r->code);
    buf_puts(out, ",\"message\":");
    buf_put_json_text(out, r->message);
    if (r->retry_ms) {
        buf_puts(out, ",\"retryAfter\":");
        buf_put_i64(out, r->retry_ms);
    }
    if (r->subscription_count) {
        buf_puts(out, ",\"subscription\":");
        put_subscription(out, r->subscriptions[0]);
    }
    if (r->query_id.p) {
        buf_puts(out, ",\"queryId\":");
        buf_put(out, r->query_id.p, r->query_id.len);
    }
}

/*
 * Clients look for the code in either place: the one HTTP answers have, or "data"; or, after a
 * request, where its response would have been.
 */
static void put_error(struct buf *out, const struct reply *r)
{
    static const char *const places[] = {
        ",\"error\":{", ",\"data\":{", ",\"payload\":{\"success\":false,\"error\":{"};
    bool response;

    put_head(out, r, "error");
    native_request_id(r, &response);
    for (int i = 0; i < (response ? 3 : 2); i++) {
        buf_puts(out, places[i]);
        put_error_members(out, r);
        buf_putc(out, '}');
    }
    buf_puts(out, response ? "}}" : "}");
}

static void put_resync(struct buf *out, const struct reply *r)
{
    static const char *const places[] = {",", ",\"data\":{"};

    put_head(out, r, "resync");
    for (int i = 0; i < 2; i++) {
        buf_puts(out, places[i]);
        if (r->subscription_count) {
            buf_puts(out, "\"subscription\":");
            put_subscription(out, r->subscriptions[0]);
            buf_putc(out, ',');
        } else if (r->channel.p) {
            put_text(out, "channel", r->channel);
            buf_putc(out, ',');
        }
        if (r->table.p) {
            put_text(out, "table", r->table);
            buf_putc(out, ',');
        }
        buf_puts(out, "\"reason\":");
        buf_put_json_text(out, r->reason);
        if (r->seq) {
            buf_puts(out, ",\"seq\":");
            buf_put_u64(out, r->seq);
        }
    }
    buf_puts(out, "}}");
}

static void put_snapshot(struct buf *out, const struct reply *r)
{
    put_head(out, r, "snapshot");
    buf_puts(out, ",\"subscription\":");
    put_subscription(out, r->subscriptions[0]);
    buf_putc(out, ',');
    put_text(out, "table", r->table);
    buf_puts(out, ",\"seq\":");
    buf_put_u64(out, r->seq);
    buf_puts(out, ",\"data\":{\"rows\":[");
    buf_put(out, r->rows.p, r->rows.len);
    buf_puts(out, r->last ? "]},\"last\":true}" : "]},\"last\":false}");
}

/* A refusal says why, and whose the connection still is. */
static void put_auth(struct buf *out, const struct reply *r)
{
    bool response;

    put_head(out, r, "auth_response");
    native_request_id(r, &response);
    buf_puts(out, response ? ",\"payload\":{\"success\":" : ",\"data\":{\"success\":");
    buf_puts(out, r->code ? "false,\"userId\":" : "true,\"userId\":");
    buf_put_json_text(out, r->user_id);
    buf_puts(out, r->code ? ",\"permissions\":[]" : ",\"permissions\":[\"*\"],\"role\":");
    if (r->code) {
        buf_puts(out, ",\"error\":{");
        put_error_members(out, r);
        buf_putc(out, '}');
    } else {
        buf_put_json_text(out, r->role);
        buf_puts(out, ",\"expiresAt\":");
        if (r->expires_ms)
            buf_put_i64(out, r->expires_ms);
        else
            buf_puts(out, "null");
    }
    buf_puts(out, "}}");
}

static void put_expiring(struct buf *out, const struct reply *r)
{
    put_head(out, r, "token_expiring");
    buf_puts(out, ",\"expiresAt\":");
    buf_put_i64(out, r->expires_ms);
    buf_puts(out, ",\"data\":{\"expiresAt\":");
    buf_put_i64(out, r->expires_ms);
    buf_puts(out, "}}");
}

void native_encode_reply(struct buf *out, const struct reply *r)
{
    static void (*const put[])(struct buf *, const struct reply *) = {
        [REPLY_ACK] = put_ack,
        [REPLY_SUBSCRIBED] = put_subscribed,
        [REPLY_UNSUBSCRIBED] = put_unsubscribed,
        [REPLY_PONG] = put_pong,
        [REPLY_HEARTBEAT] = put_heartbeat,
        [REPLY_ERROR] = put_error,
        [REPLY_RESYNC] = put_resync,
        [REPLY_SNAPSHOT] = put_snapshot,
        [REPLY_RESULT] = put_result,
        [REPLY_QUERY_STARTED] = native_query_encode,
        [REPLY_QUERY_PROGRESS] = native_query_encode,
        [REPLY_QUERY_ROWS] = native_query_encode,
        [REPLY_QUERY_COMPLETE] = native_query_encode,
        [REPLY_QUERY_ERROR] = native_query_encode,
        [REPLY_BROADCAST] = native_put_broadcast,
        [REPLY_BROADCAST_ACK] = native_put_broadcast_ack,
        [REPLY_USER_JOINED] = native_put_user_joined,
        [REPLY_USER_LEFT] = native_put_user_left,
        [REPLY_USER_CURSOR] = native_put_user_cursor,
        [REPLY_AUTH] = put_auth,
        [REPLY_EXPIRING] = put_expiring,
    };

    put[r->type](out, r);
}

/* {"subscriptions":["s1"],"transition":"enter", — the body goes on from there. */
void native_encode_prefix(struct buf *out, const struct change_prefix *p)
{
    buf_putc(out, '{');
    if (p->subscription_count) {
        put_subscriptions(out, p->subscriptions, p->subscription_count);
        buf_putc(out, ',');
    }
    if (p->transition)
        buf_puts(out, p->transition == TRANSITION_ENTER ? "\"transition\":\"enter\","
                                                        : "\"transition\":\"leave\",");
}

static void put_row_change(struct buf *out, const struct change_message *m)
{
    const struct change *c = m->change;

    PUT(out, ",\"table\":");
    buf_put_json_text(out, c->table->name);
    PUT(out, ",\"event\":\"");
    buf_puts(out, change_kind_name(c->kind));
    PUT(out, "\",\"key\":");
    key_put_json(out, c->table, c->row ? c->row : c->old, c->row ? c->rowid : c->old_rowid);
    if (change_moved_key(c)) {
        PUT(out, ",\"oldKey\":");
        key_put_json(out, c->table, c->old, c->old_rowid);
    }
    PUT(out, ",\"data\":");
    row_put_json(out, c->table, c->row ? c->row : c->old, m->columns);
    if (c->old) {
        PUT(out, ",\"old\":");
        row_put_json(out, c->table, c->old, m->columns);
    }
    if (c->external)
        PUT(out, ",\"source\":\"external\"");
    buf_putc(out, '}');
}

static void put_ddl(struct buf *out, const struct change_message *m)
{
    buf_puts(out, ",\"data\":{\"tableName\":");
    buf_put_json_text(out, m->change->table->name);
    buf_puts(out, ",\"userId\":null,\"timestamp\":");
    buf_put_i64(out, m->transaction->time_ms);
    buf_puts(out, ",\"changes\":");
    ddl_put_json(out, m->change);
    buf_putc(out, '}');
    if (m->change->external)
        buf_puts(out, ",\"source\":\"external\"");
    buf_putc(out, '}');
}

/* The members that a change and a batch of changes begin with. */
static void put_change_head(
    struct buf *out, const char *epoch, const struct transaction *t, uint64_t seq, const char *type)
{
    PUT(out, "\"id\":\"");
    buf_puts(out, epoch);
    buf_putc(out, ':');
    buf_put_u64(out, seq);
    PUT(out, "\",\"timestamp\":");
    buf_put_i64(out, t->time_ms);
    PUT(out, ",\"type\":\"");
    buf_puts(out, type);
    PUT(out, "\",\"channel\":\"tables\",\"seq\":");
    buf_put_u64(out, seq);
    PUT(out, ",\"tx\":");
    buf_put_u64(out, t->tx);
}

void native_encode_body(struct buf *out, const struct change_message *m)
{
    const struct change *c = m->change;
    bool row = c->kind <= CHANGE_DELETE;

    put_change_head(
        out, m->epoch, m->transaction, c->seq, row ? "database_change" : change_kind_name(c->kind));
    if (row)
        put_row_change(out, m);
    else
        put_ddl(out, m);
}

void native_encode_item(
    struct buf *items, const struct change_prefix *p, const char *body, size_t body_len)
{
    if (items->len)
        buf_putc(items, ',');
    native_encode_prefix(items, p);
    buf_put(items, body, body_len);
}

void native_encode_batch(struct buf *out, const struct batch_message *m)
{
    buf_putc(out, '{');
    put_change_head(out, m->epoch, m->transaction, m->seq, "changes");
    if (m->table) {
        PUT(out, ",\"table\":");
        buf_put_json_text(out, m->table);
    }
    if (m->more)
        PUT(out, ",\"more\":true");
    PUT(out, ",\"changes\":[");
    buf_put(out, m->items, m->items_len);
    PUT(out, "]}");
}

void native_encode_row(struct buf *rows, const struct change_message *m)
{
    const struct change *c = m->change;

    buf_puts(rows, rows->len ? ",{\"key\":" : "{\"key\":");
    key_put_json(rows, c->table, c->row, c->rowid);
    PUT(rows, ",\"data\":");
    row_put_json(rows, c->table, c->row, m->columns);
    buf_putc(rows, '}');
}
