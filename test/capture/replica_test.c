#include "fixture.h"

#include "base/clock.h"
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * The one property: apply the events, in order, to an empty replica, and it equals the source after
 * every commit. The replica is a second database; every event's old row must be there exactly.
 */
struct replica {
    sqlite3 *db;     /* where events are applied */
    sqlite3 *source; /* a look at the served file */
    char problem[2048];
};

static void vexec(struct replica *r, int changes, const char *fmt, va_list ap)
{
    char *sql = sqlite3_vmprintf(fmt, ap);
    if (!r->problem[0] && (sqlite3_exec(r->db, sql, NULL, NULL, NULL) != SQLITE_OK ||
                              (changes >= 0 && sqlite3_changes(r->db) != changes)))
        snprintf(r->problem, sizeof(r->problem), "%s: %s (%d rows)", sql, sqlite3_errmsg(r->db),
            sqlite3_changes(r->db));
    sqlite3_free(sql);
}

static void exec(struct replica *r, int changes, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vexec(r, changes, fmt, ap);
    va_end(ap);
}

static void put_value(sqlite3_str *s, const struct value *v)
{
    if (v->type == VALUE_INTEGER)
        sqlite3_str_appendf(s, "%lld", (long long)v->i);
    else if (v->type == VALUE_REAL && isinf(v->r))
        sqlite3_str_appendall(s, v->r < 0 ? "-9e999" : "9e999");
    else if (v->type == VALUE_REAL)
        sqlite3_str_appendf(s, "%!.17g", v->r);
    else if (v->type == VALUE_NULL)
        sqlite3_str_appendall(s, "NULL");
    else {
        sqlite3_str_appendall(s, v->type == VALUE_TEXT ? "CAST(x'" : "x'");
        for (uint32_t i = 0; i < v->len; i++)
            sqlite3_str_appendf(s, "%02x", (unsigned char)v->p[i]);
        sqlite3_str_appendall(s, v->type == VALUE_TEXT ? "' AS TEXT)" : "'");
    }
}

static bool is_plain(const struct table *t, int i)
{
    return t->columns[i].kind == COLUMN_PLAIN;
}

static void insert(struct replica *r, const struct table *t, const struct value *row, int64_t rowid)
{
    sqlite3_str *names = sqlite3_str_new(NULL), *values = sqlite3_str_new(NULL);
    if (!t->without_rowid) {
        sqlite3_str_appendall(names, "rowid");
        sqlite3_str_appendf(values, "%lld", (long long)rowid);
    }
    for (int i = 0; i < t->column_count; i++) {
        if (!is_plain(t, i))
            continue;
        sqlite3_str_appendf(
            names, "%s\"%w\"", sqlite3_str_length(names) ? "," : "", t->columns[i].name);
        sqlite3_str_appendall(values, sqlite3_str_length(values) ? "," : "");
        put_value(values, &row[i]);
    }
    char *n = sqlite3_str_finish(names), *v = sqlite3_str_finish(values);
    exec(r, 1, "INSERT INTO \"%w\"(%s) VALUES(%s)", t->name, n, v);
    sqlite3_free(n);
    sqlite3_free(v);
}

static void delete (
    struct replica *r, const struct table *t, const struct value *old, int64_t rowid)
{
    sqlite3_str *where = sqlite3_str_new(NULL);
    if (!t->without_rowid)
        sqlite3_str_appendf(where, "rowid=%lld AND ", (long long)rowid);
    for (int i = 0; i < t->column_count; i++) {
        if (old[i].type == VALUE_ABSENT)
            continue;
        sqlite3_str_appendf(where, "quote(\"%w\") IS quote(", t->columns[i].name);
        put_value(where, &old[i]);
        sqlite3_str_appendall(where, ") AND ");
    }
    sqlite3_str_appendall(where, "1");
    char *w = sqlite3_str_finish(where);
    exec(r, 1, "DELETE FROM \"%w\" WHERE %s", t->name, w);
    sqlite3_free(w);
}

