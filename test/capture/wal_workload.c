#include "wal_workload.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct workload_kind workload_kinds[] = {
    {4096, 0, "UTF-8", 0},
    {512, 0, "UTF-8", 0},
    {1024, 1, "UTF-8", 0},
    {4096, 2, "UTF-16le", 0},
    {65536, 0, "UTF-8", 0},
    {512, 2, "UTF-8", 32},
    {8192, 0, "UTF-16be", 64},
    {2048, 1, "UTF-16le", 255},
    {32768, 1, "UTF-8", 0},
    {16384, 0, "UTF-8", 8},
};
const size_t workload_kind_count = sizeof(workload_kinds) / sizeof(workload_kinds[0]);

uint64_t dice_next(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    *state = x;
    return x * 0x2545f4914f6cdd1dULL;
}

uint32_t dice_below(uint64_t *state, uint32_t n)
{
    return (uint32_t)((dice_next(state) >> 32) * n >> 32);
}

static uint32_t below(struct workload *w, uint32_t n)
{
    return dice_below(&w->dice, n);
}

void workload_run(struct workload *w, const char *sql)
{
    char *message = NULL;
    if (sqlite3_exec(w->db, sql, NULL, NULL, &message) == SQLITE_OK)
        return;
    fprintf(stderr, "%s: %s\n", sql, message ? message : "no memory");
    abort();
}

__attribute__((format(printf, 2, 3))) static void run(struct workload *w, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    char *sql = sqlite3_vmprintf(format, ap);
    va_end(ap);
    workload_run(w, sql);
    sqlite3_free(sql);
}

/* A value's length: mostly short, around the overflow thresholds, sometimes several pages. */
static uint32_t length(struct workload *w)
{
    uint32_t page = w->kind.page_size;
    switch (below(w, 12)) {
    case 0:
        return page - 60 + below(w, 80);
    case 1:
        return page / 4 - 40 + below(w, 60);
    case 2:
        return below(w, 3 * (page < 8192 ? page : 8192));
    case 3:
        return page / 8 + below(w, 100);
    default:
        return below(w, 30);
    }
}

/* An SQL expression for a value; text in a fraction of cases not ASCII. */
static char *value(struct workload *w)
{
    static const char *const fixed[] = {"NULL", "0", "1", "-1", "127", "-128", "32767", "-32768",
        "8388607", "-8388608", "2147483647", "-2147483649", "140737488355327", "-140737488355329",
        "9223372036854775807", "-9223372036854775808", "0.5", "1.0", "-0.0", "9e999", "-9e999",
        "1e300", "''", "x''", "'a'", "'A'", "'12'", "'1.5'", "char(128512, 228, 97)", "char(55296)",
        "char(65, 57000, 66)", "char(65534)"};
    uint32_t n = length(w);
    switch (below(w, 4)) {
    case 0:
        return sqlite3_mprintf("randomish(%d, %u)", (int)below(w, 1000), n);
    case 1:
        return sqlite3_mprintf("substr(replace(hex(zeroblob(%u)), '0', '%c\xc3\xa9'), 1, %u)",
            n / 2 + 1, 'a' + (int)below(w, 26), n);
    default:
        return sqlite3_mprintf("%s", fixed[below(w, sizeof(fixed) / sizeof(fixed[0]))]);
    }
}

/* A blob that is the same for the same arguments. */
static void randomish(sqlite3_context *c, int count, sqlite3_value **args)
{
    uint64_t state = (uint64_t)sqlite3_value_int64(args[0]) * 7919 + 1;
    int size = sqlite3_value_int(args[1]);
    uint8_t *bytes = sqlite3_malloc(size > 0 ? size : 1);
    (void)count;
    for (int i = 0; i < size; i++)
        bytes[i] = (uint8_t)dice_next(&state);
    sqlite3_result_blob(c, bytes, size, sqlite3_free);
}

static const char *plain_table(struct workload *w)
{
    static const char *const names[] = {"loose", "typed", "indexed", "pair", "word", "named"};
    return names[below(w, 6)];
}

static const char *blob_column(const char *table)
{
    return strcmp(table, "typed") == 0 ? "b" : strcmp(table, "loose") == 0 ? "c" : "v";
}

