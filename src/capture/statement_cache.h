#ifndef ROWTAP_CAPTURE_STATEMENT_CACHE_H
#define ROWTAP_CAPTURE_STATEMENT_CACHE_H

#include "capture/sqlconn.h"

/* A user's prepared statement and what was learnt while preparing it. */
struct prepared {
    sqlite3_stmt *stmt;
    struct statement_report report;
    size_t used;    /* bytes of the text it took */
    bool read_only; /* changes nothing; EXPLAIN of anything is that, too */
    bool returns_rows;
    uint64_t rows;      /* that it gave when it ran last */
    struct buf columns; /* their names as JSON, once asked for; see result.c … */
    int compiled;       /* … and how often it had been compiled again by then */
    char *text;         /* the cache's key; NULL: not kept */
    size_t len;
    size_t weight; /* bytes that it holds, where the text is long */
    int params;
    bool cached, in_use;
    struct list node;
};

/*
 * Prepares the first statement of the text (a NUL follows its len bytes, none is inside), or finds
 * it among those used before. *out is NULL where only blanks and comments were left. Given back by
 * statement_cache_put. While it is stepped, conn->auth.report must be its report
 * (statement_cache_get leaves it so). A result code of SQLite.
 */
int statement_cache_get(struct sqlconn *c, const char *sql, size_t len, struct prepared **out);
/* How many parameters a text takes that is in the cache, otherwise -1. */
int statement_cache_params(const struct sqlconn *c, const char *sql, size_t len);
void statement_cache_put(struct sqlconn *c, struct prepared *p);
void statement_cache_clear(struct sqlconn *c); /* none may be in use */

#endif