/* The new definition, with the rows of the columns that both have. */
static void alter(struct replica *r, const struct table *old, const struct table *t)
{
    sqlite3_str *to = sqlite3_str_new(NULL), *from = sqlite3_str_new(NULL);
    sqlite3_str_appendall(to, t->without_rowid ? "" : "rowid");
    sqlite3_str_appendall(from, t->without_rowid ? "" : "rowid");
    for (int i = 0; i < t->column_count; i++)
        for (int k = 0; k < old->column_count; k++) {
            if (t->columns[i].id != old->columns[k].id || !is_plain(t, i))
                continue;
            const char *comma = sqlite3_str_length(to) ? "," : "";
            sqlite3_str_appendf(to, "%s\"%w\"", comma, t->columns[i].name);
            sqlite3_str_appendf(from, "%s\"%w\"", comma, old->columns[k].name);
        }
    char *a = sqlite3_str_finish(to), *b = sqlite3_str_finish(from);
    exec(r, -1, "ALTER TABLE \"%w\" RENAME TO altered", old->name);
    exec(r, -1, "%s", t->sql);
    exec(r, -1, "INSERT INTO \"%w\"(%s) SELECT %s FROM altered", t->name, a, b);
    exec(r, -1, "DROP TABLE altered");
    sqlite3_free(a);
    sqlite3_free(b);
}

static void apply(struct fixture *f, struct batch *b)
{
    struct replica *r = f->ctx;
    for (uint32_t i = 0; i < b->change_count; i++) {
        const struct change *c = &b->changes[i];
        if (c->kind == CHANGE_TABLE_CREATED)
            exec(r, -1, "%s", c->table->sql);
        else if (c->kind == CHANGE_TABLE_DROPPED)
            exec(r, -1, "DROP TABLE \"%w\"", c->table->name);
        else if (c->kind == CHANGE_TABLE_ALTERED)
            alter(r, c->old_table, c->table);
        if (c->old)
            delete (r, c->table, c->old, c->old_rowid);
        if (c->row && c->kind <= CHANGE_DELETE)
            insert(r, c->table, c->row, c->rowid);
    }
}

/* Every table's rows as text, with the names of the columns. */
static char *dump(sqlite3 *db)
{
    sqlite3_str *out = sqlite3_str_new(NULL);
    sqlite3_stmt *tables, *rows;
    sqlite3_prepare_v2(db,
        "SELECT name,wr FROM pragma_table_list WHERE schema='main' AND type='table' AND name NOT "
        "LIKE 'sqlite_%' AND name NOT LIKE 'rowtap_%' ORDER BY 1",
        -1, &tables, NULL);
    while (sqlite3_step(tables) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(tables, 0);
        bool wr = sqlite3_column_int(tables, 1);
        char *sql = sqlite3_mprintf("SELECT %s* FROM \"%w\" ORDER BY %s", wr ? "" : "rowid,", name,
            wr ? "quote(b),quote(c)" : "1");
        sqlite3_str_appendf(out, "%s\n", name);
        if (sqlite3_prepare_v2(db, sql, -1, &rows, NULL) != SQLITE_OK)
            sqlite3_str_appendf(out, "%s", sqlite3_errmsg(db));
        while (rows && sqlite3_step(rows) == SQLITE_ROW) {
            for (int i = 0; i < sqlite3_column_count(rows); i++) {
                sqlite3_value *v = sqlite3_column_value(rows, i);
                struct value copy = {.type = VALUE_NULL};
                if (sqlite3_value_type(v) == SQLITE_INTEGER)
                    copy = (struct value){.type = VALUE_INTEGER, .i = sqlite3_value_int64(v)};
                else if (sqlite3_value_type(v) == SQLITE_FLOAT)
                    copy = (struct value){.type = VALUE_REAL, .r = sqlite3_value_double(v)};
                else if (sqlite3_value_type(v) != SQLITE_NULL)
                    copy = (struct value){
                        .type = sqlite3_value_type(v) == SQLITE_TEXT ? VALUE_TEXT : VALUE_BLOB,
                        .p = sqlite3_value_blob(v),
                        .len = (uint32_t)sqlite3_value_bytes(v)};
                sqlite3_str_appendf(out, " %s=", sqlite3_column_name(rows, i));
                put_value(out, &copy);
            }
            sqlite3_str_appendall(out, "\n");
        }
        sqlite3_finalize(rows);
        sqlite3_free(sql);
    }
    sqlite3_finalize(tables);
    char *text = sqlite3_str_finish(out);
    return text ? text : sqlite3_mprintf("%s", "");
}

/* The first lines of two dumps that are not the same. */
static const char *first_difference(const char *a, const char *b)
{
    static char text[1024];
    size_t line = 0;
    for (size_t i = 0; a[i] == b[i] && a[i]; i++)
        if (a[i] == '\n')
            line = i + 1;
    snprintf(text, sizeof(text), "source:  %.*s\nreplica: %.*s", (int)strcspn(a + line, "\n"),
        a + line, (int)strcspn(b + line, "\n"), b + line);
    return text;
}

