#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/status.h"
#include "capture/database.h"
#include "dialect/sql_json.h"
#include "dialect/sql_scan.h"

#include <cmocka.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The reader without a tree takes what the other takes, or leaves it, and reads the same in it. */

static const char *const ordinary[] = {
    "{\"sql\":\"SELECT 1\"}",
    " { \"sql\" : \"SELECT 1\" ,\r\n\t\"params\" : [ ] } ",
    "{\"params\":[1],\"sql\":\"SELECT ?\"}",
    "{\"sql\":\"\",\"params\":[0,-0,1,-1,9223372036854775807,-9223372036854775808]}",
    "{\"sql\":\"x\",\"params\":[999999999999999999,-999999999999999999,1000000000000000000]}",
    "{\"sql\":\"x\",\"params\":[9223372036854775808,-9223372036854775809,1e400,-1e400,1e-400]}",
    "{\"sql\":\"x\",\"params\":[123456789012345678901234567890,0.5,-0.0,1.0,1e2,1E+2,1.5e-3]}",
    "{\"sql\":\"x\",\"params\":[true,false,null,\"\",\"a\",\"\\u0000\",\"a\\u0000b\"]}",
    "{\"sql\":\"x\",\"params\":[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\",\"\\u00e9\\u20AC\\ud83d\\ude00\"]}",
    "{\"sql\":\"x\",\"params\":[\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\",\"\xc3\xa9\\n\", "
    "\"\x7f\"]}",
    "{\"sql\":\"x\",\"params\":[{\"$base64\":\"AAEC\"},{ \"$base64\" : \"\" },\"longer than a "
    "word of eight\",\"twice\\nas\\nlong \\u00e9 as that\"]}",
    "{\"statements\":[{\"sql\":\"a\"},{\"params\":[1,\"b\"],\"sql\":\"b\\n\"}]}",
    "{\"sql\":\"x\",\"wait\":\"delivered\"}",
    "{\"wait\":\"delivered\",\"waitMs\":60000,\"statements\":[{\"sql\":\"INSERT \\\"t\\\"\"}]}",
};

