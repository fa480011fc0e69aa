#include "fixture.h"

#include "base/mem.h"
#include "base/status.h"
#include "capture/journal.h"
#include "change/change_json.h"
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char answer[1 << 20];

static void write_change(struct buf *out, const struct change *c)
{
    buf_printf(out, "%s %s", change_kind_name(c->kind), c->table->name);
    if (c->kind == CHANGE_TABLE_ALTERED) {
        buf_putc(out, ' ');
        ddl_put_json(out, c);
    } else if (c->kind <= CHANGE_DELETE) {
        const struct value *row = c->old ? c->old : c->row;
        buf_putc(out, ' ');
        key_put_json(out, c->table, row, c->old ? c->old_rowid : c->rowid);
        buf_putc(out, ' ');
        row_put_json(out, c->table, row, NULL);
        if (c->kind == CHANGE_UPDATE) {
            buf_puts(out, " -> ");
            row_put_json(out, c->table, c->row, NULL);
        }
    }
    if (c->external)
        buf_puts(out, " external");
    buf_putc(out, '\n');
}

static void write_all(struct buf *out, const struct batch *b)
{
    for (uint32_t i = 0; i < b->change_count; i++) {
        const struct transaction *t = &b->transactions[batch_transaction_of(b, i)];
        buf_printf(out, "%llu %llu %lld ", (unsigned long long)b->changes[i].seq,
            (unsigned long long)t->tx, (long long)t->time_ms);
        write_change(out, &b->changes[i]);
    }
}

void write_batch(struct buf *out, const struct batch *b)
{
    if (b->gap)
        buf_printf(out, "gap %s\n", b->gap);
    for (uint32_t i = 0; i < b->transaction_count; i++) {
        const struct transaction *t = &b->transactions[i];
        for (uint32_t k = t->first; k < t->first + t->count; k++)
            write_change(out, &b->changes[k]);
        if (b->continues && i + 1 == b->transaction_count)
            buf_puts(out, "to be continued\n");
        else if (t->count > 0)
            buf_puts(out, "commit\n");
    }
}

static void check_numbers(struct fixture *f, const struct batch *b)
{
    if (b->continued != f->continues && !b->gap)
        abort();
    f->continues = b->continues;
    f->gaps += b->gap != NULL;
    if (b->gap && (b->change_count > 0 || b->last_seq != ++f->seq))
        abort();
    for (uint32_t i = 0; i < b->transaction_count; i++) {
        const struct transaction *t = &b->transactions[i];
        if (f->tx == 0)
            f->tx = t->tx - 1;
        f->tx += i > 0 || !b->continued;
        if (t->tx != f->tx || (t->count == 0 && !t->schema))
            abort();
        for (uint32_t k = t->first; k < t->first + t->count; k++)
            if (b->changes[k].seq != ++f->seq)
                abort();
    }
}

static void on_publish(void *ctx, struct batch *b)
{
    struct fixture *f = ctx;
    pthread_mutex_lock(&f->lock);
    check_numbers(f, b);
    if (!f->quiet)
        write_batch(&f->log, b);
    if (b->gap) {
        buf_reset(&f->all);
        f->kept_after = f->seq;
    }
    if (f->options.journal)
        write_all(&f->all, b);
    void (*on_batch)(struct fixture *, struct batch *) = f->on_batch;
    pthread_mutex_unlock(&f->lock);
    if (on_batch)
        on_batch(f, b);
}

void fixture_listen(
    struct fixture *f, void (*on_batch)(struct fixture *f, struct batch *b), bool quiet)
{
    pthread_mutex_lock(&f->lock);
    f->on_batch = on_batch;
    f->quiet = quiet;
    pthread_mutex_unlock(&f->lock);
}

uint64_t fixture_seq(struct fixture *f)
{
    pthread_mutex_lock(&f->lock);
    uint64_t seq = f->seq;
    pthread_mutex_unlock(&f->lock);
    return seq;
}

