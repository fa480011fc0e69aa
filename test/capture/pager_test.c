#include "asker.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct asker *new_asker(struct fixture *f)
{
    struct asker *a = malloc(sizeof(*a));
    asker_init(a, f);
    return a;
}

static void free_asker(struct asker *a)
{
    asker_fini(a);
    free(a);
}

/* The whole of a table, as INSERTs; the caller frees it. */
static struct asker *read_table(struct fixture *f, const char *table)
{
    struct asker *a = new_asker(f);
    asker_open(a, table);
    asker_rest(a);
    asker_close(a);
    return a;
}

static void expect_table(struct fixture *f, const char *table, const char *rows)
{
    struct asker *a = read_table(f, table);
    const char *text = buf_text(&a->text);
    assert_string_equal(text, rows);
    free_asker(a);
}

static void a_table(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1,'a'),(2,2.0)");
    struct asker *a = new_asker(f);
    asker_open(a, "t");
    assert_int_equal(a->scan.seq, 3);
    assert_int_equal(asker_page(a), 1);
    assert_string_equal(buf_text(&a->text), "INSERT t {\"id\":1} {\"id\":1,\"v\":\"a\"}\n"
                                            "INSERT t {\"id\":2} {\"id\":2,\"v\":2.0}\n");
    asker_close(a);
    free_asker(a);
    sql_ok(f, "CREATE TABLE empty(id)");
    expect_table(f, "empty", "");
}

/* The transcript of the events without what is not an INSERT. */
static void keep_inserts(struct fixture *f)
{
    struct buf kept = {0};
    char *text = mem_strdup(buf_text(&f->log));
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        if (strncmp(line, "INSERT ", 7) == 0)
            buf_printf(&kept, "%s\n", line);
    buf_fini(&f->log);
    f->log = kept;
    mem_free(text);
}

#define ALL_VALUES                                                                                 \
    "(1,0),(2,-5),(3,9007199254740993),(4,9223372036854775807),(5,1.0),(6,0.1),(7,1e300),"         \
    "(8,9e999),(9,''),(10,'5'),(11,' 5.0 '),(12,'abc'),(13,x''),(14,x'00ff'),(15,NULL),"           \
    "(16,char(0)||'x'),(17,CAST(x'ff41' AS TEXT)),(18,9007199254740992.0),(19,-0.0),"              \
    "(20,'1e3'),(21,zeroblob(3)),(22,9223372036854775808)"

/* What a snapshot shows of a row is what the event of its INSERT showed. */
static void rows_are_as_in_events(void **state)
{
    struct fixture *f = *state;
    static const char *const tables[] = {
        "t(id INTEGER PRIMARY KEY, v INTEGER)",
        "t(id INTEGER PRIMARY KEY, v REAL)",
        "t(id INTEGER PRIMARY KEY, v NUMERIC)",
        "t(id INTEGER PRIMARY KEY, v TEXT)",
        "t(id INTEGER PRIMARY KEY, v BLOB)",
        "t(id INTEGER PRIMARY KEY, v)",
        "t(id INTEGER PRIMARY KEY, v ANY) STRICT",
        "t(id, v)",
        "t(id REAL, v REAL)",
        "t(id PRIMARY KEY, v)",
        "t(id PRIMARY KEY, v REAL) WITHOUT ROWID",
        "t(v, id REAL PRIMARY KEY) WITHOUT ROWID",
        "t(id INT, v, PRIMARY KEY(v, id))",
        "t(id INTEGER PRIMARY KEY, v, x AS (v||'x'), y AS (id+1) STORED)",
        "t(x AS (v||'x'), y REAL AS (id) STORED, id INTEGER PRIMARY KEY, v REAL)",
        "t(x AS (v||'x'), id INTEGER PRIMARY KEY, v) WITHOUT ROWID",
        "t(rowid, id, v)",
        "t(rowid, _rowid_, oid, id PRIMARY KEY, v)",
        "t(\"a\"\"b\", id, v, \"select\")",
    };
    for (size_t i = 0; i < sizeof(tables) / sizeof(*tables); i++) {
        char sql[1200];
        snprintf(
            sql, sizeof(sql), "CREATE TABLE %s; INSERT INTO t(id,v) VALUES" ALL_VALUES, tables[i]);
        sql_ok(f, sql);
        keep_inserts(f);
        struct asker *a = read_table(f, "t");
        assert_int_equal(a->rows, 22);
        assert_string_equal(buf_text(&a->text), buf_text(&f->log));
        free_asker(a);
        sql_ok(f, "DROP TABLE t");
        forget_events(f);
    }
}

