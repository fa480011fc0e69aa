#include "capture/recorder.h"

#include "base/status.h"
#include "base/text.h"
#include "capture/reread.h"
#include "capture/values.h"
#include "change/change_json.h"
#include <string.h>

static void fail(struct recorder *r, enum recorder_failure why)
{
    if (r->failed == RECORDER_OK)
        r->failed = why;
    r->conn->give_up = true;
}

static void fail_status(struct recorder *r, int status)
{
    if (status == STATUS_IO)
        fail(r, RECORDER_READ);
    else
        fail(r, batch_full(r->batch) ? RECORDER_FULL : RECORDER_NOMEM);
}

static const struct table *find_table(struct recorder *r, const char *name)
{
    if (r->last_schema == r->schema && r->last_table && strcmp(r->last_table->name, name) == 0)
        return r->last_table;
    r->last_schema = r->schema;
    r->last_table = schema_find(r->schema, name, strlen(name));
    return r->last_table;
}

/*
 * The index that preupdate_old and preupdate_new want for a column. Rowid tables are numbered by
 * their stored columns; WITHOUT ROWID tables by all of them, but the new row of an UPDATE again by
 * the stored ones (measured with SQLite 3.40).
 */
static int hook_index(const struct table *t, int column, bool new_of_update)
{
    return t->without_rowid && !new_of_update ? column : t->columns[column].stored;
}

typedef int hook_reader(sqlite3 *db, int index, sqlite3_value **value);

static int copy_row(struct recorder *r, const struct table *t, int64_t rowid, bool new_of_update,
    hook_reader *read, struct value *row)
{
    for (int i = 0; i < t->column_count; i++) {
        sqlite3_value *from;
        if (t->columns[i].stored < 0)
            continue;
        if (i == t->rowid_alias) {
            row[i] = (struct value){.type = VALUE_INTEGER, .i = rowid};
            continue;
        }
        r->sqlite_code = read(r->conn->db, hook_index(t, i, new_of_update), &from);
        if (r->sqlite_code != SQLITE_OK)
            return STATUS_IO;
        int status = values_from(&row[i], from, t->columns[i].affinity);
        if (status == STATUS_OK && (row[i].type == VALUE_TEXT || row[i].type == VALUE_BLOB))
            status = batch_set_value(r->batch, &row[i], &row[i]);
        if (status < 0)
            return status;
    }
    return STATUS_OK;
}

static struct value *old_row(struct recorder *r, const struct table *t, int64_t rowid)
{
    struct value *row = batch_row(r->batch, t->column_count);
    int status = row ? copy_row(r, t, rowid, false, sqlite3_preupdate_old, row) : STATUS_NOMEM;
    if (status < 0) {
        fail_status(r, status);
        return NULL;
    }
    if (reread_doubtful(t, row) && reread_row(r, t, rowid, row) < 0) {
        fail(r, batch_full(r->batch) ? RECORDER_FULL : RECORDER_READ);
        return NULL;
    }
    return row;
}

static struct value *new_row(struct recorder *r, const struct table *t, int64_t rowid, bool update)
{
    struct value *row = batch_row(r->batch, t->column_count);
    int status = row ? copy_row(r, t, rowid, update, sqlite3_preupdate_new, row) : STATUS_NOMEM;
    if (status < 0) {
        fail_status(r, status);
        return NULL;
    }
    return row;
}

static void record(
    struct recorder *r, const struct table *t, int op, int64_t old_rowid, int64_t new_rowid)
{
    struct batch_mark mark = batch_mark(r->batch);
    struct value *old = NULL, *row = NULL;
    if (t->without_rowid)
        old_rowid = new_rowid = 0;
    if (op != SQLITE_INSERT && !(old = old_row(r, t, old_rowid)))
        return;
    if (op != SQLITE_DELETE && !(row = new_row(r, t, new_rowid, op == SQLITE_UPDATE)))
        return;
    struct change *c = batch_add(r->batch,
        op == SQLITE_INSERT   ? CHANGE_INSERT
        : op == SQLITE_UPDATE ? CHANGE_UPDATE
                              : CHANGE_DELETE,
        t);
    if (!c) {
        fail_status(r, STATUS_NOMEM);
        return;
    }
    c->old = old;
    c->row = row;
    c->old_rowid = old ? old_rowid : 0;
    c->rowid = row ? new_rowid : old_rowid;
    r->incomplete = row && reread_always(t) ? c : NULL;
    if (!r->incomplete && change_is_empty(c))
        batch_rewind(r->batch, &mark);
}

/* Columns that SQLite counts in the hook: hidden ones belong to virtual tables only. */
static bool same_shape(const struct recorder *r, const struct table *t)
{
    return sqlite3_preupdate_count(r->conn->db) == t->column_count;
}

static void on_preupdate(void *ctx, sqlite3 *db, int op, const char *schema, const char *name,
    sqlite3_int64 old_rowid, sqlite3_int64 new_rowid)
{
    struct recorder *r = ctx;
    (void)db;
    if (r->failed || !r->schema || strcmp(schema, "main") != 0)
        return;
    const struct table *t = find_table(r, name);
    if (t && !table_has_events(t))
        return;
    bool ddl = r->conn->auth.report && r->conn->auth.report->ddl;
    if (!t && (ddl || text_ncasecmp(name, "sqlite_", 7) == 0))
        return;
    if (!t || !same_shape(r, t) || !r->batch) {
        if (!ddl)
            fail(r, RECORDER_STALE);
        return;
    }
    record(r, t, op, old_rowid, new_rowid);
}

/* Called after the new row was written: the moment to read what the preupdate hook got wrong. */
static void on_update(void *ctx, int op, const char *schema, const char *name, sqlite3_int64 rowid)
{
    struct recorder *r = ctx;
    struct change *c = r->incomplete;
    (void)op;
    if (!c || r->failed || strcmp(schema, "main") != 0 || strcmp(name, c->table->name) != 0 ||
        rowid != c->rowid)
        return;
    r->incomplete = NULL;
    if (reread_row(r, c->table, rowid, c->row) < 0)
        fail(r, batch_full(r->batch) ? RECORDER_FULL : RECORDER_READ);
    else if (change_is_empty(c))
        r->batch->change_count--;
}

void recorder_init(struct recorder *r, struct sqlconn *conn)
{
    *r = (struct recorder){.conn = conn};
    sqlite3_preupdate_hook(conn->db, on_preupdate, r);
    sqlite3_update_hook(conn->db, on_update, r);
}

void recorder_fini(struct recorder *r)
{
    sqlite3_finalize(r->reread);
    schema_unref(r->schema);
    *r = (struct recorder){0};
}

void recorder_set_schema(struct recorder *r, struct schema *schema)
{
    sqlite3_finalize(r->reread);
    r->reread = NULL;
    r->reread_table = NULL;
    r->last_schema = NULL;
    r->last_table = NULL;
    schema_unref(r->schema);
    r->schema = schema;
}
