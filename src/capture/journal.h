#ifndef ROWTAP_CAPTURE_JOURNAL_H
#define ROWTAP_CAPTURE_JOURNAL_H

#include "capture/counts.h"
#include "capture/sqlconn.h"
#include "change/batch.h"
#include "change/piece.h"

/*
 * The durable history (sql/journal.sql): pieces of every commit, written by the database thread in
 * the commit's own transaction, so that what is in the file and what is in the journal can never
 * differ. Result codes are SQLite's.
 */
/*
 * Where in the log the journal stands with the commits of other processes (sql/journal.sql); so
 * that after a restart those can be told that were made meanwhile.
 */
#define JOURNAL_NO_PLACE UINT32_MAX /* as frame: it was not kept */

struct journal_place {
    uint8_t salt[8];
    uint32_t frame;
    uint64_t done;
    uint64_t writes;
    int64_t time_ms;
    bool there;
};

struct journal_options {
    bool enabled;
    int64_t max_age_ms; /* older pieces are deleted; 0: no bound */
    uint64_t max_changes, max_bytes;
    struct journal_place place; /* as it is now */
    bool anew; /* begin a new history, for changes are missing in the one that is there */
};

/* The journal's ends. */
struct journal_span {
    uint64_t last_seq, last_tx; /* of the newest change ever written */
    uint64_t total;             /* bytes of pieces ever written */
    uint64_t after;             /* every later change is kept */
    uint64_t oldest_seq;        /* the oldest row: its key, size up to it and time; 0: no row */
    uint64_t oldest_total;
    int64_t oldest_ms;
};

#define JOURNAL_EPOCH_MAX 63
/* A piece with both rows of an UPDATE is longer than the longest row; what SQLite can hold. */
#define JOURNAL_PIECE_MAX 1000000000

struct journal {
    struct sqlconn *conn;
    struct journal_options options;
    struct journal_span now;       /* with what the open transaction did */
    struct journal_span committed; /* without */
    uint64_t run;
    char epoch[JOURNAL_EPOCH_MAX + 1];
    struct journal_place place; /* of the last commit, or with it */
    sqlite3_stmt *insert, *remove, *oldest, *move;
    struct counts counts;
    struct buf piece;
};

/*
 * Makes or reads the tables; no transaction is open. When not enabled, only marks a journal that is
 * there as ended, for it will miss what follows. `epoch` is for a new history. On failure a result
 * code, and perhaps a sentence in err. journal_close in any case, before the connection's end.
 */
int journal_open(struct journal *j, struct sqlconn *c, const struct journal_options *options,
    const char *epoch, struct buf *err);
void journal_close(struct journal *j);

/* What the file says, before journal_open. A result code. */
int journal_read_place(struct sqlconn *c, struct journal_place *place);
/* Writes j->place, in the open transaction, and counts `writes`. */
int journal_write_place(struct journal *j);
/*
 * Instead of changes: `seq` is a gap, and nothing before it is kept any longer. In the open
 * transaction.
 */
int journal_write_gap(struct journal *j, uint64_t seq, uint64_t tx);

/*
 * Writes the batch's changes, which will be numbered as batch_seal does, and deletes of the
 * oldest pieces past the bounds about as much as it adds and a few more, all in the open
 * transaction. On failure that must be rolled back. Nothing happens when not enabled.
 */
int journal_write(struct journal *j, const struct batch *b, uint64_t seq, uint64_t tx);
/* How the transaction ended. */
void journal_committed(struct journal *j);
void journal_rolled_back(struct journal *j);

/* Pieces are past the bounds: journal_trim deletes some of them, in a transaction of its own. */
bool journal_overdue(const struct journal *j);
int journal_trim(struct journal *j);

/*
 * The changes from after + 1 on, of one or more pieces, in a sealed batch of about max_bytes. On
 * any connection. 0, STATUS_NOT_FOUND (not kept, or there is none yet), STATUS_INVALID (damaged),
 * STATUS_IO, STATUS_NOMEM.
 */
int journal_read(struct sqlconn *c, struct piece_reader *r, uint64_t after, size_t max_bytes,
    struct batch **batch);

#endif
