#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/status.h"
#include "dialect/dialects.h"
#include "dialect/native_channel.h"

#include <stdio.h>
#include <string.h>

/* Broadcasts and presence as clients write and read them. */

static struct command cmd;
static struct buf out;

static const struct dialect *native(void)
{
    return dialects_find("/ws");
}

static void decode(const char *text)
{
    assert_int_equal(native()->decode(&cmd, text, strlen(text)), 0);
}

static void assert_text(struct text t, const char *expected)
{
    if (!expected) {
        assert_null(t.p);
        return;
    }
    assert_non_null(t.p);
    assert_int_equal(t.len, strlen(expected));
    assert_memory_equal(t.p, expected, t.len);
}

static void test_broadcasts(void **state)
{
    static const struct {
        const char *text, *channel, *event, *data, *request_id;
        bool self;
    } cases[] = {
        {"{\"channel\":\"c\",\"data\":{\"a\" : [ 1, 1.0, -0.5, 1e400, null, true, "
         "\"\\u00e9\\u0000\"]}}",
            "c", NULL, "{\"a\":[1,1.0,-0.5,9e999,null,true,\"é\\u0000\"]}", NULL, true},
        {"{\"channel\":\"c\",\"data\":9223372036854775807,\"event\":\"e\",\"self\":false}", "c",
            "e", "9223372036854775807", NULL, false},
        {"{\"channel\":\"c\",\"data\":{\"channel\":\"d\",\"event\":\"x\",\"self\":false,"
         "\"requestId\":{}}}",
            "c", NULL, "{\"channel\":\"d\",\"event\":\"x\",\"self\":false,\"requestId\":{}}", NULL,
            true},
        {"{\"data\":{\"channel\":\"c\",\"data\":[],\"event\":\"e\",\"requestId\":4}}", "c", "e",
            "[]", "4", true},
        {"{\"payload\":{\"channel\":\"c\",\"data\":{},\"self\":null}}", "c", NULL, "{}", NULL,
            true},
        {"{\"channel\":\"c\",\"payload\":{\"data\":null}}", "c", NULL, "null", NULL, true},
        {"{\"requestId\":\"r\",\"channel\":\"c\",\"event\":null,\"data\":null}", "c", NULL, "null",
            "\"r\"", true},
    };
    char text[512];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        snprintf(text, sizeof(text), "{\"type\":\"broadcast\",%s", cases[i].text + 1);
        decode(text);
        if (cmd.error.code)
            fail_msg("%s: %s", text, cmd.error.message);
        assert_int_equal(cmd.type, COMMAND_BROADCAST);
        assert_text(cmd.channel, cases[i].channel);
        assert_text(cmd.event, cases[i].event);
        assert_text(cmd.data, cases[i].data);
        assert_text(cmd.request_id, cases[i].request_id);
        assert_int_equal(cmd.self, cases[i].self);
        native()->command_fini(&cmd);
    }
}

static void test_cursors(void **state)
{
    static const struct {
        const char *text, *data;
    } cases[] = {
        {"{\"data\":{\"table\":\"t\",\"row\":7,\"column\":\"c\"}}",
            "{\"table\":\"t\",\"row\":7,\"column\":\"c\"}"},
        {"{\"payload\":{\"table\":\"t\",\"row\":{\"a\":1}}}",
            "{\"table\":\"t\",\"row\":{\"a\":1},\"column\":null}"},
        {"{\"table\":\"t\",\"row\":\"k\",\"column\":3,\"userId\":\"me\"}",
            "{\"table\":\"t\",\"row\":\"k\",\"column\":3}"},
        {"{\"data\":{\"table\":null,\"row\":5}}", NULL},
    };
    char text[512];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        snprintf(text, sizeof(text), "{\"type\":\"user:cursor\",%s", cases[i].text + 1);
        decode(text);
        if (cmd.error.code)
            fail_msg("%s: %s", text, cmd.error.message);
        assert_int_equal(cmd.type, COMMAND_CURSOR);
        assert_text(cmd.data, cases[i].data);
        native()->command_fini(&cmd);
    }
}

