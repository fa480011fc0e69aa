#ifndef ROWTAP_CAPTURE_SHM_LOCKS_H
#define ROWTAP_CAPTURE_SHM_LOCKS_H

#include <sqlite3.h>
#include <stdbool.h>

/*
 * Stands between SQLite and the file of one connection that only reads, or makes checkpoints, where
 * it takes locks in the index of the log (https://www.sqlite.org/walformat.html section 2.3): a
 * table of the file's methods in which one is another
 * (https://www.sqlite.org/c3ref/io_methods.html).
 *
 * A reader who finds the head of the index half written takes the lock of those who write, to see
 * whether it has to be recovered (section 2.2 there). Mostly somebody is just committing, and has
 * finished by then: his next commit would find the lock taken, and he may not wait for any. So the
 * lock is refused as long as the head is whole, and SQLite looks again.
 *
 * And the lock of those who make checkpoints can be kept, see shm_locks_keep. Used by the
 * connection's thread.
 */
struct shm_locks {
    sqlite3_io_methods methods; /* the file's, but for xShmLock */
    const sqlite3_io_methods *real;
    sqlite3_file *file;
    bool keep; /* the lock for checkpoints is not given back */
    bool held;
};

/*
 * For a connection that has read nothing yet. SQLITE_OK or SQLITE_NOMEM; *locks is NULL where the
 * file has no such locks.
 */
int shm_locks_new(struct shm_locks **locks, sqlite3 *db);
/* Before the connection is closed; nothing is kept any more. NULL is allowed. */
void shm_locks_free(struct shm_locks *locks);

/*
 * Keeps the lock of those who make checkpoints from now on, or no more. This connection makes its
 * own meanwhile, others are refused. False: somebody makes one just now.
 */
bool shm_locks_keep(struct shm_locks *locks, bool keep);

#endif
