#include "fuzz.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "capture/database.h"
#include "dialect/native.h"
#include "dialect/native_args.h"
#include "fuzz_same.h"
#include "hub/roster.h"
#include "hub/sync.h"
#include <string.h>

/* Clients' messages: what is accepted makes sense, and has one reading, however it is written. */

static void check_texts(const struct command *c)
{
    const struct text texts[] = {c->table, c->channel, c->subscription, c->epoch, c->event, c->data,
        c->request_id, c->sent_at, c->query_id, c->token};
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
        REQUIRE(!texts[i].p || utf8_valid(texts[i].p, texts[i].len));
    for (int i = 0; i < c->filter_count; i++)
        REQUIRE(utf8_valid(c->filters[i], c->filter_lens[i]));
    for (int i = 0; i < c->column_count; i++)
        REQUIRE(utf8_valid(c->columns[i], c->column_lens[i]));
    REQUIRE(c->request_id.len <= NATIVE_ECHO_MAX + 1 && c->sent_at.len <= NATIVE_ECHO_MAX);
    REQUIRE(c->query_id.len <= NATIVE_ECHO_MAX);
}

static void check_subscribe(const struct command *c)
{
    REQUIRE(!c->table.p != !c->channel.p);
    REQUIRE(c->events && !(c->events & ~EVENTS_ALL));
    REQUIRE(c->has_filter || !c->filter_count);
    REQUIRE(c->has_columns == (c->column_count > 0));
    REQUIRE(c->since <= SINCE_EARLIEST && (c->since == SINCE_SEQ || !c->since_seq));
    REQUIRE(!c->epoch.p || c->since == SINCE_SEQ || c->since == SINCE_EARLIEST);
    if (c->snapshot)
        REQUIRE(c->table.p && !(c->table.len == 1 && *c->table.p == '*'));
    if (c->channel.p)
        REQUIRE(!c->has_filter && !c->has_columns && !c->batch && c->events == EVENTS_ALL);
}

static void is_json(struct text t)
{
    char err[256];
    json_t *j = json_read(t.p, t.len, err, sizeof(err));
    REQUIRE(j || mem_fail_hit());
    json_decref(j);
}

static void check_command(const struct command *c)
{
    check_texts(c);
    if (c->sent_at.p)
        is_json(c->sent_at);
    if (c->query_id.p)
        is_json(c->query_id);
    if (c->data.p)
        is_json(c->data);
    switch (c->type) {
    case COMMAND_SUBSCRIBE:
        check_subscribe(c);
        break;
    case COMMAND_UNSUBSCRIBE:
        REQUIRE(!!c->table.p + !!c->channel.p + !!c->subscription.p <= 1);
        break;
    case COMMAND_SQL:
    case COMMAND_QUERY_START:
        REQUIRE(c->sql && c->sql->statement_count > 0);
        break;
    case COMMAND_SYNC:
        REQUIRE(c->sync && c->sync->count == c->sync->sql.statement_count);
        break;
    case COMMAND_QUERY_CANCEL:
        REQUIRE(c->query_id.p);
        break;
    case COMMAND_BROADCAST:
        REQUIRE(c->channel.p && c->data.p && (!c->event.p || c->event.len));
        break;
    case COMMAND_AUTH:
        REQUIRE(c->token.p);
        break;
    case COMMAND_REPORT:
        REQUIRE(c->report <= REPORT_TABLE && c->report_limit <= ROSTER_MAX);
        REQUIRE(!c->table.p == (c->report != REPORT_TABLE));
        break;
    case COMMAND_CURSOR:
    case COMMAND_PING:
    case COMMAND_HEARTBEAT:
        break;
    }
}

/* It, written otherwise, is the same command. */
static void decode_again(const json_t *root, const struct command *c)
{
    struct command again;
    struct buf out = {0};
    native_put_json(&out, root);
    if (buf_error(&out) == 0) {
        char *copy = (char *)fuzz_copy(out.data, out.len);
        int rc = native_decode(&again, copy, out.len);
        free(copy);
        REQUIRE(mem_fail_hit() || (rc == 0 && fuzz_same_command(c, &again)));
        native_decode_fini(&again);
    }
    buf_fini(&out);
}

/* Arguments mean in "data" what they mean at the top. */
static void decode_inside(json_t *root, const struct command *c)
{
    static const char *const outside[] = {"type", "requestId", "id"};
    json_t *top = json_object(), *data = json_copy(root);
    const char *type = json_string_value(json_object_get(root, "type"));
    if (type && strcmp(type, "broadcast") != 0 && strcmp(type, "request") != 0 &&
        !json_object_get(root, "data") && !json_object_get(root, "payload")) {
        for (size_t i = 0; i < sizeof(outside) / sizeof(*outside); i++)
            if (json_object_get(root, outside[i])) {
                json_object_set(top, outside[i], json_object_get(root, outside[i]));
                json_object_del(data, outside[i]);
            }
        json_object_set(top, "data", data);
        decode_again(top, c);
    }
    json_decref(top);
    json_decref(data);
}

void fuzz_command(const uint8_t *data, size_t size)
{
    struct command c;
    char err[256];
    int rc = native_decode(&c, (const char *)data, size);
    json_t *root = rc == 0 ? json_read((const char *)data, size, err, sizeof(err)) : NULL;
    REQUIRE(rc == 0 || mem_fail_hit());
    if (rc == 0 && c.error.code)
        REQUIRE(c.error.message[0] &&
                strnlen(c.error.message, sizeof(c.error.message)) < sizeof(c.error.message));
    if (rc == 0 && !c.error.code) {
        REQUIRE(json_is_object(root) || mem_fail_hit());
        fuzz_accepted++;
        check_command(&c);
    }
    if (json_is_object(root)) {
        decode_again(root, &c);
        decode_inside(root, &c);
    }
    json_decref(root);
    native_decode_fini(&c);
}
