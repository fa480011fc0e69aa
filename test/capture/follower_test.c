#include "mixed.h"

#include "base/clock.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * Commits of another process between those of the database's own connection: all in the order of
 * the log, with all that one of them means for the other.
 */

static void in_turn(void **state)
{
    struct mixed *m = *state;
    sql_ok(&m->f, "INSERT INTO t VALUES(1,'own')");
    other_ok(&m->o, "INSERT INTO t VALUES(2,'other')");
    other_ok(&m->o, "UPDATE t SET v='other' WHERE id=1");
    sql_ok(&m->f, "DELETE FROM t WHERE id=2");
    expect_events(&m->f, OWN(1, "\"own\"") OTHERS(2, "\"other\"") "UPDATE t {\"id\":1} " ROW(
                             1, "\"own\"") " -> " ROW(1,
                             "\"other\"") " external\ncommit\n"
                                          "DELETE t {\"id\":2} " ROW(2, "\"other\"") "\ncommit\n");
    other_ok(&m->o, "BEGIN; REPLACE INTO t VALUES(1,'a'),(3,'b'); COMMIT");
    await_events(&m->f,
        "UPDATE t {\"id\":1} " ROW(1, "\"other\"") " -> " ROW(
            1, "\"a\"") " external\nINSERT t {\"id\":3} " ROW(3, "\"b\"") " external\ncommit\n");
    assert_int_equal(m->f.gaps, 0);
}

/* SQLite keeps what was done before an error, or even what a trigger did, and commits it. */
static void own_failing_statements(void **state)
{
    struct mixed *m = *state;
    sql_ok(&m->f, "CREATE TABLE p(id); CREATE TRIGGER tr BEFORE INSERT ON t WHEN new.id<0 BEGIN "
                  "INSERT INTO p VALUES(-new.id); SELECT RAISE(FAIL,'negative'); END;"
                  "INSERT INTO p VALUES(5); CREATE TRIGGER te BEFORE INSERT ON t WHEN new.id>900 "
                  "BEGIN UPDATE p SET id=5; SELECT RAISE(FAIL,'large'); END");
    forget_events(&m->f);
    for (int i = 0; i < 3; i++) {
        expect_starts(sql_error(&m->f, "INSERT OR FAIL INTO t VALUES(1,'a'),(2,'a'),(1,'b')"),
            "SQL_ERROR: UNIQUE");
        expect_starts(sql_error(&m->f, "INSERT INTO t VALUES(-5,'a')"), "SQL_ERROR: negative");
        /* Commits what is no change. */
        expect_starts(sql_error(&m->f, "INSERT INTO t VALUES(999,'a')"), "SQL_ERROR: large");
        other_ok(&m->o, "INSERT INTO t VALUES(3,'b')");
        sql_ok(&m->f, "DELETE FROM t WHERE 0; UPDATE t SET v='a' WHERE id=1; VACUUM");
        other_ok(&m->o, "DELETE FROM p WHERE rowid>1; DELETE FROM t");
        sql_ok(&m->f, "PRAGMA optimize; INSERT INTO t VALUES(9,'e'); DELETE FROM t");
        expect_events(&m->f,
            "INSERT t {\"id\":1} " ROW(1, "\"a\"") "\nINSERT t {\"id\":2} " ROW(
                2, "\"a\"") "\ncommit\nINSERT p {\"rowid\":2} {\"id\":5}\ncommit\n" OTHERS(3,
                "\"b\"") "DELETE p {\"rowid\":2} {\"id\":5} external\ncommit\n"
                         "DELETE t {\"id\":1} " ROW(
                             1, "\"a\"") " external\n"
                                         "DELETE t {\"id\":2} " ROW(
                                             2, "\"a\"") " external\n"
                                                         "DELETE t {\"id\":3} " ROW(3,
                                                             "\"b\"") " external\ncommit\n" OWN(9,
                                                             "\"e\"") "DELETE t {\"id\":9} " ROW(9,
                                                             "\"e\"") "\ncommit\n");
    }
    assert_int_equal(m->f.gaps, 0);
}