static void a_column_added_later(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY); INSERT INTO t VALUES(1); "
              "ALTER TABLE t ADD COLUMN v DEFAULT 3.0");
    expect_table(f, "t", "INSERT t {\"id\":1} {\"id\":1,\"v\":3}\n");
}

static void a_table_that_names_no_row(void **state)
{
    struct fixture *f = *state;
    struct asker *a = new_asker(f);
    sql_ok(f, "CREATE TABLE t(rowid, _rowid_, oid); INSERT INTO t VALUES(1,2,3)");
    asker_open(a, "t");
    assert_int_equal(asker_page(a), STATUS_IO);
    asker_close(a);
    free_asker(a);
}

static void pages(void **state)
{
    struct fixture *f = *state;
    struct asker *a = new_asker(f);
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v);"
              "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<3000) "
              "INSERT INTO t SELECT i, zeroblob(50) FROM n;"
              "UPDATE t SET v=zeroblob(100000) WHERE id IN (1,500,501,3000)");
    asker_open(a, "t");
    asker_rest(a);
    assert_int_equal(a->rows, 3000);
    assert_true(a->pages > 15);
    asker_close(a);

    a->rows = a->pages = 0;
    a->scan.page_bytes = 0;
    asker_open(a, "t");
    asker_rest(a);
    assert_int_equal(a->rows, 3000);
    assert_true(a->pages >= 3000);
    asker_close(a);
    free_asker(a);
}

/* A scan goes on seeing the state it began with. */
static void schema_changes_meanwhile(void **state)
{
    struct fixture *f = *state;
    struct asker *a = new_asker(f), *b = new_asker(f);
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE INDEX tv ON t(v); "
              "INSERT INTO t VALUES(1,'a')");
    asker_open(a, "t");
    sql_ok(f, "ALTER TABLE t ADD COLUMN w; DROP INDEX tv; INSERT INTO t VALUES(2,'b',3)");
    asker_open(b, "t");
    sql_ok(f, "DROP TABLE t; VACUUM");
    asker_rest(a);
    asker_rest(b);
    assert_string_equal(buf_text(&a->text), "INSERT t {\"id\":1} {\"id\":1,\"v\":\"a\"}\n");
    assert_string_equal(buf_text(&b->text),
        "INSERT t {\"id\":1} {\"id\":1,\"v\":\"a\",\"w\":null}\n"
        "INSERT t {\"id\":2} {\"id\":2,\"v\":\"b\",\"w\":3}\n");
    asker_close(a);
    asker_close(b);
    assert_int_equal(asker_step(a, SCAN_OPEN), STATUS_OK);
    assert_null(schema_find(a->scan.schema, "t", 1));
    asker_close(a);
    free_asker(a);
    free_asker(b);
}

/* The writer is made to see it, so that the rows can be said to be of a seq. */
static void a_schema_of_another_process(void **state)
{
    struct fixture *f = *state;
    struct asker *a = new_asker(f);
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY); INSERT INTO t VALUES(1)");
    forget_events(f);
    foreign(f, "ALTER TABLE t RENAME TO u");
    asker_open(a, "u");
    assert_int_equal(a->scan.seq, 3);
    asker_rest(a);
    assert_string_equal(buf_text(&a->text), "INSERT u {\"id\":1} {\"id\":1}\n");
    asker_close(a);
    /* The writer numbers a commit before it hands it on. */
    fixture_close(f);
    assert_non_null(strstr(buf_text(&f->log), "table:altered u"));
    assert_non_null(strstr(buf_text(&f->log), "external\ncommit\n"));
    free_asker(a);
}

/* Conditions. */

static int asked; /* rows that were shown to odd_only */

static bool odd_only(void *ctx, const struct value *row, int64_t rowid)
{
    (void)ctx;
    asked++;
    assert_int_equal(row[0].i, rowid);
    return row[0].i % 2;
}

