#include "capture/mirror_parts.h"

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

#define MAX_TERMS 16

/* A comparison that goes down to the file. */
struct term {
    char op;
    int column; /* of the table; -1: the rowid */
    char collation;
};

/* What xBestIndex decided on, as xFilter reads it from the text in between. */
struct plan {
    unsigned long long used; /* columns of the virtual table; the last bit: all from there on */
    char order;              /* 'a' or 'd': by the rowid */
    int count;
    struct term terms[MAX_TERMS];
};

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

/* Planning. */

/*
 * Not IS NOT NULL, <> and the like: SQLite 3.40 offers them for the left table of a LEFT JOIN, too,
 * where they are in the ON clause and must not leave out rows of it.
 */
static char op_of(unsigned char op)
{
    switch (op) {
    case SQLITE_INDEX_CONSTRAINT_EQ:
        return '=';
    case SQLITE_INDEX_CONSTRAINT_IS:
        return 'i';
    case SQLITE_INDEX_CONSTRAINT_LT:
        return '<';
    case SQLITE_INDEX_CONSTRAINT_LE:
        return 'l';
    case SQLITE_INDEX_CONSTRAINT_GT:
        return '>';
    case SQLITE_INDEX_CONSTRAINT_GE:
        return 'g';
    case SQLITE_INDEX_CONSTRAINT_ISNULL:
        return 'n';
    default:
        return 0;
    }
}

static char collation_char(const char *name)
{
    return sqlite3_stricmp(name, "BINARY") == 0   ? 'B'
           : sqlite3_stricmp(name, "NOCASE") == 0 ? 'N'
           : sqlite3_stricmp(name, "RTRIM") == 0  ? 'R'
                                                  : 0;
}

static bool is_constant(sqlite3_index_info *info, int i)
{
#if SQLITE_VERSION_NUMBER >= 3038000
    sqlite3_value *value = NULL;
    return sqlite3_vtab_rhs_value(info, i, &value) == SQLITE_OK && value;
#else
    (void)info;
    (void)i;
    return false;
#endif
}

/*
 * Only what keeps every row that SQLite would keep, for SQLite compares again above. There it
 * knows the other side's affinity, here it is a value without one. That is the same for a column of
 * numeric affinity; for one of TEXT with text, but for the order of text that a numeric column
 * holds, which a constant is not; and not at all for a column without affinity.
 */
static bool goes_down(
    const struct mirror_table *t, sqlite3_index_info *info, int i, struct term *term)
{
    const struct sqlite3_index_constraint *c = &info->aConstraint[i];
    const char *collation = sqlite3_vtab_collation(info, i);
    int column = c->iColumn < 0 ? -1 : t->columns[c->iColumn];
    if (!c->usable || t->table->kind != TABLE_PLAIN || (column < 0 && !t->rowid))
        return false;
    *term = (struct term){op_of(c->op), column, collation ? collation_char(collation) : 0};
    if (!term->op || !term->collation)
        return false;
    if (column < 0)
        return true;
    const struct column *real = &t->table->columns[column];
    if (real->kind == COLUMN_VIRTUAL || real->collation == COLLATION_OTHER)
        return false;
    if (term->op == 'n')
        return true;
    if (real->affinity == AFFINITY_TEXT)
        return term->op == '=' || term->op == 'i' || is_constant(info, i);
    return real->affinity != AFFINITY_BLOB;
}

static bool is_key(const struct mirror_table *t, int column)
{
    const struct table *real = t->table;
    return column < 0 || column == real->rowid_alias ||
           (real->without_rowid && real->key_count == 1 && column == real->key_columns[0]);
}

static bool is_searched(const struct mirror_table *t, int column)
{
    return is_key(t, column) || mirror_has(t->indexed, column) ||
           (t->table->without_rowid && column == t->table->key_columns[0]);
}

/* How many rows are looked at, and how many are found. Rough: only the order of joins needs it. */
static void estimate(
    const struct mirror_table *t, const struct term *term, double *looked, double *found)
{
    bool equal = term->op == '=' || term->op == 'i';
    double part = equal ? is_key(t, term->column) ? 1e-6 : 1e-4 : 0.25;
    if (is_searched(t, term->column) && term->op != 'n')
        *looked *= part;
    *found *= part;
}

static bool by_rowid(const struct mirror_table *t, const sqlite3_index_info *info)
{
    if (info->nOrderBy != 1 || !t->rowid)
        return false;
    int column = info->aOrderBy[0].iColumn;
    return column < 0 || t->columns[column] == t->table->rowid_alias;
}

