#include "capture/default_value.h"

#include "base/status.h"
#include "capture/values.h"

static const char *const types[] = {
    [AFFINITY_BLOB] = "BLOB",
    [AFFINITY_TEXT] = "TEXT",
    [AFFINITY_NUMERIC] = "NUMERIC",
    [AFFINITY_INTEGER] = "INTEGER",
    [AFFINITY_REAL] = "REAL",
};

/* Runs "ALTER TABLE … ADD COLUMN" on a row of an empty database and reads what the row got. */
static int read_default(sqlite3 *scratch, const struct column *c, sqlite3_stmt **s)
{
    /* PRAGMA table_xinfo gives the text without the parentheses that an expression needs. */
    static const char *const forms[] = {
        "ALTER TABLE t ADD COLUMN c %s DEFAULT %s", "ALTER TABLE t ADD COLUMN c %s DEFAULT (%s)"};
    int rc = sqlite3_exec(scratch, "CREATE TABLE t(a); INSERT INTO t VALUES(1)", NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        return rc;
    for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
        char *sql = sqlite3_mprintf(forms[i], types[c->affinity], c->default_sql);
        rc = sql ? sqlite3_exec(scratch, sql, NULL, NULL, NULL) : SQLITE_NOMEM;
        sqlite3_free(sql);
        if (rc != SQLITE_ERROR)
            break;
    }
    return rc == SQLITE_OK ? sqlite3_prepare_v2(scratch, "SELECT c FROM t", -1, s, NULL) : rc;
}

/* What an INSERT gets. */
static int read_insert(sqlite3 *scratch, const struct column *c, sqlite3_stmt **s)
{
    char *sql = sqlite3_mprintf("CREATE TABLE i(a, c %s DEFAULT (%s)); INSERT INTO i(a) VALUES(1)",
        types[c->affinity], c->default_sql);
    int rc = sql ? sqlite3_exec(scratch, sql, NULL, NULL, NULL) : SQLITE_NOMEM;
    sqlite3_free(sql);
    return rc == SQLITE_OK ? sqlite3_prepare_v2(scratch, "SELECT c FROM i", -1, s, NULL) : rc;
}

/*
 * SQLite itself is asked, because a default that ADD COLUMN gave to rows that were there is not
 * always the one that an INSERT gives: 3.0 becomes 3 in a column without a type.
 */
int default_value(const struct column *column, struct batch *memory, struct value *value)
{
    sqlite3 *scratch = NULL;
    sqlite3_stmt *s = NULL;
    struct value v;
    *value = (struct value){.type = VALUE_NULL};
    if (!column->default_sql)
        return STATUS_OK;
    int rc = sqlite3_open(":memory:", &scratch);
    if (rc == SQLITE_OK)
        rc = read_default(scratch, column, &s);
    /* Not a constant: no row has got it, but where another table took the place of this one. */
    if (rc == SQLITE_ERROR)
        rc = read_insert(scratch, column, &s);
    int status = STATUS_NOMEM;
    if (rc == SQLITE_ERROR) /* a function that only its application has */
        status = STATUS_OK;
    else if (rc == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW &&
             values_from(&v, sqlite3_column_value(s, 0), AFFINITY_BLOB) == STATUS_OK)
        status = batch_set_value(memory, value, &v);
    sqlite3_finalize(s);
    sqlite3_close(scratch);
    return status;
}