static void test_refused(void **state)
{
    static const char *const cases[][2] = {
        {"\"broadcast\"", "needs a channel"},
        {"\"broadcast\",\"channel\":null,\"data\":1", "needs a channel"},
        {"\"broadcast\",\"data\":5", "needs a channel"},
        {"\"broadcast\",\"channel\":\"c\"", "needs data"},
        {"\"broadcast\",\"channel\":\"c\",\"payload\":{\"text\":1}", "needs data"},
        {"\"broadcast\",\"channel\":{},\"data\":1", "channel must be a string"},
        {"\"broadcast\",\"channel\":\"c\",\"data\":1,\"event\":[]", "event must be a string"},
        {"\"broadcast\",\"channel\":\"c\",\"data\":1,\"event\":\"\"", "event must have 1 to 128"},
        {"\"broadcast\",\"channel\":\"c\",\"data\":1,\"self\":0", "self must be"},
        {"\"user:cursor\"", "user:cursor needs data"},
        {"\"user:cursor\",\"data\":{\"row\":1}", "user:cursor needs data"},
        {"\"user:cursor\",\"data\":[\"table\"]", "user:cursor needs data"},
        {"\"user:cursor\",\"data\":{\"table\":1}", "table must be a name"},
        {"\"user:cursor\",\"data\":{\"table\":\"t\",\"row\":[]}", "row must be a key"},
        {"\"user:cursor\",\"data\":{\"table\":\"t\",\"column\":1.5}", "column must be a name"},
    };
    char text[256];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        snprintf(text, sizeof(text), "{\"type\":%s}", cases[i][0]);
        decode(text);
        if (!cmd.error.code || !strstr(cmd.error.message, cases[i][1]))
            fail_msg("%s: %s", text, cmd.error.message);
        assert_string_equal(cmd.error.code, "INVALID_FORMAT");
        native()->command_fini(&cmd);
    }
}

static void test_memory_runs_out(void **state)
{
    static const char *const texts[] = {"{\"type\":\"broadcast\",\"channel\":\"c\",\"data\":{\"a\":"
                                        "[1,\"xxxxxxxxxxxxxxxxxxxxxxxxxxx\"]}}",
        "{\"type\":\"user:cursor\",\"data\":{\"table\":\"t\",\"row\":7,\"column\":\"c\"}}"};

    (void)state;
    for (int i = 0; i < 2; i++) {
        bool hit = true;

        for (long n = 0; hit; n++) {
            int rc;

            mem_fail_after(n);
            rc = native()->decode(&cmd, texts[i], strlen(texts[i]));
            hit = mem_fail_hit();
            mem_fail_after(-1);
            assert_int_equal(rc, hit ? STATUS_NOMEM : 0);
            native()->command_fini(&cmd);
        }
    }
}

#define T(s) ((struct text){s, sizeof(s) - 1})
#define HEAD "{\"id\":\"c7-2\",\"timestamp\":1234567890123,\"type\":"

static void reply(struct reply r, const char *text)
{
    r.number = 2;
    r.time_ms = 1234567890123;
    native()->put_reply(&out, &r);
    assert_string_equal(buf_text(&out), text);
    buf_fini(&out);
}