void fixture_init(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    pthread_mutex_init(&f->lock, NULL);
    snprintf(f->dir, sizeof(f->dir), "/tmp/rowtap-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof(f->path), "%s/test.db", f->dir);
    f->options = (struct database_options){
        .path = f->path,
        .query_timeout_ms = 20000,
        .busy_timeout_ms = 200,
        .max_result = 1 << 20,
        .max_transaction = 64 << 20,
        .readers = 2,
        .journal = getenv("ROWTAP_TEST_JOURNAL") != NULL,
        .publish = on_publish,
        .publish_ctx = f,
    };
}

void fixture_open(struct fixture *f)
{
    struct buf err = {0};
    f->tx = 0;
    f->continues = false;
    f->db = database_open(&f->options, &err);
    if (!f->db)
        fail_msg("%s", buf_text(&err));
    f->seq = database_seq(f->db);
    database_follow(f->db);
    buf_fini(&err);
}

void read_journal(struct fixture *f, uint64_t after, size_t max_bytes, struct buf *out)
{
    static const atomic_bool never;
    struct sqlconn c;
    struct piece_reader r;
    struct batch *b;
    int status;
    assert_int_equal(sqlconn_open(&c, f->path, true, 1000, &never), SQLITE_OK);
    piece_reader_init(&r, 0);
    while ((status = journal_read(&c, &r, after, max_bytes, &b)) == STATUS_OK) {
        assert_int_equal(b->first_seq <= after + 1, true);
        after = b->last_seq;
        write_all(out, b);
        batch_unref(b);
    }
    assert_int_equal(status, STATUS_NOT_FOUND);
    piece_reader_fini(&r);
    sqlconn_close(&c);
}

static void check_journal(struct fixture *f)
{
    struct buf out = {0};
    read_journal(f, f->kept_after, 10000, &out);
    assert_string_equal(out.len ? buf_text(&out) : "", f->all.len ? buf_text(&f->all) : "");
    buf_fini(&out);
}

void fixture_close(struct fixture *f)
{
    if (!f->db)
        return;
    database_close(f->db);
    f->db = NULL;
    if (f->options.journal)
        check_journal(f);
}

void fixture_fini(struct fixture *f)
{
    char command[128];
    fixture_close(f);
    buf_fini(&f->log);
    buf_fini(&f->all);
    pthread_mutex_destroy(&f->lock);
    snprintf(command, sizeof(command), "rm -rf %s", f->dir);
    assert_int_equal(system(command), 0);
}

int fixture_setup(void **state)
{
    struct fixture *f = malloc(sizeof(*f));
    fixture_init(f);
    fixture_open(f);
    *state = f;
    return 0;
}

int fixture_teardown(void **state)
{
    fixture_fini(*state);
    free(*state);
    return 0;
}

static void take_answer(struct sql_request *r)
{
    const struct sql_error *e = &r->error;
    if (!e->code[0]) {
        const char *text = buf_text(&r->json);
        snprintf(answer, sizeof(answer), "%s", text ? text : "");
        char *cut = strstr(answer, ",\"durationMs\":");
        assert_non_null(cut);
        strcpy(cut, "}");
        return;
    }
    int len = snprintf(answer, sizeof(answer), "%s: %s", e->code, e->message);
    if (e->statement >= 0)
        len += snprintf(answer + len, sizeof(answer) - (size_t)len, " @%d", e->statement);
    if (e->has_seq)
        snprintf(
            answer + len, sizeof(answer) - (size_t)len, " seq=%llu", (unsigned long long)e->seq);
}

static bool run(struct fixture *f, const char *const *sql, bool transaction)
{
    struct sql_request r = {.transaction = transaction};
    for (; *sql; sql++)
        assert_non_null(sql_request_add(&r, *sql, strlen(*sql)));
    database_execute(f->db, &r);
    take_answer(&r);
    bool ok = !r.error.code[0];
    sql_request_fini(&r);
    return ok;
}

const char *sql_ok(struct fixture *f, const char *sql)
{
    if (!run(f, (const char *[]){sql, NULL}, false))
        fail_msg("%s: %s", sql, answer);
    return answer;
}

const char *sql_error(struct fixture *f, const char *sql)
{
    if (run(f, (const char *[]){sql, NULL}, false))
        fail_msg("%s: succeeded: %s", sql, answer);
    return answer;
}

const char *transaction_ok(struct fixture *f, const char *const *sql)
{
    if (!run(f, sql, true))
        fail_msg("%s", answer);
    return answer;
}

const char *transaction_error(struct fixture *f, const char *const *sql)
{
    if (run(f, sql, true))
        fail_msg("succeeded: %s", answer);
    return answer;
}

void expect_events(struct fixture *f, const char *expected)
{
    pthread_mutex_lock(&f->lock);
    assert_string_equal(buf_text(&f->log), expected);
    buf_reset(&f->log);
    pthread_mutex_unlock(&f->lock);
}

/* Commits of others come when they come. */
void await_events(struct fixture *f, const char *expected)
{
    size_t len = 0, wanted = strlen(expected);
    for (int i = 0; i < 10000 && len < wanted; i++) {
        if (i > 0)
            usleep(2000);
        pthread_mutex_lock(&f->lock);
        len = f->log.len;
        pthread_mutex_unlock(&f->lock);
    }
    expect_events(f, expected);
}

void forget_events(struct fixture *f)
{
    pthread_mutex_lock(&f->lock);
    buf_reset(&f->log);
    pthread_mutex_unlock(&f->lock);
}

void expect_rows(struct fixture *f, const char *sql, const char *rows)
{
    const char *text = strstr(sql_ok(f, sql), "\"rows\":");
    assert_non_null(text);
    char *end = strstr(text, ",\"changes\":");
    assert_non_null(end);
    *end = 0;
    assert_string_equal(text + 7, rows);
}

void expect_starts(const char *text, const char *start)
{
    if (strncmp(text, start, strlen(start)) != 0)
        fail_msg("\"%s\" does not start with \"%s\"", text, start);
}

void foreign(struct fixture *f, const char *sql)
{
    sqlite3 *db;
    char *err = NULL;
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    if (sqlite3_exec(db, sql, NULL, NULL, &err) != SQLITE_OK)
        fail_msg("%s: %s", sql, err);
    sqlite3_close(db);
}
