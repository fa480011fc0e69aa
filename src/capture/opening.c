#include "capture/opening.h"

#include "base/mem.h"
#include "base/status.h"
#include "capture/offline.h"
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What the file system alone can tell, in better words than SQLite's. */
static int check_parent(const char *path, struct buf *err)
{
    struct stat st;
    char *copy = mem_strdup(path);
    if (!copy)
        return STATUS_NOMEM;
    const char *parent = dirname(copy);
    int status = STATUS_OK;
    if (stat(parent, &st) < 0) {
        buf_printf(err, "cannot open %s: the directory %s: %s", path, parent, strerror(errno));
        status = STATUS_IO;
    } else if (!S_ISDIR(st.st_mode)) {
        buf_printf(err, "cannot open %s: %s is not a directory", path, parent);
        status = STATUS_IO;
    } else if (access(parent, W_OK | X_OK) < 0) {
        buf_printf(err,
            "cannot open %s: no permission to write in %s, where SQLite keeps its log next to the "
            "database",
            path, parent);
        status = STATUS_IO;
    }
    mem_free(copy);
    return status;
}

static int check_file(const char *path, struct buf *err)
{
    struct stat st;
    if (stat(path, &st) < 0) {
        if (errno == ENOENT)
            return STATUS_OK;
        buf_printf(err, "cannot open %s: %s", path, strerror(errno));
        return STATUS_IO;
    }
    if (S_ISDIR(st.st_mode))
        buf_printf(
            err, "cannot open %s: it is a directory; give the path of a database file", path);
    else if (!S_ISREG(st.st_mode))
        buf_printf(err, "cannot open %s: it is not a regular file", path);
    else if (access(path, R_OK) < 0)
        buf_printf(err, "cannot open %s: no permission to read it", path);
    else if (access(path, W_OK) < 0)
        buf_printf(err,
            "cannot open %s: no permission to write it; the server needs to (chmod u+w)", path);
    else
        return STATUS_OK;
    return STATUS_IO;
}

static const char *advice(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_NOTADB:
        return "the file is not an SQLite database (or is encrypted)";
    case SQLITE_CORRUPT:
        return "the database is damaged; try PRAGMA integrity_check in the sqlite3 shell";
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return "another process holds a lock on it (EXCLUSIVE, or a long transaction); end that "
               "and "
               "try again";
    case SQLITE_READONLY:
        return "the file or its directory is read-only; the server needs to write to it";
    case SQLITE_FULL:
        return "the disk is full";
    case SQLITE_CANTOPEN:
        return "the file, or the -wal and -shm files next to it, cannot be opened; check the "
               "permissions";
    }
    return NULL;
}

static int explain(struct writer *w, const char *path, int rc, struct buf *err)
{
    const char *why = advice(rc);
    bool last = w->conn.db && sqlite3_extended_errcode(w->conn.db) == rc;
    const char *said = last ? sqlite3_errmsg(w->conn.db) : sqlite3_errstr(rc);
    if (why)
        buf_printf(err, "cannot open %s: %s", path, why);
    else
        buf_printf(err, "cannot open %s: %s (SQLite code %d)", path, said, rc);
    return (rc & 0xff) == SQLITE_NOMEM ? STATUS_NOMEM : STATUS_IO;
}

static int set_journal_mode(struct writer *w, bool keep, char *mode)
{
    sqlite3_stmt *s;
    int rc = sqlconn_prepare(
        &w->conn, &s, keep ? "PRAGMA main.journal_mode" : "PRAGMA main.journal_mode=WAL");
    if (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        snprintf(mode, 16, "%s", (const char *)sqlite3_column_text(s, 0));
        rc = SQLITE_OK;
    }
    sqlite3_finalize(s);
    return rc;
}

/* Takes the write lock once, which tells what a first write would, and reads the schema. */
static int try_write(struct writer *w)
{
    int rc = writer_new_batch(w);
    if (rc == SQLITE_OK)
        rc = sqlconn_run(&w->conn, OWN_BEGIN);
    if (rc == SQLITE_OK)
        rc = writer_check_schema(w);
    if (!sqlite3_get_autocommit(w->conn.db)) {
        int rolled = sqlconn_run(&w->conn, OWN_ROLLBACK);
        rc = rc == SQLITE_OK ? rolled : rc;
    }
    return rc;
}