/* A commit without changes of rows is none, and what is rolled back never was. */
static void nothing_to_tell(void **state)
{
    struct mixed *m = *state;
    other_ok(&m->o, "INSERT INTO t VALUES(1,'a')");
    other_ok(&m->o, "UPDATE t SET v='a'");
    other_ok(&m->o, "BEGIN; UPDATE t SET v='b'; DELETE FROM t; ROLLBACK");
    other_ok(&m->o, "BEGIN; UPDATE t SET v='b'; UPDATE t SET v='a'; COMMIT");
    other_ok(&m->o, "PRAGMA user_version=7");
    other_ok(&m->o, "CREATE INDEX ti ON t(v)");
    other_ok(&m->o, "ANALYZE");
    other_ok(&m->o, "VACUUM");
    other_ok(&m->o, "PRAGMA wal_checkpoint(TRUNCATE)");
    sql_error(&m->f, "INSERT INTO t VALUES(1,'c')");
    sql_ok(&m->f, "INSERT INTO t VALUES(2,'own')");
    expect_events(&m->f, OTHERS(1, "\"a\"") OWN(2, "\"own\""));
}

/* Between opening the file and being told to follow, too. */
static void from_the_start(void **state)
{
    struct mixed *m = *state;
    struct buf err = {0};
    fixture_close(&m->f);
    m->f.tx = 0;
    m->f.db = database_open(&m->f.options, &err);
    assert_non_null(m->f.db);
    m->f.seq = database_seq(m->f.db);
    other_ok(&m->o, "INSERT INTO t VALUES(1,'a')");
    usleep(20000);
    expect_events(&m->f, "");
    database_follow(m->f.db);
    await_events(&m->f, OTHERS(1, "\"a\""));
    buf_fini(&err);
}

/* The schema. */

static void own_rows_in_others_tables(void **state)
{
    struct mixed *m = *state;
    other_ok(&m->o, "ALTER TABLE t ADD COLUMN w DEFAULT 'd'");
    sql_ok(&m->f, "INSERT INTO t(id,w) VALUES(1,'x')");
    other_ok(&m->o, "CREATE TABLE n(a,b,PRIMARY KEY(b)) WITHOUT ROWID");
    sql_ok(&m->f, "INSERT INTO n VALUES(1,2)");
    other_ok(&m->o, "ALTER TABLE n RENAME TO nn");
    sql_ok(&m->f, "UPDATE nn SET a=3");
    expect_starts(sql_error(&m->f, "INSERT INTO n VALUES(2,3)"), "SQL_ERROR: no such table: n");
    other_ok(&m->o, "DROP TABLE nn");
    expect_starts(sql_error(&m->f, "DELETE FROM nn"), "SQL_ERROR: no such table: nn");
    sql_ok(&m->f, "DELETE FROM t");
    char *log = strdup(buf_text(&m->f.log));
    forget_events(&m->f);
    static const char *const steps[] = {"table:altered t {", "} external\ncommit\n",
        "INSERT t {\"id\":1} {\"id\":1,\"v\":null,\"w\":\"x\"}\ncommit\n",
        "table:created n external\ncommit\n", "INSERT n {\"b\":2} {\"a\":1,\"b\":2}\ncommit\n",
        "table:altered nn {", "} external\ncommit\n",
        "UPDATE nn {\"b\":2} {\"a\":1,\"b\":2} -> {\"a\":3,\"b\":2}\ncommit\n",
        "table:dropped nn external\ncommit\n",
        "DELETE t {\"id\":1} {\"id\":1,\"v\":null,\"w\":\"x\"}\ncommit\n"};
    const char *at = log;
    for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
        const char *found = strstr(at, steps[i]);
        if (!found)
            fail_msg("no \"%s\" in \"%s\"; all: %s", steps[i], at, log);
        at = found + strlen(steps[i]);
    }
    assert_string_equal(at, "");
    free(log);
}

