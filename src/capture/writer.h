#ifndef ROWTAP_CAPTURE_WRITER_H
#define ROWTAP_CAPTURE_WRITER_H

#include "base/tally.h"
#include "capture/database.h"
#include "capture/follower.h"
#include "capture/journal.h"
#include "capture/places.h"
#include "capture/recorder.h"
#include "capture/vacuum.h"
#include <pthread.h>

/* What other threads see of the database; the database thread alone changes it. */
struct published {
    struct places places;
    atomic_bool following; /* other processes' commits are, and the places are kept */
    pthread_mutex_t lock;  /* guards schema */
    struct schema *schema;
    atomic_uint_fast64_t seq;
    /* Odd while a commit is under way; so a reader can tell which seq its snapshot belongs to. */
    atomic_uint turn;
    atomic_uint_fast64_t past; /* every later change can be read from the journal */
    atomic_uint_fast64_t journal_bytes;
    atomic_uint_fast64_t commits, changes, statements, errors, group_commits;
    atomic_uint_fast64_t restarts;      /* of the log */
    atomic_uint_fast64_t own, external; /* the commits of this server and of other processes */
    struct tally reads, writes;         /* ns that requests ran */
    struct tally commit_times;          /* ns, with the journal */
    struct tally group_sizes;           /* requests */
};

/* A savepoint that the user opened in the present unit. */
struct user_savepoint {
    char *name;
    struct batch_mark mark;
    struct schema *schema; /* at that time */
};

/*
 * The write side: the connection, the batch that is filled, and the unit that is open. A unit is
 * what commits or fails together and becomes one transaction of the batch: a statement by itself,
 * or all from BEGIN to COMMIT. Database thread only.
 */
struct writer {
    const struct database_options *options;
    struct published *published;
    struct sqlconn conn;
    struct recorder recorder;
    struct journal journal;
    struct follower follower;
    struct batch *batch;
    struct schema *known; /* after the last commit, decoded or our own; a reference */
    uint64_t tx;
    uint64_t base;      /* the seq before our own last batch */
    size_t batch_bytes; /* of the batch published last */
    bool wrote;         /* a commit of our own was published; whoever reads it sets it back */
    bool fk_deferred;   /* a request may have set defer_foreign_keys */
    bool answers_first; /* who publishes calls writer_published itself, after the first answer */
    /*
     * In a group several requests share one SQLite transaction and one batch, and units are
     * savepoints in it. Alone, each unit is an SQLite transaction with its own batch.
     */
    bool alone;
    bool lost; /* the group's transaction is gone or cannot be trusted */

    bool open;         /* a unit */
    bool by_statement; /* the unit is a statement by itself */
    bool by_savepoint; /* opened by the user's SAVEPOINT: ends with its RELEASE */
    bool autocommit;   /* alone and without BEGIN: the statement commits as SQLite sees fit */
    bool committed;    /* of an autocommit unit: SQLite committed it */
    bool vetoed;       /* of an autocommit unit: it was kept from committing without a journal */
    bool first_unit;   /* of its request: the request's savepoint serves for it */
    struct vacuum vacuum;
    uint64_t origin;
    struct receipt *receipt; /* of the request; it holds the reference */
    struct batch_mark mark;  /* where the unit began */
    struct schema *before;   /* the schema then */
    struct user_savepoint *savepoints;
    int savepoint_count, savepoint_cap;
};

/*
 * Begins a transaction that may write, and takes what others did before it. A result code of
 * SQLite; on failure none is open.
 */
int writer_begin(struct writer *w);

int writer_open(struct writer *w, const struct database_options *options,
    struct published *published, const char *path, const atomic_bool *closing);
void writer_close(struct writer *w);

/*
 * Looks whether another process changed the schema; if so takes the new one and records its DDL as
 * a transaction of its own. In a transaction. A result code of SQLite.
 */
int writer_check_schema(struct writer *w);
/* The same, in a transaction of its own that is published. Between groups. */
int writer_follow_schema(struct writer *w);
/* The schema after a statement that may have changed it; rows of CREATE TABLE AS are recorded. */
int writer_refresh_schema(struct writer *w);
/*
 * The open unit has given a table a name kept for the server: ALTER TABLE RENAME does not tell the
 * authorizer the new one.
 */
bool writer_hid_table(const struct writer *w);
int writer_new_batch(struct writer *w); /* drops the one there is. SQLITE_OK or SQLITE_NOMEM */
/*
 * Writes the journal, then COMMIT, then numbers the batch, hands it on and starts without one. A
 * result code of SQLite; on failure the transaction may still be open.
 */
int writer_commit(struct writer *w);
void writer_note_past(struct writer *w); /* tells other threads how far the journal reaches */
void writer_published(struct writer *w); /* calls options.published */
void writer_publish(struct writer *w); /* the second half of it, after SQLite committed by itself */

/* Where the journal stands in the log, for journal_write_place; JOURNAL_NO_PLACE: not known. */
struct journal_place writer_place(const struct writer *w);
/* Prepares to follow what other processes commit, in WAL mode. A result code of SQLite. */
int writer_open_follower(struct writer *w, const char *path, const atomic_bool *closing);
void writer_follow(struct writer *w); /* from now on */

/* Deletes some of the journal's pieces past its bounds, in no transaction. Whether more are left.
 */
bool writer_trim(struct writer *w);

/* A trigger may RAISE(FAIL), or a statement in it be OR FAIL; true where that cannot be told. */
bool writer_mentions_fail(struct writer *w);

#endif