static void expect_search(
    struct fixture *f, const char *where, const struct value *params, int count, int seen, int kept)
{
    struct asker *a = new_asker(f);
    asked = 0;
    a->scan.where = where;
    a->scan.params = params;
    a->scan.param_count = count;
    a->scan.keep = odd_only;
    asker_open(a, "t");
    asker_rest(a);
    assert_int_equal(asked, seen);
    assert_int_equal(a->rows, kept);
    asker_close(a);
    free_asker(a);
}

static void conditions(void **state)
{
    struct fixture *f = *state;
    static const struct value params[] = {
        {.type = VALUE_INTEGER, .i = 7}, {.type = VALUE_INTEGER, .i = 3}};
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v, w); "
              "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<100) "
              "INSERT INTO t SELECT i, i/10, i%7 FROM n");
    /* Without an index a condition is of no use. */
    expect_search(f, "v=?1\0", params, 2, 100, 50);
    sql_ok(f, "CREATE INDEX tv ON t(v)");
    expect_search(f, "v=?1\0", params, 2, 10, 5);
    expect_search(f, "id=?1\0", params, 2, 1, 1);
    /* The second finds nothing by an index: keep decides over it, not SQLite within one step. */
    expect_search(f, "v=?1\0w=?2\0", params, 2, 10, 5);
    expect_search(f, "w=?2\0v=?1\0", params, 2, 10, 5);
    sql_ok(f, "DROP INDEX tv; CREATE INDEX tvw ON t(v,w)");
    expect_search(f, "w=?2\0v=?1\0", params, 2, 1, 1);
    expect_search(f, "w=?2\0id>?1\0v IS NOT NULL\0", params, 2, 93, 46);
    /* Not SQL, a column or a collation that is not there: then without. */
    expect_search(f, "(\0", params, 2, 100, 50);
    expect_search(f, "nothing=?1\0", params, 2, 100, 50);
    expect_search(f, "v=?1 COLLATE nothing\0", params, 2, 100, 50);
    expect_search(f, "", params, 0, 100, 50);
}

/* Concurrency. */

struct writer_thread {
    struct fixture *f;
    pthread_t thread;
    atomic_bool stop;
    atomic_ullong commits;
};

/* Each commit makes four changes and keeps the sum of all balances. */
static void *write_on(void *arg)
{
    struct writer_thread *w = arg;
    for (unsigned i = 0; !atomic_load(&w->stop); i++) {
        char sql[400];
        struct sql_request r = {0};
        snprintf(sql, sizeof(sql),
            "BEGIN; UPDATE t SET v=v+1, n=n+1 WHERE id=%u; UPDATE t SET v=v-1, n=n+1 WHERE id=%u; "
            "UPDATE c SET n=n+1; UPDATE t SET n=n+1 WHERE id=0; COMMIT",
            i % 40 + 1, i % 40 + 41);
        sql_request_add(&r, sql, strlen(sql));
        database_execute(w->f->db, &r);
        if (r.error.code[0] && strcmp(r.error.code, "QUERY_CANCELLED") != 0)
            abort();
        sql_request_fini(&r);
        atomic_fetch_add(&w->commits, 1);
    }
    return NULL;
}

static void start_writer(struct writer_thread *w, struct fixture *f)
{
    *w = (struct writer_thread){.f = f};
    sql_ok(f, "CREATE TABLE c(id INTEGER PRIMARY KEY, n); INSERT INTO c VALUES(1,0); "
              "CREATE TABLE t(id INTEGER PRIMARY KEY, v, n); "
              "WITH RECURSIVE i(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM i WHERE i<80) "
              "INSERT INTO t SELECT i, 0, 0 FROM i");
    f->quiet = true;
    assert_int_equal(pthread_create(&w->thread, NULL, write_on, w), 0);
}

static void stop_writer(struct writer_thread *w)
{
    atomic_store(&w->stop, true);
    pthread_join(w->thread, NULL);
}

/* The sums of v and n over all rows. */
static void sums(struct asker *a, const char *table, int64_t *v, int64_t *n)
{
    *v = *n = 0;
    asker_open(a, table);
    do {
        assert_int_equal(asker_step(a, SCAN_PAGE), STATUS_OK);
        for (uint32_t i = 0; i < a->scan.batch->change_count; i++) {
            const struct value *row = a->scan.batch->changes[i].row;
            *v += row[1].i;
            *n += a->scan.table->column_count > 2 ? row[2].i : 0;
        }
        batch_unref(a->scan.batch);
    } while (!a->scan.last);
}

