#ifndef ROWTAP_CAPTURE_WAL_FILES_H
#define ROWTAP_CAPTURE_WAL_FILES_H

#include "capture/sqlconn.h"

/*
 * SQLite's own objects for the files of a database in WAL mode
 * (https://www.sqlite.org/c3ref/c_fcntl_begin_atomic_write.html). They are the connection's.
 */
struct wal_files {
    sqlite3_file *file, *log;
    const sqlite3_io_methods *methods; /* the file's own, past shm_locks.h */
    const volatile void *shm;          /* the head of the log's index */
};

/* The connection has read something, so that its log is open. A result code. */
int wal_files_find(struct wal_files *f, struct sqlconn *c);

#endif