static void others_rows_in_own_tables(void **state)
{
    struct mixed *m = *state;
    sql_ok(&m->f, "CREATE TABLE n(a); ALTER TABLE n ADD COLUMN b DEFAULT 5");
    forget_events(&m->f);
    other_ok(&m->o, "INSERT INTO n(a) VALUES(1)");
    sql_ok(&m->f, "CREATE TABLE n2(x INTEGER PRIMARY KEY)");
    other_ok(&m->o, "INSERT INTO n2 SELECT a FROM n");
    sql_ok(&m->f, "DROP TABLE n");
    expect_starts(other_try(&m->o, "INSERT INTO n VALUES(1,1)"), "error: no such table");
    other_ok(&m->o, "UPDATE n2 SET x=7");
    sql_ok(&m->f, "DROP TABLE n2; CREATE TABLE n2(y)");
    other_ok(&m->o, "INSERT INTO n2 VALUES(8)");
    await_events(&m->f,
        "INSERT n {\"rowid\":1} {\"a\":1,\"b\":5} external\ncommit\ntable:created n2\ncommit\n"
        "INSERT n2 {\"x\":1} {\"x\":1} external\ncommit\n"
        "table:dropped n\ncommit\n"
        "DELETE n2 {\"x\":1} {\"x\":1} external\nINSERT n2 {\"x\":7} {\"x\":7} external\ncommit\n"
        "table:dropped n2\ncommit\ntable:created n2\ncommit\n"
        "INSERT n2 {\"rowid\":1} {\"y\":8} external\ncommit\n");
}

/*
 * With auto_vacuum the tree of one table moves to where that of a dropped one was, and of its pages
 * only the root is written.
 */
static void a_tree_moves_in(void **state)
{
    struct mixed *m = *state;
    other_ok(&m->o, "PRAGMA auto_vacuum=2; VACUUM");
    other_ok(&m->o, "CREATE TABLE \"d\"(id INTEGER PRIMARY KEY, v); INSERT INTO d VALUES(77,'old');"
                    "CREATE TABLE e(id INTEGER PRIMARY KEY, v)");
    other_ok(&m->o, "WITH g(n) AS (VALUES(1) UNION ALL SELECT n+1 FROM g WHERE n<2000) "
                    "INSERT INTO e SELECT n,'row '||n FROM g");
    sql_ok(&m->f, "DELETE FROM t");
    forget_events(&m->f);
    other_ok(&m->o, "BEGIN; DROP TABLE d; ALTER TABLE e RENAME TO d; COMMIT");
    sql_ok(&m->f, "DELETE FROM t");
    const char *log = buf_text(&m->f.log);
    int rows = 0;
    for (const char *at = log; (at = strstr(at, "INSERT d {\"id\":")); at++)
        rows++;
    if (rows != 1999 || !strstr(log, "UPDATE d {\"id\":77} {\"id\":77,\"v\":\"old\"} -> "
                                     "{\"id\":77,\"v\":\"row 77\"} external\n"))
        fail_msg("%d rows, %.300s", rows, log);
    assert_int_equal(m->f.gaps, 0);
}

/* Rows that nobody wrote have in a renamed column what they had, whatever else was altered. */
static void columns_in_one_commit(void **state)
{
    struct mixed *m = *state;
    sql_ok(&m->f,
        "CREATE TABLE d(id INTEGER PRIMARY KEY, g AS (v+1), v, w); "
        "INSERT INTO d VALUES(1,2,3); CREATE TABLE e(a, b, c); INSERT INTO e VALUES(1,2,3)");
    forget_events(&m->f);
    other_ok(&m->o, "BEGIN; ALTER TABLE d DROP COLUMN g; ALTER TABLE d RENAME COLUMN w TO y; "
                    "ALTER TABLE d ADD COLUMN z DEFAULT 9; COMMIT");
    other_ok(&m->o,
        "BEGIN; ALTER TABLE e ADD COLUMN d DEFAULT 4; ALTER TABLE e RENAME COLUMN c TO x; "
        "UPDATE e SET a=0; COMMIT");
    other_ok(&m->o, "DELETE FROM d");
    sql_ok(&m->f, "DELETE FROM e");
    const char *log = buf_text(&m->f.log);
    if (!strstr(log,
            "\"added\":[\"z\"],\"dropped\":[\"g\"],\"renamed\":[{\"from\":\"w\",\"to\":\"y\"}]}") ||
        !strstr(
            log, "\"added\":[\"d\"],\"dropped\":[],\"renamed\":[{\"from\":\"c\",\"to\":\"x\"}]}") ||
        !strstr(log, "UPDATE e {\"rowid\":1} {\"a\":1,\"b\":2,\"x\":3,\"d\":4} -> "
                     "{\"a\":0,\"b\":2,\"x\":3,\"d\":4} external\ncommit\n"
                     "DELETE d {\"id\":1} {\"id\":1,\"v\":2,\"y\":3,\"z\":9} external\ncommit\n"))
        fail_msg("%s", log);
    assert_int_equal(m->f.gaps, 0);
}

