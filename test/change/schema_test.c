#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/mem.h"
#include "change/change_json.h"
#include "fixture.h"
#include <stdio.h>
#include <string.h>

static void tables_are_found_in_any_case(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "AB", "b_", "Users", "users2", "\xc3\xa9"};
    struct schema *s = schema_new(6);
    for (int i = 0; i < 6; i++) {
        s->tables[i] = TABLE(names[i], "id:INTEGER:k");
        s->tables[i]->id = (uint64_t)i + 10;
    }
    for (int i = 0; i < 6; i++) {
        assert_ptr_equal(schema_find(s, names[i], strlen(names[i])), s->tables[i]);
        assert_ptr_equal(schema_find_id(s, (uint64_t)i + 10), s->tables[i]);
    }
    assert_ptr_equal(schema_find(s, "USERSxyz", 5), s->tables[3]);
    assert_null(schema_find(s, "user", 4));
    assert_null(schema_find(s, "users3", 6));
    assert_null(schema_find(s, "Users\0x", 7));
    assert_null(schema_find(s, "", 0));
    assert_null(schema_find_id(s, 9));
    schema_unref(s);

    s = schema_new(0);
    assert_null(schema_find(s, "a", 1));
    schema_unref(s);
    schema_unref(NULL);
}

static void tables_outlive_their_schema_while_referenced(void **state)
{
    (void)state;
    struct schema *s = schema_new(1);
    s->tables[0] = TABLE("t", "id:INTEGER:k");
    struct table *t = table_ref(schema_find(s, "t", 1));
    schema_unref(schema_ref(s));
    schema_unref(s);
    assert_string_equal(t->name, "t");
    table_unref(t);
}

static void columns_are_found_in_any_case(void **state)
{
    (void)state;
    struct table *t = TABLE("t", "id:INTEGER:k", "Full Name:TEXT:");
    assert_int_equal(table_column(t, "ID", 2), 0);
    assert_int_equal(table_column(t, "full name", 9), 1);
    assert_int_equal(table_column(t, "full", 4), -1);
    assert_int_equal(table_column(t, "", 0), -1);
    table_unref(t);
}

static void only_plain_tables_have_events(void **state)
{
    (void)state;
    struct table *t = TABLE("t", "id:INTEGER:k");
    assert_true(table_has_events(t));
    t->internal = true;
    assert_false(table_has_events(t));
    t->internal = false;
    for (int kind = TABLE_VIRTUAL; kind <= TABLE_VIEW; kind++) {
        t->kind = (uint8_t)kind;
        assert_false(table_has_events(t));
    }
    table_unref(t);
}

static void definitions_are_compared(void **state)
{
    (void)state;
    struct table *a = TABLE("a", "id:INTEGER:k", "n:TEXT:");
    struct table *same = TABLE("b", "id:INTEGER:k", "n:TEXT:");
    struct table *others[] = {
        TABLE("a", "id:INTEGER:k"),
        TABLE("a", "id:INTEGER:k", "m:TEXT:"),
        TABLE("a", "id:INTEGER:k", "n:BLOB:"),
        TABLE("a", "id:INTEGER:k", "n:TEXT:!"),
        TABLE("a", "id:INTEGER:k", "n:TEXT:k"),
        TABLE("a", "id:INTEGER:k", "n:TEXT:s"),
        TABLE("a", "id:INTEGER:k", "n:TEXT:n"),
        TABLE("a", "id:INTEGER:k", "n:TEXT:"),
    };
    others[7]->columns[1].default_sql = mem_strdup("''");
    assert_true(table_same_columns(a, a));
    assert_true(table_same_columns(a, same));
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        assert_false(table_same_columns(a, others[i]));
        table_unref(others[i]);
    }
    table_unref(a);
    table_unref(same);
}

static void assert_text(struct buf *b, const char *expected)
{
    assert_string_equal(buf_text(b), expected);
    buf_fini(b);
}

