#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/status.h"
#include "capture/database.h"
#include "dialect/dialects.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* query:start and query:cancel as clients write them, and what they are answered, byte for byte. */

static struct command cmd;

static const struct dialect *native(void)
{
    return dialects_find("/ws");
}

static void decode(const char *text)
{
    assert_int_equal(native()->decode(&cmd, text, strlen(text)), 0);
}

static void test_start(void **state)
{
    static const char *const same[] = {
        "{\"type\":\"query:start\",\"data\":{\"queryId\":\"a\",\"sql\":\"SELECT "
        "?\",\"params\":[7]}}",
        "{\"type\":\"query:start\",\"queryId\":\"a\",\"sql\":\"SELECT ?\",\"params\":[7]}",
        ("{\"type\":\"query:start\",\"payload\":{\"params\":[7]},\"sql\":\"SELECT ?\","
         "\"data\":{\"queryId\":\"a\"}}"),
    };

    (void)state;
    for (size_t i = 0; i < sizeof(same) / sizeof(*same); i++) {
        decode(same[i]);
        assert_null(cmd.error.code);
        assert_int_equal(cmd.type, COMMAND_QUERY_START);
        assert_int_equal(cmd.query_id.len, 3);
        assert_memory_equal(cmd.query_id.p, "\"a\"", 3);
        assert_int_equal(cmd.sql->statement_count, 1);
        assert_string_equal(cmd.sql->statements[0].sql, "SELECT ?");
        assert_int_equal(cmd.sql->statements[0].param_count, 1);
        assert_int_equal(cmd.sql->statements[0].params[0].value.i, 7);
        native()->command_fini(&cmd);
    }
    decode("{\"type\":\"query:start\",\"sql\":\"SELECT "
           ":a\",\"params\":{\":a\":{\"$base64\":\"AAE=\"}}}");
    assert_null(cmd.error.code);
    assert_null(cmd.query_id.p);
    assert_true(cmd.sql->statements[0].named);
    assert_string_equal(cmd.sql->statements[0].params[0].name, "a");
    assert_int_equal(cmd.sql->statements[0].params[0].value.type, VALUE_BLOB);
    native()->command_fini(&cmd);
}

static void test_cancel(void **state)
{
    (void)state;
    decode("{\"type\":\"query:cancel\",\"requestId\":1,\"data\":{\"queryId\":5}}");
    assert_null(cmd.error.code);
    assert_int_equal(cmd.type, COMMAND_QUERY_CANCEL);
    assert_int_equal(cmd.query_id.len, 1);
    assert_memory_equal(cmd.query_id.p, "5", 1);
    native()->command_fini(&cmd);
}

static void test_errors(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"{\"type\":\"query:start\"}", "sql is missing"},
        {"{\"type\":\"query:start\",\"sql\":1}", "sql is a number; it must be a string"},
        {"{\"type\":\"query:start\",\"sql\":\"a\\u0000\"}", "sql contains a NUL character"},
        {"{\"type\":\"query:start\",\"sql\":\"\",\"params\":\"x\"}",
            "params is a string; it must be an array, or an object for named parameters"},
        {"{\"type\":\"query:start\",\"sql\":\"\",\"params\":[1,[2]]}", "params[1] is an array;"},
        {"{\"type\":\"query:start\",\"sql\":\"\",\"queryId\":{}}",
            "queryId must not be an object or a list"},
        {"{\"type\":\"query:cancel\"}", "query:cancel needs a queryId"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        decode(cases[i].text);
        assert_string_equal(cmd.error.code, "INVALID_FORMAT");
        assert_memory_equal(cmd.error.message, cases[i].message, strlen(cases[i].message));
        native()->command_fini(&cmd);
    }
}

#define FULL                                                                                       \
    "{\"type\":\"query:start\",\"requestId\":\"r\",\"data\":{\"queryId\":\"q\",\"sql\":"           \
    "\"SELECT :a, :b\",\"params\":{\"a\":\"x\",\"b\":{\"$base64\":\"AAE=\"}}}}"

/* Cut anywhere, and ending where the next byte may not be read. */
static void test_cut_anywhere(void **state)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), len = strlen(FULL);
    char *map = mmap(NULL, page * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)state;
    assert_true(map != MAP_FAILED);
    assert_int_equal(mprotect(map + page, page, PROT_NONE), 0);
    for (size_t n = 0; n <= len; n++) {
        char *at = map + page - n;

        memcpy(at, FULL, n);
        assert_int_equal(native()->decode(&cmd, at, n), 0);
        assert_int_equal(cmd.error.code == NULL, n == len);
        native()->command_fini(&cmd);
    }
    munmap(map, page * 2);
}

static void test_memory_runs_out(void **state)
{
    bool hit = true;

    (void)state;
    for (long n = 0; hit; n++) {
        int rc;

        mem_fail_after(n);
        rc = native()->decode(&cmd, FULL, strlen(FULL));
        hit = mem_fail_hit();
        mem_fail_after(-1);
        assert_int_equal(rc, hit ? STATUS_NOMEM : 0);
        native()->command_fini(&cmd);
    }
}

