#ifndef ROWTAP_CAPTURE_SQLCONN_H
#define ROWTAP_CAPTURE_SQLCONN_H

/* SQLite declares the preupdate hook only when asked to. */
#define SQLITE_ENABLE_PREUPDATE_HOOK 1

#include "base/buf.h"
#include "base/list.h"
#include "base/map.h"
#include "capture/authorizer.h"
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * One SQLite connection with what surrounds it: limits on the running statement, the authorizer,
 * and a cache of prepared statements. Used by one thread at a time.
 */
enum sqlconn_stop { STOP_NONE, STOP_TIMEOUT, STOP_CANCEL, STOP_CLOSING, STOP_CAPTURE };

/* The server's own statements, prepared once each. */
enum sqlconn_own {
    OWN_BEGIN,
    OWN_BEGIN_READ,
    OWN_COMMIT,
    OWN_ROLLBACK,
    OWN_JOB,
    OWN_JOB_RELEASE,
    OWN_JOB_ROLLBACK,
    OWN_UNIT,
    OWN_UNIT_RELEASE,
    OWN_UNIT_ROLLBACK,
    OWN_SCHEMA_VERSION,
    OWN_DATA_VERSION,
    OWN_TOUCH,
    OWN_HOLD,
    OWN_FK_NOW,
    OWN_COUNT,
};

struct mirrors;   /* mirror.h */
struct shm_locks; /* shm_locks.h */

struct sqlconn {
    sqlite3 *db;
    struct mirrors *mirrors; /* those over it, once there was one */
    struct sqlconn *under;   /* of a mirror: what it reads; limits are that one's, too */
    struct shm_locks *locks; /* NULL: SQLite's are the file's, as for one that writes rows */
    struct authorizer auth;
    sqlite3_stmt *own[OWN_COUNT];

    struct list recent; /* cached statements, the one used last first */
    struct map cached;  /* text -> struct prepared */
    int cached_count;
    size_t cached_long; /* bytes held by those with long texts */

    bool log_is_open; /* it has read something, in WAL mode; see wal_files.h */

    /* Signs of life of what runs or waits for a lock. Written by its thread. */
    _Atomic uint64_t steps;

    atomic_bool limited;        /* a user's statement runs: the rest of this block applies */
    bool give_up;               /* capture failed: stop the statement */
    atomic_llong deadline_ns;   /* 0: none */
    const atomic_bool *cancel;  /* the request's, or NULL */
    const atomic_bool *closing; /* the database's */
    int64_t busy_timeout_ms;
    int64_t busy_since_ns;
    enum sqlconn_stop stopped; /* why the statement was stopped */
};

/*
 * Result codes here are SQLite's. On failure the connection needs sqlconn_close all the same.
 * Nobody who writes finds a lock taken because of one that only reads.
 */
int sqlconn_open(struct sqlconn *c, const char *path, bool read_only, int64_t busy_timeout_ms,
    const atomic_bool *closing);
/* Changes no row, but may make checkpoints; waits for no lock. */
int sqlconn_open_observer(struct sqlconn *c, const char *path, const atomic_bool *closing);
/* Read-only, in a VFS of that name. */
int sqlconn_open_in(struct sqlconn *c, const char *path, const char *vfs);
/* An empty database in memory, for a mirror; nobody else's file can be reached from it. */
int sqlconn_open_empty(struct sqlconn *c, struct sqlconn *under);
void sqlconn_close(struct sqlconn *c);

/* Runs one of the server's own statements to its end; SQLITE_OK or an error. */
int sqlconn_run(struct sqlconn *c, enum sqlconn_own which);
/* The same for one that gives an integer. */
int sqlconn_integer(struct sqlconn *c, enum sqlconn_own which, int64_t *value);
/*
 * Keeps what is read the same between the two, by a statement that stands on its row meanwhile: at
 * a third of what BEGIN, a first look and ROLLBACK cost. SQLITE_OK or an error, after which nothing
 * is held.
 */
int sqlconn_hold(struct sqlconn *c);
void sqlconn_release(struct sqlconn *c); /* also when nothing is held */
/* Prepares a statement of the server's own, past the authorizer's rules. */
int sqlconn_prepare(struct sqlconn *c, sqlite3_stmt **stmt, const char *fmt, ...);

/* Limits hold between these two; timeout 0 is none. */
void sqlconn_limit(struct sqlconn *c, int64_t timeout_ms, const atomic_bool *cancel);
void sqlconn_unlimit(struct sqlconn *c);
/* The statement that runs is past its deadline. Any thread. */
bool sqlconn_late(const struct sqlconn *c);
/* Why the statement was interrupted, while the limits hold. */
enum sqlconn_stop sqlconn_stopped(struct sqlconn *c);

#endif
