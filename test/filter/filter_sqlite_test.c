#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "../change/fixture.h"
#include "base/mem.h"
#include "filter/filter.h"
#include "filter/filter_sql.h"
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/*
 * Filters against SQLite's own WHERE: for a table of one column, every row must be chosen by
 * filter_match exactly if SQLite chooses it.
 */
struct subject {
    sqlite3 *db;
    struct table *table;
    struct value rows[400]; /* what SQLite stored, row i has rowid i + 1 */
    int row_count;
};

static void execute(sqlite3 *db, const char *sql)
{
    char *error = NULL;
    if (sqlite3_exec(db, sql, NULL, NULL, &error) != SQLITE_OK)
        fail_msg("%s: %s", sql, error);
}

static void open_subject(struct subject *s, const char *type, const char *collation)
{
    char text[200];
    memset(s, 0, sizeof(*s));
    assert_int_equal(sqlite3_open(":memory:", &s->db), SQLITE_OK);
    snprintf(text, sizeof(text), "CREATE TABLE t(c %s COLLATE %s)", type, collation);
    execute(s->db, text);
    execute(s->db, "CREATE INDEX tc ON t(c)");
    const char *flag = collation[0] == 'N' ? "n" : collation[0] == 'R' ? "r" : "";
    snprintf(text, sizeof(text), "c:%s:%s", type, flag);
    s->table = TABLE("t", text);
}

static void close_subject(struct subject *s)
{
    for (int i = 0; i < s->row_count; i++)
        if (s->rows[i].type == VALUE_TEXT || s->rows[i].type == VALUE_BLOB)
            mem_free((void *)(uintptr_t)s->rows[i].p);
    sqlite3_close(s->db);
    table_unref(s->table);
}

static struct value column_value(sqlite3_stmt *q)
{
    struct value v = {0};
    switch (sqlite3_column_type(q, 0)) {
    case SQLITE_INTEGER:
        return INTEGER(sqlite3_column_int64(q, 0));
    case SQLITE_FLOAT:
        return REAL(sqlite3_column_double(q, 0));
    case SQLITE_NULL:
        return NULL_VALUE;
    case SQLITE_TEXT:
        v.type = VALUE_TEXT;
        v.p = (const char *)sqlite3_column_text(q, 0);
        break;
    case SQLITE_BLOB:
        v.type = VALUE_BLOB;
        v.p = sqlite3_column_blob(q, 0);
        break;
    }
    v.len = (uint32_t)sqlite3_column_bytes(q, 0);
    v.p = mem_dup(v.p, v.len);
    return v;
}

static void store(struct subject *s, struct value v)
{
    sqlite3_stmt *q;
    assert_true(s->row_count < 400);
    assert_int_equal(
        sqlite3_prepare_v2(s->db, "INSERT INTO t VALUES (?)", -1, &q, NULL), SQLITE_OK);
    if (v.type == VALUE_INTEGER)
        sqlite3_bind_int64(q, 1, v.i);
    if (v.type == VALUE_REAL)
        sqlite3_bind_double(q, 1, v.r);
    if (v.type == VALUE_TEXT)
        sqlite3_bind_text(q, 1, v.p, (int)v.len, SQLITE_TRANSIENT);
    if (v.type == VALUE_BLOB)
        sqlite3_bind_blob(q, 1, v.p, (int)v.len, SQLITE_TRANSIENT);
    assert_int_equal(sqlite3_step(q), SQLITE_DONE);
    sqlite3_finalize(q);
    s->row_count++;
}

/* Reads back what the column's affinity has made of the stored values. */
static void read_rows(struct subject *s)
{
    sqlite3_stmt *q;
    int i = 0;
    sqlite3_prepare_v2(s->db, "SELECT c FROM t ORDER BY rowid", -1, &q, NULL);
    while (sqlite3_step(q) == SQLITE_ROW)
        s->rows[i++] = column_value(q);
    sqlite3_finalize(q);
    assert_int_equal(i, s->row_count);
}

/* What an equality finds must be found by its hash too: the index relies on it. */
static void check_hash(const struct filter *f, const struct value *row)
{
    const struct filter_term *t = f->terms;
    bool found = false;
    if (t->column == FILTER_ROWID || (t->op != FILTER_EQ && t->op != FILTER_IN))
        return;
    for (int i = 0; i < t->value_count; i++)
        found |= value_hash(&filter_values(f)[i], t->collation) == value_hash(row, t->collation);
    assert_true(found);
}