/* The rows are the state at exactly the seq: each commit is four changes, three of them in t. */
static void exact_under_a_writer(void **state)
{
    struct fixture *f = *state;
    struct asker *a = new_asker(f);
    struct writer_thread w;
    int64_t v, n, slowest_us = 0, all_us = 0;
    int rounds = 0;
    start_writer(&w, f);
    uint64_t base = 84; /* changes that start_writer made */
    int64_t until = clock_mono_ms() + 20000;
    while ((rounds < 150 || atomic_load(&w.commits) < 150) && clock_mono_ms() < until) {
        int64_t from = clock_mono_ns();
        bool counter = rounds++ % 3 == 0;
        sums(a, counter ? "c" : "t", &v, &n);
        int64_t us = (clock_mono_ns() - from) / 1000;
        slowest_us = us > slowest_us ? us : slowest_us;
        all_us += us;
        uint64_t commits = (a->scan.seq - base) / 4;
        assert_int_equal((a->scan.seq - base) % 4, 0);
        assert_int_equal(counter ? v : n, counter ? commits : 3 * commits);
        if (!counter)
            assert_int_equal(v, 0);
        asker_close(a);
    }
    stop_writer(&w);
    printf("# %d scans between %llu commits: %lld us each, the slowest %lld us\n", rounds,
        (unsigned long long)atomic_load(&w.commits), (long long)(all_us / rounds),
        (long long)slowest_us);
    assert_true(rounds >= 150 && atomic_load(&w.commits) >= 150);
    free_asker(a);
}

#define MANY 50

static void more_scans_than_connections(void **state)
{
    struct fixture *f = *state;
    struct asker *askers[MANY];
    bool ended[MANY] = {false};
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v); "
              "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<2000) "
              "INSERT INTO t SELECT i, zeroblob(30) FROM n");
    for (int i = 0; i < MANY; i++) {
        askers[i] = new_asker(f);
        asker_post(askers[i], SCAN_OPEN);
    }
    int left = MANY;
    while (left > 0)
        for (int i = 0; i < MANY; i++) {
            struct asker *a = askers[i];
            if (ended[i] || sem_trywait(&a->came) < 0)
                continue;
            sem_post(&a->came);
            if (!a->scan.table) {
                assert_int_equal(asker_wait(a), STATUS_OK);
                a->scan.table = schema_find(a->scan.schema, "t", 1);
                a->pages = 1;
                asker_post(a, SCAN_PAGE);
                continue;
            }
            assert_int_equal(asker_wait(a), STATUS_OK);
            a->rows += a->scan.batch->change_count;
            batch_unref(a->scan.batch);
            if (!a->scan.last) {
                asker_post(a, SCAN_PAGE);
                continue;
            }
            assert_int_equal(a->rows, 2000);
            asker_close(a);
            ended[i] = true;
            left--;
        }
    for (int i = 0; i < MANY; i++)
        free_asker(askers[i]);
}

/* Ends. */

static void too_old(void **state)
{
    struct fixture *f = *state;
    struct asker *a = new_asker(f), *b = new_asker(f);
    fixture_close(f);
    f->options.scan_timeout_ms = 100;
    f->options.snapshots = 1;
    fixture_open(f);
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1,2)");
    asker_open(a, "t");
    /* Its owner asks for nothing, and yet the next one's turn comes. */
    int64_t from = clock_mono_ms();
    asker_open(b, "t");
    assert_in_range(clock_mono_ms() - from, 50, 5000);
    asker_rest(b);
    assert_int_equal(asker_page(a), STATUS_CLOSED);
    assert_int_equal(asker_page(a), STATUS_CLOSED);
    assert_non_null(a->scan.schema);
    asker_close(a);
    asker_close(b);
    asker_open(a, "t");
    asker_rest(a);
    asker_close(a);
    free_asker(a);
    free_asker(b);
}

