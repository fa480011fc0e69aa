#include "capture/sqlconn.h"

#include "base/clock.h"
#include "capture/mirror.h"
#include "capture/shm_locks.h"
#include "capture/statement_cache.h"
#include <string.h>
#include <time.h>

/* How many virtual machine steps run between two looks at the clock: some 50 µs. */
#define PROGRESS_STEPS 2000
/* Bytes of one value or row. */
#define MAX_LENGTH (256 * 1024 * 1024)

static const char *const own_sql[OWN_COUNT] = {
    [OWN_BEGIN] = "BEGIN IMMEDIATE",
    [OWN_BEGIN_READ] = "BEGIN",
    [OWN_COMMIT] = "COMMIT",
    [OWN_ROLLBACK] = "ROLLBACK",
    [OWN_JOB] = "SAVEPOINT rowtap_job",
    [OWN_JOB_RELEASE] = "RELEASE rowtap_job",
    [OWN_JOB_ROLLBACK] = "ROLLBACK TO rowtap_job",
    [OWN_UNIT] = "SAVEPOINT rowtap_unit",
    [OWN_UNIT_RELEASE] = "RELEASE rowtap_unit",
    [OWN_UNIT_ROLLBACK] = "ROLLBACK TO rowtap_unit",
    [OWN_SCHEMA_VERSION] = "PRAGMA main.schema_version",
    [OWN_DATA_VERSION] = "PRAGMA main.data_version",
    [OWN_TOUCH] = "SELECT 1 FROM main.sqlite_master LIMIT 1",
    [OWN_HOLD] = "PRAGMA main.schema_version",
    [OWN_FK_NOW] = "PRAGMA defer_foreign_keys=OFF",
};

static void count_step(struct sqlconn *c)
{
    uint64_t n = atomic_load_explicit(&c->steps, memory_order_relaxed);
    atomic_store_explicit(&c->steps, n + 1, memory_order_relaxed);
}

bool sqlconn_late(const struct sqlconn *c)
{
    long long deadline = atomic_load_explicit(&c->deadline_ns, memory_order_relaxed);
    return atomic_load_explicit(&c->limited, memory_order_relaxed) && deadline &&
           clock_mono_ns() > deadline;
}

enum sqlconn_stop sqlconn_stopped(struct sqlconn *c)
{
    if (c->stopped == STOP_NONE && c->under)
        c->stopped = sqlconn_stopped(c->under);
    if (c->stopped != STOP_NONE)
        return c->stopped;
    if (c->give_up)
        c->stopped = STOP_CAPTURE;
    else if (c->cancel && atomic_load_explicit(c->cancel, memory_order_relaxed))
        c->stopped = STOP_CANCEL;
    else if (atomic_load_explicit(c->closing, memory_order_relaxed))
        c->stopped = STOP_CLOSING;
    else if (sqlconn_late(c))
        c->stopped = STOP_TIMEOUT;
    return c->stopped;
}

static int on_progress(void *ctx)
{
    struct sqlconn *c = ctx;
    count_step(c->under ? c->under : c);
    return atomic_load_explicit(&c->limited, memory_order_relaxed) &&
           sqlconn_stopped(c) != STOP_NONE;
}

/*
 * Waits in small steps, unlike sqlite3_busy_timeout, so that a shutdown need not wait as well; very
 * small ones at first, for who commits all the time has the lock for nearly all of it.
 */
static int on_busy(void *ctx, int count)
{
    struct sqlconn *c = ctx;
    int64_t now = clock_mono_ns();
    count_step(c);
    if (count == 0)
        c->busy_since_ns = now;
    if (atomic_load_explicit(c->closing, memory_order_relaxed) ||
        now - c->busy_since_ns >= c->busy_timeout_ms * 1000000)
        return 0;
    struct timespec pause = {.tv_nsec = count < 20 ? 50000 : count < 30 ? 1000000 : 10000000};
    nanosleep(&pause, NULL);
    return 1;
}

static int configure(struct sqlconn *c, bool query_only)
{
    static const struct {
        int option, value;
    } options[] = {
        {SQLITE_DBCONFIG_DEFENSIVE, 1},
        {SQLITE_DBCONFIG_WRITABLE_SCHEMA, 0},
        {SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0},
        {SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, 0},
        {SQLITE_DBCONFIG_ENABLE_FKEY, 1},
    };
    for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++)
        sqlite3_db_config(c->db, options[i].option, options[i].value, (int *)NULL);
    sqlite3_extended_result_codes(c->db, 1);
    sqlite3_busy_handler(c->db, on_busy, c);
    sqlite3_progress_handler(c->db, PROGRESS_STEPS, on_progress, c);
    sqlite3_limit(c->db, SQLITE_LIMIT_LENGTH, MAX_LENGTH);
    int rc = sqlite3_set_authorizer(c->db, authorizer_check, &c->auth);
    if (rc == SQLITE_OK && query_only)
        rc = sqlite3_exec(c->db, "PRAGMA query_only=ON", NULL, NULL, NULL);
    return rc;
}

