#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/status.h"
#include "capture/database.h"
#include "dialect/native.h"
#include "dialect/poll.h"
#include "dialect/sse.h"
#include "hub/sync.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Requests as clients write them, how the hub's replies are wrapped, and the long poll's answers.
 */

static struct command cmd;

static void decode(const char *text)
{
    assert_int_equal(native_decode(&cmd, text, strlen(text)), 0);
}

static void is(struct text t, const char *expected)
{
    assert_non_null(t.p);
    assert_int_equal(t.len, strlen(expected));
    assert_memory_equal(t.p, expected, t.len);
}

#define SQL                                                                                        \
    "{\"type\":\"request\",\"requestId\":\"r\",\"payload\":{\"action\":\"sql\",\"statements\":["   \
    "{\"sql\":\"SELECT ?\",\"params\":[1,\"x\",{\"$base64\":\"AAE=\"}]},"                          \
    "{\"sql\":\"SELECT :a\",\"params\":{\"a\":null}}]}}"
#define SYNC                                                                                       \
    "{\"type\":\"request\",\"requestId\":7,\"data\":{\"action\":\"sync\",\"operations\":["         \
    "{\"type\":\"UPDATE\",\"table\":\"t\",\"data\":{\"a\":1,\"b\":2.5},\"key\":{\"c\":\"x\"}},"    \
    "{\"sql\":\"SELECT 1\"}]}}"

static void test_sql(void **state)
{
    (void)state;
    decode(SQL);
    assert_null(cmd.error.code);
    assert_int_equal(cmd.type, COMMAND_SQL);
    is(cmd.request_id, "\"r\">");
    assert_true(cmd.sql->transaction);
    assert_int_equal(cmd.sql->statement_count, 2);
    assert_int_equal(cmd.sql->statements[0].param_count, 3);
    assert_int_equal(cmd.sql->statements[0].params[2].value.type, VALUE_BLOB);
    assert_string_equal(cmd.sql->statements[1].params[0].name, "a");
    native_decode_fini(&cmd);
}

static void test_sync(void **state)
{
    const struct sync_operation *op;

    (void)state;
    decode(SYNC);
    assert_null(cmd.error.code);
    assert_int_equal(cmd.type, COMMAND_SYNC);
    is(cmd.request_id, "7>");
    assert_int_equal(cmd.sync->count, 2);
    op = &cmd.sync->operations[0];
    assert_int_equal(op->kind, SYNC_UPDATE);
    is(op->table, "t");
    assert_int_equal(op->data_count, 2);
    assert_int_equal(op->key_count, 1);
    is(op->names[1], "b");
    is(op->names[2], "c");
    assert_int_equal(cmd.sync->sql.statements[0].param_count, 3);
    assert_int_equal(cmd.sync->operations[1].kind, SYNC_SQL);
    native_decode_fini(&cmd);
}

/* The arguments may stand where the action stands, or one level below. */
static void test_places(void **state)
{
    static const char *const same[] = {
        "{\"type\":\"request\",\"requestId\":1,\"action\":\"subscribe\",\"table\":\"t\"}",
        "{\"type\":\"request\",\"id\":1,\"payload\":{\"action\":\"subscribe\",\"table\":\"t\"}}",
        "{\"type\":\"request\",\"requestId\":1,\"data\":{\"action\":\"subscribe\",\"table\":\"t\"}"
        "}",
        "{\"type\":\"request\",\"payload\":{\"requestId\":1,\"action\":\"subscribe\",\"data\":"
        "{\"table\":\"t\"}}}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(same) / sizeof(*same); i++) {
        decode(same[i]);
        assert_null(cmd.error.code);
        assert_int_equal(cmd.type, COMMAND_SUBSCRIBE);
        is(cmd.request_id, "1>");
        is(cmd.table, "t");
        native_decode_fini(&cmd);
    }
}