/* VACUUM stores tables elsewhere, and nothing else of the server's own tells the follower so. */
static void after_a_vacuum(void **state)
{
    struct mixed *m = *state;
    sql_ok(&m->f, "CREATE TABLE a(x); CREATE TABLE b(id INTEGER PRIMARY KEY, v);"
                  "CREATE TABLE c(id INTEGER PRIMARY KEY, v); INSERT INTO a VALUES(zeroblob(9000));"
                  "INSERT INTO b VALUES(1,'b'); INSERT INTO c VALUES(1,'c'); DROP TABLE a");
    forget_events(&m->f);
    sql_ok(&m->f, "VACUUM");
    other_ok(&m->o, "UPDATE c SET v='new'; INSERT INTO b VALUES(2,'b2')");
    sql_ok(&m->f, "VACUUM");
    other_ok(&m->o, "BEGIN; ALTER TABLE c RENAME TO d; DELETE FROM d; COMMIT");
    await_events(&m->f,
        "UPDATE c {\"id\":1} {\"id\":1,\"v\":\"c\"} -> {\"id\":1,\"v\":\"new\"} external\ncommit\n"
        "INSERT b {\"id\":2} {\"id\":2,\"v\":\"b2\"} external\ncommit\n"
        "table:altered d {\"columns\":[{\"name\":\"id\",\"type\":\"INTEGER\",\"notNull\":false,"
        "\"default\":null,\"primaryKey\":true,\"generated\":null},{\"name\":\"v\",\"type\":\"\","
        "\"notNull\":false,\"default\":null,\"primaryKey\":false,\"generated\":null}],\"added\":[],"
        "\"dropped\":[],\"renamed\":[],\"renamedFrom\":\"c\"} external\n"
        "DELETE d {\"id\":1} {\"id\":1,\"v\":\"new\"} external\ncommit\n");
    assert_int_equal(m->f.gaps, 0);
}

/*
 * In one commit another table takes the place of one that had a computed column of the same name:
 * no ALTER TABLE of that one has the same result, and what it computed nobody knows.
 */
static void another_table_in_its_place(void **state)
{
    struct mixed *m = *state;
    sql_ok(&m->f, "CREATE TABLE g(v, pad AS (v||'x')); INSERT INTO g VALUES('old');"
                  "CREATE TABLE h(v, pad); INSERT INTO h VALUES('new','p')");
    forget_events(&m->f);
    other_ok(&m->o, "BEGIN; DROP TABLE g; ALTER TABLE h RENAME TO g;"
                    "UPDATE g SET v='newer'; COMMIT");
#define COLUMN(name)                                                                               \
    "{\"name\":\"" name                                                                            \
    "\",\"type\":\"\",\"notNull\":false,\"default\":null,\"primaryKey\":false,"                    \
    "\"generated\":null}"
    await_events(&m->f,
        "table:dropped g external\ntable:altered g {\"columns\":[" COLUMN("v") "," COLUMN(
            "pad") "],\"added\":[],\"dropped\":[],\"renamed\":[],\"renamedFrom\":\"h\"} external\n"
                   "UPDATE g {\"rowid\":1} {\"v\":\"new\",\"pad\":\"p\"} -> "
                   "{\"v\":\"newer\",\"pad\":\"p\"} "
                   "external\ncommit\n");
}

/*
 * Another process commits exactly when something of others has been published: between the moments
 * at which what is to be done has been looked at.
 */
static const char *const *intrusions; /* guarded by the fixture's lock */