static uint64_t state_of_random;

static unsigned pick(unsigned n)
{
    state_of_random = state_of_random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(state_of_random >> 33) % n;
}

#define PICK(list) list[pick(sizeof(list) / sizeof(*list))]

static const char *const tables[] = {"t0", "t0", "t1", "t2", "t3", "t4", "t5"};
static const char *const columns[] = {"a", "b", "c"};
static const char *const values[] = {"NULL", "1", "2", "3", "4", "5", "6", "7", "'3'", "'x'", "'y'",
    "2.5", "3.0", "x'01'", "x''", "''", "9223372036854775807", "-9e999", "1e300", "a", "b", "c"};
static const char *const defaults[] = {"NULL", "1", "'x'", "2.5", "x'01'", "'3'"};
static const char *const conflicts[] = {
    "", "", "OR IGNORE", "OR REPLACE", "OR REPLACE", "OR FAIL", "OR ABORT", "OR ROLLBACK"};

/* The parts that a statement may want, picked in this order so that a seed is the same everywhere.
 */
static void put_statement(sqlite3_str *s)
{
    const char *t = PICK(tables), *u = PICK(tables), *how = PICK(conflicts);
    const char *c = PICK(columns), *c2 = PICK(columns), *c3 = PICK(columns);
    const char *any = PICK(values), *standard = PICK(defaults), *v[6];
    unsigned n = pick(3), m = pick(3), rowid = pick(8), coin = pick(4);
    for (int i = 0; i < 6; i++)
        v[i] = values[pick(19)];
    switch (pick(16)) {
    case 0:
    case 1:
    case 2:
    case 3:
        sqlite3_str_appendf(s, "INSERT %s INTO %s(a,b,c) VALUES(%s,%s,%s),(%s,%s,%s)", how, t, v[0],
            v[1], v[2], v[3], v[4], v[5]);
        break;
    case 4:
    case 5:
    case 6:
        sqlite3_str_appendf(
            s, "UPDATE %s %s SET %s=%s,%s=%s WHERE %s>=%s", how, t, c, any, c2, v[0], c3, v[1]);
        break;
    case 7:
        sqlite3_str_appendf(
            s, "UPDATE %s %s SET id=%s WHERE %s=%s", how, coin % 2 ? "t0" : "t2", any, c, v[0]);
        break;
    case 8:
        sqlite3_str_appendf(s, "DELETE FROM %s WHERE %s=%s", t, c, v[0]);
        break;
    case 9:
        sqlite3_str_appendf(s, coin ? "DELETE FROM %s WHERE %s<%s" : "DELETE FROM %s", t, c, v[0]);
        break;
    case 10:
        sqlite3_str_appendf(s,
            "INSERT INTO t0(id,a,b) VALUES(%u,%s,%s) ON CONFLICT DO UPDATE SET a=%s", rowid, v[0],
            v[1], v[2]);
        break;
    case 11:
        sqlite3_str_appendf(s, "INSERT %s INTO %s(a,b,c) SELECT a,b,c FROM %s", how, t, u);
        break;
    case 12:
        sqlite3_str_appendf(s, "UPDATE t3 SET rowid=rowid+%u WHERE %s=%s", n, c, v[0]);
        break;
    case 13:
        if (coin == 0)
            sqlite3_str_appendf(s, "ALTER TABLE %s DROP COLUMN d%u", t, n);
        else if (coin == 1)
            sqlite3_str_appendf(s, "ALTER TABLE %s RENAME COLUMN d%u TO d%u", t, n, m);
        else
            sqlite3_str_appendf(s, "ALTER TABLE %s ADD COLUMN d%u %s DEFAULT %s", t, n,
                coin == 2 ? "REAL" : "", standard);
        break;
    case 14:
        if (coin < 2)
            sqlite3_str_appendf(s, "CREATE TABLE x%u AS SELECT rowid AS r,a,b,c FROM t0", n);
        else
            sqlite3_str_appendf(
                s, coin == 2 ? "DROP TABLE x%u" : "ALTER TABLE x%u RENAME TO x%u", n, m + 5);
        break;
    default:
        sqlite3_str_appendf(s, "UPDATE %s SET d%u=%s WHERE %s=%s", t, n, v[0], c, v[1]);
    }
}