static void insert(struct workload *w, const char *table)
{
    char *a = value(w), *b = value(w), *c = value(w);
    if (strcmp(table, "loose") == 0)
        run(w, "INSERT INTO loose(a, b, c) VALUES (%s, %s, %s)", a, b, c);
    else if (strcmp(table, "typed") == 0)
        run(w,
            "INSERT OR REPLACE INTO typed(id, r, t, b, n) VALUES (%s%d, %s, %s, randomish(%d, %u), "
            "%s)",
            below(w, 9) ? "" : "-", (int)below(w, below(w, 3) ? 3000 : 2000000000), a, b,
            (int)below(w, 1000), length(w), c);
    else if (strcmp(table, "indexed") == 0)
        run(w, "INSERT INTO indexed(v, n) VALUES (%s, %d)", a, (int)below(w, 50));
    else if (strcmp(table, "pair") == 0)
        run(w, "INSERT OR REPLACE INTO pair(k, n, v) VALUES (coalesce(%s, 'null'), %d, %s)", a,
            (int)below(w, 300), b);
    else if (strcmp(table, "named") == 0)
        run(w, "INSERT OR REPLACE INTO named(k, n, v) VALUES (%d, %s, %s)", (int)below(w, 500), a,
            b);
    else
        run(w, "INSERT OR REPLACE INTO word(k, v) VALUES (coalesce(%s, 7), %s)", a, b);
    sqlite3_free(a);
    sqlite3_free(b);
    sqlite3_free(c);
}

static void insert_many(struct workload *w)
{
    for (uint32_t n = 1 + below(w, below(w, 8) ? 8 : 120); n > 0; n--)
        insert(w, plain_table(w));
}

static void update(struct workload *w)
{
    const char *table = plain_table(w), *column = blob_column(table);
    uint32_t modulus = 2 + below(w, 40);
    char *v = value(w);
    if (below(w, 3) == 0) /* the same size: in place, in an overflow page if there is one */
        run(w,
            "UPDATE %s SET %s = substr(%s, 1, length(%s) - 1) || '~' "
            "WHERE typeof(%s) = 'text' AND length(%s) %% %u = 0",
            table, column, column, column, column, column, modulus);
    else if (below(w, 3) == 0)
        run(w,
            "UPDATE %s SET %s = CAST(substr(%s, 1, length(%s) - 1) || x'7e' AS BLOB) "
            "WHERE typeof(%s) = 'blob' AND length(%s) %% %u = 0",
            table, column, column, column, column, column, modulus);
    else
        run(w, "UPDATE %s SET %s = %s WHERE length(%s) %% %u = 1", table, column, v, column,
            modulus);
    sqlite3_free(v);
}

static void update_key(struct workload *w)
{
    switch (below(w, 7)) {
    case 4: /* keys that change places */
        run(w, "UPDATE OR REPLACE named SET k = 500 - k WHERE k %% 5 = %u", below(w, 5));
        break;
    case 5:
        run(w, "UPDATE OR REPLACE named SET k = k + 1 WHERE k %% 3 = %u", below(w, 3));
        break;
    case 6:
        run(w, "DELETE FROM named WHERE k %% 4 = 1; UPDATE named SET k = k + 1 WHERE k %% 4 = 0");
        break;
    case 0:
        run(w, "UPDATE OR REPLACE typed SET id = id + %d WHERE id %% 7 = %u", (int)below(w, 100),
            below(w, 7));
        break;
    case 1:
        run(w, "UPDATE OR REPLACE pair SET n = n + 1 WHERE n %% 5 = %u", below(w, 5));
        break;
    case 2:
        run(w,
            "UPDATE OR REPLACE word SET k = CASE WHEN upper(k) = k THEN lower(k) ELSE upper(k) END "
            "WHERE typeof(k) = 'text' AND length(k) < 40");
        break;
    default:
        run(w,
            "UPDATE OR REPLACE loose SET rowid = rowid + 1000000 WHERE rowid %% 11 = %u AND rowid "
            "< 1000000",
            below(w, 11));
    }
}

static void delete_some(struct workload *w)
{
    const char *table = plain_table(w);
    uint32_t how = below(w, 12);
    if (how == 0)
        run(w, "DELETE FROM %s", table);
    else if (how < 4)
        run(w, "DELETE FROM %s WHERE length(%s) > %u", table, blob_column(table), below(w, 2000));
    else
        run(w, "DELETE FROM %s WHERE (length(%s) + 1) %% %u = 0", table, blob_column(table),
            2 + below(w, 9));
}

static void rolled_back(struct workload *w)
{
    workload_run(w, "SAVEPOINT s");
    insert_many(w);
    delete_some(w);
    workload_run(w, "ROLLBACK TO s; RELEASE s");
    insert(w, "loose");
}

static void one_change(struct workload *w)
{
    switch (below(w, 10)) {
    case 0:
    case 1:
    case 2:
    case 3:
        insert_many(w);
        break;
    case 4:
    case 5:
    case 6:
        update(w);
        break;
    case 7:
        update_key(w);
        break;
    case 8:
        delete_some(w);
        break;
    default:
        rolled_back(w);
    }
}