static void bind_value(sqlite3_stmt *q, int i, const struct value *v)
{
    if (v->type == VALUE_INTEGER)
        sqlite3_bind_int64(q, i, v->i);
    else if (v->type == VALUE_REAL)
        sqlite3_bind_double(q, i, v->r);
    else if (v->type == VALUE_TEXT)
        sqlite3_bind_text(q, i, v->len ? v->p : "", (int)v->len, SQLITE_STATIC);
    else if (v->len)
        sqlite3_bind_blob(q, i, v->p, (int)v->len, SQLITE_STATIC);
    else
        sqlite3_bind_zeroblob(q, i, 0);
}

/* The filter as SQL finds in the table `from` the rows that filter_match keeps. */
static void compare_sql(struct subject *s, const struct filter *f, const char *from)
{
    struct buf where = {0}, sql = {0};
    const struct value *params;
    bool found[400] = {false};
    sqlite3_stmt *q;
    int count, before = f->term_count > 0 ? 0 : 1;
    assert_int_equal(filter_put_sql(f, s->table, &where, &params, &count), 0);
    buf_printf(&sql, "SELECT rowid FROM %s WHERE 1", from);
    for (const char *p = buf_text(&where); *p; p += strlen(p) + 1, before++)
        buf_printf(&sql, " AND %s", p);
    assert_int_equal(before, f->term_count > 0 ? f->term_count : 1);
    if (sqlite3_prepare_v2(s->db, buf_text(&sql), -1, &q, NULL) != SQLITE_OK)
        fail_msg("%s: %s", buf_text(&sql), sqlite3_errmsg(s->db));
    for (int i = 0; i < count && i < sqlite3_bind_parameter_count(q); i++)
        bind_value(q, i + 1, &params[i]);
    while (sqlite3_step(q) == SQLITE_ROW)
        found[sqlite3_column_int(q, 0) - 1] = true;
    for (int i = 0; i < s->row_count; i++) {
        struct buf json = {0};
        if (filter_match(f, &s->rows[i], i + 1) == found[i])
            continue;
        value_put_json(&json, &s->rows[i]);
        fail_msg("column %s: %s on the row %s: SQLite says %d", s->table->columns[0].type,
            buf_text(&sql), buf_text(&json), found[i]);
    }
    sqlite3_finalize(q);
    buf_fini(&where);
    buf_fini(&sql);
}

