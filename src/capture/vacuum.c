#include "capture/vacuum.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/status.h"
#include "capture/writer_parts.h"

struct vacuum_ends {
    bool any; /* rows */
    int64_t first, last;
};

static bool may_be_renumbered(const struct table *t)
{
    return table_has_events(t) && !t->without_rowid && t->rowid_alias < 0;
}

static int read_ends(struct sqlconn *c, const struct table *t, struct vacuum_ends *e)
{
    const char *rowid = table_rowid_name(t);
    sqlite3_stmt *s;
    *e = (struct vacuum_ends){.any = false};
    if (!rowid)
        return SQLITE_OK;
    int rc = sqlconn_prepare(c, &s,
        "SELECT (SELECT min(\"%w\") FROM main.\"%w\"),(SELECT max(\"%w\") FROM main.\"%w\")", rowid,
        t->name, rowid, t->name);
    if (rc != SQLITE_OK)
        return rc;
    if (sqlite3_step(s) == SQLITE_ROW)
        *e = (struct vacuum_ends){
            .any = sqlite3_column_type(s, 0) != SQLITE_NULL,
            .first = sqlite3_column_int64(s, 0),
            .last = sqlite3_column_int64(s, 1),
        };
    return sqlite3_finalize(s);
}

static int list_tables(struct vacuum *v, const struct writer *w)
{
    const struct schema *s = w->recorder.schema;
    for (int i = 0; i < s->table_count; i++)
        if (may_be_renumbered(s->tables[i]) &&
            !batch_add(v->batch, CHANGE_ROWIDS_RENUMBERED, s->tables[i]))
            return SQLITE_NOMEM;
    uint32_t n = v->batch->change_count;
    if (n == 0)
        return SQLITE_OK;
    /* All that needs memory is done before the VACUUM. */
    v->before = mem_array(n, sizeof(*v->before));
    v->after = mem_array(n, sizeof(*v->after));
    bool done = v->before && v->after && batch_end_transaction(v->batch, w->origin, NULL) == 0;
    return done ? SQLITE_OK : SQLITE_NOMEM;
}

static int look(const struct batch *b, struct sqlconn *c, struct vacuum_ends *ends)
{
    int rc = SQLITE_OK;
    for (uint32_t i = 0; i < b->change_count && rc == SQLITE_OK; i++)
        rc = read_ends(c, b->changes[i].table, &ends[i]);
    return rc;
}

static void forget(struct vacuum *v)
{
    batch_unref(v->batch);
    mem_free(v->before);
    mem_free(v->after);
    *v = (struct vacuum){.runs = false};
}

int vacuum_begin(struct vacuum *v, struct writer *w)
{
    *v = (struct vacuum){.runs = true, .batch = batch_new(0)};
    int rc = v->batch ? list_tables(v, w) : SQLITE_NOMEM;
    if (rc == SQLITE_OK && v->batch->change_count > 0)
        rc = sqlconn_integer(&w->conn, OWN_DATA_VERSION, &v->version);
    if (rc == SQLITE_OK && v->batch->change_count > 0)
        rc = look(v->batch, &w->conn, v->before);
    if (rc != SQLITE_OK)
        forget(v);
    return rc;
}

/* Keeps the changes of the tables that were renumbered, or may have been. Whether there are any. */
static bool keep_renumbered(struct vacuum *v, struct writer *w)
{
    struct batch *b = v->batch;
    int64_t version;
    uint32_t kept = 0;
    /* From the first look to here only this connection has written. */
    bool known = look(b, &w->conn, v->after) == SQLITE_OK &&
                 sqlconn_integer(&w->conn, OWN_DATA_VERSION, &version) == SQLITE_OK &&
                 version == v->version;
    for (uint32_t i = 0; i < b->change_count; i++) {
        const struct table *t = b->changes[i].table;
        const struct vacuum_ends *x = &v->before[i], *y = &v->after[i];
        bool same = x->any == y->any && x->first == y->first && x->last == y->last;
        if (known && table_rowid_name(t) ? !same : t->key_count == 0)
            b->changes[kept++] = b->changes[i];
    }
    b->change_count = b->transactions[0].count = kept;
    return kept > 0;
}

/* Behind what others committed. */
static int append(struct batch *to, const struct batch *b)
{
    struct batch_mark mark = batch_mark(to);
    int status = STATUS_OK;
    for (uint32_t i = 0; i < b->change_count && status == STATUS_OK; i++)
        if (!batch_add(to, CHANGE_ROWIDS_RENUMBERED, b->changes[i].table))
            status = STATUS_NOMEM;
    if (status == STATUS_OK)
        status = batch_end_transaction(to, b->transactions[0].origin, NULL);
    if (status < 0)
        batch_rewind(to, &mark);
    return status;
}

/* What others committed before it has the rowids of before, and comes first: it is decoded. */
static void announce(const struct vacuum *v, struct writer *w)
{
    struct follower *f = &w->follower;
    if (!f->ready)
        f->ready = batch_ref(v->batch);
    else if (append(f->ready, v->batch) < 0)
        f->lost = true; /* all are told to resynchronise */
    if (writer_hand_on(w) == STATUS_OK)
        writer_note_place(w);
    else
        log_warn("VACUUM has renumbered rowids, but the journal cannot be written now: subscribers "
                 "are told as soon as it can");
}

void vacuum_end(struct vacuum *v, struct writer *w)
{
    if (!v->runs)
        return;
    follower_vacuumed(&w->follower);
    if (v->batch->change_count > 0 && keep_renumbered(v, w))
        announce(v, w);
    else
        writer_commit_place(w);
    forget(v);
}

/* Renumbered rowids have no gap: what has one now is as it was. False where that cannot be told. */
static bool has_gap(struct sqlconn *c, const struct table *t)
{
    const char *rowid = table_rowid_name(t);
    sqlite3_stmt *s;
    bool gap = false;
    if (!rowid ||
        sqlconn_prepare(c, &s,
            "SELECT count(*)>0 AND (min(\"%w\")<>1 OR max(\"%w\")<>count(*)) FROM main.\"%w\"",
            rowid, rowid, t->name) != SQLITE_OK)
        return false;
    if (sqlite3_step(s) == SQLITE_ROW)
        gap = sqlite3_column_int(s, 0) != 0;
    return sqlite3_finalize(s) == SQLITE_OK && gap;
}

static void keep_without_gap(struct batch *b, struct sqlconn *c)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < b->change_count; i++)
        if (b->changes[i].table->key_count == 0 && !has_gap(c, b->changes[i].table))
            b->changes[kept++] = b->changes[i];
    b->change_count = b->transactions[0].count = kept;
}

void vacuum_announce_missed(struct vacuum *v, struct writer *w)
{
    if (!v->missed)
        return;
    *v = (struct vacuum){.runs = true, .batch = batch_new(0)};
    if (!v->batch || list_tables(v, w) != SQLITE_OK)
        w->follower.lost = true; /* all are told to resynchronise */
    else if (v->batch->change_count > 0)
        keep_without_gap(v->batch, &w->conn);
    if (v->batch && v->batch->change_count > 0 && !w->follower.lost)
        announce(v, w);
    forget(v);
}
