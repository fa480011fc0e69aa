#include "capture/mirror_parts.h"

#include "base/text.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * What SQL may do in a mirror: everything is refused that is not known to be harmless. Functions
 * that tell of the server, or of what others did on the same connection, are not here.
 */
static const char *const functions[] = {"->", "->>", "abs", "acos", "acosh", "asin", "asinh",
    "atan", "atan2", "atanh", "avg", "ceil", "ceiling", "changes", "char", "coalesce", "concat",
    "concat_ws", "cos", "cosh", "count", "cume_dist", "current_date", "current_time",
    "current_timestamp", "date", "datetime", "degrees", "dense_rank", "exp", "first_value", "floor",
    "format", "glob", "group_concat", "hex", "ifnull", "iif", "instr", "json", "json_array",
    "json_array_length", "json_error_position", "json_extract", "json_group_array",
    "json_group_object", "json_insert", "json_object", "json_patch", "json_quote", "json_remove",
    "json_replace", "json_set", "json_type", "json_valid", "julianday", "lag", "last_insert_rowid",
    "last_value", "lead", "length", "like", "likelihood", "likely", "ln", "log", "log10", "log2",
    "lower", "ltrim", "max", "min", "mod", "nth_value", "ntile", "nullif", "octet_length",
    "percent_rank", "pi", "pow", "power", "printf", "quote", "radians", "random", "randomblob",
    "rank", "replace", "round", "row_number", "rtrim", "sign", "sin", "sinh", "soundex",
    "sqlite_version", "sqrt", "strftime", "string_agg", "substr", "substring", "sum", "tan", "tanh",
    "time", "timediff", "total", "trim", "trunc", "typeof", "unhex", "unicode", "unixepoch",
    "unlikely", "upper", "zeroblob"};

#define SCHEMA_REFUSED "what looks at the schema or changes it is refused for your role"

static int by_name(const void *a, const void *b)
{
    return text_casecmp(a, *(const char *const *)b);
}

__attribute__((format(printf, 2, 3))) static int deny(struct mirror *m, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(m->conn.auth.denied, sizeof(m->conn.auth.denied), fmt, ap);
    va_end(ap);
    return SQLITE_DENY;
}

__attribute__((format(printf, 2, 3))) static int miss(struct mirror *m, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(m->conn.auth.missing, sizeof(m->conn.auth.missing), fmt, ap);
    va_end(ap);
    return SQLITE_DENY;
}

static int check_function(struct mirror *m, const char *name)
{
    if (bsearch(
            name, functions, sizeof(functions) / sizeof(*functions), sizeof(*functions), by_name))
        return SQLITE_OK;
    return deny(m, "the function %.64s is refused for your role", name);
}

/* Of tables that are no mirror's only these two, which read nothing but their arguments. */
static bool is_harmless(const char *table)
{
    return text_casecmp(table, "json_each") == 0 || text_casecmp(table, "json_tree") == 0;
}

/* Of SQLite's own, and the mirror's. */
static bool is_built_in(const char *table)
{
    static const char *const prefixes[] = {
        "sqlite_", "pragma_", "rowtap_", "dbstat", "bytecode", "tables_used", "fts"};
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(*prefixes); i++)
        if (text_ncasecmp(table, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    return false;
}

static int check_read(struct mirror *m, const char *table, const char *column, const char *schema)
{
    const struct mirror_table *t = mirror_find(m, table);
    bool ours = t && (!schema || strcmp(schema, "main") == 0);
    if (!ours && is_harmless(table))
        return SQLITE_OK;
    /* No column of what stands there without a schema: it may be a CTE, as no table has the name.
     */
    if (!t && !schema && !column[0] && !is_built_in(table))
        return SQLITE_OK;
    if (!ours || (!t->reads && !column[0]))
        return miss(m, "no such table: %.128s", table);
    if (!column[0])
        return SQLITE_OK;
    int i = table_column(t->table, column, strlen(column));
    if (i < 0 ? !t->reads || (!t->rowid && !t->table->without_rowid)
              : !t->reads || !mirror_has(t->readable, i))
        return miss(m, "no such column: %.128s", column);
    return SQLITE_OK;
}

static int check_write(struct mirror *m, int code, const char *table, const char *column)
{
    const struct mirror_table *t = mirror_find(m, table);
    m->conn.auth.report->dml = true;
    if (text_ncasecmp(table, "sqlite_", 7) == 0)
        return deny(m, SCHEMA_REFUSED);
    if (!t)
        return miss(m, "no such table: %.128s", table);
    if (!t->writes)
        return deny(m, "your role may not write the table %.128s", t->table->name);
    if (code != SQLITE_INSERT && !t->reads)
        return deny(
            m, "your role may not read the table %.128s, only insert into it", t->table->name);
    if (code != SQLITE_UPDATE)
        return SQLITE_OK;
    int i = table_column(t->table, column, strlen(column));
    if (i < 0 ? t->writes_all : mirror_has(t->writable, i))
        return SQLITE_OK;
    return deny(m, "your role may not write the column %.128s of %.128s", column, t->table->name);
}

static int check_pragma(struct mirror *m, const char *name)
{
    if (text_casecmp(name, "table_info") == 0 || text_casecmp(name, "table_xinfo") == 0)
        return SQLITE_OK;
    return deny(m, "PRAGMA %.64s is refused for your role", name);
}

int mirror_authorize(
    void *ctx, int code, const char *a, const char *b, const char *schema, const char *trigger)
{
    struct mirror *m = ctx;
    if (!m->conn.auth.report) /* the server's own */
        return SQLITE_OK;
    switch (code) {
    case SQLITE_SELECT:
    case SQLITE_RECURSIVE:
        return SQLITE_OK;
    case SQLITE_READ:
        return check_read(m, a, b, schema);
    case SQLITE_INSERT:
    case SQLITE_UPDATE:
    case SQLITE_DELETE:
        return check_write(m, code, a, b);
    case SQLITE_FUNCTION:
        return check_function(m, b);
    case SQLITE_TRANSACTION:
    case SQLITE_SAVEPOINT:
        return authorizer_check(&m->conn.auth, code, a, b, schema, trigger);
    case SQLITE_PRAGMA:
        return check_pragma(m, a);
    case SQLITE_ATTACH:
        return deny(m, "ATTACH is refused here: the server serves one file");
    case SQLITE_DETACH:
        return deny(m, "DETACH is refused here: the server serves one file");
    default:
        return deny(m, SCHEMA_REFUSED);
    }
}