/* A transaction that was taken away keeps nothing: the log can be emptied. */
static void the_log_is_not_held(void **state)
{
    struct fixture *f = *state;
    struct asker *a = new_asker(f);
    fixture_close(f);
    f->options.scan_timeout_ms = 50;
    fixture_open(f);
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    asker_open(a, "t");
    sql_ok(f, "INSERT INTO t VALUES(1,2)");
    usleep(200000);
    sqlite3 *db;
    int log, done;
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_wal_checkpoint_v2(db, "main", SQLITE_CHECKPOINT_TRUNCATE, &log, &done), SQLITE_OK);
    sqlite3_close(db);
    asker_close(a);
    free_asker(a);
}

static void cancelled(void **state)
{
    struct fixture *f = *state;
    struct asker *a = new_asker(f), *b = new_asker(f), *c = new_asker(f);
    fixture_close(f);
    f->options.snapshots = 1;
    fixture_open(f);
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1,2)");
    asker_open(a, "t");
    asker_post(b, SCAN_OPEN);
    asker_post(c, SCAN_OPEN);
    atomic_store(&b->scan.cancel, true);
    assert_int_equal(asker_wait(b), STATUS_CLOSED);
    asker_close(b);
    atomic_store(&a->scan.cancel, true);
    assert_int_equal(asker_page(a), STATUS_CLOSED);
    asker_close(a);
    assert_int_equal(asker_wait(c), STATUS_OK);
    asker_close(c);
    free_asker(a);
    free_asker(b);
    free_asker(c);
}

static void closed_in_every_state(void **state)
{
    struct fixture *f = *state;
    struct asker *a = new_asker(f);
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v); "
              "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<2000) "
              "INSERT INTO t SELECT i, zeroblob(30) FROM n");
    for (int round = 0; round < 10; round++) { /* more often than there are connections */
        asker_close(a);
        assert_int_equal(asker_step(a, SCAN_PAGE), STATUS_CLOSED);
        asker_open(a, "t");
        asker_close(a);
        asker_open(a, "t");
        assert_int_equal(asker_page(a), 0);
        asker_close(a);
        assert_int_equal(asker_step(a, SCAN_PAGE), STATUS_CLOSED);
        asker_close(a);
        asker_open(a, "t");
        asker_rest(a);
        asker_close(a);
        asker_close(a);
    }
    free_asker(a);
}

/* On the pager's thread: what fails is closed from there. */
static void close_when_failed(struct scan *s)
{
    struct asker *a = s->ctx;
    if (s->step == SCAN_CLOSE) {
        sem_post(&a->came);
        return;
    }
    batch_unref(s->batch);
    s->step = s->status < 0 ? SCAN_CLOSE : SCAN_PAGE;
    if (!s->table && s->schema)
        s->table = schema_find(s->schema, "t", 1);
    if (s->step == SCAN_PAGE && s->last)
        s->step = SCAN_CLOSE;
    database_scan(a->f->db, s);
}

/* A table that takes long: each scan is under way, or waits, when the end comes. */
static void shutting_down(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v); "
              "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<20000) "
              "INSERT INTO t SELECT i, zeroblob(30) FROM n");
    forget_events(f);
    for (int round = 0; round < 4; round++) {
        struct asker *askers[10], *idle = new_asker(f);
        asker_open(idle, "t");
        asker_page(idle);
        for (int i = 0; i < 10; i++) {
            askers[i] = new_asker(f);
            askers[i]->scan.page_bytes = 1000;
            askers[i]->scan.done = close_when_failed;
            asker_post(askers[i], SCAN_OPEN);
        }
        usleep((unsigned)round * 3000);
        if (round % 2)
            database_interrupt(f->db);
        fixture_close(f);
        for (int i = 0; i < 10; i++) {
            assert_int_equal(asker_wait(askers[i]), STATUS_OK);
            assert_null(askers[i]->scan.schema);
            free_asker(askers[i]);
        }
        schema_unref(idle->scan.schema);
        free_asker(idle);
        fixture_open(f);
    }
}

static void interrupted(void **state)
{
    struct fixture *f = *state;
    struct asker *a = new_asker(f), *b = new_asker(f);
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1,2)");
    asker_open(a, "t");
    database_interrupt(f->db);
    assert_int_equal(asker_page(a), STATUS_CLOSED);
    assert_int_equal(asker_step(b, SCAN_OPEN), STATUS_CLOSED);
    assert_int_equal(asker_past(b, 0, 1000), STATUS_CLOSED);
    asker_close(a);
    asker_close(b);
    free_asker(a);
    free_asker(b);
}

