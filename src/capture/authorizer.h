#ifndef ROWTAP_CAPTURE_AUTHORIZER_H
#define ROWTAP_CAPTURE_AUTHORIZER_H

#include <stdbool.h>

/*
 * What SQLite's authorizer told about one statement while it was prepared
 * (https://www.sqlite.org/c3ref/set_authorizer.html), and what it refuses to users.
 */
enum control {
    CONTROL_NONE,
    CONTROL_BEGIN,
    CONTROL_COMMIT,
    CONTROL_ROLLBACK,
    CONTROL_SAVEPOINT,
    CONTROL_RELEASE,
    CONTROL_ROLLBACK_TO,
};

struct statement_report {
    enum control control;
    char *savepoint; /* its name, for the last three */
    bool ddl;        /* the schema may be another afterwards */
    bool dml;        /* changes rows */
    bool vacuum;     /* set before preparing: it is a VACUUM */
    bool alone;      /* cannot run inside a transaction */
    bool writer;     /* belongs on the write connection although it only reads */
};

struct authorizer {
    /* Of the statement being prepared or run; NULL for the server's own, which may do anything. */
    struct statement_report *report;
    bool preparing;
    char denied[256];  /* the sentence for the user, "" when nothing was denied */
    char missing[256]; /* the same where it is to look as if something were not there */
};

/* The callback; ctx is the struct authorizer. The connection's thread. */
int authorizer_check(
    void *ctx, int code, const char *a, const char *b, const char *schema, const char *trigger);

void statement_report_fini(struct statement_report *r);

#endif