static int open_database(
    struct sqlconn *c, const char *path, int flags, bool query_only, const char *vfs)
{
    int rc = sqlite3_open_v2(path, &c->db, flags | SQLITE_OPEN_NOMUTEX, vfs);
    return rc == SQLITE_OK ? configure(c, query_only) : rc;
}

static void init(struct sqlconn *c, int64_t busy_timeout_ms, const atomic_bool *closing)
{
    memset(c, 0, sizeof(*c));
    list_init(&c->recent);
    c->closing = closing;
    c->busy_timeout_ms = busy_timeout_ms;
}

int sqlconn_open(struct sqlconn *c, const char *path, bool read_only, int64_t busy_timeout_ms,
    const atomic_bool *closing)
{
    int flags = read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    init(c, busy_timeout_ms, closing);
    int rc = open_database(c, path, flags, read_only, NULL);
    return rc == SQLITE_OK && read_only ? shm_locks_new(&c->locks, c->db) : rc;
}

int sqlconn_open_observer(struct sqlconn *c, const char *path, const atomic_bool *closing)
{
    init(c, 0, closing);
    int rc = open_database(c, path, SQLITE_OPEN_READWRITE, true, NULL);
    return rc == SQLITE_OK ? shm_locks_new(&c->locks, c->db) : rc;
}

int sqlconn_open_in(struct sqlconn *c, const char *path, const char *vfs)
{
    static const atomic_bool never;
    init(c, 0, &never);
    return open_database(c, path, SQLITE_OPEN_READONLY, true, vfs);
}

int sqlconn_open_empty(struct sqlconn *c, struct sqlconn *under)
{
    init(c, under->busy_timeout_ms, under->closing);
    c->under = under;
    return open_database(c, ":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_MEMORY, false, NULL);
}

void sqlconn_close(struct sqlconn *c)
{
    mirrors_free(c);
    if (!c->db)
        return;
    statement_cache_clear(c);
    for (int i = 0; i < OWN_COUNT; i++)
        sqlite3_finalize(c->own[i]);
    shm_locks_free(c->locks);
    c->locks = NULL;
    sqlite3_close_v2(c->db);
    c->db = NULL;
}

static int own(struct sqlconn *c, enum sqlconn_own which)
{
    if (c->own[which])
        return SQLITE_OK;
    struct statement_report *report = c->auth.report;
    c->auth.report = NULL;
    int rc = sqlite3_prepare_v3(
        c->db, own_sql[which], -1, SQLITE_PREPARE_PERSISTENT, &c->own[which], NULL);
    c->auth.report = report;
    return rc;
}

int sqlconn_integer(struct sqlconn *c, enum sqlconn_own which, int64_t *value)
{
    int rc = own(c, which);
    if (rc != SQLITE_OK)
        return rc;
    /* Stepping may prepare again after a schema change, which asks the authorizer again. */
    struct statement_report *report = c->auth.report;
    c->auth.report = NULL;
    while ((rc = sqlite3_step(c->own[which])) == SQLITE_ROW)
        if (value)
            *value = sqlite3_column_int64(c->own[which], 0);
    int reset = sqlite3_reset(c->own[which]);
    c->auth.report = report;
    return rc == SQLITE_DONE ? SQLITE_OK : reset;
}

int sqlconn_run(struct sqlconn *c, enum sqlconn_own which)
{
    return sqlconn_integer(c, which, NULL);
}

int sqlconn_hold(struct sqlconn *c)
{
    int rc = own(c, OWN_HOLD);
    if (rc != SQLITE_OK)
        return rc;
    struct statement_report *report = c->auth.report;
    c->auth.report = NULL;
    rc = sqlite3_step(c->own[OWN_HOLD]);
    if (rc != SQLITE_ROW)
        rc = sqlite3_reset(c->own[OWN_HOLD]);
    c->auth.report = report;
    return rc == SQLITE_ROW ? SQLITE_OK : rc != SQLITE_OK ? rc : SQLITE_ERROR;
}

void sqlconn_release(struct sqlconn *c)
{
    sqlite3_reset(c->own[OWN_HOLD]);
}

int sqlconn_prepare(struct sqlconn *c, sqlite3_stmt **stmt, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *sql = sqlite3_vmprintf(fmt, ap);
    va_end(ap);
    *stmt = NULL;
    if (!sql)
        return SQLITE_NOMEM;
    struct statement_report *report = c->auth.report;
    c->auth.report = NULL;
    int rc = sqlite3_prepare_v2(c->db, sql, -1, stmt, NULL);
    c->auth.report = report;
    sqlite3_free(sql);
    return rc;
}

void sqlconn_limit(struct sqlconn *c, int64_t timeout_ms, const atomic_bool *cancel)
{
    atomic_store(&c->deadline_ns, timeout_ms > 0 ? clock_mono_ns() + timeout_ms * 1000000 : 0);
    c->cancel = cancel;
    c->stopped = STOP_NONE;
    c->give_up = false;
    atomic_store(&c->limited, true);
    if (c->under)
        sqlconn_limit(c->under, timeout_ms, cancel);
}

void sqlconn_unlimit(struct sqlconn *c)
{
    atomic_store(&c->limited, false);
    c->cancel = NULL;
    if (c->under)
        sqlconn_unlimit(c->under);
}
