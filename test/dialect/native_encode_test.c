#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../change/fixture.h"
#include "base/status.h"
#include "dialect/dialects.h"

#include <stdio.h>

/* Every message the server sends, byte for byte. */

static struct buf out;

static const struct dialect *native(void)
{
    return dialects_find("/ws");
}

static void expect(const char *text)
{
    assert_string_equal(buf_text(&out), text);
    buf_fini(&out);
}

static void reply(struct reply r, const char *text)
{
    r.connection = 7;
    r.number = 2;
    r.time_ms = 1234567890123;
    native()->put_reply(&out, &r);
    expect(text);
}

#define T(s) ((struct text){s, sizeof(s) - 1})
#define HEAD "{\"id\":\"c7-2\",\"timestamp\":1234567890123,\"type\":"

static void test_replies(void **state)
{
    uint32_t one[] = {3}, three[] = {1, 2, 4294967295u};

    (void)state;
    reply((struct reply){.type = REPLY_ACK,
              .version = "0.1",
              .epoch = "ab",
              .seq = 41,
              .heartbeat_ms = 30000,
              .max_message = 1048576,
              .notifications = true},
        HEAD "\"connection:ack\",\"data\":{\"connectionId\":\"c7\",\"userId\":null,"
             "\"version\":\"0.1\",\"epoch\":\"ab\",\"seq\":41,\"heartbeatInterval\":30000,"
             "\"maxMessageSize\":1048576,\"channels\":[\"notifications\"]}}");
    reply((struct reply){.type = REPLY_SUBSCRIBED,
              .request_id = T("\"r\""),
              .table = T("us\"ers"),
              .subscriptions = one,
              .subscription_count = 1,
              .seq = 18446744073709551615u},
        HEAD "\"subscribed\",\"requestId\":\"r\",\"data\":{\"subscription\":\"s3\","
             "\"table\":\"us\\\"ers\",\"seq\":18446744073709551615}}");
    reply((struct reply){.type = REPLY_SUBSCRIBED, .channel = T("room:1"), .seq = 5},
        HEAD "\"subscribed\",\"channel\":\"room:1\",\"data\":{\"channel\":\"room:1\",\"seq\":5}}");
    reply((struct reply){.type = REPLY_UNSUBSCRIBED, .subscriptions = one, .subscription_count = 1},
        HEAD "\"unsubscribed\",\"data\":{\"subscription\":\"s3\"}}");
    reply((struct reply){.type = REPLY_UNSUBSCRIBED,
              .table = T("t"),
              .subscriptions = three,
              .subscription_count = 3,
              .all = true},
        HEAD "\"unsubscribed\",\"data\":{\"table\":\"t\","
             "\"subscriptions\":[\"s1\",\"s2\",\"s4294967295\"]}}");
    reply((struct reply){.type = REPLY_UNSUBSCRIBED, .all = true},
        HEAD "\"unsubscribed\",\"data\":{\"subscriptions\":[]}}");
    reply((struct reply){.type = REPLY_UNSUBSCRIBED, .channel = T("c")},
        HEAD "\"unsubscribed\",\"channel\":\"c\",\"data\":{\"channel\":\"c\"}}");
    reply((struct reply){.type = REPLY_PONG, .sent_at = T("12.5"), .request_id = T("null")},
        HEAD "\"pong\",\"requestId\":null,\"sentAt\":12.5,"
             "\"data\":{\"sentAt\":12.5,\"timestamp\":1234567890123}}");
    reply((struct reply){.type = REPLY_PONG},
        HEAD "\"pong\",\"data\":{\"timestamp\":1234567890123}}");
    reply((struct reply){.type = REPLY_HEARTBEAT}, HEAD "\"heartbeat\"}");
    reply((struct reply){.type = REPLY_ERROR,
              .request_id = T("1"),
              .code = "NOT_FOUND",
              .message = "no such table: \xff\n"},
        HEAD "\"error\",\"requestId\":1,"
             "\"error\":{\"code\":\"NOT_FOUND\",\"message\":\"no such table: \xef\xbf\xbd\\n\"},"
             "\"data\":{\"code\":\"NOT_FOUND\",\"message\":\"no such table: \xef\xbf\xbd\\n\"}}");
    reply((struct reply){.type = REPLY_ERROR,
              .code = "INVALID_FILTER",
              .message = "m",
              .subscriptions = one,
              .subscription_count = 1},
        HEAD "\"error\",\"error\":{\"code\":\"INVALID_FILTER\",\"message\":\"m\","
             "\"subscription\":\"s3\"},\"data\":{\"code\":\"INVALID_FILTER\",\"message\":\"m\","
             "\"subscription\":\"s3\"}}");
    reply((struct reply){.type = REPLY_RESYNC, .reason = "slow_consumer"},
        HEAD "\"resync\",\"reason\":\"slow_consumer\",\"data\":{\"reason\":\"slow_consumer\"}}");
    reply((struct reply){.type = REPLY_RESYNC,
              .reason = "future",
              .subscriptions = (uint32_t[]){2},
              .subscription_count = 1},
        HEAD "\"resync\",\"subscription\":\"s2\",\"reason\":\"future\",\"data\":{"
             "\"subscription\":\"s2\",\"reason\":\"future\"}}");
    reply((struct reply){.type = REPLY_RESYNC, .reason = "future", .channel = {"tables", 6}},
        HEAD "\"resync\",\"channel\":\"tables\",\"reason\":\"future\",\"data\":{"
             "\"channel\":\"tables\",\"reason\":\"future\"}}");
    reply((struct reply){.type = REPLY_SUBSCRIBED,
              .channel = {"tables", 6},
              .seq = 7,
              .resumed = true,
              .recovered = true},
        HEAD "\"subscribed\",\"channel\":\"tables\",\"data\":{\"channel\":\"tables\","
             "\"seq\":7,\"recovered\":true}}");
}

