#ifndef ROWTAP_CAPTURE_DATABASE_H
#define ROWTAP_CAPTURE_DATABASE_H

#include "base/buf.h"
#include "base/mailbox.h"
#include "base/tally.h"
#include "change/batch.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The served database: one thread that owns the write connection and captures what it commits, and
 * a pool of read-only connections for SELECTs. Everything outside capture/ goes through this
 * header.
 */
struct database;
struct identity; /* access/identity.h */
struct policy;   /* access/policy.h */

struct database_options {
    const char *path;
    int64_t query_timeout_ms; /* 0: none */
    int64_t busy_timeout_ms;  /* how long to wait for another process's lock */
    int64_t slow_query_ms;    /* what runs for longer is logged; 0: nothing is */
    size_t max_result;        /* bytes of one answer's JSON; 0: no bound */
    size_t max_transaction;   /* bytes of captured rows of one commit; 0: no bound */
    int readers;              /* pooled read connections */
    bool keep_journal_mode;
    bool external; /* see what other processes write, in WAL mode, after database_follow */
    bool journal;  /* keep the history in the file; the next three bound it, 0 is no bound */
    int64_t journal_age_ms;
    uint64_t journal_changes, journal_bytes;
    int snapshots;           /* scans (scan.h) at once; 0: 4 */
    int64_t scan_timeout_ms; /* how long one may take; 0: any time */
    int query_threads;       /* that database_run uses; 0: 4 */
    uint32_t query_queue;    /* its requests, and cursors, under way at once; 0: 4096 */
    uint32_t open_queries;   /* cursors (cursor.h) with a read transaction at once; 0: 64 */
    /*
     * A commit's sealed batch, in commit order, on the database thread, before the requests that
     * made it are answered. The receiver takes its own references. May block to slow the writers
     * down.
     */
    void (*publish)(void *ctx, struct batch *batch);
    /*
     * Very soon after publish, for what would keep the first answer waiting: to wake who has to
     * know. Likewise; NULL: there is nothing to do.
     */
    void (*published)(void *ctx);
    void *publish_ctx;
};

/*
 * The process is this server's alone: SQLite need not count the memory of all connections together,
 * which takes a lock with every allocation, and the allocator may keep some of what is freed. Once,
 * before any other call.
 */
void database_own_process(void);
/*
 * Opens or creates the file, switches it to WAL, reads the schema, starts the thread. On failure
 * NULL and a sentence for the user in err: what, where, what to do.
 */
struct database *database_open(const struct database_options *options, struct buf *err);
/*
 * From now on what other processes commit is published as well: the receiver of the batches is
 * there. Once, after database_open.
 */
void database_follow(struct database *db);
bool database_external(const struct database *db); /* it is, or will be; constant */
/* Finishes the requests already posted, stops the thread, closes. No call may be under way. */
void database_close(struct database *db);
/* Interrupts what runs now; requests not yet begun fail with STATUS_CLOSED. Any thread. */
void database_interrupt(struct database *db);

struct schema *database_schema(
    struct database *db);                         /* the present one, a new reference; any thread */
uint64_t database_seq(const struct database *db); /* the last committed change's; any thread */
const char *database_epoch(const struct database *db); /* names this history; constant */
/* Whether there is a journal; every change after *after can be read from it. Any thread. */
bool database_past(const struct database *db, uint64_t *after);
const char *database_path(const struct database *db);
const char *database_journal_mode(const struct database *db); /* "wal", "delete", …; constant */
/* Reads one row's worth of nothing through a pooled connection: 0, or STATUS_IO. Any thread. */
int database_ping(struct database *db);
/*
 * Whether the database thread still works: it has answered since the last call, or a statement or
 * a wait for a lock has gone on. One thread asks.
 */
bool database_works(struct database *db);
const char *database_sqlite_version(void);

struct sql_param {
    char *name; /* without its leading : @ or $; NULL for one by position */
    struct value value;
};

struct sql_statement {
    char *sql;
    size_t len;
    struct sql_param *params;
    int param_count;
    bool named; /* the params came as an object (it may be empty), not as an array */
    bool lent;  /* sql and the bytes of values are not its own to free */
};

/* What became of a request. code is one of the contract's error codes. */
struct sql_error {
    char code[24]; /* "" when there was no error */
    char message[512];
    int sqlite_code; /* extended result code, 0 when SQLite was not asked */
    int offset;      /* byte offset in the statement's text, -1 when unknown */
    int statement;   /* index of the failed statement, -1 when there is only one */
    uint64_t seq;    /* reached by what was committed before the error */
    bool has_seq;    /* something of the request was committed */
};

/*
 * A request to run SQL. The caller owns it and keeps it alive until done; the result is the JSON
 * text of the answer in `json` (the contract's POST /api/sql), or `error`.
 */
