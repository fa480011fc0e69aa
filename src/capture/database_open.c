#include "capture/database_parts.h"

#include "base/mem.h"
#include "base/status.h"
#include "base/text.h"
#include "capture/opening.h"
#include <malloc.h>
#include <string.h>

#define EPOCH_LENGTH 12
#define SNAPSHOTS 4
#define QUERY_THREADS 4
#define QUERY_QUEUE 4096
#define OPEN_QUERIES 64

/*
 * SQLite takes a few names for something else (":memory:", and "file:…" where it was built to read
 * URIs): a relative path is told from them by a "./".
 */
static char *plain_path(const char *path)
{
    bool special = path[0] == ':' || strncmp(path, "file:", 5) == 0;
    size_t size = strlen(path) + 3;
    char *plain = mem_alloc(size);
    if (plain) {
        strcpy(plain, special ? "./" : "");
        strcat(plain, path);
    }
    return plain;
}

static int open_readers(struct database *db, struct buf *err)
{
    int count = db->options.readers > 0 ? db->options.readers : 1;
    db->has_readers = true;
    int rc = readers_open(
        &db->readers, count, db->open_path, db->options.busy_timeout_ms, &db->interrupted);
    if (rc == SQLITE_OK)
        return STATUS_OK;
    buf_printf(err, "cannot open %s for reading: %s", db->path, sqlite3_errstr(rc));
    return STATUS_IO;
}

static int start_watch(struct database *db)
{
    db->external = db->writer.follower.ops != NULL;
    if (!db->external)
        return STATUS_OK;
    const char *file = sqlite3_db_filename(db->writer.conn.db, "main");
    return watch_init(&db->watch, sqlite3_filename_wal(file));
}

static int start_copier(struct database *db, struct buf *err)
{
    if (!db->external)
        return STATUS_OK;
    int status =
        copier_start(&db->copier, db->open_path, &db->interrupted, database_thread_nudge, db);
    if (status == STATUS_IO)
        buf_puts(err, "cannot start the thread for checkpoints: too many threads or open files?");
    db->writer.follower.copier = status == STATUS_OK ? &db->copier : NULL;
    return status;
}

/*
 * Only in WAL do readers not hold up a commit: elsewhere a long one has to end before the writer,
 * or another process, gives up.
 */
static int64_t reading_timeout(const struct database *db, int64_t timeout)
{
    int64_t most = db->options.busy_timeout_ms / 2;
    if (strcmp(db->journal_mode, "wal") == 0 || (timeout > 0 && timeout < most))
        return timeout;
    return most > 0 ? most : 1;
}

static int start_pager(struct database *db, struct buf *err)
{
    const struct pager_options options = {
        .path = db->open_path,
        .published = &db->published,
        .snapshots = db->options.snapshots > 0 ? db->options.snapshots : SNAPSHOTS,
        .scan_timeout_ms = reading_timeout(db, db->options.scan_timeout_ms),
        .journal = db->options.journal,
        .run = db->writer.journal.run,
        .follow_schema = database_thread_follow_schema,
        .ctx = db,
    };
    int status = pager_start(&db->pager, &options);
    if (status == STATUS_IO)
        buf_puts(err, "cannot start the thread for snapshots: too many threads or open files?");
    return status;
}

static int start_runner(struct database *db, struct buf *err)
{
    const struct runner_options options = {
        .path = db->open_path,
        .database = &db->options,
        .published = &db->published,
        .threads = db->options.query_threads > 0 ? db->options.query_threads : QUERY_THREADS,
        .max_waiting = db->options.query_queue ? db->options.query_queue : QUERY_QUEUE,
        .max_open = db->options.open_queries ? db->options.open_queries : OPEN_QUERIES,
        .cursor_timeout_ms = reading_timeout(db, db->options.query_timeout_ms),
        .post = database_thread_run,
        .ctx = db,
    };
    int status = runner_start(&db->runner, &options);
    if (status == STATUS_IO)
        buf_puts(err, "cannot start the threads for queries: too many threads?");
    return status;
}

static int start(struct database *db, const char *path, struct buf *err)
{
    pthread_mutex_init(&db->published.lock, NULL);
    pthread_mutex_init(&db->duty, NULL);
    places_init(&db->published.places);
    db->watch.fd = -1;
    text_random(db->epoch, EPOCH_LENGTH);
    db->path = mem_strdup(path);
    db->open_path = plain_path(path);
    if (!db->path || !db->open_path)
        return STATUS_NOMEM;
    db->options.path = db->path;
    int status = opening_run(&db->writer, &db->options, &db->published, db->open_path,
        &db->interrupted, db->journal_mode, db->epoch, err);
    if (status == STATUS_OK) {
        if (db->options.journal)
            strcpy(db->epoch, db->writer.journal.epoch);
        db->wal_path = sqlite3_filename_wal(sqlite3_db_filename(db->writer.conn.db, "main"));
        db->published.schema = schema_ref(db->writer.recorder.schema);
        status = start_watch(db);
    }
    if (status == STATUS_OK) {
        status = open_readers(db, err);
    }
    if (status == STATUS_OK)
        status = database_thread_prepare(db, err);
    if (status == STATUS_OK)
        status = start_copier(db, err);
    if (status == STATUS_OK)
        status = database_thread_start(db, err);
    if (status == STATUS_OK)
        status = start_pager(db, err);
    return status == STATUS_OK ? start_runner(db, err) : status;
}

#define KEPT_BYTES (8 << 20) /* that the allocator may keep for each of its arenas */

void database_own_process(void)
{
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    /* A commit empties the page caches of the read connections, which are full again soon. */
#ifdef M_TRIM_THRESHOLD
    mallopt(M_TRIM_THRESHOLD, KEPT_BYTES);
#endif
}

struct database *database_open(const struct database_options *options, struct buf *err)
{
    struct database *db = mem_zalloc(sizeof(*db));
    if (!db) {
        buf_puts(err, "out of memory");
        return NULL;
    }
    db->options = db->swift = *options;
    db->swift.query_timeout_ms = DATABASE_SWIFT_MS;
    if (!db->swift.max_result || db->swift.max_result > DATABASE_SWIFT_BYTES)
        db->swift.max_result = DATABASE_SWIFT_BYTES;
    int status = start(db, options->path, err);
    if (status == STATUS_OK)
        return db;
    if (status == STATUS_NOMEM && err->len == 0)
        buf_printf(err, "cannot open %s: out of memory", options->path);
    database_close(db);
    return NULL;
}

void database_close(struct database *db)
{
    pager_stop(&db->pager);
    runner_stop(&db->runner);
    database_thread_stop(db);
    runner_fini(&db->runner);
    copier_stop(&db->copier);
    database_thread_fini(db);
    if (db->has_readers)
        readers_close(&db->readers);
    /* Last, so that SQLite can empty and remove the write-ahead log. */
    writer_close(&db->writer);
    watch_fini(&db->watch);
    schema_unref(db->published.schema);
    places_fini(&db->published.places);
    pthread_mutex_destroy(&db->published.lock);
    pthread_mutex_destroy(&db->duty);
    mem_free(db->path);
    mem_free(db->open_path);
    mem_free(db);
}
