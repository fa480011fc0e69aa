#ifndef ROWTAP_CAPTURE_CURSOR_H
#define ROWTAP_CAPTURE_CURSOR_H

#include "base/list.h"
#include "capture/database.h"

/*
 * SQL whose result comes in pages, no faster than they are taken: for those who may not block. At
 * most CURSOR_PAGES pages of one cursor exist; while the receiver has them all the cursor rests,
 * and holds no thread.
 *
 * A single statement that only reads is stepped as the pages are wanted, so its memory is that of
 * the pages. All else (scripts, writes) runs whole, like database_run, and its last statement's
 * result, which max_result bounds, is cut into pages afterwards; those wait for query_timeout_ms at
 * most, and at most open_queries writes are under way or have such pages.
 *
 * A cursor that is stepped holds a read transaction from its first step to its last, on a
 * connection of its own. It delays no writer in WAL mode, but for as long as it is open the log
 * cannot be restarted: what is committed meanwhile, here or by other processes, makes it longer
 * (the follower's pin, capture/tracker.h, moves only when the log is copied into the file
 * entirely). So query_timeout_ms bounds the whole of it, the time that the receiver takes included;
 * in other journal modes, where readers do delay writers, half of busy_timeout_ms does if that is
 * less. At most open_queries cursors are open; others wait in line.
 */
#define CURSOR_PAGES 2

struct cursor;
struct prepared;
struct sqlconn;

struct cursor_page {
    struct message message; /* for the receiver's use while it has the page */
    struct cursor *cursor;
    uint64_t number; /* counts them from 0 */
    struct buf rows; /* JSON: "[1,"a"],[2,"b"]" */
    uint32_t count;
    bool last;  /* of the whole result, which has at least this page */
    bool taken; /* the receiver has it; the runner's lock guards this */
};

/* Of what there are only so many: results that are read now, and those that writes have. */
enum cursor_slot { CURSOR_NO_SLOT, CURSOR_OPEN_SLOT, CURSOR_WRITE_SLOT };
enum cursor_state { CURSOR_WAITS, CURSOR_RUNS, CURSOR_RESTS, CURSOR_AWAY, CURSOR_ENDED };

struct cursor {
    /*
     * What to run: one text. The asker keeps it alive until done. Afterwards error, seq, changes
     * and last_rowid tell what became of it. `done`, `ctx` and `cancel` are not the asker's.
     */
    struct sql_request request;
    uint32_t page_rows; /* at most so many in a page */
    size_t page_bytes;  /* a page is full with so many, */
    size_t row_bytes;   /* and a row with more is an error; 0: no bound */
    /*
     * On threads of the database, which they must not block. `page`: a page is the receiver's until
     * cursor_give; they come in order. `progress`: about four times a second, whether rows come or
     * not (from within it nothing of this header may be called). `done`: the last call, after the
     * last page; the cursor is the asker's again.
     */
    void (*page)(struct cursor *c, struct cursor_page *p);
    void (*progress)(struct cursor *c);
    void (*done)(struct cursor *c);
    void *ctx;

    struct buf columns;        /* JSON: ["a","b"]; there from the first page on */
    atomic_uint_fast64_t rows; /* that were found so far; any thread */
    int64_t begun_ns;          /* when it was asked for, by the steady clock */
    /*
     * Of the rows' bytes that are in pages, where the result is whole; else -1, for SQLite does not
     * tell how many rows it will find. Any thread.
     */
    atomic_int percent;

    /* The database's own. */
    struct runner *runner;
    struct list node, all; /* where it waits or rests; all that have not ended */
    enum cursor_state state;
    enum cursor_slot slot;
    struct cursor_page pages[CURSOR_PAGES];
    uint64_t made;
    struct sqlconn *conn; /* while it is stepped */
    struct sqlconn *sql;  /* where its statement is: that one, or a mirror over it */
    struct prepared *statement;
    bool on_row;         /* the statement stands on a row that is in no page yet */
    bool cutting;        /* its result is whole, in request.json */
    size_t cut;          /* so much of that is in pages */
    int64_t deadline_ns; /* of the read transaction, or of what is whole; 0: none */
    int64_t told_ns;     /* of its progress */
};

/*
 * Begins. *c is zero but for the asker's members; done is called in any case, never from within.
 * Fails as database_run does, past the same bound. Any thread.
 */
void cursor_open(struct database *db, struct cursor *c);
/* Gives a page back. Any thread; not after database_close. */
void cursor_give(struct cursor *c, struct cursor_page *p);
/*
 * Ends it with QUERY_CANCELLED, if it has not ended; what waits for the database thread, when its
 * turn comes. Any thread; until `done` has been called.
 */
void cursor_cancel(struct cursor *c);
void cursor_fini(struct cursor *c); /* frees what it holds, not itself */

#endif
