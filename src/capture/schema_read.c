#include "capture/schema_read.h"

#include "base/mem.h"
#include "base/text.h"
#include "capture/schema_diff.h"
#include "change/value.h"
#include <stdlib.h>
#include <string.h>

static const char *text_at(sqlite3_stmt *s, int column)
{
    const char *text = (const char *)sqlite3_column_text(s, column);
    return text ? text : "";
}

static bool same_definition(
    const struct table *t, const char *name, int64_t root_page, const char *sql)
{
    return t && strcmp(t->name, name) == 0 && t->root_page == root_page && t->sql &&
           strcmp(t->sql, sql) == 0;
}

static int list_options(struct sqlconn *c, struct table *t)
{
    static const struct {
        const char *name;
        enum table_kind kind;
    } kinds[] = {{"table", TABLE_PLAIN}, {"virtual", TABLE_VIRTUAL}, {"shadow", TABLE_SHADOW},
        {"view", TABLE_VIEW}};
    sqlite3_stmt *s;
    int rc = sqlconn_prepare(c, &s, "PRAGMA main.table_list(%Q)", t->name);
    while (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        rc = SQLITE_OK;
        if (strcmp(text_at(s, 0), "main") != 0)
            continue;
        for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
            if (strcmp(kinds[i].name, text_at(s, 2)) == 0)
                t->kind = (uint8_t)kinds[i].kind;
        t->without_rowid = sqlite3_column_int(s, 4) != 0;
        t->strict = sqlite3_column_int(s, 5) != 0;
    }
    sqlite3_finalize(s);
    t->internal = t->kind == TABLE_SHADOW || text_ncasecmp(t->name, "sqlite_", 7) == 0 ||
                  text_ncasecmp(t->name, "rowtap_", 7) == 0;
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static enum collation collation_of(struct sqlconn *c, const char *table, const char *column)
{
    const char *name = NULL;
    if (sqlite3_table_column_metadata(
            c->db, "main", table, column, NULL, &name, NULL, NULL, NULL) != SQLITE_OK ||
        !name)
        return COLLATION_BINARY;
    return text_casecmp(name, "BINARY") == 0   ? COLLATION_BINARY
           : text_casecmp(name, "NOCASE") == 0 ? COLLATION_NOCASE
           : text_casecmp(name, "RTRIM") == 0  ? COLLATION_RTRIM
                                               : COLLATION_OTHER;
}

/* One row of PRAGMA table_xinfo: cid, name, type, notnull, dflt_value, pk, hidden */
static int read_column(struct sqlconn *c, sqlite3_stmt *s, struct table *t, int index, int *stored)
{
    static const enum column_kind kinds[] = {
        COLUMN_PLAIN, COLUMN_HIDDEN, COLUMN_VIRTUAL, COLUMN_STORED};
    struct column *col = &t->columns[index];
    bool has_default = sqlite3_column_type(s, 4) != SQLITE_NULL;
    col->name = mem_strdup(text_at(s, 1));
    col->type = mem_strdup(text_at(s, 2));
    col->default_sql = has_default ? mem_strdup(text_at(s, 4)) : NULL;
    if (!col->name || !col->type || (has_default && !col->default_sql))
        return SQLITE_NOMEM;
    col->not_null = sqlite3_column_int(s, 3) != 0;
    col->pk = sqlite3_column_int(s, 5);
    col->kind = (uint8_t)kinds[sqlite3_column_int(s, 6) & 3];
    col->stored = col->kind == COLUMN_VIRTUAL ? -1 : (*stored)++;
    bool any = t->strict && text_casecmp(col->type, "ANY") == 0;
    col->affinity = (uint8_t)(any ? AFFINITY_BLOB : affinity_of_type(col->type));
    if (t->kind != TABLE_VIEW)
        col->collation = (uint8_t)collation_of(c, t->name, col->name);
    return SQLITE_OK;
}

static int count_rows(sqlite3_stmt *s, int *count)
{
    int rc;
    *count = 0;
    while ((rc = sqlite3_step(s)) == SQLITE_ROW)
        (*count)++;
    sqlite3_reset(s);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int read_key(struct table *t)
{
    for (int i = 0; i < t->column_count; i++)
        if (t->columns[i].pk > t->key_count)
            t->key_count = t->columns[i].pk;
    if (t->key_count == 0)
        return SQLITE_OK;
    t->key_columns = mem_array((size_t)t->key_count, sizeof(*t->key_columns));
    if (!t->key_columns)
        return SQLITE_NOMEM;
    for (int i = 0; i < t->column_count; i++)
        if (t->columns[i].pk > 0)
            t->key_columns[t->columns[i].pk - 1] = i;
    return SQLITE_OK;
}

/*
 * The INTEGER PRIMARY KEY is the rowid itself, unless it was declared DESC in the way that SQLite
 * keeps as an ordinary key (https://www.sqlite.org/lang_createtable.html#rowid): then it has an
 * index of its own.
 */
static int read_rowid_alias(struct sqlconn *c, struct table *t)
{
    if (t->kind != TABLE_PLAIN || t->without_rowid || t->key_count != 1 ||
        text_casecmp(t->columns[t->key_columns[0]].type, "INTEGER") != 0)
        return SQLITE_OK;
    sqlite3_stmt *s;
    bool own_index = false;
    int rc = sqlconn_prepare(c, &s, "PRAGMA main.index_list(%Q)", t->name);
    while (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        rc = SQLITE_OK;
        own_index |= strcmp(text_at(s, 3), "pk") == 0;
    }
    sqlite3_finalize(s);
    if (!own_index)
        t->rowid_alias = t->key_columns[0];
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Asks about all of a table's columns; a view that no longer compiles has none. */
static int read_columns(struct sqlconn *c, struct table *t)
{
    sqlite3_stmt *s;
    int count, stored = 0, index = 0;
    int rc = sqlconn_prepare(c, &s, "PRAGMA main.table_xinfo(%Q)", t->name);
    if (rc == SQLITE_OK)
        rc = count_rows(s, &count);
    if ((rc & 0xff) == SQLITE_ERROR && t->kind != TABLE_PLAIN) {
        sqlite3_finalize(s);
        return SQLITE_OK;
    }
    if (rc == SQLITE_OK) {
        mem_free(t->columns);
        t->columns = mem_array(count > 0 ? (size_t)count : 1, sizeof(*t->columns));
        t->column_count = t->columns ? count : 0;
        rc = t->columns ? SQLITE_OK : SQLITE_NOMEM;
    }
    while (rc == SQLITE_OK && index < count && sqlite3_step(s) == SQLITE_ROW)
        rc = read_column(c, s, t, index++, &stored);
    sqlite3_finalize(s);
    if (rc == SQLITE_OK && index != t->column_count)
        rc = SQLITE_SCHEMA;
    return rc;
}

static int read_table(
    struct sqlconn *c, const char *name, int64_t root_page, const char *sql, struct table **out)
{
    struct table *t = table_new(name, 0);
    if (!t)
        return SQLITE_NOMEM;
    t->root_page = root_page;
    t->sql = mem_strdup(sql);
    int rc = t->sql ? list_options(c, t) : SQLITE_NOMEM;
    if (rc == SQLITE_OK)
        rc = read_columns(c, t);
    if (rc == SQLITE_OK)
        rc = read_key(t);
    if (rc == SQLITE_OK)
        rc = read_rowid_alias(c, t);
    if (rc == SQLITE_OK) {
        *out = t;
        return SQLITE_OK;
    }
    table_unref(t);
    return rc;
}

static int by_name(const void *a, const void *b)
{
    const struct table *const *x = a, *const *y = b;
    return text_casecmp((*x)->name, (*y)->name);
}

static int read_tables(
    struct sqlconn *c, sqlite3_stmt *s, const struct schema *previous, struct schema *fresh)
{
    int rc, count = 0;
    while ((rc = sqlite3_step(s)) == SQLITE_ROW && count < fresh->table_count) {
        const char *name = text_at(s, 0), *sql = text_at(s, 2);
        int64_t root_page = sqlite3_column_int64(s, 1);
        struct table *t = previous ? schema_find(previous, name, strlen(name)) : NULL;
        if (same_definition(t, name, root_page, sql))
            fresh->tables[count] = table_ref(t);
        else if ((rc = read_table(c, name, root_page, sql, &fresh->tables[count])) != SQLITE_OK)
            break;
        count++;
    }
    fresh->table_count = count;
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int schema_read(struct sqlconn *c, const struct schema *previous, struct schema **out)
{
    struct statement_report *report = c->auth.report;
    struct schema *fresh = NULL;
    sqlite3_stmt *s;
    int64_t cookie = 0;
    int count = 0;
    *out = NULL;
    c->auth.report = NULL;
    int rc = sqlconn_prepare(
        c, &s, "SELECT name,rootpage,sql FROM main.sqlite_master WHERE type IN ('table','view')");
    if (rc == SQLITE_OK)
        rc = count_rows(s, &count);
    if (rc == SQLITE_OK && !(fresh = schema_new(count)))
        rc = SQLITE_NOMEM;
    if (rc == SQLITE_OK)
        rc = read_tables(c, s, previous, fresh);
    sqlite3_finalize(s);
    if (rc == SQLITE_OK)
        rc = sqlconn_integer(c, OWN_SCHEMA_VERSION, &cookie);
    c->auth.report = report;
    if (rc != SQLITE_OK) {
        schema_unref(fresh);
        return rc;
    }
    qsort(fresh->tables, (size_t)fresh->table_count, sizeof(*fresh->tables), by_name);
    fresh->cookie = (uint32_t)cookie;
    schema_diff_identify(previous, fresh);
    *out = fresh;
    return SQLITE_OK;
}