/* Read well, or refused, with the tree. */
static const char *const others[] = {
    "",
    "null",
    "[]",
    "{}",
    "{\"sql\":\"x\"",
    "{\"sql\":\"x\"}}",
    "{\"sql\":\"x\"} x",
    "{\"sql\":\"x\",}",
    "{,\"sql\":\"x\"}",
    "{\"sql\":1}",
    "{\"s\\u0071l\":\"x\"}",
    "{\"sql\":\"x\",\"sql\":\"x\"}",
    "{\"sql\":\"a\\u0000b\"}",
    "{\"sql\":\"x\",\"params\":{\"a\":1}}",
    "{\"sql\":\"x\",\"params\":{}}",
    "{\"sql\":\"x\",\"params\":1}",
    "{\"sql\":\"x\",\"params\":[1,]}",
    "{\"sql\":\"x\",\"params\":[1 2]}",
    "{\"sql\":\"x\",\"params\":[[1]]}",
    "{\"sql\":\"x\",\"params\":[01]}",
    "{\"sql\":\"x\",\"params\":[-]}",
    "{\"sql\":\"x\",\"params\":[+1]}",
    "{\"sql\":\"x\",\"params\":[.5]}",
    "{\"sql\":\"x\",\"params\":[1.]}",
    "{\"sql\":\"x\",\"params\":[1.e5]}",
    "{\"sql\":\"x\",\"params\":[1e]}",
    "{\"sql\":\"x\",\"params\":[0x10]}",
    "{\"sql\":\"x\",\"params\":[tru]}",
    "{\"sql\":\"x\",\"params\":[truex]}",
    "{\"sql\":\"x\",\"params\":[NaN]}",
    "{\"sql\":\"x\",\"params\":[\"\n\"]}",
    "{\"sql\":\"x\",\"params\":[\"long enough for a word\x01\"]}",
    "{\"sql\":\"x\",\"params\":[\"\\x\"]}",
    "{\"sql\":\"x\",\"params\":[\"\\u12g4\"]}",
    "{\"sql\":\"x\",\"params\":[\"\\ud83d\"]}",
    "{\"sql\":\"x\",\"params\":[\"\\ud83d\\u0041\"]}",
    "{\"sql\":\"x\",\"params\":[\"\\ude00\"]}",
    "{\"sql\":\"x\",\"params\":[\"\xff\"]}",
    "{\"sql\":\"x\",\"params\":[\"\xc3\\u00a9\"]}",
    "{\"sql\":\"x\",\"params\":[\"\xed\xa0\x80\"]}",
    "{\"sql\":\"x\",\"params\":[{\"$base64\":\"A\"}]}",
    "{\"sql\":\"x\",\"params\":[{\"$base64\":\"AA\\/=\"}]}",
    "{\"sql\":\"x\",\"params\":[{\"$base64\":\"AAEC\",\"a\":1}]}",
    "{\"sql\":\"x\",\"params\":[{}]}",
    "{\"params\":[]}",
    "{\"statements\":[]}",
    "{\"statements\":[{}]}",
    "{\"statements\":[{\"sql\":\"x\"}],\"sql\":\"x\"}",
    "{\"sql\":\"x\",\"statements\":[{\"sql\":\"x\"}]}",
    "{\"statements\":[{\"sql\":\"x\"}],\"statements\":[{\"sql\":\"x\"}]}",
    "{\"sql\":\"x\",\"wait\":\"delivere\"}",
    "{\"sql\":\"x\",\"waitMs\":1}",
    "{\"sql\":\"x\",\"wait\":\"delivered\",\"waitMs\":60001}",
    "{\"sql\":\"x\",\"wait\":\"delivered\",\"waitMs\":true}",
    "{\"sql\":\"x\",\"wait\":\"delivered\",\"waitMs\":-1}",
    "{\"sql\":\"x\",\"wait\":\"delivered\",\"waitMs\":1.0}",
};

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static bool same_values(const struct sql_statement *a, const struct sql_statement *b)
{
    if (strcmp(a->sql, b->sql) != 0 || a->len != b->len || a->len != strlen(a->sql) ||
        a->named != b->named || a->param_count != b->param_count)
        return false;
    for (int i = 0; i < a->param_count; i++)
        if (!value_same(&a->params[i].value, &b->params[i].value))
            return false;
    return true;
}

static bool same_request(const struct sql_request *a, const struct sql_request *b)
{
    if (a->transaction != b->transaction || a->statement_count != b->statement_count)
        return false;
    for (int i = 0; i < a->statement_count; i++)
        if (!same_values(&a->statements[i], &b->statements[i]))
            return false;
    return true;
}

/* By way of a tree, which knows nothing of `wait`. */
static int read_tree(struct sql_request *r, const char *text, size_t len)
{
    struct buf err = {0};
    json_t *root = sql_json_body(text, len, "", &err);
    int rc = STATUS_INVALID;
    *r = (struct sql_request){0};
    if (root) {
        json_object_del(root, "wait");
        json_object_del(root, "waitMs");
        rc = sql_json_request(r, root, &err);
        json_decref(root);
    }
    buf_fini(&err);
    return rc;
}

/* Whether it was taken; if so the tree gives the same. */
static bool taken(const char *text, size_t len, int64_t *wait_ms)
{
    struct sql_request r = {0}, tree;
    int rc = sql_scan(&r, text, len, wait_ms);
    if (rc == STATUS_OK) {
        int other = read_tree(&tree, text, len);
        if (other != STATUS_OK || !same_request(&r, &tree))
            fail_msg("read otherwise: %.*s", (int)len, text);
        sql_request_fini(&tree);
    } else {
        assert_int_equal(rc, STATUS_INVALID);
        assert_false(r.transaction);
        assert_int_equal(r.statement_count, 0);
        assert_null(r.strings.data);
    }
    sql_request_fini(&r);
    return rc == STATUS_OK;
}