#define T(s) ((struct text){s, sizeof(s) - 1})
#define HEAD "{\"id\":\"c7-2\",\"timestamp\":3,\"type\":"

static void reply(enum reply_type type, const struct query_report *q, bool news, const char *text)
{
    struct reply r = {.type = type, .connection = 7, .number = 2, .time_ms = 3, .query = q};
    struct buf out = {0};

    if (news)
        r.channel = T("queries");
    else
        r.request_id = T("\"r\"");
    native()->put_reply(&out, &r);
    assert_string_equal(buf_text(&out), text);
    buf_fini(&out);
}

static void test_replies(void **state)
{
    struct sql_error e = {"SQL_ERROR", "near \"x\"", .sqlite_code = 1, .offset = 0, .statement = 2,
        .seq = 9, .has_seq = true};
    struct query_report q = {.id = T("\"q\""),
        .row_count = 18446744073709551615u,
        .elapsed_ns = 1234567890,
        .percent = -1,
        .page = 3,
        .columns = T("[\"a\"]"),
        .rows = T("[1],[2]"),
        .changes = 4,
        .last_rowid = -5,
        .seq = 6,
        .error = &e,
        .connection = 12,
        .sql = T("SELECT ?")};

    (void)state;
    reply(REPLY_QUERY_STARTED, &q, false,
        HEAD "\"query:started\",\"requestId\":\"r\",\"data\":{\"queryId\":\"q\"}}");
    reply(REPLY_QUERY_PROGRESS, &q, false,
        HEAD "\"query:progress\",\"requestId\":\"r\",\"data\":{\"queryId\":\"q\",\"rowCount\":"
             "18446744073709551615,\"elapsed\":1234.568,\"progress\":null}}");
    q.percent = 40;
    q.row_count = 2;
    reply(REPLY_QUERY_PROGRESS, &q, false,
        HEAD "\"query:progress\",\"requestId\":\"r\",\"data\":{\"queryId\":\"q\",\"rowCount\":2,"
             "\"elapsed\":1234.568,\"progress\":40}}");
    reply(REPLY_QUERY_ROWS, &q, false,
        HEAD "\"query:rows\",\"requestId\":\"r\",\"data\":{\"queryId\":\"q\",\"page\":3,"
             "\"columns\":[\"a\"],\"rows\":[[1],[2]]}}");
    reply(REPLY_QUERY_COMPLETE, &q, false,
        HEAD "\"query:complete\",\"requestId\":\"r\",\"data\":{\"queryId\":\"q\",\"rowCount\":2,"
             "\"duration\":1234.568,\"changes\":4,\"lastInsertRowid\":-5,\"seq\":6}}");
    q.results = true;
    reply(REPLY_QUERY_COMPLETE, &q, false,
        HEAD "\"query:complete\",\"requestId\":\"r\",\"data\":{\"queryId\":\"q\",\"rowCount\":2,"
             "\"duration\":1234.568,\"changes\":4,\"lastInsertRowid\":-5,\"seq\":6,"
             "\"results\":{\"columns\":[\"a\"],\"rows\":[[1],[2]]}}}");
    reply(REPLY_QUERY_ERROR, &q, false,
        HEAD "\"query:error\",\"requestId\":\"r\",\"data\":{\"queryId\":\"q\",\"rowCount\":2,"
             "\"duration\":1234.568,\"error\":{\"code\":\"SQL_ERROR\",\"message\":"
             "\"near \\\"x\\\"\",\"sqliteCode\":1,\"offset\":0,\"statement\":2,\"seq\":9}}}");
}

#define NEWS                                                                                       \
    ",\"channel\":\"queries\",\"data\":{\"queryId\":\"q\",\"connectionId\":\"c12\",\"userId\":"

static void test_channel(void **state)
{
    struct sql_error e = {"SQL_ERROR", "secret", .sqlite_code = 19, .offset = 4, .statement = 2};
    struct query_report q = {.id = T("\"q\""),
        .row_count = 2,
        .percent = -1,
        .error = &e,
        .connection = 12,
        .sql = T("SELECT ?, \"")};

    (void)state;
    reply(REPLY_QUERY_STARTED, &q, true,
        HEAD "\"query:started\"" NEWS "null,\"sql\":\"SELECT ?, \\\"\"}}");
    q.user = T("u\"1");
    reply(REPLY_QUERY_PROGRESS, &q, true,
        HEAD "\"query:progress\"" NEWS "\"u\\\"1\",\"rowCount\":2,\"elapsed\":0.000,"
             "\"progress\":null}}");
    reply(REPLY_QUERY_COMPLETE, &q, true,
        HEAD "\"query:complete\"" NEWS "\"u\\\"1\",\"rowCount\":2,\"duration\":0.000}}");
    reply(REPLY_QUERY_ERROR, &q, true,
        HEAD "\"query:error\"" NEWS "\"u\\\"1\",\"rowCount\":2,\"duration\":0.000,"
             "\"error\":{\"code\":\"SQL_ERROR\",\"sqliteCode\":19}}}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_start),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_memory_runs_out),
        cmocka_unit_test(test_replies),
        cmocka_unit_test(test_channel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