static void cut(int (*with)(struct command *, const char *, size_t), const char *text, bool errors)
{
    long page = sysconf(_SC_PAGESIZE);
    char *map =
        mmap(NULL, (size_t)page * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t len = strlen(text);

    assert_true(map != MAP_FAILED);
    assert_int_equal(mprotect(map + page, (size_t)page, PROT_NONE), 0);
    for (size_t n = 0; n <= len; n++) {
        char *at = map + page - n;

        memcpy(at, text, n);
        assert_int_equal(with(&cmd, at, n), 0);
        if (n == len)
            assert_null(cmd.error.code);
        else if (errors)
            assert_string_equal(cmd.error.code, "INVALID_FORMAT");
        errors ? native_decode_fini(&cmd) : sse_decode_fini(&cmd);
    }
    munmap(map, (size_t)page * 2);
}

#define QUERY "table=users&filter=a%3D1&since=e:12&events=insert&timeout=2.5&limit=40"

static void test_cut_anywhere(void **state)
{
    (void)state;
    cut(native_decode, SQL, true);
    cut(native_decode, SYNC, true);
    cut(sse_decode_poll, QUERY, false);
}

static void test_memory_runs_out(void **state)
{
    static const char *const texts[] = {SQL, SYNC};
    bool hit = true;

    (void)state;
    for (size_t i = 0; i < 2; i++, hit = true) {
        for (long n = 0; hit; n++) {
            int rc;

            mem_fail_after(n);
            rc = native_decode(&cmd, texts[i], strlen(texts[i]));
            hit = mem_fail_hit();
            mem_fail_after(-1);
            assert_int_equal(rc, hit ? STATUS_NOMEM : 0);
            native_decode_fini(&cmd);
        }
    }
}

static void reply(struct reply r, const char *expected)
{
    struct buf out = {0};

    r.connection = 3;
    r.number = 4;
    r.time_ms = 5;
    native_encode_reply(&out, &r);
    assert_string_equal(buf_text(&out), expected);
    buf_fini(&out);
}

#define ID(text)                                                                                   \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }
#define HEAD(type) "{\"id\":\"c3-4\",\"timestamp\":5,\"type\":\"" type "\",\"requestId\":\"r\""

static void test_replies(void **state)
{
    const struct sql_error e = {
        .code = "SQL_ERROR", .message = "no", .sqlite_code = 1, .offset = 3, .statement = 2};

    (void)state;
    reply(
        (struct reply){.type = REPLY_RESULT, .request_id = ID("\"r\">"), .result = ID("{\"a\":1}")},
        HEAD("response") ",\"payload\":{\"success\":true,\"a\":1}}");
    reply((struct reply){.type = REPLY_HEARTBEAT, .request_id = ID("\"r\">")},
        HEAD("response") ",\"payload\":{\"success\":true}}");
    reply(
        (struct reply){.type = REPLY_HEARTBEAT, .request_id = ID("\"r\"")}, HEAD("heartbeat") "}");
    reply((struct reply){.type = REPLY_PONG, .request_id = ID("\"r\">")},
        HEAD("response") ",\"payload\":{\"success\":true,\"timestamp\":5}}");
    reply(
        (struct reply){
            .type = REPLY_ERROR, .request_id = ID("\"r\">"), .code = "X", .message = "m"},
        HEAD("error") ",\"error\":{\"code\":\"X\",\"message\":\"m\"},\"data\":{\"code\":\"X\","
                      "\"message\":\"m\"},\"payload\":{\"success\":false,\"error\":{\"code\":\"X\","
                      "\"message\":\"m\"}}}");
#define E                                                                                          \
    "{\"code\":\"SQL_ERROR\",\"message\":\"no\",\"sqliteCode\":1,\"offset\":3,\"operation\":2}"
    reply((struct reply){.type = REPLY_ERROR,
              .request_id = ID("\"r\">"),
              .code = e.code,
              .message = e.message,
              .sql = &e,
              .operation = true},
        HEAD("error") ",\"error\":" E ",\"data\":" E ",\"payload\":{\"success\":false,\"error\":" E
                      "}}");
}

static void test_poll_parameters(void **state)
{
    static const char *const bad[] = {"timeout", "timeout=", "timeout=x", "timeout=60.001",
        "timeout=-1", "timeout=1&timeout=1", "limit=0", "limit=10001", "limit=1.5",
        "limit=", "timeout=0000000000000000000000000000000000000000000001", "batch=1", "snapshot",
        "x=1"};

    (void)state;
    assert_int_equal(sse_decode_poll(&cmd, QUERY, strlen(QUERY)), 0);
    assert_null(cmd.error.code);
    assert_int_equal(cmd.wait_ms, 2500);
    assert_int_equal(cmd.limit, 40);
    sse_decode_fini(&cmd);
    assert_int_equal(sse_decode_poll(&cmd, "", 0), 0);
    assert_int_equal(cmd.wait_ms, 25000);
    assert_int_equal(cmd.limit, 1000);
    is(cmd.table, "*");
    sse_decode_fini(&cmd);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        assert_int_equal(sse_decode_poll(&cmd, bad[i], strlen(bad[i])), 0);
        if (!cmd.error.code)
            fail_msg("accepted: %s", bad[i]);
        sse_decode_fini(&cmd);
    }
    assert_int_equal(sse_decode(&cmd, "timeout=1", 9), 0);
    assert_string_equal(cmd.error.code, "INVALID_FORMAT");
    sse_decode_fini(&cmd);
}

static void test_poll_answers(void **state)
{
    struct reply resync = {.type = REPLY_RESYNC, .reason = "future"};
    struct reply changes = {
        .type = REPLY_CHANGES, .epoch = "e1", .position = 12, .headers = "A: b\r\n"};
    const struct change_prefix prefix = {.transition = TRANSITION_ENTER};
    struct buf items = {0}, out = {0};

    (void)state;
    poll_dialect.put_item(&items, &prefix, "\"x\":1}", 6);
    poll_dialect.put_reply(&items, &resync);
    changes.rows = (struct text){items.data, items.len};
    poll_dialect.put_reply(&out, &changes);
    assert_string_equal(buf_text(&out),
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 117\r\nA: b\r\n"
        "Connection: close\r\nRowtap-Position: e1:12\r\n\r\n"
        "[{\"transition\":\"enter\",\"x\":1},{\"id\":\"h0\",\"timestamp\":0,\"type\":\"resync\","
        "\"reason\":\"future\",\"data\":{\"reason\":\"future\"}}]");
    buf_reset(&out);
    poll_dialect.put_keep_alive(&out, "e1", 5);
    assert_int_equal(out.len, 0);
    buf_fini(&items);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sql),
        cmocka_unit_test(test_sync),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_memory_runs_out),
        cmocka_unit_test(test_replies),
        cmocka_unit_test(test_poll_parameters),
        cmocka_unit_test(test_poll_answers),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