/* The next one, or, when this one is done, the one after it. */
static const char *next_intrusion(struct fixture *f, bool done)
{
    pthread_mutex_lock(&f->lock);
    intrusions += done;
    const char *sql = *intrusions;
    pthread_mutex_unlock(&f->lock);
    return sql;
}

static void intrude(struct fixture *f, struct batch *b)
{
    bool external = b->change_count > 0 && b->changes[0].external;
    const char *sql = external ? next_intrusion(f, false) : NULL;
    if (sql) {
        other_ok(&((struct mixed *)f)->intruder, "%s", sql);
        next_intrusion(f, true);
    }
}

/* What became of the statement, "" if nothing went wrong. */
static const char *run_with_intrusions(struct mixed *m, const char *own, const char *const *sql)
{
    static char said[512];
    struct sql_request r = {0};
    pthread_mutex_lock(&m->f.lock);
    intrusions = sql + 1;
    pthread_mutex_unlock(&m->f.lock);
    fixture_listen(&m->f, intrude, false);
    other_ok(&m->o, "%s", sql[0]);
    sql_request_add(&r, own, strlen(own));
    database_execute(m->f.db, &r);
    snprintf(said, sizeof(said), "%s", r.error.message);
    sql_request_fini(&r);
    for (int i = 0; i < 5000 && next_intrusion(&m->f, false); i++)
        usleep(1000);
    fixture_listen(&m->f, NULL, false);
    return said;
}

/* Each of the rows 1 to 6 and the own statement's effect are told, whatever the order. */
static void between_the_parts_of_a_statement(void **state)
{
    static const char *const own[] = {"VACUUM", "INSERT OR FAIL INTO t VALUES(100,'own')",
        "INSERT INTO t VALUES(100,'own')", "BEGIN; INSERT INTO t VALUES(100,'own'); COMMIT",
        "INSERT INTO t VALUES(-5,'own')", "PRAGMA optimize", "PRAGMA incremental_vacuum"};
    static const char *const sql[] = {"INSERT INTO t VALUES(1,1)", "INSERT INTO t VALUES(2,1)",
        "INSERT INTO t VALUES(3,1)", "INSERT INTO t VALUES(4,1)", "INSERT INTO t VALUES(5,1)",
        "INSERT INTO t VALUES(6,1)", NULL};
    struct mixed *m = *state;
    sql_ok(&m->f, "CREATE TABLE p(id); CREATE TRIGGER tr BEFORE INSERT ON t WHEN new.id<0 BEGIN "
                  "INSERT INTO p VALUES(-new.id); SELECT RAISE(FAIL,'negative'); END");
    for (size_t i = 0; i < sizeof(own) / sizeof(*own); i++) {
        forget_events(&m->f);
        run_with_intrusions(m, own[i], sql);
        sql_ok(&m->f, "DELETE FROM t; DELETE FROM p");
        const char *log = buf_text(&m->f.log);
        for (int k = 1; k <= 6; k++) {
            char row[64];
            snprintf(row, sizeof(row), "INSERT t {\"id\":%d} {\"id\":%d,\"v\":1} external", k, k);
            const char *found = strstr(log, row);
            if (!found || strstr(found + 1, row))
                fail_msg("%s: no \"%s\", or twice, in %s", own[i], row, log);
        }
        bool row = strstr(own[i], "100"), trigger = strstr(own[i], "-5");
        assert_int_equal(
            row, strstr(log, "INSERT t {\"id\":100} {\"id\":100,\"v\":\"own\"}\n") != NULL);
        assert_int_equal(trigger, strstr(log, "INSERT p {\"rowid\":1} {\"id\":5}\n") != NULL);
        assert_null(strstr(log, "INSERT p {\"rowid\":1} {\"id\":5} external"));
        assert_null(strstr(log, "{\"id\":100,\"v\":\"own\"} external"));
        assert_int_equal(m->f.gaps, 0);
    }
}

