#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/json.h"
#include "cli/show.h"
#include "cli/term.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static void shown(const char *text, const char *expected)
{
    char why[128];
    json_t *message = json_read(text, strlen(text), why, sizeof(why));
    struct buf b = {0};

    assert_non_null(message);
    assert_true(show_wants(message));
    show_put(&b, message, false);
    assert_string_equal(buf_text(&b), expected);
    buf_fini(&b);
    json_decref(message);
}

static void changes_are_lines(void **state)
{
    (void)state;
    shown(
        "{\"type\":\"database_change\",\"timestamp\":1000,\"table\":\"users\",\"event\":\"INSERT\","
        "\"key\":{\"id\":9223372036854775807},"
        "\"data\":{\"id\":9223372036854775807,\"name\":\"A\\nda\",\"r\":1.0,\"n\":null}}",
        "00:00:01.000 + INSERT users id=9223372036854775807  name='A\\nda'  r=1.0  n=NULL\n");
    shown("{\"type\":\"database_change\",\"timestamp\":1,\"table\":\"users\",\"event\":\"DELETE\","
          "\"key\":{\"a\":1,\"b\":\"x\"},\"data\":{\"a\":1,\"b\":\"x\",\"c\":{\"$base64\":\"AAE=\"}"
          "}}",
        "00:00:00.001 - DELETE users a=1 b='x'  c=x'0001'\n");
}

static void updates_show_what_is_different(void **state)
{
    (void)state;
    shown(
        "{\"type\":\"database_change\",\"table\":\"users\",\"event\":\"UPDATE\",\"key\":{\"id\":2},"
        "\"oldKey\":{\"id\":1},\"data\":{\"id\":2,\"age\":3,\"city\":\"Oslo\"},"
        "\"old\":{\"id\":1,\"age\":null,\"city\":\"Oslo\"},\"transition\":\"enter\"}",
        "~ UPDATE users id=1→2  age=NULL→3  (now matches the filter)\n");
    shown(
        "{\"type\":\"database_change\",\"table\":\"users\",\"event\":\"UPDATE\",\"key\":{\"id\":2},"
        "\"data\":{\"id\":2,\"v\":1},\"old\":{\"id\":2,\"v\":1.0}}",
        "~ UPDATE users id=2  v=1.0→1\n");
    shown(
        "{\"type\":\"database_change\",\"table\":\"users\",\"event\":\"UPDATE\",\"key\":{\"id\":2},"
        "\"data\":{\"id\":2},\"old\":{\"id\":2}}",
        "~ UPDATE users id=2  (none of the columns shown)\n");
}

static void tables_and_gaps_are_lines(void **state)
{
    (void)state;
    shown("{\"type\":\"table:created\",\"data\":{\"tableName\":\"t\",\"changes\":{\"columns\":"
          "[{\"name\":\"id\",\"type\":\"INTEGER\"},{\"name\":\"x\",\"type\":\"\"}]}}}",
        "+ table:created t(id INTEGER, x)\n");
    shown("{\"type\":\"table:altered\",\"data\":{\"tableName\":\"u\",\"changes\":{\"columns\":[],"
          "\"renamed\":[{\"from\":\"a\",\"to\":\"b\"}],\"renamedFrom\":\"t\"}}}",
        "~ table:altered u  renamed from t  column a→b\n");
    shown("{\"type\":\"table:dropped\",\"data\":{\"tableName\":\"u\"}}", "- table:dropped u\n");
    shown("{\"type\":\"resync\",\"data\":{\"reason\":\"slow_consumer\"}}",
        "! resync: changes are missing here: this client read too slowly (slow_consumer)\n");
    shown("{\"type\":\"resync\",\"reason\":\"snapshot_failed\"}",
        "! resync: rows are missing here: the server could not read the rows; its log says why "
        "(snapshot_failed)\n");
    shown("{\"type\":\"resync\",\"reason\":\"of\\ntomorrow\"}",
        "! resync: changes are missing here: (of\\ntomorrow)\n");
    shown("{\"type\":\"resync\"}", "! resync: changes are missing here: (no reason given)\n");
    shown("{\"type\":\"snapshot\",\"table\":\"t\",\"data\":{\"rows\":"
          "[{\"key\":{\"id\":1},\"data\":{\"id\":1,\"a\":\"x\"}}]},\"last\":true}",
        "= ROW t id=1  a='x'\n");
}

static void transactions_are_one_line_for_each_change(void **state)
{
    (void)state;
    shown("{\"type\":\"changes\",\"changes\":["
          "{\"table\":\"t\",\"event\":\"INSERT\",\"key\":{\"id\":1},\"data\":{\"id\":1}},"
          "{\"table\":\"t\",\"event\":\"DELETE\",\"key\":{\"id\":1},\"data\":{\"id\":1}}]}",
        "+ INSERT t id=1\n- DELETE t id=1\n");
}

/* A server may send more than this program knows, and worse. */
static void anything_else_does_no_harm(void **state)
{
    static const char *const texts[] = {"{\"type\":\"database_change\"}",
        "{\"type\":\"database_change\",\"event\":\"UPDATE\",\"key\":1,\"data\":[],\"old\":\"x\"}",
        "{\"type\":\"table:altered\",\"data\":{\"changes\":{\"columns\":[1],\"renamed\":[null]}}}",
        "{\"type\":\"snapshot\",\"data\":{\"rows\":[1,{}]}}",
        "{\"type\":\"changes\",\"changes\":[1]}"};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char why[128];
        json_t *message = json_read(texts[i], strlen(texts[i]), why, sizeof(why));
        struct buf b = {0};

        assert_true(show_wants(message));
        show_put(&b, message, true);
        assert_int_equal(buf_error(&b), 0);
        buf_fini(&b);
        json_decref(message);
    }
    assert_false(show_wants(json_null()));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changes_are_lines),
        cmocka_unit_test(updates_show_what_is_different),
        cmocka_unit_test(tables_and_gaps_are_lines),
        cmocka_unit_test(transactions_are_one_line_for_each_change),
        cmocka_unit_test(anything_else_does_no_harm),
    };

    setenv("TZ", "UTC", 1);
    tzset();
    term_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