static void a_table_as_json(void **state)
{
    (void)state;
    struct buf b = {0};
    struct table *t = TABLE("my \"t\"", "b:TEXT:k!", "a:INTEGER:k", "h::h", "v:REAL:v", "s::s");
    t->columns[0].default_sql = mem_strdup("'x'");
    t->without_rowid = true;
    t->strict = true;
    table_put_json(&b, t);
    assert_text(&b,
        "{\"name\":\"my \\\"t\\\"\",\"columns\":["
        "{\"name\":\"b\",\"type\":\"TEXT\",\"notNull\":true,\"default\":\"'x'\",\"primaryKey\":"
        "true,"
        "\"generated\":null},"
        "{\"name\":\"a\",\"type\":\"INTEGER\",\"notNull\":false,\"default\":null,\"primaryKey\":"
        "true,"
        "\"generated\":null},"
        "{\"name\":\"v\",\"type\":\"REAL\",\"notNull\":false,\"default\":null,\"primaryKey\":false,"
        "\"generated\":\"virtual\"},"
        "{\"name\":\"s\",\"type\":\"\",\"notNull\":false,\"default\":null,\"primaryKey\":false,"
        "\"generated\":\"stored\"}],"
        "\"primaryKey\":[\"b\",\"a\"],\"withoutRowid\":true,\"strict\":true,\"kind\":\"table\"}");
    table_unref(t);
}

static void rows_and_keys_as_json(void **state)
{
    (void)state;
    struct buf b = {0};
    struct table *t = TABLE("t", "id:INTEGER:k", "name:TEXT:", "v::v");
    struct value row[] = {INTEGER(7), TEXT("Ann"), ABSENT};
    row_put_json(&b, t, row, NULL);
    assert_text(&b, "{\"id\":7,\"name\":\"Ann\"}");
    row_put_json(&b, t, row, (uint64_t[]){2});
    assert_text(&b, "{\"name\":\"Ann\"}");
    row_put_json(&b, t, row, (uint64_t[]){4});
    assert_text(&b, "{}");
    key_put_json(&b, t, row, 7);
    assert_text(&b, "{\"id\":7}");
    table_unref(t);

    t = TABLE("pairs", "a:TEXT:", "c:TEXT:k", "b:INTEGER:k");
    key_put_json(&b, t, (struct value[]){NULL_VALUE, TEXT("x"), INTEGER(1)}, 3);
    assert_text(&b, "{\"c\":\"x\",\"b\":1}");
    key_put_json(&b, t, (struct value[]){TEXT("a"), NULL_VALUE, INTEGER(1)}, 3);
    assert_text(&b, "{\"rowid\":3}");
    table_unref(t);

    t = TABLE("keyless", "a:TEXT:");
    key_put_json(&b, t, (struct value[]){TEXT("a")}, -4);
    assert_text(&b, "{\"rowid\":-4}");
    table_unref(t);
}

static void columns_past_the_64th_are_selected(void **state)
{
    (void)state;
    const char *columns[131] = {0};
    char names[130][8];
    struct value row[130];
    for (int i = 0; i < 130; i++) {
        snprintf(names[i], sizeof(names[i]), "c%d::", i);
        columns[i] = names[i];
        row[i] = INTEGER(i);
    }
    struct buf b = {0};
    struct table *t = fixture_table("wide", columns);
    row_put_json(&b, t, row, (uint64_t[]){(uint64_t)1 << 63, 1, 2});
    assert_text(&b, "{\"c63\":63,\"c64\":64,\"c129\":129}");
    table_unref(t);
}

static bool moved(const struct table *t, struct value *old, struct value *row, int64_t new_rowid)
{
    struct change c = {.table = t,
        .kind = CHANGE_UPDATE,
        .old = old,
        .row = row,
        .rowid = new_rowid,
        .old_rowid = 1};
    return change_moved_key(&c);
}