struct sql_request {
    struct message message; /* for the database's mailbox */
    bool transaction;       /* `statements`: all or nothing; otherwise one script */
    struct sql_statement *statements;
    int statement_count;
    struct buf strings; /* of statements that are lent; not to be moved */
    /* Who asks, if they may not do everything: references. Without a policy it is not asked. */
    struct policy *policy;
    struct identity *who;
    uint64_t origin;         /* recorded with the transactions, for `self:false` */
    struct receipt *receipt; /* goes with the transactions; the caller's reference; or NULL */
    int64_t posted_ns;

    struct buf json;
    struct sql_error error;
    /*
     * Of the last change this request made; of a query, the seq whose state it saw (under constant
     * commits possibly an earlier one, never a later).
     */
    uint64_t seq;
    int64_t changes;
    uint64_t rows;            /* that came out of it, of all its statements */
    uint64_t number;          /* names it in the log */
    int64_t began_ns, run_ns; /* when it ran last, and for how long, without waiting */
    int64_t last_rowid;       /* of the last statement, as its lastInsertRowid */
    bool only_read;           /* it ran on a read connection */
    atomic_bool cancel;       /* set from any thread: stops it with QUERY_CANCELLED */
    /*
     * Called once when finished; may free the request. On the database thread after database_post,
     * on the caller's before database_execute returns (there it may be NULL).
     */
    void (*done)(struct sql_request *r);
    void *ctx;
    /* Of database_run's own use. */
    struct runner *runner;
    void (*then)(struct sql_request *r);
};

/*
 * Adds a statement (text copied; the pointer is valid until the next one is added, NULL: memory ran
 * out) or a parameter (name and value copied; STATUS_NOMEM).
 */
struct sql_statement *sql_request_add(struct sql_request *r, const char *sql, size_t len);
int sql_statement_bind(struct sql_statement *s, const char *name, const struct value *value);
/*
 * The same without copies: the statement's text is put into it by the caller, and the bytes of
 * values are only pointed to; they stay as long as the request. There are no names.
 */
struct sql_statement *sql_request_add_lent(struct sql_request *r);
int sql_statement_bind_lent(struct sql_statement *s, const struct value *value);
/* It is run with what `who` may do, and no more. NULL policy: everything. Any thread. */
void sql_request_restrict(struct sql_request *r, struct policy *policy, struct identity *who);
void sql_request_fini(struct sql_request *r); /* frees what it holds, not itself */

/*
 * Runs a request and returns when it is done, with r->json or r->error filled. What only reads runs
 * here, on a pooled connection, and waits for no writer; the rest is posted to the database thread.
 * Any thread that may block (never a loop).
 */
void database_execute(struct database *db, struct sql_request *r);
/*
 * Likewise, when that takes no more than about DATABASE_SWIFT_MS and yields no more than
 * DATABASE_SWIFT_BYTES. False: it writes, takes longer, fails, has a policy or finds no connection
 * free; nothing has become of it, and database_execute may have it. r->done is not called.
 */
#define DATABASE_SWIFT_MS 1
#define DATABASE_SWIFT_BYTES 65536
struct database_turn;
bool database_execute_swiftly(
    struct database *db, struct database_turn *turn, struct sql_request *r);
/*
 * Several of them, one after the other on one thread, take a read connection and read on in one
 * transaction as long as nobody commits. Both are given back at the end of a turn, after which the
 * next may begin.
 */
struct database_turn *database_turn_new(void); /* NULL: no memory */
void database_turn_end(struct database *db, struct database_turn *turn);
void database_turn_free(struct database_turn *turn); /* ended */
/* Posts to the database thread, whatever it is. r->done tells. Any thread. */
void database_post(struct database *db, struct sql_request *r);
/*
 * The same as database_execute without waiting: what only reads runs on one of a few threads
 * (query_threads), the rest is posted. r->done is called later on one of the database's threads,
 * which it must not block, never from within this call. Setting r->cancel also ends what still
 * waits for a thread; what waits for the database thread ends when its turn comes. Past query_queue
 * requests under way, and while the server ends, it fails (LIMIT_EXCEEDED, QUERY_CANCELLED). Any
 * thread, loops too; not while database_close runs, which ends all of them.
 */
void database_run(struct database *db, struct sql_request *r);
/*
 * Refuses what database_run is given from now on, and waits until all that it was given has ended,
 * at most ms milliseconds; false: some has not (see database_interrupt).
 */
bool database_drain(struct database *db, int64_t ms);

struct database_stats {
    uint64_t commits, changes, statements, errors, group_commits;
    uint64_t own, external; /* the commits of this server and of other processes */
    uint64_t restarts;      /* of the log, that the server let happen */
    uint64_t journal_bytes;
    uint64_t wal_bytes; /* of the -wal file as it is now */
    /* Requests that read, and that wrote, in nanoseconds without waiting; the same of COMMIT; and
     * requests that shared one. */
    struct tally_copy reads, writes, commit_times, group_sizes;
};
void database_stats(struct database *db, struct database_stats *out); /* any thread */

#endif
