#ifndef ROWTAP_TEST_CAPTURE_FIXTURE_H
#define ROWTAP_TEST_CAPTURE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "capture/database.h"
#include <pthread.h>

/*
 * A database in a directory of its own whose batches are written down as lines of text:
 *   INSERT t {"id":1} {"id":1,"v":"a"}
 *   UPDATE t {"id":1} {"id":1,"v":"a"} -> {"id":1,"v":"b"}
 *   DELETE t {"id":1} {"id":1,"v":"b"}
 *   table:altered t {"columns":…}      (created and dropped without the JSON)
 *   commit                             (the end of a transaction)
 *   to be continued                    (of a batch; the transaction goes on in the next)
 *   gap capture_gap
 *
 * With ROWTAP_TEST_JOURNAL in the environment the file has a journal, and fixture_close compares it
 * with everything that was ever published.
 */
struct fixture {
    struct database_options options;
    struct database *db;
    char dir[64], path[128];
    pthread_mutex_t lock; /* guards log */
    struct buf log;
    uint64_t seq, tx;    /* of the last change seen */
    bool continues;      /* the last batch seen */
    unsigned gaps;       /* that were seen */
    struct buf all;      /* with a journal: every change, since the last gap, in words */
    uint64_t kept_after; /* the last gap's number */
    bool quiet;          /* writes nothing down */
    void (*on_batch)(struct fixture *f, struct batch *b); /* may be NULL; database thread */
    void *ctx;
};

void fixture_init(struct fixture *f); /* makes the directory and sets default options */
void fixture_open(struct fixture *f); /* and follows, with options.external */
void fixture_close(struct fixture *f);
void fixture_fini(struct fixture *f); /* closes and removes the directory */

/* Sets on_batch and quiet, and gives seq, while others may commit. */
void fixture_listen(
    struct fixture *f, void (*on_batch)(struct fixture *f, struct batch *b), bool quiet);
uint64_t fixture_seq(struct fixture *f);

/* The changes of the file's journal after that one, in words. No transaction is open. */
void read_journal(struct fixture *f, uint64_t after, size_t max_bytes, struct buf *out);

int fixture_setup(void **state); /* a fixture, opened, in *state */
int fixture_teardown(void **state);

/* Runs a script; fails the test if it fails. The JSON without durationMs, valid until the next. */
const char *sql_ok(struct fixture *f, const char *sql);
/* Runs a script that must fail; the error: "CODE: message", with " @statement" and " seq=N" if set.
 */
const char *sql_error(struct fixture *f, const char *sql);
/* The same for `statements`: a NULL-terminated list. */
const char *transaction_ok(struct fixture *f, const char *const *sql);
const char *transaction_error(struct fixture *f, const char *const *sql);

/* What was written down since the last call must be this. */
void expect_events(struct fixture *f, const char *expected);
void await_events(struct fixture *f, const char *expected); /* the same, within some seconds */
void forget_events(struct fixture *f);
/* The changes of a batch, in words. */
void write_batch(struct buf *out, const struct batch *b);
/* A query must give this "rows" array. */
void expect_rows(struct fixture *f, const char *sql, const char *rows);
void expect_starts(const char *text, const char *start);

/* Another connection of another program, as far as SQLite can tell. */
void foreign(struct fixture *f, const char *sql);

#endif