static void test_prefixes(void **state)
{
    uint32_t numbers[] = {1, 12};
    struct change_prefix p = {numbers, 1, TRANSITION_NONE};

    (void)state;
    native()->put_prefix(&out, &p);
    expect("{\"subscriptions\":[\"s1\"],");
    p = (struct change_prefix){numbers, 2, TRANSITION_ENTER};
    native()->put_prefix(&out, &p);
    expect("{\"subscriptions\":[\"s1\",\"s12\"],\"transition\":\"enter\",");
    p.transition = TRANSITION_LEAVE;
    native()->put_prefix(&out, &p);
    expect("{\"subscriptions\":[\"s1\",\"s12\"],\"transition\":\"leave\",");
    p = (struct change_prefix){0};
    native()->put_prefix(&out, &p);
    expect("{");
}

static void body(const struct change *c, const uint64_t *columns, const char *text)
{
    const struct transaction t = {.tx = 4, .time_ms = 1000};
    const struct change_message m = {"e1", &t, c, columns};

    native()->put_body(&out, &m);
    expect(text);
}

#define BODY "\"id\":\"e1:9\",\"timestamp\":1000,\"type\":"

static void test_rows(void **state)
{
    struct table *t = TABLE("t", "a:INTEGER:k", "b:BLOB:", "c:TEXT:v");
    struct value old[] = {INTEGER(1), REAL(1.0), ABSENT};
    struct value new[] = {INTEGER(2), BLOB("\0\1"), ABSENT};
    uint64_t second = 2;
    struct change c = {.seq = 9, .table = t, .row = new, .kind = CHANGE_INSERT, .rowid = 2};

    (void)state;
    body(&c, NULL,
        BODY
        "\"database_change\",\"channel\":\"tables\",\"seq\":9,\"tx\":4,\"table\":\"t\","
        "\"event\":\"INSERT\",\"key\":{\"a\":2},\"data\":{\"a\":2,\"b\":{\"$base64\":\"AAE=\"}}}");
    c.external = true;
    body(&c, &second,
        BODY "\"database_change\",\"channel\":\"tables\",\"seq\":9,\"tx\":4,\"table\":\"t\","
             "\"event\":\"INSERT\",\"key\":{\"a\":2},\"data\":{\"b\":{\"$base64\":\"AAE=\"}},"
             "\"source\":\"external\"}");
    c = (struct change){.seq = 9, .table = t, .row = new, .old = old, .kind = CHANGE_UPDATE};
    body(&c, NULL,
        BODY "\"database_change\",\"channel\":\"tables\",\"seq\":9,\"tx\":4,\"table\":\"t\","
             "\"event\":\"UPDATE\",\"key\":{\"a\":2},\"oldKey\":{\"a\":1},"
             "\"data\":{\"a\":2,\"b\":{\"$base64\":\"AAE=\"}},\"old\":{\"a\":1,\"b\":1.0}}");
    c = (struct change){.seq = 9, .table = t, .old = old, .kind = CHANGE_DELETE};
    body(&c, &second,
        BODY "\"database_change\",\"channel\":\"tables\",\"seq\":9,\"tx\":4,\"table\":\"t\","
             "\"event\":\"DELETE\",\"key\":{\"a\":1},\"data\":{\"b\":1.0},\"old\":{\"b\":1.0}}");
    table_unref(t);
}