static void test_messages(void **state)
{
    (void)state;
    reply((struct reply){.type = REPLY_BROADCAST,
              .connection = 7,
              .channel = T("room"),
              .event = T("a\"b"),
              .user = T("ann"),
              .data = T("[1]")},
        HEAD "\"broadcast\",\"channel\":\"room\",\"event\":\"a\\\"b\",\"userId\":\"ann\","
             "\"connectionId\":\"c7\",\"data\":[1]}");
    reply(
        (struct reply){
            .type = REPLY_BROADCAST, .connection = 7, .channel = T("r"), .data = T("{}")},
        HEAD
        "\"broadcast\",\"channel\":\"r\",\"userId\":null,\"connectionId\":\"c7\",\"data\":{}}");
    reply(
        (struct reply){
            .type = REPLY_BROADCAST, .channel = T("r"), .event = T("so\"ld"), .data = T("null")},
        "{\"id\":\"h2\",\"timestamp\":1234567890123,\"type\":\"so\\\"ld\",\"channel\":\"r\","
        "\"event\":\"so\\\"ld\",\"userId\":null,\"data\":null}");
    reply((struct reply){.type = REPLY_BROADCAST_ACK,
              .connection = 7,
              .request_id = T("5"),
              .channel = T("r"),
              .delivered = 12},
        HEAD "\"broadcast:ack\",\"requestId\":5,\"channel\":\"r\",\"delivered\":12,"
             "\"data\":{\"channel\":\"r\",\"delivered\":12}}");
}

static void test_presence(void **state)
{
    static const struct present there[] = {
        {.user = T("ann"), .connection = 7},
        {.user = T("ann"), .connection = 9, .same_user = true, .position = T("{\"table\":\"t\"}")},
        {.user = T("ann"), .connection = 11}, /* another user of that name */
    };
    struct reply r = {.type = REPLY_USER_JOINED,
        .connection = 7,
        .channel = T("collaboration"),
        .user = T("ann"),
        .present = there,
        .present_count = 3,
        .user_count = 2};
#define USERS                                                                                      \
    "\"connectedUsers\":[{\"userId\":\"ann\",\"connectionIds\":[\"c7\",\"c9\"],\"cursors\":["      \
    "{\"connectionId\":\"c9\",\"table\":\"t\"}]},{\"userId\":\"ann\",\"connectionIds\":[\"c11\"]," \
    "\"cursors\":[]}],\"userCount\":2}}"
#define WHO                                                                                        \
    "\"channel\":\"collaboration\",\"userId\":\"ann\",\"data\":{\"userId\":\"ann\","               \
    "\"connectionId\":\"c7\","

    (void)state;
    reply(r, HEAD "\"user:joined\"," WHO USERS);
    r.type = REPLY_USER_LEFT;
    reply(r, HEAD "\"user:left\"," WHO USERS);
    r.type = REPLY_SUBSCRIBED;
    reply(r, HEAD "\"subscribed\",\"channel\":\"collaboration\",\"data\":{\"channel\":"
                  "\"collaboration\",\"seq\":0,\"userId\":\"ann\",\"connectionId\":\"c7\"," USERS);
    r.type = REPLY_USER_JOINED;
    r.present = NULL;
    reply(r, HEAD "\"user:joined\"," WHO "\"userCount\":2}}");
    r.type = REPLY_USER_CURSOR;
    r.data = T("{\"table\":\"t\",\"row\":1}");
    reply(r, HEAD "\"user:cursor\"," WHO "\"table\":\"t\",\"row\":1}}");
    r.data = (struct text){0};
    reply(r, HEAD "\"user:cursor\"," WHO "\"table\":null,\"row\":null,\"column\":null}}");
}

static void test_types_of_the_server(void **state)
{
    static const char *const reserved[] = {"database_change", "changes", "snapshot", "error",
        "subscribed", "unsubscribed", "pong", "heartbeat", "resync", "response", "auth_response",
        "token_expiring", "connection:ack", "table:created", "query:complete", "user:cursor",
        "broadcast:ack", "user:"};
    static const char *const free_[] = {"broadcast", "user", "users:1", "Error", "errors", "query"};

    (void)state;
    for (size_t i = 0; i < sizeof(reserved) / sizeof(*reserved); i++)
        assert_true(native_type_reserved((struct text){reserved[i], strlen(reserved[i])}));
    for (size_t i = 0; i < sizeof(free_) / sizeof(*free_); i++)
        assert_false(native_type_reserved((struct text){free_[i], strlen(free_[i])}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_broadcasts),
        cmocka_unit_test(test_cursors),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_memory_runs_out),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_presence),
        cmocka_unit_test(test_types_of_the_server),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