static void compare(struct subject *s, const char *filter, const char *where)
{
    char sql[1200], err[256];
    size_t len = strlen(filter);
    int status;
    sqlite3_stmt *q;
    snprintf(sql, sizeof(sql), "SELECT (%s) IS TRUE FROM t ORDER BY rowid", where);
    if (sqlite3_prepare_v2(s->db, sql, -1, &q, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(s->db));
    struct filter *f = filter_new(s->table, &filter, &len, 1, err, sizeof(err), &status);
    if (!f)
        fail_msg("%s: %s", filter, err);
    for (int i = 0; i < s->row_count; i++) {
        assert_int_equal(sqlite3_step(q), SQLITE_ROW);
        bool expected = sqlite3_column_int(q, 0);
        if (expected)
            check_hash(f, &s->rows[i]);
        if (filter_match(f, &s->rows[i], i + 1) == expected)
            continue;
        struct buf json = {0};
        value_put_json(&json, &s->rows[i]);
        fail_msg("column %s: filter %s on the row %s: SQLite's %s says %d",
            s->table->columns[0].type, filter, buf_text(&json), where, expected);
    }
    sqlite3_finalize(q);
    compare_sql(s, f, "t NOT INDEXED");
    compare_sql(s, f, "t INDEXED BY tc");
    filter_free(f);
}

static const char *const types[] = {
    "INTEGER", "REAL", "NUMERIC", "TEXT", "VARCHAR(9)", "BLOB", "", "BOOLEAN", "DOUBLE"};
static const char *const collations[] = {"BINARY", "NOCASE", "RTRIM"};
static const char *const operators[] = {"=", "==", "!=", "<>", "<", "<=", ">", ">="};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct value stored[] = {
    {.type = VALUE_NULL},
    {.i = 0, .type = VALUE_INTEGER},
    {.i = 5, .type = VALUE_INTEGER},
    {.i = -5, .type = VALUE_INTEGER},
    {.i = 1000, .type = VALUE_INTEGER},
    {.i = INT64_MAX, .type = VALUE_INTEGER},
    {.i = INT64_MIN, .type = VALUE_INTEGER},
    {.i = 9007199254740992, .type = VALUE_INTEGER},
    {.i = 9007199254740993, .type = VALUE_INTEGER},
    {.r = 5.0, .type = VALUE_REAL},
    {.r = -0.0, .type = VALUE_REAL},
    {.r = 0.1, .type = VALUE_REAL},
    {.r = 5.5, .type = VALUE_REAL},
    {.r = 9007199254740992.0, .type = VALUE_REAL},
    {.r = 9223372036854775808.0, .type = VALUE_REAL},
    {.r = 1e300, .type = VALUE_REAL},
    {.r = INFINITY, .type = VALUE_REAL},
    {.r = -INFINITY, .type = VALUE_REAL},
    {.p = "", .len = 0, .type = VALUE_TEXT},
    {.p = " ", .len = 1, .type = VALUE_TEXT},
    {.p = "5", .len = 1, .type = VALUE_TEXT},
    {.p = " 5 ", .len = 3, .type = VALUE_TEXT},
    {.p = "5.0", .len = 3, .type = VALUE_TEXT},
    {.p = "05", .len = 2, .type = VALUE_TEXT},
    {.p = "1e3", .len = 3, .type = VALUE_TEXT},
    {.p = "0x10", .len = 4, .type = VALUE_TEXT},
    {.p = "abc", .len = 3, .type = VALUE_TEXT},
    {.p = "ABC", .len = 3, .type = VALUE_TEXT},
    {.p = "abc  ", .len = 5, .type = VALUE_TEXT},
    {.p = "abcd", .len = 4, .type = VALUE_TEXT},
    {.p = "a\0c", .len = 3, .type = VALUE_TEXT},
    {.p = "A\0d", .len = 3, .type = VALUE_TEXT},
    {.p = "it's", .len = 4, .type = VALUE_TEXT},
    {.p = "\xc3\xa9", .len = 2, .type = VALUE_TEXT},
    {.p = "\xc3\x89", .len = 2, .type = VALUE_TEXT},
    {.p = "", .len = 0, .type = VALUE_BLOB},
    {.p = "5", .len = 1, .type = VALUE_BLOB},
    {.p = "abc", .len = 3, .type = VALUE_BLOB},
    {.p = "\0\xff", .len = 2, .type = VALUE_BLOB},
};

/* A constant as SQL writes it; filters take the same spelling. */
static const char *const constants[] = {"0", "5", "-5", "+5", "5.0", "5.", ".5", "-0.0", "1e3",
    "1000", "0.1", "5.5", "007", "0x10", "-0x10", "9007199254740993", "9007199254740992.0",
    "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809",
    "1e300", "9e999", "-9e999", "''", "' '", "'5'", "' 5 '", "'5.0'", "'5.'", "'.5'", "'05'",
    "'-0'", "'1e3'", "'0x10'", "'9007199254740993'", "'9223372036854775808'", "'abc'", "'ABC'",
    "'abc '", "'abcd'", "'it''s'", "'\xc3\xa9'", "'null'", "'9e999'", "'Inf'", "'.'", "'-'", "'5e'",
    "x''", "x'35'", "X'616263'", "x'00fF'"};

static void fill(struct subject *s)
{
    for (size_t i = 0; i < COUNT(stored); i++)
        store(s, stored[i]);
    read_rows(s);
}

static bool is_bare(const char *constant)
{
    return !strchr(constant, '\'');
}

/* A bare constant is the text it is written as where the column is TEXT. */
static void spell(char *out, size_t size, const struct subject *s, const char *constant)
{
    bool text = s->table->columns[0].affinity == AFFINITY_TEXT && is_bare(constant);
    snprintf(out, size, text ? "'%s'" : "%s", constant);
}

static void each_operator_with_each_constant(void **state)
{
    (void)state;
    for (size_t t = 0; t < COUNT(types); t++)
        for (size_t c = 0; c < COUNT(collations); c++) {
            struct subject s;
            open_subject(&s, types[t], collations[c]);
            fill(&s);
            for (size_t k = 0; k < COUNT(constants); k++)
                for (size_t o = 0; o < COUNT(operators); o++) {
                    char filter[200], where[200], constant[100];
                    spell(constant, sizeof(constant), &s, constants[k]);
                    snprintf(filter, sizeof(filter), "c %s %s", operators[o], constants[k]);
                    snprintf(where, sizeof(where), "c %s %s", operators[o], constant);
                    compare(&s, filter, where);
                    snprintf(filter, sizeof(filter), "rowid %s %s", operators[o], constants[k]);
                    snprintf(where, sizeof(where), "rowid %s %s", operators[o], constants[k]);
                    compare(&s, filter, where);
                }
            compare(&s, "c is null", "c IS NULL");
            compare(&s, "c is not null", "c IS NOT NULL");
            close_subject(&s);
        }
}

/* A number's usual spelling finds in a TEXT column what SQL's number would. */
static void plain_numbers_against_text_columns(void **state)
{
    (void)state;
    static const char *const numbers[] = {"0", "5", "-5", "5.0", "5.5", "1000", "9007199254740993"};
    struct subject s;
    open_subject(&s, "TEXT", "BINARY");
    fill(&s);
    for (size_t k = 0; k < COUNT(numbers); k++)
        for (size_t o = 0; o < COUNT(operators); o++) {
            char text[200];
            snprintf(text, sizeof(text), "c %s %s", operators[o], numbers[k]);
            compare(&s, text, text);
        }
    close_subject(&s);
}

static unsigned seed;

static void random_constant(char *out, size_t size)
{
    static const char letters[] = "0159 .-+eEaAbB\xc2";
    switch (rand() % 5) {
    case 0:
        snprintf(out, size, "%d", rand() % 40 - 20);
        break;
    case 1:
        snprintf(out, size, "%d.%de%d", rand() % 40 - 20, rand() % 100, rand() % 40 - 20);
        break;
    case 2:
        snprintf(out, size, "%lld", (long long)(((uint64_t)rand() << 33) ^ (uint64_t)rand()));
        break;
    case 3:
        snprintf(out, size, "x'%04x'", (unsigned)rand() & 0xffff);
        break;
    default: {
        size_t n = 0, want = (size_t)rand() % 7;
        out[n++] = '\'';
        while (want-- > 0) {
            out[n] = letters[(size_t)rand() % (sizeof(letters) - 2)];
            n++;
        }
        out[n++] = '\'';
        out[n] = 0;
    }
    }
}

static struct value random_value(char *text, size_t size)
{
    switch (rand() % 6) {
    case 0:
        return INTEGER(rand() % 40 - 20);
    case 1:
        return REAL((rand() % 4000 - 2000) / 100.0);
    case 2:
        return REAL(ldexp(rand() - RAND_MAX / 2, rand() % 200 - 100));
    case 3:
        return INTEGER((int64_t)(((uint64_t)rand() << 33) ^ (uint64_t)rand()));
    default: {
        random_constant(text, size);
        size_t len = strlen(text);
        bool quoted = text[0] == '\'';
        return (struct value){.p = text + quoted,
            .len = (uint32_t)(quoted ? len - 2 : len),
            .type = rand() % 4 ? VALUE_TEXT : VALUE_BLOB};
    }
    }
}

static void random_comparison(struct subject *s)
{
    char filter[400], where[400], constant[64], spelled[80];
    if (rand() % 3) {
        const char *op = operators[(size_t)rand() % COUNT(operators)];
        random_constant(constant, sizeof(constant));
        spell(spelled, sizeof(spelled), s, constant);
        snprintf(filter, sizeof(filter), "c %s %s", op, constant);
        snprintf(where, sizeof(where), "c %s %s", op, spelled);
    } else {
        int f = sprintf(filter, "c in ("), w = sprintf(where, "c IN (");
        for (int n = rand() % 5; n >= 0; n--) {
            random_constant(constant, sizeof(constant));
            spell(spelled, sizeof(spelled), s, constant);
            f += sprintf(filter + f, "%s%s", constant, n ? " , " : ")");
            w += sprintf(where + w, "%s%s", spelled, n ? "," : ")");
        }
    }
    compare(s, filter, where);
}

static void random_comparisons(void **state)
{
    (void)state;
    srand(seed);
    for (int round = 0; round < 60; round++) {
        struct subject s;
        open_subject(&s, types[(size_t)rand() % COUNT(types)],
            collations[(size_t)rand() % COUNT(collations)]);
        for (int i = 0; i < 100; i++) {
            char text[64];
            store(&s, random_value(text, sizeof(text)));
        }
        read_rows(&s);
        for (int i = 0; i < 100; i++)
            random_comparison(&s);
        close_subject(&s);
    }
}

static void numbers_become_the_text_that_sqlite_writes(void **state)
{
    (void)state;
    sqlite3 *db;
    sqlite3_stmt *q;
    srand(seed);
    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    sqlite3_prepare_v2(db, "SELECT CAST(? AS TEXT)", -1, &q, NULL);
    for (int i = 0; i < 2000; i++) {
        double r = i % 2 ? (rand() % 2000000 - 1000000) / 1000.0
                         : (rand() % 2001 - 1000) * pow(10, rand() % 60 - 30);
        struct value v = REAL(r);
        char *text;
        sqlite3_bind_double(q, 1, r);
        assert_int_equal(sqlite3_step(q), SQLITE_ROW);
        assert_int_equal(value_apply_affinity(&v, AFFINITY_TEXT, &text), 0);
        assert_string_equal(text, sqlite3_column_text(q, 0));
        mem_free(text);
        sqlite3_reset(q);
    }
    sqlite3_finalize(q);
    sqlite3_close(db);
}

int main(void)
{
    const char *given = getenv("SEED");
    seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
    printf("# SEED=%u\n", seed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_operator_with_each_constant),
        cmocka_unit_test(plain_numbers_against_text_columns),
        cmocka_unit_test(random_comparisons),
        cmocka_unit_test(numbers_become_the_text_that_sqlite_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
