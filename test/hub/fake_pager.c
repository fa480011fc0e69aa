#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fake_pager.h"

#include "base/status.h"
#include "filter/filter_sql.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Both kinds of work begin with their message, whose `run` says which it is. */
static void scan_kind(struct message *m, void *receiver)
{
    (void)m;
    (void)receiver;
}

static void past_kind(struct message *m, void *receiver)
{
    (void)m;
    (void)receiver;
}

static struct fake_scan *find_scan(struct database *db, const struct scan *s)
{
    for (int i = 0; i < FAKE_SCANS; i++)
        if (db->scans[i].scan == s)
            return &db->scans[i];
    fail_msg("more than %d scans", FAKE_SCANS);
    return NULL;
}

static void open_scan(struct database *db, struct scan *s)
{
    s->status = db->fail_open;
    db->opened++;
    db->open++;
    *find_scan(db, NULL) = (struct fake_scan){.scan = s};
    if (s->status)
        return;
    s->seq = db->seq;
    s->schema = schema_ref(db->schema);
}

static void read_rows(struct database *db, struct scan *s)
{
    struct batch *b = batch_new(0);
    struct fake_scan *scan = find_scan(db, s);
    int64_t i = scan->rows;
    int columns = s->table->column_count;

    s->batch = NULL;
    s->last = false;
    s->status = db->fail_page && db->pages >= db->pages_before ? db->fail_page : 0;
    db->pages++;
    if (!b && !s->status)
        s->status = STATUS_NOMEM;
    for (int n = 0; !s->status && n < db->page_rows && i < db->rows; n++) {
        struct value *row = batch_row(b, columns);
        struct change *c;

        i++;
        if (!row) {
            s->status = STATUS_NOMEM;
            break;
        }
        if (db->fill) {
            db->fill(row, i);
        } else {
            row[0] = (struct value){.type = VALUE_INTEGER, .i = i};
            if (columns > 1)
                row[1] = (struct value){.type = VALUE_INTEGER, .i = i % 10};
        }
        if (s->keep && !s->keep(s->ctx, row, i))
            continue;
        c = batch_add(b, CHANGE_INSERT, s->table);
        if (!c) {
            s->status = STATUS_NOMEM;
            break;
        }
        c->row = row;
        c->rowid = i;
        c->seq = s->seq;
    }
    scan->rows = i;
    if (s->status) {
        batch_unref(b);
        return;
    }
    s->last = i == db->rows;
    s->batch = b;
}

static void close_scan(struct database *db, struct scan *s)
{
    db->open--;
    find_scan(db, s)->scan = NULL;
    schema_unref(s->schema);
    s->schema = NULL;
    s->status = 0;
    s->batch = NULL;
}

static struct value *copy_row(struct batch *b, const struct table *t, const struct value *row)
{
    struct value *copy = batch_row(b, t->column_count);

    for (int i = 0; copy && i < t->column_count; i++)
        if (batch_set_value(b, &copy[i], &row[i]) < 0)
            return NULL;
    return copy;
}

static bool copy_change(struct batch *b, const struct change *from)
{
    struct change *c = batch_add(b, from->kind, from->table);

    if (!c || (from->old_table && batch_hold(b, from->old_table) < 0))
        return false;
    c->old_table = from->old_table;
    c->rowid = from->rowid;
    c->old_rowid = from->old_rowid;
    c->row = from->row ? copy_row(b, from->table, from->row) : NULL;
    c->old = from->old ? copy_row(b, from->table, from->old) : NULL;
    return !c->row == !from->row && !c->old == !from->old;
}

/* What a page has of one transaction; false: no memory. */
static bool copy_transaction(struct database *db, struct batch *b, const struct batch *from,
    const struct transaction *tx, uint64_t after)
{
    uint32_t before = b->change_count;
    struct transaction *last =
        b->transaction_count ? &b->transactions[b->transaction_count - 1] : NULL;

    b->continues = from->continues && tx == &from->transactions[from->transaction_count - 1];
    for (uint32_t i = tx->first; i < tx->first + tx->count; i++) {
        if (from->changes[i].seq <= after)
            continue;
        if (b->change_count == db->page_changes) {
            b->continues = true;
            break;
        }
        if (!copy_change(b, &from->changes[i]))
            return false;
    }
    if (b->change_count == before)
        return true;
    if (last && last->tx == tx->tx) {
        last->count += b->change_count - before;
        return true;
    }
    if (batch_end_transaction(b, tx->origin, NULL) < 0)
        return false;
    b->transactions[b->transaction_count - 1].tx = tx->tx;
    return true;
}

/* Whole transactions, but for the first and the last. NULL: no memory. */
static struct batch *copy_page(struct database *db, uint64_t after)
{
    struct batch *b = batch_new(0);
    uint64_t seq = after;

    for (size_t n = 0; b && n < db->batch_count; n++) {
        const struct batch *from = db->batches[n];

        if (from->last_seq <= after)
            continue;
        for (uint32_t t = 0; t < from->transaction_count && b->change_count < db->page_changes; t++)
            if (!copy_transaction(db, b, from, &from->transactions[t], after)) {
                batch_unref(b);
                return NULL;
            }
        if (b->change_count == db->page_changes)
            break;
    }
    if (!b)
        return NULL;
    for (uint32_t i = 0; i < b->change_count; i++)
        b->changes[i].seq = ++seq;
    b->first_seq = after + 1;
    b->last_seq = seq;
    return b;
}