/* Rows and the message that holds them; columns left out, the key never. */
static void test_snapshots(void **state)
{
    struct table *t = TABLE("t", "a:INTEGER:k", "b:BLOB:", "c:TEXT:v");
    struct value row[] = {INTEGER(2), BLOB("\0\1"), ABSENT},
                 no_key[] = {NULL_VALUE, REAL(1), ABSENT};
    uint64_t second = 2;
    struct change c = {.table = t, .row = row, .kind = CHANGE_INSERT, .rowid = 2};
    struct change_message m = {.epoch = "e1", .change = &c};
    struct reply r = {.type = REPLY_SNAPSHOT,
        .table = T("t"),
        .subscriptions = &(uint32_t){3},
        .subscription_count = 1,
        .seq = 18446744073709551615u};
    struct buf rows = {0};

    (void)state;
    reply(r, HEAD "\"snapshot\",\"subscription\":\"s3\",\"table\":\"t\","
                  "\"seq\":18446744073709551615,\"data\":{\"rows\":[]},\"last\":false}");
    native()->put_row(&rows, &m);
    m.columns = &second;
    c.row = no_key;
    c.rowid = -7;
    native()->put_row(&rows, &m);
    r.rows = (struct text){rows.data, rows.len};
    r.last = true;
    reply(r, HEAD "\"snapshot\",\"subscription\":\"s3\",\"table\":\"t\","
                  "\"seq\":18446744073709551615,\"data\":{\"rows\":["
                  "{\"key\":{\"a\":2},\"data\":{\"a\":2,\"b\":{\"$base64\":\"AAE=\"}}},"
                  "{\"key\":{\"rowid\":-7},\"data\":{\"b\":1.0}}]},\"last\":true}");
    buf_fini(&rows);
    table_unref(t);
}

static void test_row_without_key(void **state)
{
    struct table *t = TABLE("log", "line:TEXT:");
    struct value row[] = {TEXT("x\0y")};
    struct change c = {.seq = 9, .table = t, .old = row, .kind = CHANGE_DELETE, .old_rowid = -5};

    (void)state;
    body(&c, NULL,
        BODY "\"database_change\",\"channel\":\"tables\",\"seq\":9,\"tx\":4,\"table\":\"log\","
             "\"event\":\"DELETE\",\"key\":{\"rowid\":-5},\"data\":{\"line\":\"x\\u0000y\"},"
             "\"old\":{\"line\":\"x\\u0000y\"}}");
    table_unref(t);
}

static void test_ddl(void **state)
{
    struct table *t = TABLE("t", "a:INTEGER:k");
    struct change c = {.seq = 9, .table = t, .kind = CHANGE_TABLE_DROPPED};
    static const char *const types[] = {"table:created", "table:altered", "table:dropped"};
    char text[512];

    (void)state;
    for (int i = 0; i < 3; i++) {
        c.kind = (uint8_t)(CHANGE_TABLE_CREATED + i);
        c.external = i == 2;
        snprintf(text, sizeof(text),
            BODY "\"%s\",\"channel\":\"tables\",\"seq\":9,\"tx\":4,\"data\":{\"tableName\":\"t\","
                 "\"userId\":null,\"timestamp\":1000,\"changes\":{\"columns\":[{\"name\":\"a\","
                 "\"type\":\"INTEGER\",\"notNull\":false,\"default\":null,\"primaryKey\":true,"
                 "\"generated\":null}]}}%s}",
            types[i], i == 2 ? ",\"source\":\"external\"" : "");
        body(&c, NULL, text);
    }
    table_unref(t);
}

static void test_batches(void **state)
{
    uint32_t numbers[] = {1, 2};
    const struct change_prefix both = {numbers, 2, TRANSITION_NONE},
                               enter = {numbers, 1, TRANSITION_ENTER};
    const struct transaction t = {.tx = 4, .time_ms = 1000};
    struct batch_message m = {.epoch = "e1", .transaction = &t, .seq = 9, .table = "t"};
    struct buf items = {0};

    (void)state;
    native()->put_item(&items, &both, "\"a\":1}", 6);
    native()->put_item(&items, &enter, "\"a\":2}", 6);
    m.items = items.data;
    m.items_len = items.len;
    native()->put_batch(&out, &m);
    expect("{" BODY "\"changes\",\"channel\":\"tables\",\"seq\":9,\"tx\":4,\"table\":\"t\","
           "\"changes\":[{\"subscriptions\":[\"s1\",\"s2\"],\"a\":1},"
           "{\"subscriptions\":[\"s1\"],\"transition\":\"enter\",\"a\":2}]}");
    m.table = NULL;
    m.more = true;
    native()->put_batch(&out, &m);
    assert_non_null(strstr(buf_text(&out), "\"tx\":4,\"more\":true,\"changes\":[{"));
    buf_fini(&out);
    buf_fini(&items);
}

/* A full buffer is an error, never half a message. */
static void test_no_room(void **state)
{
    struct reply r = {.type = REPLY_HEARTBEAT};

    (void)state;
    buf_init(&out, 20);
    native()->put_reply(&out, &r);
    assert_int_equal(buf_error(&out), STATUS_TOO_LARGE);
    buf_fini(&out);
    buf_init(&out, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replies),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_row_without_key),
        cmocka_unit_test(test_snapshots),
        cmocka_unit_test(test_ddl),
        cmocka_unit_test(test_batches),
        cmocka_unit_test(test_no_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
