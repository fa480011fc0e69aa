#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"
#include "capture/database.h"
#include "dialect/sql_json.h"

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int64_t wait_ms;

static int read_text(struct sql_request *r, const char *text, struct buf *err)
{
    memset(r, 0, sizeof(*r));
    return sql_json_read(r, text, strlen(text), &wait_ms, err);
}

static void refused(const char *text, const char *message)
{
    struct sql_request r;
    struct buf err = {0};

    if (read_text(&r, text, &err) != STATUS_INVALID)
        fail_msg("accepted: %s", text);
    assert_string_equal(buf_text(&err), message);
    sql_request_fini(&r);
    buf_fini(&err);
}

static void reads_values(void **state)
{
    static const char text[] =
        "{\"sql\":\"SELECT ?\",\"params\":[1,-9223372036854775808,1.5,1.0,\"a\\u0000b\",null,true,"
        "false,{\"$base64\":\"AAEC\"},{\"$base64\":\"\"},9223372036854775808,1e400]}";
    static const uint8_t types[] = {VALUE_INTEGER, VALUE_INTEGER, VALUE_REAL, VALUE_REAL,
        VALUE_TEXT, VALUE_NULL, VALUE_INTEGER, VALUE_INTEGER, VALUE_BLOB, VALUE_BLOB, VALUE_REAL,
        VALUE_REAL};
    struct sql_request r;
    struct buf err = {0};
    const struct sql_param *p;

    (void)state;
    assert_int_equal(read_text(&r, text, &err), 0);
    assert_false(r.transaction);
    assert_int_equal(r.statement_count, 1);
    assert_string_equal(r.statements[0].sql, "SELECT ?");
    assert_false(r.statements[0].named);
    assert_int_equal(r.statements[0].param_count, 12);
    p = r.statements[0].params;
    for (size_t i = 0; i < sizeof(types); i++) {
        assert_int_equal(p[i].value.type, types[i]);
        assert_null(p[i].name);
    }
    assert_true(p[1].value.i == INT64_MIN);
    assert_int_equal(p[4].value.len, 3);
    assert_memory_equal(p[4].value.p, "a\0b", 3);
    assert_int_equal(p[6].value.i, 1);
    assert_int_equal(p[7].value.i, 0);
    assert_int_equal(p[8].value.len, 3);
    assert_memory_equal(p[8].value.p, "\0\1\2", 3);
    assert_int_equal(p[9].value.len, 0);
    assert_true(p[10].value.r == 9223372036854775808.0);
    assert_true(p[11].value.r > 1e308);
    sql_request_fini(&r);
}

static void reads_names(void **state)
{
    struct sql_request r;
    struct buf err = {0};

    (void)state;
    assert_int_equal(
        read_text(&r, "{\"sql\":\"x\",\"params\":{\"a\":1,\":b\":2,\"@c\":3,\"$d\":4}}", &err), 0);
    assert_true(r.statements[0].named);
    assert_int_equal(r.statements[0].param_count, 4);
    for (int i = 0; i < 4; i++) {
        const struct sql_param *p = &r.statements[0].params[i];

        assert_int_equal(strlen(p->name), 1);
        assert_int_equal(p->value.i, p->name[0] - 'a' + 1);
    }
    sql_request_fini(&r);
}

static void reads_a_transaction(void **state)
{
    struct sql_request r;
    struct buf err = {0};

    (void)state;
    assert_int_equal(
        read_text(&r, "{\"statements\":[{\"sql\":\"a\"},{\"sql\":\"b\",\"params\":[7]}]}", &err),
        0);
    assert_true(r.transaction);
    assert_int_equal(r.statement_count, 2);
    assert_int_equal(r.statements[0].param_count, 0);
    assert_string_equal(r.statements[1].sql, "b");
    assert_int_equal(r.statements[1].params[0].value.i, 7);
    sql_request_fini(&r);
}