/* The same with changes of the schema; the own row may come before or after each. */
static void the_schema_between_the_parts(void **state)
{
    static const char *const own[] = {"VACUUM", "INSERT INTO t(id,v) VALUES(100,'own')",
        "INSERT OR FAIL INTO t(id,v) VALUES(100,'own')", "INSERT INTO t(id,v) VALUES(-5,'own')",
        ("BEGIN; INSERT INTO t(id,v) VALUES(100,'own'); SAVEPOINT s; DELETE FROM t; ROLLBACK TO s; "
         "COMMIT"),
        "CREATE TABLE mine(x)"};
    struct mixed *m = *state;
    sql_ok(&m->f, "CREATE TABLE p(id); CREATE TRIGGER tr BEFORE INSERT ON t WHEN new.id<0 BEGIN "
                  "INSERT INTO p(id) VALUES(-new.id); SELECT RAISE(FAIL,'negative'); END");
    for (size_t i = 0; i < sizeof(own) / sizeof(*own); i++) {
        char text[6][160];
        const char *sql[7] = {0};
        forget_events(&m->f);
        for (int k = 0; k < 6; k++) {
            snprintf(text[k], sizeof(text[k]),
                "BEGIN; ALTER TABLE t ADD COLUMN c%d_%d DEFAULT 'd'; ALTER TABLE p ADD COLUMN "
                "c%d_%d DEFAULT 'd'; INSERT INTO t(id) VALUES(%d); COMMIT",
                (int)i, k, (int)i, k, k + 1);
            sql[k] = text[k];
        }
        const char *said = run_with_intrusions(m, own[i], sql);
        sql_ok(&m->f, "UPDATE t SET v='last'; DELETE FROM t; DELETE FROM p");
        const char *log = buf_text(&m->f.log);
        int altered = 0, rows = 0, last = 0;
        for (const char *at = log; (at = strstr(at, "table:altered t ")); at++)
            altered++;
        for (const char *at = log; (at = strstr(at, "INSERT t {\"id\":")); at++)
            rows++;
        for (const char *at = log; (at = strstr(at, "\"v\":\"last\"")); at++)
            last++;
        bool refused = strstr(said, "try again");
        bool row = strstr(own[i], "100") && !refused, trigger = strstr(own[i], "-5") && !refused;
        if (altered != 6 || rows != 6 + row || last != 2 * rows)
            fail_msg("%s: %d altered, %d rows, %d updated: %s", own[i], altered, rows, last, log);
        bool told = strstr(log, "INSERT p {\"rowid\":1} {\"id\":5") != NULL;
        if (trigger != told || strstr(log, "\"own\"} external") || m->f.gaps > 0)
            fail_msg("%s: %s: %s", own[i], said, log);
        assert_int_equal(m->f.gaps, 0);
    }
}

/*
 * What a statement is to keep of itself is known only when SQLite commits it by itself: no
 * transaction keeps others out before it begins.
 */