/* Before anything is written: what others did since the journal's last commit. */
static int find_missed(struct writer *w, bool *lost)
{
    struct journal_place place;
    int rc = journal_read_place(&w->conn, &place);
    if (rc != SQLITE_OK)
        return rc;
    struct offline found;
    int status =
        offline_find(&w->follower.tracker, &place, sqlite3_db_filename(w->conn.db, "main"), &found);
    w->follower.skip = found.skip;
    w->vacuum.missed = found.vacuumed;
    *lost = status == STATUS_CONFLICT;
    return status == STATUS_OK || *lost ? SQLITE_OK
           : status == STATUS_NOMEM     ? SQLITE_NOMEM
                                        : SQLITE_IOERR;
}

static int open_follower(struct writer *w, const struct database_options *options, const char *path,
    const atomic_bool *closing, bool *lost, struct buf *err)
{
    int rc = writer_open_follower(w, path, closing);
    if (rc == SQLITE_OK && options->journal)
        rc = find_missed(w, lost);
    if (rc != SQLITE_OK)
        buf_printf(err,
            "cannot follow the log of %s: %s; --no-external serves it without seeing what other "
            "processes write",
            options->path, sqlite3_errstr(rc));
    return rc;
}

/* Changes that were missed are told from the schema on that was there before them. */
static int read_schema(struct writer *w)
{
    struct tracker *t = &w->follower.tracker;
    if (w->follower.ops && t->holds_copying) {
        int status = tracker_read_trees(t, NULL);
        if (status < 0)
            return status == STATUS_NOMEM ? SQLITE_NOMEM : SQLITE_CORRUPT;
        recorder_set_schema(&w->recorder, schema_ref(t->trees->schema));
    }
    w->known = schema_ref(w->recorder.schema);
    return SQLITE_OK;
}

static int open_journal(struct writer *w, const struct database_options *options,
    struct published *published, const char *epoch, bool lost, struct buf *err)
{
    const struct journal_options journal = {
        .place = writer_place(w),
        .anew = lost,
        .enabled = options->journal,
        .max_age_ms = options->journal_age_ms,
        .max_changes = options->journal_changes,
        .max_bytes = options->journal_bytes,
    };
    int rc = journal_open(&w->journal, &w->conn, &journal, epoch, err);
    if (rc != SQLITE_OK)
        return rc;
    w->tx = w->journal.committed.last_tx;
    atomic_store(&published->seq, w->journal.committed.last_seq);
    writer_note_past(w);
    return rc;
}

int opening_run(struct writer *w, const struct database_options *options,
    struct published *published, const char *path, const atomic_bool *closing, char *journal_mode,
    const char *epoch, struct buf *err)
{
    if (!*options->path) {
        buf_puts(err, "no database: give the path of a database file");
        return STATUS_IO;
    }
    int status = check_file(options->path, err);
    if (status == STATUS_OK)
        status = check_parent(options->path, err);
    if (status < 0)
        return status;
    bool lost = false;
    int rc = writer_open(w, options, published, path, closing);
    if (rc == SQLITE_OK)
        rc = set_journal_mode(w, options->keep_journal_mode, journal_mode);
    if (rc == SQLITE_OK && options->external && strcmp(journal_mode, "wal") == 0)
        rc = open_follower(w, options, path, closing, &lost, err);
    if (rc == SQLITE_OK)
        rc = open_journal(w, options, published, epoch, lost, err);
    if (rc != SQLITE_OK && err->len > 0)
        return STATUS_IO;
    if (rc == SQLITE_OK)
        rc = try_write(w);
    if (rc == SQLITE_OK)
        rc = read_schema(w);
    if (rc != SQLITE_OK)
        return explain(w, options->path, rc, err);
    if (!options->keep_journal_mode && strcmp(journal_mode, "wal") != 0) {
        buf_printf(err,
            "cannot switch %s to WAL: its journal mode stays %s; --keep-journal-mode serves it as "
            "it "
            "is",
            options->path, journal_mode);
        return STATUS_IO;
    }
    return STATUS_OK;
}
