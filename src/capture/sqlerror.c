#include "capture/sqlerror.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void sqlerror_init(struct sql_error *e)
{
    memset(e, 0, sizeof(*e));
    e->offset = e->statement = -1;
}

void sqlerror_set(struct sql_error *e, const char *code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    snprintf(e->code, sizeof(e->code), "%s", code);
    vsnprintf(e->message, sizeof(e->message), fmt, ap);
    va_end(ap);
}

static void set_stopped(struct sql_error *e, struct sqlconn *c, int64_t timeout_ms)
{
    enum sqlconn_stop stopped = sqlconn_stopped(c);
    if (stopped == STOP_TIMEOUT)
        sqlerror_set(e, "QUERY_CANCELLED",
            "the statement was stopped after %g s; --query-timeout sets the limit",
            (double)timeout_ms / 1000);
    else if (stopped == STOP_CLOSING)
        sqlerror_set(e, "QUERY_CANCELLED", "the statement was stopped: the server shuts down");
    else
        sqlerror_set(e, "QUERY_CANCELLED", "the statement was cancelled");
}

static int error_offset(sqlite3 *db)
{
#if SQLITE_VERSION_NUMBER >= 3038000
    return sqlite3_error_offset(db);
#else
    (void)db;
    return -1;
#endif
}

void sqlerror_from(struct sql_error *e, struct sqlconn *c, int rc, size_t base, int64_t timeout_ms)
{
    e->sqlite_code = rc;
    /* SQLite reports a denied function as a plain error. */
    if (c->auth.denied[0]) {
        sqlerror_set(e, "FORBIDDEN", "%s", c->auth.denied);
        c->auth.denied[0] = 0;
        return;
    }
    if (c->auth.missing[0]) {
        e->sqlite_code = SQLITE_ERROR;
        sqlerror_set(e, "SQL_ERROR", "%s", c->auth.missing);
        c->auth.missing[0] = 0;
        return;
    }
    switch (rc & 0xff) {
    case SQLITE_INTERRUPT:
        set_stopped(e, c, timeout_ms);
        return;
    case SQLITE_BUSY:
        sqlerror_set(e, "SQL_ERROR",
            "the database is locked by another process, and still was after %g s; try again later",
            (double)c->busy_timeout_ms / 1000);
        return;
    case SQLITE_FULL:
        sqlerror_set(e, "SQL_ERROR",
            "database or disk is full: make room on the file system that holds the database");
        return;
    case SQLITE_IOERR:
        if (rc == SQLITE_IOERR_NOMEM)
            break;
        sqlerror_set(e, "SQL_ERROR",
            "disk I/O error (SQLite's code %d): the file system that holds the database refused to "
            "read or write; is it full or failing?",
            rc);
        return;
    }
    sqlerror_set(e, "SQL_ERROR", "%s",
        rc == sqlite3_extended_errcode(c->db) ? sqlite3_errmsg(c->db) : sqlite3_errstr(rc));
    int offset = error_offset(c->db);
    if (offset >= 0)
        e->offset = offset + (int)base;
}