static int best_index(sqlite3_vtab *v, sqlite3_index_info *info)
{
    struct mirror_table *t = ((struct vtab *)v)->t;
    sqlite3_str *text = sqlite3_str_new(t->mirror->conn.db);
    double looked = 1e6, found = 1e6;
    int count = 0;
    char order = 'n';
    if (by_rowid(t, info)) {
        order = info->aOrderBy[0].desc ? 'd' : 'a';
        info->orderByConsumed = 1;
    }
    sqlite3_str_appendf(text, "%llx%c", (unsigned long long)info->colUsed,
        order == 'n'   ? '-'
        : order == 'a' ? '^'
                       : '_');
    for (int i = 0; i < info->nConstraint && count < MAX_TERMS; i++) {
        struct term term;
        if (!goes_down(t, info, i, &term))
            continue;
        info->aConstraintUsage[i].argvIndex = ++count;
        sqlite3_str_appendf(text, " %c%c%d", term.op, term.collation, term.column);
        estimate(t, &term, &looked, &found);
    }
    info->estimatedCost = looked < 1 ? 10 : looked * 3 + 10;
    info->estimatedRows = found < 1 ? 1 : (sqlite3_int64)found;
    info->idxStr = sqlite3_str_finish(text);
    info->needToFreeIdxStr = 1;
    return info->idxStr ? SQLITE_OK : SQLITE_NOMEM;
}

static void read_plan(struct plan *p, const char *text)
{
    char *end;
    *p = (struct plan){.used = strtoull(text, &end, 16)};
    p->order = *end++;
    while (*end == ' ' && p->count < MAX_TERMS) {
        struct term *term = &p->terms[p->count++];
        term->op = end[1];
        term->collation = end[2];
        term->column = (int)strtol(end + 3, &end, 10);
    }
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

/* Of a column of TEXT only text may be compared with here; SQLite does the rest above. */
static bool takes(const struct mirror_table *t, const struct term *term, sqlite3_value *value)
{
    if (term->op == 'n' || term->column < 0 ||
        t->table->columns[term->column].affinity != AFFINITY_TEXT)
        return true;
    return sqlite3_value_type(value) == SQLITE_TEXT;
}

static void put_term(
    struct buf *sql, const struct mirror_table *t, const struct term *term, int number)
{
    static const char *const collations[] = {['B'] = "BINARY", ['N'] = "NOCASE", ['R'] = "RTRIM"};
    const char *op = term->op == '='   ? "="
                     : term->op == 'i' ? " IS "
                     : term->op == '<' ? "<"
                     : term->op == 'l' ? "<="
                     : term->op == '>' ? ">"
                                       : ">=";
    buf_puts(sql, " AND ");
    mirror_put_name(sql, term->column < 0 ? t->rowid : t->table->columns[term->column].name);
    if (term->op == 'n')
        buf_puts(sql, " IS NULL");
    else
        buf_printf(sql, "%s?%d COLLATE %s", op, number, collations[(unsigned char)term->collation]);
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
    const struct plan *plan, sqlite3_value **argv)
{
    put_columns(sql, c, t, plan->used);
    buf_puts(sql, " FROM ");
    mirror_put_table(sql, t->table);
    buf_puts(sql, " WHERE ");
    buf_put(sql, t->where.data, t->where.len);
    for (int i = 0; i < plan->count; i++)
        if (takes(t, &plan->terms[i], argv[i]))
            put_term(sql, t, &plan->terms[i], t->param_count + i + 1);
    if (plan->order == '^' || plan->order == '_') {
        buf_puts(sql, " ORDER BY ");
        mirror_put_name(sql, t->rowid);
        buf_puts(sql, plan->order == '_' ? " DESC" : "");
    }
}

static int filter(
    sqlite3_vtab_cursor *cursor, int number, const char *text, int argc, sqlite3_value **argv)
{
    struct cursor_of *c = (struct cursor_of *)cursor;
    struct mirror_table *t = ((struct vtab *)cursor->pVtab)->t;
    struct buf sql = {0};
    struct plan plan;
    (void)number;
    read_plan(&plan, text);
    int rc = mirror_bind_rule(t);
    if (rc == SQLITE_OK) {
        put_select(&sql, c, t, &plan, argv);
        rc = prepare(c, t, &sql);
    }
    buf_fini(&sql);
    if (rc == SQLITE_OK)
        rc = mirror_bind_values(t, c->stmt);
    for (int i = 0; i < argc && rc == SQLITE_OK; i++) {
        int place = t->param_count + i + 1;
        if (place <= sqlite3_bind_parameter_count(c->stmt))
            rc = sqlite3_bind_value(c->stmt, place, argv[i]);
    }
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
    .iVersion = 1, .xCreate = connect, .xConnect = connect, .xBestIndex = best_index,              \
    .xDisconnect = disconnect, .xDestroy = disconnect, .xOpen = open_cursor,                       \
    .xClose = close_cursor, .xFilter = filter, .xNext = next, .xEof = eof, .xColumn = column,      \
    .xRowid = rowid

const sqlite3_module mirror_module = {READING};
const sqlite3_module mirror_write_module = {READING, .xUpdate = mirror_update};
