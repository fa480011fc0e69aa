#include "capture/mirror_plan.h"

#include "base/mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The virtual tables of a mirror (https://www.sqlite.org/vtab.html), as they are read. */
struct vtab {
    sqlite3_vtab base;
    struct mirror_table *t;
};

struct mirror_table *mirror_table_of(sqlite3_vtab *v)
{
    return ((struct vtab *)v)->t;
}

struct cursor_of {
    sqlite3_vtab_cursor base;
    sqlite3_stmt *stmt;
    struct buf sql;
    int *places; /* of the virtual table's columns in the statement; 0: not there */
    bool eof;
};

/* Connecting. */

static const char *type_of(const struct column *c)
{
    static const char *const names[] = {[AFFINITY_BLOB] = "",
        [AFFINITY_TEXT] = " TEXT",
        [AFFINITY_NUMERIC] = " NUMERIC",
        [AFFINITY_INTEGER] = " INT",
        [AFFINITY_REAL] = " REAL"};
    return names[c->affinity];
}

static const char *collation_of(const struct column *c)
{
    return c->collation == COLLATION_NOCASE  ? " COLLATE NOCASE"
           : c->collation == COLLATION_RTRIM ? " COLLATE RTRIM"
                                             : "";
}

/* What may be written and not read is hidden: "*" and a list of values leave it out. */
static void put_column(struct buf *sql, const struct mirror_table *t, int column)
{
    const struct column *c = &t->table->columns[column];
    mirror_put_name(sql, c->name);
    buf_puts(sql, type_of(c));
    if (t->reads && !mirror_has(t->readable, column))
        buf_puts(sql, " HIDDEN");
    buf_puts(sql, collation_of(c));
}

static void put_declaration(struct buf *sql, const struct mirror_table *t)
{
    const struct table *real = t->table;
    buf_puts(sql, "CREATE TABLE x(");
    for (int i = 0; i < t->column_count; i++) {
        buf_puts(sql, i ? "," : "");
        put_column(sql, t, t->columns[i]);
    }
    if (real->without_rowid) {
        for (int i = 0; i < real->key_count; i++) {
            buf_puts(sql, i ? "," : ",PRIMARY KEY(");
            mirror_put_name(sql, real->columns[real->key_columns[i]].name);
        }
        buf_puts(sql, ")) WITHOUT ROWID");
    } else {
        buf_puts(sql, ")");
    }
}

static int connect(
    sqlite3 *db, void *aux, int argc, const char *const *argv, sqlite3_vtab **out, char **err)
{
    struct mirror *m = aux;
    struct buf sql = {0};
    struct vtab *v = sqlite3_malloc64(sizeof(*v));
    (void)err;
    if (!v || argc < 4) {
        sqlite3_free(v);
        return SQLITE_NOMEM;
    }
    *v = (struct vtab){.t = &m->tables[atoi(argv[3])]};
    put_declaration(&sql, v->t);
    int rc = buf_text(&sql) ? sqlite3_declare_vtab(db, buf_text(&sql)) : SQLITE_NOMEM;
    buf_fini(&sql);
    if (rc == SQLITE_OK)
        rc = sqlite3_vtab_config(db, SQLITE_VTAB_CONSTRAINT_SUPPORT, 1);
    if (rc == SQLITE_OK)
        *out = &v->base;
    else
        sqlite3_free(v);
    return rc;
}

static int disconnect(sqlite3_vtab *v)
{
    sqlite3_free(v);
    return SQLITE_OK;
}

/* Reading. */

static int open_cursor(sqlite3_vtab *v, sqlite3_vtab_cursor **out)
{
    const struct mirror_table *t = ((struct vtab *)v)->t;
    struct cursor_of *c = mem_zalloc(sizeof(*c));
    if (c)
        c->places = mem_array((size_t)t->column_count + 1, sizeof(*c->places));
    if (!c || !c->places) {
        mem_free(c);
        return SQLITE_NOMEM;
    }
    *out = &c->base;
    return SQLITE_OK;
}

static int close_cursor(sqlite3_vtab_cursor *cursor)
{
    struct cursor_of *c = (struct cursor_of *)cursor;
    sqlite3_finalize(c->stmt);
    buf_fini(&c->sql);
    mem_free(c->places);
    mem_free(c);
    return SQLITE_OK;
}

static bool is_in_key(const struct table *t, int column)
{
    return t->columns[column].pk > 0;
}

