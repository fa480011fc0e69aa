#ifndef ROWTAP_CAPTURE_FOLLOWER_H
#define ROWTAP_CAPTURE_FOLLOWER_H

#include "capture/copier.h"
#include "capture/tracker.h"

/*
 * What other processes commit, brought into one order with what this one does. The order of commits
 * in the log is the order of all; so before a transaction of our own begins to change anything, and
 * with the lock that keeps others out, everything before it is decoded. What was decoded is handed
 * on by follower_run, or by the commit of the transaction during which it was found. Database
 * thread only.
 */

/* With no commit for so long all is quiet. */
#define FOLLOWER_IDLE_MS 20

/* Those who use it. */
struct follower_ops {
    /* The schema at the place. */
    struct schema *(*known)(void *ctx);
    void (*set_known)(void *ctx, struct schema *schema); /* takes its own reference */
    /* Hands on f->ready, in no transaction: 0, then follower_taken; or a status, to be tried again.
     */
    int (*hand_on)(void *ctx);
    int (*gap)(void *ctx, const char *reason); /* tells that changes are missing here; a status */
    void (*passed)(void *ctx);                 /* all up to the place has been handed on */
    /* The log may be restarted: all that is to be remembered of it is. NULL: always. */
    bool (*may_restart)(void *ctx);
    void (*parked)(void *ctx); /* the next commit restarts it; NULL: that is nothing to you */
};

struct follower {
    struct tracker tracker;
    const struct follower_ops *ops;
    void *ctx;
    uint32_t park_frames;  /* a log of so many frames is to be restarted */
    struct copier *copier; /* NULL: the log is copied by the thread itself */
    int copies;            /* it was asked for since the log was restarted */
    bool asked;            /* and has not been done since settle.c looked last */
    uint32_t copied_before;
    int64_t rush_ms; /* when commits rushed in last, by the steady clock */
    bool active;
    bool foreign;        /* the last commit taken was of others */
    bool found;          /* the last follower_run found commits of others */
    bool caught_up;      /* with the lock held: the place is the end of the log */
    bool lost;           /* a gap is to be announced */
    struct batch *ready; /* decoded, not yet handed on; NULL: nothing */
    uint32_t own_end;    /* where our last commit ended */
    uint64_t part;       /* changes handed on of the commit that is being decoded */
    uint64_t skip;       /* changes of the next commit that were handed on in an earlier life */
    int64_t moved_ms;    /* when the last commit was seen, by the steady clock */
    int64_t next_park_ms, park_pause_ms;
    bool refused;        /* the attempt to park was, and is to be repeated at once */
    int64_t refused_ms;  /* since when a log that is copied may not be restarted; 0: it may */
    int64_t next_gap_ms; /* the next attempt to get over it */
};

/*
 * Opens it, inactive; `writable` as for tracker_open. A result code of SQLite; follower_close in
 * any case.
 */
int follower_open(struct follower *f, const char *path, bool writable, const atomic_bool *closing,
    const struct follower_ops *ops, void *ctx);
void follower_close(struct follower *f);
/* Learns of our own commits from the connection that makes them. */
void follower_attach(struct follower *f, sqlite3 *own);
/* From now on commits are followed. */
void follower_start(struct follower *f);

/*
 * Decodes what there is and hands it on, for some milliseconds at most; in no transaction. Whether
 * there may be more to do at once.
 */
bool follower_run(struct follower *f);
/* Commits of others follow one another so closely that a look finds many. */
bool follower_in_rush(const struct follower *f);
/*
 * Nothing of others is missing that was written before the call: neither a commit nor the beginning
 * of one. In no transaction.
 */
bool follower_has_all(struct follower *f);
/* Something is to be settled soon: look in again after so many milliseconds; -1: nothing is. */
int follower_soon(const struct follower *f);

/*
 * With the write lock held and nothing changed: decodes what there is. 1:
 * that is more than one should keep others waiting for; roll back, and follower_run. Otherwise 0,
 * or STATUS_NOMEM.
 */
int follower_catch_up(struct follower *f, bool all);
/* Whether there are commits of others that were not seen so far. */
bool follower_is_behind(const struct follower *f);
/* The lock is given back: the transaction is over, or about to be. */
void follower_let_go(struct follower *f);
/*
 * All that precedes our own last commit is decoded; before that is handed on. `schema`: after it.
 */
void follower_committed(struct follower *f, const struct schema *schema);
/*
 * The same after our own VACUUM, which no batch tells of: tables are stored elsewhere, and the
 * schema has another cookie.
 */
void follower_vacuumed(struct follower *f);
/* What is ready has been handed on. */
void follower_taken(struct follower *f);

#endif