static void says_what_is_wrong(void **state)
{
    (void)state;
    refused("{}", "sql is missing");
    refused("[]", "the body is an array; it must be an object such as {\"sql\":\"SELECT 1\"}");
    refused("null", "the body is null; it must be an object such as {\"sql\":\"SELECT 1\"}");
    refused("{\"sql\":1}", "sql is a number; it must be a string");
    refused("{\"sql\":null}", "sql is null; it must be a string");
    refused("{\"sql\":\"a\\u0000b\"}", "sql contains a NUL character");
    refused("{\"sql\":\"x\",\"param\":[]}",
        "unknown member \"param\"; known are \"sql\" and \"params\", or \"statements\"");
    refused("{\"sql\":\"x\",\"params\":1}",
        "params is a number; it must be an array, or an object for named parameters");
    refused("{\"sql\":\"x\",\"params\":null}",
        "params is null; it must be an array, or an object for named parameters");
    refused("{\"sql\":\"x\",\"params\":[1,[2]]}",
        "params[1] is an array; values are numbers, strings, true, false, null and "
        "{\"$base64\":\"…\"}");
    refused("{\"sql\":\"x\",\"params\":{\"who\":{\"a\":1}}}",
        "params.who is an object; values are numbers, strings, true, false, null and "
        "{\"$base64\":\"…\"}");
    refused("{\"sql\":\"x\",\"params\":[{\"$base64\":\"A\"}]}", "params[0] is not valid base64");
    refused("{\"sql\":\"x\",\"params\":[{\"$base64\":1}]}",
        "params[0] is an object; values are numbers, strings, true, false, null and "
        "{\"$base64\":\"…\"}");
    refused("{\"statements\":[]}",
        "statements must be an array of at least one {\"sql\":…,\"params\":…}");
    refused("{\"statements\":[],\"sql\":\"x\"}",
        "statements stands alone: put sql and params into its items");
    refused("{\"statements\":[{\"sql\":\"x\"},1]}",
        "statements[1] is a number; it must be an object {\"sql\":…,\"params\":…}");
    refused("{\"statements\":[{\"sql\":\"x\",\"y\":1}]}",
        "statements[0]: unknown member \"y\"; known are \"sql\" and \"params\"");
    refused("{\"statements\":[{\"sql\":\"x\",\"params\":[[]]}]}",
        "statements[0].params[0] is an array; values are numbers, strings, true, false, null and "
        "{\"$base64\":\"…\"}");
    refused("{\"statements\":[{\"params\":[]}]}", "statements[0].sql is missing");
    refused("{\"sql\":\"\xff\"}", "the body is not UTF-8");
}

/* Every prefix, ending at an unmapped page: an error or, for the whole, success; no read past it.
 */
static void stops_at_the_end(void **state)
{
    static const char text[] =
        "{\"statements\":[{\"sql\":\"SELECT :a\",\"params\":{\":a\":-1.5e3}},"
        "{\"sql\":\"x\",\"params\":[\"\xc3\xa9\",{\"$base64\":\"AA==\"}]}]}";
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)state;
    assert_true(map != MAP_FAILED);
    assert_int_equal(mprotect(map + page, page, PROT_NONE), 0);
    for (size_t len = 0; len < sizeof(text); len++) {
        struct sql_request r = {0};
        struct buf err = {0};
        int rc;

        memcpy(map + page - len, text, len);
        rc = sql_json_read(&r, map + page - len, len, &wait_ms, &err);
        assert_int_equal(rc, len == sizeof(text) - 1 ? 0 : STATUS_INVALID);
        assert_true((rc < 0) == (err.len > 0));
        sql_request_fini(&r);
        buf_fini(&err);
    }
    munmap(map, 2 * page);
}

static void survives_lack_of_memory(void **state)
{
    bool done = false;

    (void)state;
    for (long n = 0; !done; n++) {
        struct sql_request r;
        struct buf err = {0};
        int rc;

        mem_fail_after(n);
        rc = read_text(&r,
            "{\"statements\":[{\"sql\":\"a\",\"params\":[1,\"t\",{\"$base64\":\"AAEC\"}]},"
            "{\"sql\":\"b\",\"params\":{\"x\":1e30}}]}",
            &err);
        done = !mem_fail_hit();
        mem_fail_after(-1);
        assert_true(done ? rc == 0 : rc < 0);
        sql_request_fini(&r);
        buf_fini(&err);
    }
}

static void writes_errors(void **state)
{
    struct sql_error e = {.code = "SQL_ERROR",
        .message = "near \"x\": syntax error",
        .sqlite_code = 1,
        .offset = 3,
        .statement = -1};
    struct buf out = {0};

    (void)state;
    sql_json_put_error(&out, &e);
    assert_string_equal(buf_text(&out),
        "{\"error\":{\"code\":\"SQL_ERROR\",\"message\":\"near \\\"x\\\": syntax error\","
        "\"sqliteCode\":1,\"offset\":3}}");
    buf_reset(&out);
    e = (struct sql_error){.code = "FORBIDDEN",
        .message = "no",
        .offset = -1,
        .statement = 2,
        .seq = 7,
        .has_seq = true};
    sql_json_put_error(&out, &e);
    assert_string_equal(buf_text(&out),
        "{\"error\":{\"code\":\"FORBIDDEN\",\"message\":\"no\",\"statement\":2,\"seq\":7}}");
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_values),
        cmocka_unit_test(reads_names),
        cmocka_unit_test(reads_a_transaction),
        cmocka_unit_test(says_what_is_wrong),
        cmocka_unit_test(stops_at_the_end),
        cmocka_unit_test(survives_lack_of_memory),
        cmocka_unit_test(writes_errors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