static void put_columns(
    struct buf *sql, struct cursor_of *c, const struct mirror_table *t, unsigned long long used)
{
    int place = 0;
    buf_puts(sql, t->rowid ? "SELECT " : "SELECT NULL");
    if (t->rowid)
        mirror_put_name(sql, t->rowid);
    for (int i = 0; i < t->column_count; i++) {
        bool wanted = used >> (i < 63 ? i : 63) & 1;
        c->places[i] = 0;
        if ((!wanted && !is_in_key(t->table, t->columns[i])) ||
            !mirror_has(t->readable, t->columns[i]))
            continue;
        buf_putc(sql, ',');
        mirror_put_name(sql, t->table->columns[t->columns[i]].name);
        c->places[i] = ++place;
    }
}

static int prepare(struct cursor_of *c, struct mirror_table *t, struct buf *sql)
{
    const char *text = buf_text(sql);
    if (!text)
        return SQLITE_NOMEM;
    if (c->stmt && c->sql.len == sql->len && memcmp(c->sql.data, text, sql->len) == 0)
        return sqlite3_reset(c->stmt), SQLITE_OK;
    sqlite3_finalize(c->stmt);
    c->stmt = NULL;
    buf_reset(&c->sql);
    buf_put(&c->sql, text, sql->len);
    if (buf_error(&c->sql))
        return SQLITE_NOMEM;
    return sqlconn_prepare(t->mirror->file, &c->stmt, "%s", text);
}

static int next(sqlite3_vtab_cursor *cursor)
{
    struct cursor_of *c = (struct cursor_of *)cursor;
    int rc = sqlite3_step(c->stmt);
    c->eof = rc != SQLITE_ROW;
    if (rc == SQLITE_ROW || rc == SQLITE_DONE)
        return SQLITE_OK;
    return mirror_failed(((struct vtab *)cursor->pVtab)->t, cursor->pVtab, rc);
}

static void put_select(struct buf *sql, struct cursor_of *c, const struct mirror_table *t,
    const struct mirror_plan *plan, sqlite3_value **argv)
{
    put_columns(sql, c, t, plan->used);
    buf_puts(sql, " FROM ");
    mirror_put_table(sql, t->table);
    buf_puts(sql, " WHERE ");
    buf_put(sql, t->where.data, t->where.len);
    mirror_plan_put(sql, t, plan, argv);
}

static int filter(
    sqlite3_vtab_cursor *cursor, int number, const char *text, int argc, sqlite3_value **argv)
{
    struct cursor_of *c = (struct cursor_of *)cursor;
    struct mirror_table *t = ((struct vtab *)cursor->pVtab)->t;
    struct buf sql = {0};
    struct mirror_plan plan;
    (void)number;
    (void)argc;
    mirror_plan_read(&plan, text);
    int rc = mirror_bind_rule(t);
    if (rc == SQLITE_OK) {
        put_select(&sql, c, t, &plan, argv);
        rc = prepare(c, t, &sql);
    }
    buf_fini(&sql);
    if (rc == SQLITE_OK)
        rc = mirror_bind_values(t, c->stmt);
    if (rc == SQLITE_OK)
        rc = mirror_plan_bind(c->stmt, t, &plan, argv);
    return rc == SQLITE_OK ? next(cursor) : mirror_failed(t, cursor->pVtab, rc);
}

static int eof(sqlite3_vtab_cursor *cursor)
{
    return ((struct cursor_of *)cursor)->eof;
}

static int column(sqlite3_vtab_cursor *cursor, sqlite3_context *ctx, int i)
{
    const struct cursor_of *c = (struct cursor_of *)cursor;
    /* An UPDATE that leaves the column as it is. */
    if (sqlite3_vtab_nochange(ctx))
        return SQLITE_OK;
    if (c->places[i])
        sqlite3_result_value(ctx, sqlite3_column_value(c->stmt, c->places[i]));
    return SQLITE_OK;
}

static int rowid(sqlite3_vtab_cursor *cursor, sqlite3_int64 *out)
{
    *out = sqlite3_column_int64(((struct cursor_of *)cursor)->stmt, 0);
    return SQLITE_OK;
}

#define READING                                                                                    \
    .iVersion = 1, .xCreate = connect, .xConnect = connect, .xBestIndex = mirror_best_index,       \
    .xDisconnect = disconnect, .xDestroy = disconnect, .xOpen = open_cursor,                       \
    .xClose = close_cursor, .xFilter = filter, .xNext = next, .xEof = eof, .xColumn = column,      \
    .xRowid = rowid

const sqlite3_module mirror_module = {READING};
const sqlite3_module mirror_write_module = {READING, .xUpdate = mirror_update};
