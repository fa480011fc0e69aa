#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/status.h"
#include "cli/cell.h"
#include "cli/table.h"
#include "cli/term.h"

#include <string.h>

static json_t *read_json(const char *text)
{
    char why[128];
    json_t *j = json_read(text, strlen(text), why, sizeof(why));

    assert_non_null(j);
    return j;
}

static void put_plain(struct buf *out, const json_t *answer)
{
    table_put(out, answer, 0, false);
}

static void put_narrow(struct buf *out, const json_t *answer)
{
    table_put(out, answer, 8, false);
}

static void printed(
    void (*put)(struct buf *, const json_t *), const char *answer, const char *expected)
{
    json_t *j = read_json(answer);
    struct buf b = {0};

    assert_true(table_check(j));
    put(&b, j);
    assert_string_equal(buf_text(&b), expected);
    buf_fini(&b);
    json_decref(j);
}

static void tables_are_aligned(void **state)
{
    (void)state;
    printed(put_plain,
        "{\"columns\":[\"id\",\"name\",\"n\"],"
        "\"rows\":[[1,\"Ada\",1.5],[20,\"日本\",null],[3,\"e\xcc\x81\",-2]]}",
        "id  name     n\n"
        "--  ----  ----\n"
        " 1  Ada    1.5\n"
        "20  日本  NULL\n"
        " 3  e\xcc\x81       -2\n");
    printed(put_plain, "{\"columns\":[\"a\"],\"rows\":[]}", "a\n-\n");
}

static void text_cannot_move_the_cursor(void **state)
{
    (void)state;
    printed(put_plain, "{\"columns\":[\"a\"],\"rows\":[[\"x\\n\\u001b[2J\\u0000\\u202e\\u0085\"]]}",
        "a\n"
        "------------------------------\n"
        "x\\n\\u001b[2J\\u0000\\u202e\\u0085\n");
}

static void wide_values_are_cut(void **state)
{
    (void)state;
    printed(put_narrow,
        "{\"columns\":[\"a\",\"b\"],\"rows\":[[\"123456789\",{\"$base64\":\"AAECAwQFBgc=\"}],"
        "[\"12345678\",{\"$base64\":\"AAE=\"}],[\"日本日本日\",{\"$base64\":\"\"}]]}",
        "a         b\n"
        "--------  --------\n"
        "1234567…  x'0001…'\n"
        "12345678  x'0001'\n"
        "日本日…   x''\n");
}

static void csv_follows_rfc_4180(void **state)
{
    (void)state;
    printed(table_put_csv,
        "{\"columns\":[\"a\",\"b,c\"],\"rows\":[[1,null],[\"\",\"q\\\"q\"],[\"l\\nm\",\" s\"],"
        "[{\"$base64\":\"Cv8=\"},9e999],[9223372036854775807,0.1]]}",
        "a,\"b,c\"\r\n"
        "1,\r\n"
        "\"\",\"q\"\"q\"\r\n"
        "\"l\nm\",\" s\"\r\n"
        "x'0aff',Inf\r\n"
        "9223372036854775807,0.1\r\n");
}

static void objects_keep_values_exact(void **state)
{
    (void)state;
    printed(table_put_objects,
        "{\"columns\":[\"a\",\"b\\\"\",\"a\"],\"rows\":[[9223372036854775807,1.0,\"x\"],"
        "[-9223372036854775808,-9e999,{\"$base64\":\"Cv8=\"}],[null,0.1,1e300]]}",
        "[{\"a\":9223372036854775807,\"b\\\"\":1.0,\"a:2\":\"x\"},\n"
        "{\"a\":-9223372036854775808,\"b\\\"\":-9e999,\"a:2\":{\"$base64\":\"Cv8=\"}},\n"
        "{\"a\":null,\"b\\\"\":0.1,\"a:2\":1e+300}]\n");
    printed(table_put_objects, "{\"columns\":[\"a\"],\"rows\":[]}", "[]\n");
}

static void nonsense_is_not_a_table(void **state)
{
    static const char *const answers[] = {"1", "{}", "{\"columns\":[1],\"rows\":[]}",
        "{\"columns\":[\"a\"],\"rows\":[1]}", "{\"columns\":[\"a\"],\"rows\":[[1,2]]}",
        "{\"columns\":{},\"rows\":[]}"};

    (void)state;
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        json_t *j = read_json(answers[i]);

        assert_false(table_check(j));
        json_decref(j);
    }
}

static void param(const char *text, const char *expected)
{
    struct buf b = {0};

    assert_int_equal(cell_put_param(&b, text), 0);
    assert_string_equal(buf_text(&b), expected);
    buf_fini(&b);
}

static void parameters_are_what_they_look_like(void **state)
{
    struct buf b = {0};

    (void)state;
    param("42", "42");
    param("-1.5e3", "-1.5e3");
    param("9223372036854775807", "9223372036854775807");
    param("9223372036854775808", "\"9223372036854775808\"");
    param("007", "\"007\"");
    param("1.", "\"1.\"");
    param("+1", "\"+1\"");
    param("-", "\"-\"");
    param("1e", "\"1e\"");
    param("0x10", "\"0x10\"");
    param("", "\"\"");
    param("NULL", "null");
    param("'null'", "\"null\"");
    param("'it''s'", "\"it's\"");
    param("''", "\"\"");
    param("'''", "\"'''\"");
    param("'a'b'", "\"'a'b'\"");
    param("x'0aFF'", "{\"$base64\":\"Cv8=\"}");
    param("x''", "{\"$base64\":\"\"}");
    param("x'0'", "\"x'0'\"");
    param("x'0g'", "\"x'0g'\"");
    param("say \"hi\"", "\"say \\\"hi\\\"\"");
    assert_int_equal(cell_put_param(&b, "\xff"), STATUS_INVALID);
    buf_fini(&b);
}

/* Whichever allocation fails, the output is whole or says that it is not. */
static void missing_memory_is_reported(void **state)
{
    static void (*const puts[])(struct buf *, const json_t *) = {
        put_plain, table_put_csv, table_put_objects};
    json_t *j = read_json("{\"columns\":[\"a\",\"a\"],\"rows\":[[{\"$base64\":\"AAEC\"},{\"o\":1}],"
                          "[\"x\",1.5]]}");

    (void)state;
    for (size_t i = 0; i < sizeof(puts) / sizeof(puts[0]); i++) {
        struct buf whole = {0};
        int hit = 1;

        puts[i](&whole, j);
        for (long n = 0; hit; n++) {
            struct buf b = {0};

            mem_fail_after(n);
            puts[i](&b, j);
            hit = mem_fail_hit();
            mem_fail_after(-1);
            if (hit)
                assert_int_equal(buf_error(&b), STATUS_NOMEM);
            else
                assert_memory_equal(b.data, whole.data, whole.len);
            buf_fini(&b);
        }
        buf_fini(&whole);
    }
    json_decref(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_aligned),
        cmocka_unit_test(text_cannot_move_the_cursor),
        cmocka_unit_test(wide_values_are_cut),
        cmocka_unit_test(csv_follows_rfc_4180),
        cmocka_unit_test(objects_keep_values_exact),
        cmocka_unit_test(nonsense_is_not_a_table),
        cmocka_unit_test(parameters_are_what_they_look_like),
        cmocka_unit_test(missing_memory_is_reported),
    };

    term_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