/* Outside WAL a reader holds up the writer: it has to go before the writer gives up. */
static void rollback_journal(void **state)
{
    struct fixture *f = *state;
    struct asker *a = new_asker(f);
    fixture_close(f);
    foreign(f, "PRAGMA journal_mode=DELETE");
    f->options.keep_journal_mode = true;
    f->options.busy_timeout_ms = 1000;
    fixture_open(f);
    assert_string_equal(database_journal_mode(f->db), "delete");
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1,2)");
    asker_open(a, "t");
    sql_ok(f, "INSERT INTO t VALUES(2,3)");
    assert_int_equal(asker_page(a), STATUS_CLOSED);
    asker_close(a);
    asker_open(a, "t");
    asker_rest(a);
    assert_int_equal(a->rows, 2);
    asker_close(a);
    free_asker(a);
}

/* The journal. */

static void no_journal(void **state)
{
    struct fixture *f = *state;
    struct asker *a = new_asker(f);
    sql_ok(f, "CREATE TABLE t(id)");
    if (!f->options.journal)
        assert_int_equal(asker_past(a, 0, 1000), STATUS_NOT_FOUND);
    free_asker(a);
}

/* Reads on from there to the end; the changes that came. */
static uint64_t read_on(struct asker *a, uint64_t after, size_t max_bytes)
{
    uint64_t count = 0;
    int status;
    while ((status = asker_past(a, after, max_bytes)) == STATUS_OK) {
        struct batch *b = a->past.batch;
        for (uint32_t i = 0; i < b->change_count; i++) {
            if (b->changes[i].seq <= after)
                continue;
            assert_true(b->changes[i].seq == ++after);
            count++;
        }
        assert_true(b->last_seq == after);
        batch_unref(b);
    }
    assert_int_equal(status, STATUS_NOT_FOUND);
    return count;
}

static void the_journal(void **state)
{
    struct fixture *f = *state;
    struct asker *a = new_asker(f);
    fixture_close(f);
    f->options.journal = true;
    f->quiet = true;
    buf_reset(&f->all);
    fixture_open(f);
    sql_ok(f, "CREATE TABLE j(id INTEGER PRIMARY KEY, v)");
    for (int i = 0; i < 30; i++)
        sql_ok(f, "INSERT INTO j(v) VALUES(1); INSERT INTO j(v) SELECT v FROM j LIMIT 50");
    uint64_t seq = database_seq(f->db);
    assert_true(seq > 1000);
    assert_int_equal(read_on(a, 0, 1), seq);
    assert_int_equal(read_on(a, 0, 4096), seq);
    assert_int_equal(read_on(a, 77, 65536), seq - 77);
    assert_int_equal(asker_past(a, seq, 1000), STATUS_NOT_FOUND);
    assert_int_equal(asker_past(a, seq + 1000000, 1000), STATUS_NOT_FOUND);
    assert_int_equal(asker_past(a, UINT64_MAX, 1000), STATUS_NOT_FOUND);
    free_asker(a);
}

/* A damaged piece is as one that is not there. */
static void a_damaged_journal(void **state)
{
    struct fixture *f = *state;
    struct asker *a = new_asker(f);
    fixture_close(f);
    f->options.journal = true;
    fixture_open(f);
    sql_ok(f, "CREATE TABLE j(id INTEGER PRIMARY KEY, v); INSERT INTO j VALUES(1,2)");
    foreign(f, "UPDATE rowtap_journal SET data=zeroblob(10)");
    assert_int_equal(asker_past(a, 0, 1000), STATUS_NOT_FOUND);
    foreign(f, "DELETE FROM rowtap_journal");
    buf_reset(&f->all);
    free_asker(a);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_table),
        TEST(rows_are_as_in_events),
        TEST(a_column_added_later),
        TEST(a_table_that_names_no_row),
        TEST(pages),
        TEST(schema_changes_meanwhile),
        TEST(a_schema_of_another_process),
        TEST(conditions),
        TEST(exact_under_a_writer),
        TEST(more_scans_than_connections),
        TEST(too_old),
        TEST(the_log_is_not_held),
        TEST(cancelled),
        TEST(closed_in_every_state),
        TEST(shutting_down),
        TEST(interrupted),
        TEST(rollback_journal),
        TEST(no_journal),
        TEST(the_journal),
        TEST(a_damaged_journal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