static char *make_script(void)
{
    static const char *const control[] = {
        "SAVEPOINT p", "SAVEPOINT q", "ROLLBACK TO p", "RELEASE p", "RELEASE q"};
    sqlite3_str *s = sqlite3_str_new(NULL);
    bool begin = pick(2);
    unsigned count = 1 + pick(begin ? 6 : 3);
    sqlite3_str_appendall(s, begin ? "BEGIN;SAVEPOINT p;" : "");
    for (unsigned i = 0; i < count; i++) {
        if (begin && pick(4) == 0)
            sqlite3_str_appendall(s, PICK(control));
        else
            put_statement(s);
        sqlite3_str_appendall(s, ";");
    }
    if (begin)
        sqlite3_str_appendall(s, pick(6) ? "COMMIT" : "ROLLBACK");
    return sqlite3_str_finish(s);
}

static const char schema[] =
    "CREATE TABLE t0(id INTEGER PRIMARY KEY, a, b UNIQUE, c CHECK(c IS NOT 7));"
    "CREATE TABLE t1(a, b PRIMARY KEY, c REAL) WITHOUT ROWID;"
    "CREATE TABLE t2(v AS (b||'!'), id INTEGER PRIMARY KEY, a, b, c INT UNIQUE, s AS (c+1) STORED);"
    "CREATE TABLE t3(a TEXT, b REAL, c);"
    "CREATE TABLE t4(a INTEGER, x REAL AS (a), b INTEGER, c, PRIMARY KEY(c,b)) WITHOUT ROWID;"
    "CREATE TABLE t5(a REFERENCES t0(b) ON DELETE CASCADE ON UPDATE CASCADE, b, c NOT NULL);"
    "CREATE TRIGGER g1 AFTER UPDATE ON t0 WHEN new.a=3 BEGIN INSERT INTO t3(a) VALUES(new.id); END;"
    "CREATE TRIGGER g2 BEFORE INSERT ON t3 WHEN new.c=5 BEGIN INSERT OR IGNORE INTO t1(b) "
    "VALUES(new.b);"
    " SELECT RAISE(FAIL,'five'); END;"
    "CREATE TRIGGER g3 AFTER DELETE ON t1 WHEN old.a=2 BEGIN SELECT RAISE(IGNORE); END;"
    "CREATE TRIGGER g4 AFTER INSERT ON t2 WHEN new.a=6 BEGIN SELECT RAISE(ROLLBACK,'six'); END;";

static void run_seed(uint64_t seed, int scripts)
{
    struct fixture f;
    struct replica r = {0};
    int succeeded = 0;
    print_message("# seed %llu\n", (unsigned long long)seed);
    state_of_random = seed;
    fixture_init(&f);
    f.quiet = true;
    f.ctx = &r;
    f.on_batch = apply;
    sqlite3_open(":memory:", &r.db);
    sqlite3_db_config(r.db, SQLITE_DBCONFIG_LEGACY_ALTER_TABLE, 1, (int *)NULL);
    fixture_open(&f);
    sqlite3_open(f.path, &r.source);
    sql_ok(&f, schema);
    for (int i = 0; i < scripts; i++) {
        char *script = make_script();
        struct sql_request q = {0};
        sql_request_add(&q, script, strlen(script));
        database_execute(f.db, &q);
        succeeded += !q.error.code[0];
        char *a = dump(r.source), *b = dump(r.db);
        if (r.problem[0] || strcmp(a, b) != 0)
            fail_msg("seed %llu, script %d: %s\nanswer: %s %s\n%s\n%s", (unsigned long long)seed, i,
                script, q.error.code, q.error.message, r.problem, first_difference(a, b));
        sqlite3_free(a);
        sqlite3_free(b);
        sql_request_fini(&q);
        sqlite3_free(script);
    }
    assert_true(succeeded > scripts / 10);
    print_message("# %d of %d scripts succeeded\n", succeeded, scripts);
    fixture_fini(&f);
    sqlite3_close(r.db);
    sqlite3_close(r.source);
}

static void replica_equals_source(void **state)
{
    (void)state;
    const char *given = getenv("ROWTAP_SEED");
    if (given) {
        run_seed(strtoull(given, NULL, 10), 2000);
        return;
    }
    for (uint64_t seed = 1; seed <= 3; seed++)
        run_seed(seed, 300);
    run_seed((uint64_t)clock_wall_ms(), 300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(replica_equals_source)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
