#ifndef ROWTAP_CLI_DBFILE_H
#define ROWTAP_CLI_DBFILE_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What can be told of a database file without SQLite. Any thread. */
struct dbfile {
    const char *path; /* the caller's */
    char *log;        /* the path of its -wal file */
    dev_t device;
    ino_t inode;
};

/*
 * The file is a database in WAL mode that may be read, as far as its first bytes tell (the header:
 * https://www.sqlite.org/fileformat.html section 1.3). STATUS_IO or STATUS_NOMEM, and a sentence in
 * err, when not. It opens and closes the file, which drops the locks that this process has on it:
 * call it before SQLite opens the file, never after.
 */
int dbfile_init(struct dbfile *f, const char *path, struct buf *err);
void dbfile_fini(struct dbfile *f);

/* The path still leads to the same file. */
bool dbfile_same(const struct dbfile *f);
int64_t dbfile_log_size(const struct dbfile *f); /* bytes; 0 for none */

#endif
