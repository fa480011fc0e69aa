#include "capture/mirror_plan.h"

#include <stdlib.h>
#include <string.h>

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

/* x IN (…), which is then told with all its values (1) instead of one after the other. */
static bool is_list(sqlite3_index_info *info, int i, int handle)
{
#if SQLITE_VERSION_NUMBER >= 3038000
    return sqlite3_vtab_in(info, i, handle);
#else
    (void)info;
    (void)i;
    (void)handle;
    return true;
#endif
}

/*
 * Only what keeps every row that SQLite would keep, for SQLite compares again above. There it
 * knows the other side's affinity, here it is a value without one. That is the same for a column of
 * numeric affinity; for one of TEXT with text, but for the order of text that a numeric column
 * holds, which a constant is not; and not at all for a column without affinity. IN on a column of
 * TEXT has to be compared as a whole above: with the values one by one SQLite forgets the affinity.
 */
static bool goes_down(
    const struct mirror_table *t, sqlite3_index_info *info, int i, struct mirror_term *term)
{
    const struct sqlite3_index_constraint *c = &info->aConstraint[i];
    const char *collation = sqlite3_vtab_collation(info, i);
    int column = c->iColumn < 0 ? -1 : t->columns[c->iColumn];
    if (!c->usable || t->table->kind != TABLE_PLAIN || (column < 0 && !t->rowid))
        return false;
    *term = (struct mirror_term){op_of(c->op), column, collation ? collation_char(collation) : 0};
    if (!term->op || !term->collation)
        return false;
    if (column < 0)
        return true;
    const struct column *real = &t->table->columns[column];
    if (real->kind == COLUMN_VIRTUAL || real->collation == COLLATION_OTHER)
        return false;
    if (term->op == 'n')
        return true;
    if (real->affinity == AFFINITY_TEXT && term->op == '=' && is_list(info, i, -1))
        term->op = 'I';
    if (real->affinity == AFFINITY_TEXT)
        return strchr("=iI", term->op) || is_constant(info, i);
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
    const struct mirror_table *t, const struct mirror_term *term, double *looked, double *found)
{
    bool equal = strchr("=iI", term->op);
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

int mirror_best_index(sqlite3_vtab *v, sqlite3_index_info *info)
{
    struct mirror_table *t = mirror_table_of(v);
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
    for (int i = 0; i < info->nConstraint && count < MIRROR_TERMS; i++) {
        struct mirror_term term;
        if (!goes_down(t, info, i, &term))
            continue;
        if (term.op == 'I' && !is_list(info, i, 1))
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

void mirror_plan_read(struct mirror_plan *p, const char *text)
{
    char *end;
    *p = (struct mirror_plan){.used = strtoull(text, &end, 16)};
    p->order = *end++;
    while (*end == ' ' && p->count < MIRROR_TERMS) {
        struct mirror_term *term = &p->terms[p->count++];
        term->op = end[1];
        term->collation = end[2];
        term->column = (int)strtol(end + 3, &end, 10);
    }
}

/* Using it. */

#define MAX_VALUES 200 /* of an IN; with more it is left to SQLite */

/* How many values an IN has; -1: too many, or not all of them text. */
static int count_values(sqlite3_value *list)
{
#if SQLITE_VERSION_NUMBER >= 3038000
    sqlite3_value *value = NULL;
    int count = 0;
    int rc = sqlite3_vtab_in_first(list, &value);
    for (; rc == SQLITE_OK && value; rc = sqlite3_vtab_in_next(list, &value), count++)
        if (count == MAX_VALUES || sqlite3_value_type(value) != SQLITE_TEXT)
            return -1;
    return rc == SQLITE_DONE ? count : -1;
#else
    (void)list;
    return -1;
#endif
}

static int bind_list(sqlite3_stmt *s, sqlite3_value *list, int number)
{
#if SQLITE_VERSION_NUMBER >= 3038000
    sqlite3_value *value = NULL;
    int rc = sqlite3_vtab_in_first(list, &value);
    for (; rc == SQLITE_OK && value; rc = sqlite3_vtab_in_next(list, &value)) {
        rc = sqlite3_bind_value(s, number++, value);
        if (rc != SQLITE_OK)
            break;
    }
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
#else
    (void)s;
    (void)list;
    (void)number;
    return SQLITE_OK;
#endif
}

static const char *collation_name(char c)
{
    return c == 'N' ? "NOCASE" : c == 'R' ? "RTRIM" : "BINARY";
}

/* Of a column of TEXT only text may be compared with here; SQLite does the rest above. */
static bool takes(
    const struct mirror_table *t, const struct mirror_term *term, sqlite3_value *value)
{
    if (term->op == 'n' || term->column < 0 ||
        t->table->columns[term->column].affinity != AFFINITY_TEXT)
        return true;
    return term->op == 'I' ? count_values(value) >= 0 : sqlite3_value_type(value) == SQLITE_TEXT;
}

static void put_list(struct buf *sql, char collation, int number, int count)
{
    buf_printf(sql, " COLLATE %s IN (", collation_name(collation));
    for (int i = 0; i < count; i++)
        buf_printf(sql, i ? ",?%d" : "?%d", number + i);
    buf_putc(sql, ')');
}

/* With the number of its parameter, and of the first one of a list. */
static void put_term(struct buf *sql, const struct mirror_table *t, const struct mirror_term *term,
    int number, int list, int count)
{
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
    else if (term->op == 'I')
        put_list(sql, term->collation, list, count);
    else
        buf_printf(sql, "%s?%d COLLATE %s", op, number, collation_name(term->collation));
}

void mirror_plan_put(struct buf *sql, const struct mirror_table *t, const struct mirror_plan *plan,
    sqlite3_value **argv)
{
    int list = t->param_count + plan->count + 1;
    for (int i = 0; i < plan->count; i++) {
        const struct mirror_term *term = &plan->terms[i];
        if (!takes(t, term, argv[i]))
            continue;
        int count = term->op == 'I' ? count_values(argv[i]) : 0;
        put_term(sql, t, term, t->param_count + i + 1, list, count);
        list += count;
    }
    if (plan->order == '^' || plan->order == '_') {
        buf_puts(sql, " ORDER BY ");
        mirror_put_name(sql, t->rowid);
        buf_puts(sql, plan->order == '_' ? " DESC" : "");
    }
}

int mirror_plan_bind(sqlite3_stmt *s, const struct mirror_table *t, const struct mirror_plan *plan,
    sqlite3_value **argv)
{
    int rc = SQLITE_OK, list = t->param_count + plan->count + 1;
    for (int i = 0; i < plan->count && rc == SQLITE_OK; i++) {
        const struct mirror_term *term = &plan->terms[i];
        if (term->op == 'n' || !takes(t, term, argv[i]))
            continue;
        if (term->op == 'I') {
            rc = bind_list(s, argv[i], list);
            list += count_values(argv[i]);
        } else {
            rc = sqlite3_bind_value(s, t->param_count + i + 1, argv[i]);
        }
    }
    return rc;
}