static void names_between_the_parts(void **state)
{
    struct mixed *m = *state;
    char name[16] = "c0";
    int last = 0;
    sql_ok(&m->f, "CREATE TABLE p(c0); CREATE TRIGGER tr BEFORE INSERT ON t WHEN new.id<0 BEGIN "
                  "INSERT INTO p VALUES(-new.id); SELECT RAISE(FAIL,'negative'); END");
    for (int count = 1; count <= 7; count++) {
        char text[7][80];
        const char *sql[8] = {0};
        int rows = 0;
        forget_events(&m->f);
        for (int k = 0; k < count; k++, last++) {
            snprintf(text[k], sizeof(text[k]), "SELECT 1 FROM p; ALTER TABLE p RENAME c%d TO c%d",
                last, last + 1);
            sql[k] = text[k];
        }
        assert_string_equal(
            run_with_intrusions(m, "INSERT INTO t VALUES(-5,'own')", sql), "negative");
        sql_ok(&m->f, "DELETE FROM p");
        /* The row has the name that was told last. */
        char *log = strdup(buf_text(&m->f.log)), *rest, *line;
        for (line = strtok_r(log, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
            char column[32];
            sscanf(line, "table:altered p {\"columns\":[{\"name\":\"%15[^\"]", name);
            if (sscanf(line, "%*[A-Z] p {\"rowid\":1} {\"%31[^\"]", column) != 1)
                continue;
            if (strcmp(column, name) != 0)
                fail_msg("after %d names: %s instead of %s: %s", count, column, name,
                    buf_text(&m->f.log));
            rows++;
        }
        free(log);
        if (rows != 2)
            fail_msg("%d rows: %s", rows, buf_text(&m->f.log));
    }
}

/* Many at once. */

struct counting {
    int64_t n;
    _Atomic uint64_t own, others; /* looked at while they are counted */
    int wrong;
};

/* Every transaction is: counter n -> n + 1, then a row that says who. */
static void count_on(struct fixture *f, struct batch *b)
{
    struct counting *c = f->ctx;
    for (uint32_t i = 0; i < b->transaction_count; i++) {
        const struct transaction *t = &b->transactions[i];
        const struct change *up = &b->changes[t->first], *row = up + 1;
        if (t->count != 2 || up->kind != CHANGE_UPDATE || row->kind != CHANGE_INSERT ||
            up->old[1].i != c->n || up->row[1].i != c->n + 1 || row->row[0].i != c->n + 1 ||
            up->external != row->external || row->row[1].i != !up->external) {
            if (c->wrong++ == 0)
                fprintf(stderr, "# tx %llu, %u changes: %lld after %lld\n",
                    (unsigned long long)t->tx, t->count, (long long)up->row[1].i, (long long)c->n);
        }
        c->n = up->row[1].i;
        c->own += !up->external;
        c->others += up->external;
    }
}

#define COUNT(own)                                                                                 \
    "UPDATE c SET n=n+1; INSERT INTO who SELECT n," #own ",randomblob(abs(random())%900) FROM c"

struct worker {
    struct mixed *m;
    pthread_t thread;
    int number;
    atomic_bool *end;
    int done, failed;
};

static void *count_ourselves(void *arg)
{
    struct worker *w = arg;
    static const char *const scripts[] = {"BEGIN;" COUNT(1) "; COMMIT",
        "BEGIN;" COUNT(1) "; SAVEPOINT s; UPDATE c SET n=0; ROLLBACK TO s; COMMIT",
        "BEGIN;" COUNT(1) "; ROLLBACK", "BEGIN; UPDATE c SET n=n+7; INSERT INTO nowhere VALUES(1)"};
    for (int i = 0; !atomic_load(w->end); i++) {
        struct sql_request r = {0};
        const char *sql = scripts[(i + w->number) % 4];
        sql_request_add(&r, sql, strlen(sql));
        database_execute(w->m->f.db, &r);
        w->done += !r.error.code[0];
        w->failed += r.error.code[0] != 0;
        sql_request_fini(&r);
        if (i % 16 == 0)
            usleep(500);
    }
    return NULL;
}

static void *count_elsewhere(void *arg)
{
    struct worker *w = arg;
    struct other o;
    other_start(&o, w->m->f.path);
    other_try(&o, "PRAGMA synchronous=OFF");
    while (!atomic_load(w->end)) {
        const char *said = other_try(&o, ".times 20 BEGIN IMMEDIATE; %s; %s", COUNT(0),
            w->done % 7 == 6   ? "ROLLBACK"
            : w->done % 5 == 4 ? "COMMIT; PRAGMA wal_checkpoint"
                               : "COMMIT");
        w->failed += strncmp(said, "error", 5) == 0;
        w->done++;
    }
    other_end(&o);
    return NULL;
}

static bool both_counted(const struct counting *c)
{
    return c->own > 10 && c->others > 10;
}

static void the_order_of_the_log(void **state)
{
    struct mixed *m = *state;
    struct counting counting = {0};
    struct worker workers[5];
    atomic_bool end = false;
    sql_ok(&m->f, "CREATE TABLE c(id INTEGER PRIMARY KEY, n); INSERT INTO c VALUES(1,0); "
                  "CREATE TABLE who(n, own, padding)");
    forget_events(&m->f);
    m->f.ctx = &counting;
    fixture_listen(&m->f, count_on, true);
    for (int i = 0; i < 5; i++) {
        workers[i] = (struct worker){.m = m, .number = i, .end = &end};
        pthread_create(
            &workers[i].thread, NULL, i < 3 ? count_ourselves : count_elsewhere, &workers[i]);
    }
    /* On a busy machine some of them may come to nothing for long. */
    for (int ms = 0; ms < 2500 || (ms < 30000 && !both_counted(&counting)); ms += 100)
        usleep(100000);
    atomic_store(&end, true);
    for (int i = 0; i < 5; i++)
        pthread_join(workers[i].thread, NULL);
    sql_ok(&m->f, "BEGIN;" COUNT(1) "; COMMIT");
    print_message("# %llu own transactions, %llu of others\n", (unsigned long long)counting.own,
        (unsigned long long)counting.others);
    assert_int_equal(counting.wrong, 0);
    assert_int_equal(m->f.gaps, 0);
    assert_true(counting.own > 10 && counting.others > 10);
    for (int i = 3; i < 5; i++)
        assert_int_equal(workers[i].failed, 0);
    char rows[64];
    snprintf(rows, sizeof(rows), "[[%lld,%llu]]", (long long)counting.n,
        (unsigned long long)counting.own);
    expect_rows(&m->f, "SELECT n, (SELECT sum(own) FROM who) FROM c", rows);
    fixture_listen(&m->f, NULL, true);
}

/* A large transaction. */

#define MANY 100000

struct parts {
    uint64_t rows, parts, own_in_between;
    int64_t expected;
    bool wrong;
};

static void count_parts(struct fixture *f, struct batch *b)
{
    struct parts *p = f->ctx;
    for (uint32_t i = 0; i < b->change_count; i++) {
        const struct change *c = &b->changes[i];
        if (!c->external) {
            p->own_in_between += p->rows > 0 && p->rows < MANY;
            continue;
        }
        p->wrong |= c->kind != CHANGE_INSERT || c->row[0].i != (int64_t)++p->rows;
    }
    p->parts += b->change_count > 0 && b->changes[0].external;
    p->wrong |= b->bytes > (16u << 20);
}

static void *ask(void *arg)
{
    struct worker *w = arg;
    while (!atomic_load(w->end)) {
        sql_ok(&w->m->f, "INSERT INTO own VALUES(1)");
        w->done++;
        usleep(1000);
    }
    return NULL;
}

static void in_parts(void **state)
{
    struct mixed *m = *state;
    struct parts parts = {0};
    atomic_bool end = false;
    struct worker asker = {.m = m, .end = &end};
    sql_ok(&m->f, "CREATE TABLE own(x)");
    other_ok(&m->o, "PRAGMA synchronous=OFF");
    forget_events(&m->f);
    m->f.ctx = &parts;
    fixture_listen(&m->f, count_parts, true);
    pthread_create(&asker.thread, NULL, ask, &asker);
    other_ok(&m->o,
        "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE "
        "i<%d) SELECT i, 'a text of some length, so that there are some pages' FROM n",
        MANY);
    for (int i = 0; i < 20000 && fixture_seq(&m->f) < MANY; i++)
        usleep(1000);
    atomic_store(&end, true);
    pthread_join(asker.thread, NULL);
    sql_ok(&m->f, "INSERT INTO own VALUES(2)");
    print_message("# %llu parts, %d own commits\n", (unsigned long long)parts.parts, asker.done);
    assert_int_equal(parts.rows, MANY);
    assert_int_equal(parts.own_in_between, 0); /* and its numbers are checked by the fixture */
    assert_false(parts.wrong);
    assert_false(m->f.continues);
    assert_true(parts.parts > 2);
    assert_int_equal(m->f.gaps, 0);
    fixture_listen(&m->f, NULL, true);
}

int main(int argc, char **argv)
{
    other_main(argc, argv);
#define TEST(name) cmocka_unit_test_setup_teardown(name, mixed_set_up, mixed_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(in_turn),
        TEST(own_failing_statements),
        TEST(nothing_to_tell),
        TEST(from_the_start),
        TEST(own_rows_in_others_tables),
        TEST(others_rows_in_own_tables),
        TEST(a_tree_moves_in),
        TEST(columns_in_one_commit),
        TEST(after_a_vacuum),
        TEST(another_table_in_its_place),
        TEST(between_the_parts_of_a_statement),
        TEST(the_schema_between_the_parts),
        TEST(names_between_the_parts),
        TEST(the_order_of_the_log),
        TEST(in_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