static void moved_keys_are_noticed(void **state)
{
    (void)state;
    struct table *t = TABLE("t", "a::", "k:TEXT:k");
    struct value x[] = {INTEGER(1), TEXT("x")}, y[] = {INTEGER(2), TEXT("x")};
    struct value z[] = {INTEGER(1), TEXT("z")}, null[] = {INTEGER(1), NULL_VALUE};
    assert_false(moved(t, x, y, 1));
    assert_false(moved(t, x, y, 2));
    assert_true(moved(t, x, z, 1));
    assert_true(moved(t, x, null, 1));
    assert_true(moved(t, null, x, 1));
    assert_false(moved(t, null, null, 1));
    assert_true(moved(t, null, null, 2));
    struct change insert = {.table = t, .kind = CHANGE_INSERT, .row = x};
    assert_false(change_moved_key(&insert));
    table_unref(t);
}

#define COLUMN(name)                                                                               \
    "{\"name\":\"" name                                                                            \
    "\",\"type\":\"\",\"notNull\":false,\"default\":null,\"primaryKey\":false,"                    \
    "\"generated\":null}"

static void ddl_as_json(void **state)
{
    (void)state;
    struct buf b = {0};
    struct table *old = TABLE("old", "a::", "b::", "c::"),
                 *new = TABLE("new", "a::", "B2::", "d::");
    new->columns[2].id = 9;
    struct change c = {.kind = CHANGE_TABLE_CREATED, .table = new};
    ddl_put_json(&b, &c);
    assert_text(&b, "{\"columns\":[" COLUMN("a") "," COLUMN("B2") "," COLUMN("d") "]}");

    c = (struct change){.kind = CHANGE_TABLE_ALTERED, .table = new, .old_table = old};
    ddl_put_json(&b, &c);
    assert_text(&b, "{\"columns\":[" COLUMN("a") "," COLUMN("B2") "," COLUMN(
                        "d") "],"
                             "\"added\":[\"d\"],\"dropped\":[\"c\"],\"renamed\":[{\"from\":\"b\","
                             "\"to\":\"B2\"}],"
                             "\"renamedFrom\":\"old\"}");

    c.table = old;
    ddl_put_json(&b, &c);
    assert_text(&b, "{\"columns\":[" COLUMN("a") "," COLUMN("b") "," COLUMN(
                        "c") "],"
                             "\"added\":[],\"dropped\":[],\"renamed\":[]}");

    c = (struct change){.kind = CHANGE_TABLE_DROPPED, .table = old};
    ddl_put_json(&b, &c);
    assert_text(&b, "{\"columns\":[" COLUMN("a") "," COLUMN("b") "," COLUMN("c") "]}");
    assert_string_equal(change_kind_name(CHANGE_UPDATE), "UPDATE");
    assert_string_equal(change_kind_name(CHANGE_TABLE_DROPPED), "table:dropped");
    table_unref(old);
    table_unref(new);
}

static void creation_survives_failing_allocations(void **state)
{
    (void)state;
    for (long n = 0;; n++) {
        mem_fail_after(n);
        struct table *t = table_new("t", 3);
        struct schema *s = schema_new(0);
        int hit = mem_fail_hit();
        mem_fail_after(-1);
        assert_int_equal(!t || !s, hit);
        table_unref(t);
        schema_unref(s);
        if (!hit)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_found_in_any_case),
        cmocka_unit_test(tables_outlive_their_schema_while_referenced),
        cmocka_unit_test(columns_are_found_in_any_case),
        cmocka_unit_test(only_plain_tables_have_events),
        cmocka_unit_test(definitions_are_compared),
        cmocka_unit_test(a_table_as_json),
        cmocka_unit_test(rows_and_keys_as_json),
        cmocka_unit_test(columns_past_the_64th_are_selected),
        cmocka_unit_test(moved_keys_are_noticed),
        cmocka_unit_test(ddl_as_json),
        cmocka_unit_test(creation_survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