static void read_past(struct database *db, struct past *p)
{
    db->pasts++;
    p->batch = NULL;
    p->status = db->fail_past ? db->fail_past : p->after < db->kept_after ? STATUS_NOT_FOUND : 0;
    if (p->status)
        return;
    p->batch = copy_page(db, p->after);
    if (!p->batch) {
        p->status = STATUS_NOMEM;
    } else if (!p->batch->change_count) {
        batch_unref(p->batch);
        p->batch = NULL;
        p->status = STATUS_NOT_FOUND;
    }
}

static void serve(struct database *db, struct message *m)
{
    struct scan *s = (struct scan *)m;
    struct past *p = (struct past *)m;
    bool stopping = db->stopping;

    if (m->run == past_kind) {
        read_past(db, p);
        db->under_way--;
        if (stopping) {
            batch_unref(p->batch);
            p->batch = NULL;
            p->status = STATUS_CLOSED;
        }
    } else if (s->step == SCAN_CLOSE) {
        close_scan(db, s);
    } else if (s->step == SCAN_OPEN) {
        open_scan(db, s);
    } else {
        read_rows(db, s);
    }
}

static struct message *take(struct database *db)
{
    struct message **at = &db->queue, *m;

    while (db->backwards && *at && (*at)->next)
        at = &(*at)->next;
    m = *at;
    if (m)
        *at = m->next;
    return m;
}

static void *serve_all(void *arg)
{
    struct database *db = arg;

    pthread_mutex_lock(&db->lock);
    for (;;) {
        struct message *m = db->held && !db->stopping ? NULL : take(db);
        bool past = m && m->run == past_kind;
        unsigned delay_us;

        if (!m && db->stopping)
            break;
        if (!m) {
            pthread_cond_wait(&db->cond, &db->lock);
            continue;
        }
        serve(db, m);
        delay_us = db->delay_us;
        pthread_mutex_unlock(&db->lock);
        if (delay_us)
            usleep(delay_us);
        if (past)
            ((struct past *)m)->done((struct past *)m);
        else
            ((struct scan *)m)->done((struct scan *)m);
        pthread_mutex_lock(&db->lock);
    }
    pthread_mutex_unlock(&db->lock);
    return NULL;
}

static void post(struct database *db, struct message *m)
{
    struct message **at = &db->queue;

    pthread_mutex_lock(&db->lock);
    if (!db->running)
        db->running = pthread_create(&db->thread, NULL, serve_all, db) == 0;
    while (*at)
        at = &(*at)->next;
    m->next = NULL;
    *at = m;
    if (m->run == past_kind && ++db->under_way > db->most_under_way)
        db->most_under_way = db->under_way;
    pthread_cond_broadcast(&db->cond);
    pthread_mutex_unlock(&db->lock);
}

void database_scan(struct database *db, struct scan *s)
{
    _Static_assert(offsetof(struct scan, message) == 0, "the message is first");
    s->message.run = scan_kind;
    post(db, &s->message);
}

void database_read_past(struct database *db, struct past *p)
{
    _Static_assert(offsetof(struct past, message) == 0, "the message is first");
    p->message.run = past_kind;
    post(db, &p->message);
}

bool database_past(const struct database *db, uint64_t *after)
{
    *after = db->kept_after;
    return db->journal;
}

struct database *fake_pager_new(void)
{
    struct database *db = calloc(1, sizeof(*db));

    db->page_rows = 100;
    db->page_changes = 100;
    pthread_mutex_init(&db->lock, NULL);
    pthread_cond_init(&db->cond, NULL);
    return db;
}

void fake_pager_stop(struct database *db)
{
    pthread_mutex_lock(&db->lock);
    db->stopping = true;
    pthread_cond_broadcast(&db->cond);
    pthread_mutex_unlock(&db->lock);
    if (db->running)
        pthread_join(db->thread, NULL);
    assert_int_equal(db->open, 0);
    assert_int_equal(db->under_way, 0);
}

void fake_pager_free(struct database *db)
{
    for (size_t i = 0; i < db->batch_count; i++)
        batch_unref(db->batches[i]);
    schema_unref(db->schema);
    pthread_mutex_destroy(&db->lock);
    pthread_cond_destroy(&db->cond);
    free(db);
}

void fake_pager_hold(struct database *db)
{
    pthread_mutex_lock(&db->lock);
    db->held = true;
    pthread_mutex_unlock(&db->lock);
}

void fake_pager_release(struct database *db)
{
    pthread_mutex_lock(&db->lock);
    db->held = false;
    pthread_cond_broadcast(&db->cond);
    pthread_mutex_unlock(&db->lock);
}

void fake_pager_record(struct database *db, struct batch *b)
{
    pthread_mutex_lock(&db->lock);
    assert_true(db->batch_count < sizeof(db->batches) / sizeof(*db->batches));
    db->batches[db->batch_count++] = batch_ref(b);
    pthread_mutex_unlock(&db->lock);
}

int fake_pager_count(struct database *db, const int *figure)
{
    int n;

    pthread_mutex_lock(&db->lock);
    n = *figure;
    pthread_mutex_unlock(&db->lock);
    return n;
}

void fake_pager_expect_open(struct database *db, int open)
{
    for (int i = 0; i < 5000 && fake_pager_count(db, &db->open) != open; i++)
        usleep(1000);
    assert_int_equal(fake_pager_count(db, &db->open), open);
}

void fake_pager_expect_waiting(struct database *db, int count)
{
    int n = -1;

    for (int i = 0; i < 5000 && n != count; i++) {
        usleep(1000);
        n = 0;
        pthread_mutex_lock(&db->lock);
        for (struct message *m = db->queue; m; m = m->next)
            n++;
        pthread_mutex_unlock(&db->lock);
    }
    assert_int_equal(n, count);
}
