#ifndef ROWTAP_CAPTURE_WAL_VIEW_FILE_H
#define ROWTAP_CAPTURE_WAL_VIEW_FILE_H

#include "capture/sqlconn.h"
#include "capture/wal/pages.h"

/*
 * A view as a file that SQLite can read, so that SQLite itself tells what the schema was at that
 * moment: a VFS (https://www.sqlite.org/vfs.html) with one file, which cannot be written.
 */
struct view_file {
    struct sqlconn conn; /* on it, read-only */
    sqlite3_vfs vfs;
    char name[32];
    const struct wal_view *view;
    bool registered;
};

/* The view must outlive it. STATUS_NOMEM or STATUS_INVALID; view_file_close in any case. */
int view_file_open(struct view_file *f, const struct wal_view *view);
void view_file_close(struct view_file *f);

#endif