void workload_rows(struct workload *w)
{
    snprintf(w->last, sizeof(w->last), "rows");
    workload_run(w, "BEGIN");
    for (uint32_t n = 1 + below(w, 4); n > 0; n--)
        one_change(w);
    workload_run(w, below(w, 15) ? "COMMIT" : "ROLLBACK");
}

static void define(struct workload *w)
{
    int n = ++w->created;
    switch (below(w, 6)) {
    case 0:
        snprintf(w->last, sizeof(w->last), "add a column");
        run(w, "ALTER TABLE typed ADD COLUMN x%d %s", n,
            below(w, 2) ? "REAL DEFAULT 3" : "TEXT DEFAULT 'd\xc3\xa4'");
        break;
    case 1:
        snprintf(w->last, sizeof(w->last), "create as select");
        run(w, "CREATE TABLE copy%d AS SELECT * FROM typed", n);
        break;
    case 2:
        snprintf(w->last, sizeof(w->last), "drop and create");
        run(w,
            "BEGIN; DROP TABLE IF EXISTS scratch; CREATE TABLE scratch(a, v); "
            "INSERT INTO scratch SELECT id, b FROM typed LIMIT %u; COMMIT",
            below(w, 90));
        break;
    case 3:
        snprintf(w->last, sizeof(w->last), "an index");
        run(w, "DROP INDEX IF EXISTS i1; CREATE INDEX i1 ON indexed(n, v)");
        break;
    case 4:
        snprintf(w->last, sizeof(w->last), "drop");
        run(w, "DROP TABLE IF EXISTS copy%d; DROP TABLE IF EXISTS copy%d", n - 1,
            n > 2 ? n - 2 : 0);
        break;
    default:
        snprintf(w->last, sizeof(w->last), "vacuum");
        workload_run(
            w, w->kind.auto_vacuum == 2 && below(w, 2) ? "PRAGMA incremental_vacuum(9)" : "VACUUM");
    }
}

void workload_step(struct workload *w)
{
    if (below(w, 16) == 0)
        define(w);
    else
        workload_rows(w);
}

void workload_checkpoint(struct workload *w)
{
    if (sqlite3_wal_checkpoint_v2(w->db, "main", SQLITE_CHECKPOINT_RESTART, NULL, NULL) !=
        SQLITE_OK)
        abort();
}

void workload_open(struct workload *w, const struct workload_kind *kind, uint64_t seed)
{
    *w = (struct workload){.kind = *kind, .dice = seed * 0x9e3779b97f4a7c15ULL + 1};
    snprintf(w->dir, sizeof(w->dir), "/tmp/rowtap-wal-XXXXXX");
    if (!mkdtemp(w->dir))
        abort();
    snprintf(w->path, sizeof(w->path), "%s/test.db", w->dir);
    if (sqlite3_open(w->path, &w->db) != SQLITE_OK)
        abort();
    sqlite3_create_function(
        w->db, "randomish", 2, SQLITE_UTF8 | SQLITE_DETERMINISTIC, NULL, randomish, NULL, NULL);
    int reserved = kind->reserved;
    if (reserved)
        sqlite3_file_control(w->db, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved);
    run(w, "PRAGMA page_size = %u; PRAGMA auto_vacuum = %d; PRAGMA encoding = '%s'",
        kind->page_size, kind->auto_vacuum, kind->encoding);
    workload_run(w, "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;"
                    "PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = 20;"
                    "PRAGMA cell_size_check = ON");
    workload_run(w, "BEGIN;"
                    "CREATE TABLE loose(a, b, c);"
                    "CREATE TABLE typed(id INTEGER PRIMARY KEY, r REAL, t TEXT, b BLOB, n NUMERIC);"
                    "CREATE TABLE indexed(v, n INT);"
                    "CREATE INDEX i1 ON indexed(v);"
                    "CREATE TABLE pair(v, n INT, k TEXT, PRIMARY KEY(k, n DESC)) WITHOUT ROWID;"
                    "CREATE TABLE word(k COLLATE NOCASE PRIMARY KEY, v) WITHOUT ROWID;"
                    "CREATE TABLE named(k INT, n, v, PRIMARY KEY(k));"
                    "COMMIT");
}

void workload_close(struct workload *w)
{
    static const char *const ends[] = {"", "-wal", "-shm"};
    char name[256];
    sqlite3_close(w->db);
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof(name), "%s%s", w->path, ends[i]);
        remove(name);
    }
    rmdir(w->dir);
}
