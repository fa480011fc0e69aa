#ifndef ROWTAP_CAPTURE_TRACKER_H
#define ROWTAP_CAPTURE_TRACKER_H

#include "capture/sqlconn.h"
#include "capture/wal/diff.h"
#include "capture/wal/shm.h"
#include "capture/wal/trees.h"
#include "capture/wal_files.h"

/*
 * Follows the commits in a database's write-ahead log: a place in it up to which everything is
 * known, and what keeps the pages that are needed to go on from there, the pin. That is a read
 * transaction: nobody copies frames past it into the file, nor restarts the log while it reads from
 * it. It is moved on by beginning another one, on a second connection, before it is ended.
 *
 * A pin that always reads from the log would let the log grow for ever. When all is known, and a
 * checkpoint has copied all, a new pin reads from the file alone: it is parked. Then the next
 * writer may restart the log, but nobody can copy anything into the file; so a parked pin at the
 * place itself is the only state in which the log may be another one afterwards. In any other that
 * is a gap: STATUS_CONFLICT.
 *
 * All bytes are read through SQLite's own file objects, because closing any descriptor of a file
 * drops all locks that the process holds on it
 * (https://www.sqlite.org/howtocorrupt.html section 2.2). One thread.
 */
struct tracker_pin {
    struct sqlconn conn;
    bool begun;
    bool parked;            /* it reads from the file alone */
    uint32_t least, upto;   /* it stands at one of these frames, or between them */
    uint8_t salt[WAL_SALT]; /* of the log then */
};

struct tracker {
    struct tracker_pin pins[2];
    int held;               /* the pin that counts; the other one is free, or is to follow it */
    bool can_checkpoint;    /* its connections may write to the file */
    struct wal_files files; /* of the first pin's connection */
    struct wal_log log;
    struct wal_pages pages;
    struct wal_diff diff;
    struct trees *trees; /* as of the place; NULL: not read so far */
    uint32_t frame;      /* the place: what this frame of the log's generation ends is known */
    uint32_t *own;       /* ends of commits of this process past the place, in order */
    uint32_t own_count, own_cap;
    uint32_t copied;    /* by our own checkpoints of this generation */
    bool holds_copying; /* nobody may make checkpoints: the place is before the pin */
    bool has_log;
};

/*
 * Opens two connections to a file in WAL mode and takes the present end as the place. When not
 * `writable` the file is opened read-only, and no checkpoint is made. A result code of SQLite;
 * tracker_close in any case.
 */
int tracker_open(struct tracker *t, const char *path, bool writable, const atomic_bool *closing);
void tracker_close(struct tracker *t);

/* Reads the head of the log's index; false while somebody writes it. */
bool tracker_index(const struct tracker *t, struct wal_shm *now);
/*
 * Looks whether there are commits past the place: 1 when there are (or when it is not known), 0,
 * or STATUS_CONFLICT.
 */
int tracker_look(struct tracker *t);
/*
 * The next commit after the place, which must have been seen by tracker_look: *end is its last
 * frame, *own whether this process made it. 0 when there is none; 1; STATUS_INVALID, STATUS_IO,
 * STATUS_NOMEM.
 */
int tracker_next(struct tracker *t, uint32_t *end, bool *own);
/*
 * Reads the trees as of the place, unless they are there. `schema` (may be NULL) is known;
 * STATUS_CONFLICT: it is not the place's.
 */
int tracker_read_trees(struct tracker *t, struct schema *schema);
/* Forgets them: this process has changed the schema. */
void tracker_drop_trees(struct tracker *t);
/* Takes the present end as the place, whatever lies between. A result code of SQLite. */
int tracker_jump(struct tracker *t);

/*
 * Goes back to a place before the pin: what is needed from there on is in the log and the file
 * still, and stays there until the pin is reached, because checkpoints are kept from being made.
 * First tracker_hold, then a look whether that is so, then tracker_go_back; or tracker_release.
 */
bool tracker_hold(struct tracker *t); /* false: somebody makes a checkpoint */
void tracker_release(struct tracker *t);
void tracker_go_back(struct tracker *t, uint32_t frame);

/* This process committed, and its frames end there. STATUS_NOMEM. */
int tracker_note_own(struct tracker *t, uint32_t end);
/* The commit that ends there is known, and all before it: it becomes the place. */
void tracker_pass(struct tracker *t, uint32_t end);

/*
 * Keeps writers out, without a transaction; only where checkpoints can be made. False: somebody
 * writes all the time. Then tracker_unlock.
 */
bool tracker_lock(struct tracker *t);
void tracker_unlock(struct tracker *t);
/*
 * Whether somebody else is in a transaction that may write just now. Whoever begins one at this
 * very moment is told to wait.
 */
bool tracker_others_write(struct tracker *t);
/* Brings the pin nearer to the place; what is not needed any more may then be copied. */
void tracker_repin(struct tracker *t);
/* Copies what it can into the file, without waiting for anybody. */
void tracker_checkpoint(struct tracker *t);
/* What is copied by now was not copied by others. */
void tracker_note_copied(struct tracker *t);
/* Up to this frame the pin lets it be copied; 0: it is parked. */
uint32_t tracker_pinned(const struct tracker *t);
/* Parks the pin, if all is known and copied. Whether it is parked at the place now. */
bool tracker_park(struct tracker *t);
bool tracker_parked(const struct tracker *t);
/* Frames between the pin and the place, at most. */
uint32_t tracker_lag(const struct tracker *t);

#endif