static void takes_what_is_ordinary(void **state)
{
    int64_t wait_ms = 0;
    (void)state;
    for (size_t i = 0; i < COUNT(ordinary); i++)
        if (!taken(ordinary[i], strlen(ordinary[i]), &wait_ms))
            fail_msg("not taken: %s", ordinary[i]);
    assert_int_equal(wait_ms, 60000);
    assert_true(
        taken(ordinary[COUNT(ordinary) - 2], strlen(ordinary[COUNT(ordinary) - 2]), &wait_ms));
    assert_int_equal(wait_ms, SQL_JSON_WAIT_MS);
    assert_true(taken(ordinary[0], strlen(ordinary[0]), &wait_ms));
    assert_int_equal(wait_ms, -1);
}

static void leaves_the_rest(void **state)
{
    int64_t wait_ms;
    (void)state;
    for (size_t i = 0; i < COUNT(others); i++)
        if (taken(others[i], strlen(others[i]), &wait_ms))
            fail_msg("taken: %s", others[i]);
}

/* Cut at every byte, before an unmapped page. */
static void stops_at_the_end(void **state)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int64_t wait_ms;
    (void)state;
    assert_true(map != MAP_FAILED);
    assert_int_equal(mprotect(map + page, page, PROT_NONE), 0);
    for (size_t i = 0; i < COUNT(ordinary); i++) {
        size_t whole = strlen(ordinary[i]), least = whole;
        while (ordinary[i][least - 1] == ' ')
            least--;
        for (size_t len = 0; len <= whole; len++) {
            memcpy(map + page - len, ordinary[i], len);
            assert_int_equal(taken(map + page - len, len, &wait_ms), len >= least);
        }
    }
    munmap(map, 2 * page);
}

/* Bytes changed, cut out and put in, by a generator that is the same each time. */
static void never_reads_otherwise(void **state)
{
    static const char bytes[] = "\"\\{}[]:,0123456789eE+-. \nunltrfasd$\xc3\xa9\x00\x1f\x7f\xff";
    uint64_t seed = 1;
    int64_t wait_ms;
    int well = 0;
    (void)state;
    for (int round = 0; round < 60000; round++) {
        char text[512];
        size_t len;
        const char *from = ordinary[round % COUNT(ordinary)];
        len = strlen(from);
        memcpy(text, from, len);
        for (int i = 0; i <= round % 3; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            size_t at = (seed >> 33) % len, what = (seed >> 20) % 3;
            char byte = bytes[(seed >> 45) % (sizeof(bytes) - 1)];
            memmove(text + at + (what == 1), text + at + (what == 2), len - at - (what == 2));
            len = len + (what == 1) - (what == 2);
            if (what < 2 && at < len)
                text[at] = byte;
        }
        well += taken(text, len, &wait_ms);
    }
    assert_in_range(well, 5000, 59000);
}

static void survives_lack_of_memory(void **state)
{
    static const char text[] = "{\"statements\":[{\"sql\":\"a\",\"params\":[1,\"t\\n\","
                               "{\"$base64\":\"AAEC\"},4,5]},{\"sql\":\"b\"},{\"sql\":\"c\"}]}";
    bool done = false;
    (void)state;
    for (long n = 0; !done; n++) {
        struct sql_request r = {0};
        int64_t wait_ms;
        mem_fail_after(n);
        int rc = sql_scan(&r, text, sizeof(text) - 1, &wait_ms);
        done = !mem_fail_hit();
        mem_fail_after(-1);
        assert_int_equal(rc, done ? STATUS_OK : STATUS_NOMEM);
        sql_request_fini(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_what_is_ordinary),
        cmocka_unit_test(leaves_the_rest),
        cmocka_unit_test(stops_at_the_end),
        cmocka_unit_test(never_reads_otherwise),
        cmocka_unit_test(survives_lack_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
