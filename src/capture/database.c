#include "capture/database.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/pulse.h"
#include "base/status.h"
#include "base/text.h"
#include "capture/copier.h"
#include "capture/group.h"
#include "capture/opening.h"
#include "capture/pager.h"
#include "capture/query.h"
#include "capture/readers.h"
#include "capture/runner.h"
#include "capture/settle.h"
#include "capture/sqlerror.h"
#include "capture/statement_log.h"
#include "capture/wait.h"
#include "capture/watch.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define EPOCH_LENGTH 12
#define SNAPSHOTS 4
#define QUERY_THREADS 4
#define QUERY_QUEUE 4096
#define OPEN_QUERIES 64
#define TRIM_MS 10000   /* between two looks at the journal's age, with nothing to do */
#define TRIM_SOON_MS 50 /* when the last one left some to delete */

struct database {
    struct database_options options;
    char *path;           /* as given */
    char *open_path;      /* as SQLite must hear it */
    const char *wal_path; /* SQLite's, as long as the writer is open */
    char epoch[JOURNAL_EPOCH_MAX + 1];
    char journal_mode[16];
    struct published published;
    struct writer writer;
    struct readers readers;
    struct pager pager;
    struct runner runner;
    struct group group;
    struct mailbox mailbox;
    pthread_t thread;
    atomic_bool interrupted;
    struct watch watch; /* of the log */
    struct copier copier;
    struct message copied_message;
    atomic_bool copied;   /* it is posted */
    bool stop;            /* the database thread's: leave when nothing waits */
    int64_t next_trim_ms; /* likewise, by the steady clock */
    struct message stop_message;
    struct message follow_message;
    atomic_bool following; /* it is posted */
    struct message start_message;
    struct pulse pulse;
    uint64_t steps_seen; /* when database_works was last asked */
    bool has_readers, has_mailbox, has_thread, external;
};

static void run_request(struct message *m, void *receiver)
{
    struct database *db = receiver;
    group_push(&db->group, (struct sql_request *)m);
}

static void run_stop(struct message *m, void *receiver)
{
    struct database *db = receiver;
    (void)m;
    db->stop = true;
}

static void run_follow(struct message *m, void *receiver)
{
    struct database *db = receiver;
    (void)m;
    atomic_store(&db->following, false);
    int rc = writer_follow_schema(&db->writer);
    if (rc != SQLITE_OK)
        log_warn("cannot look for a changed schema: %s", sqlite3_errstr(rc));
}

static void follow_schema(void *ctx)
{
    struct database *db = ctx;
    if (!atomic_exchange(&db->following, true))
        mailbox_post(&db->mailbox, &db->follow_message);
}

static void take_messages(struct database *db)
{
    struct message *m = mailbox_take(&db->mailbox);
    while (m) {
        struct message *next = m->next;
        m->run(m, db);
        m = next;
    }
}

static void run_start(struct message *m, void *receiver)
{
    struct database *db = receiver;
    (void)m;
    writer_follow(&db->writer);
}

/* What is to be done now is looked at with every turn. */
static void run_copied(struct message *m, void *receiver)
{
    struct database *db = receiver;
    (void)m;
    atomic_store(&db->copied, false);
}

static void post_copied(void *ctx)
{
    struct database *db = ctx;
    if (!atomic_exchange(&db->copied, true))
        mailbox_post(&db->mailbox, &db->copied_message);
}

static int start_copier(struct database *db, struct buf *err)
{
    if (!db->external)
        return STATUS_OK;
    db->copied_message.run = run_copied;
    int status = copier_start(&db->copier, db->open_path, &db->interrupted, post_copied, db);
    if (status == STATUS_IO)
        buf_puts(err, "cannot start the thread for checkpoints: too many threads or open files?");
    db->writer.follower.copier = status == STATUS_OK ? &db->copier : NULL;
    return status;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < 0 || (b >= 0 && b < a) ? b : a;
}

/* With little to do the journal is trimmed as well; not at every pause, where there are many. */
static int64_t trim(struct database *db)
{
    int64_t now_ms = clock_mono_ns() / 1000000;
    if (!db->options.journal)
        return -1;
    if (now_ms >= db->next_trim_ms)
        db->next_trim_ms = now_ms + (writer_trim(&db->writer) ? TRIM_SOON_MS : TRIM_MS);
    return db->next_trim_ms - now_ms;
}

static void rest(struct database *db)
{
    int64_t wait_ms = trim(db);
    if (!db->writer.follower.active) {
        mailbox_wait(&db->mailbox, (int)wait_ms);
        return;
    }
    if (db->writer.follower.found)
        watch_found(&db->watch);
    wait_ms = earlier(wait_ms, follower_soon(&db->writer.follower));
    watch_woke(&db->watch,
        mailbox_wait_or(&db->mailbox, watch_fd(&db->watch), watch_timeout(&db->watch, wait_ms)));
}

static void *run_thread(void *arg)
{
    struct database *db = arg;
    while (true) {
        take_messages(db);
        if (atomic_load(&db->interrupted))
            group_refuse(&db->group, "QUERY_CANCELLED", "the server shuts down");
        bool more = follower_run(&db->writer.follower);
        more |= settle_run(&db->writer.follower);
        if (!group_empty(&db->group))
            group_run(&db->group);
        else if (db->stop)
            return NULL;
        else if (!more)
            rest(db);
    }
}

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

static int start_mailbox(struct database *db, struct buf *err)
{
    if (mailbox_init(&db->mailbox) < 0) {
        buf_puts(err, "cannot make an eventfd: too many open files?");
        return STATUS_IO;
    }
    db->has_mailbox = true;
    return STATUS_OK;
}

static int start_thread(struct database *db, struct buf *err)
{
    group_init(&db->group, &db->writer);
    if (pthread_create(&db->thread, NULL, run_thread, db) != 0) {
        buf_puts(err, "cannot start the database thread: too many threads?");
        return STATUS_IO;
    }
    pthread_setname_np(db->thread, "database");
    db->has_thread = true;
    return STATUS_OK;
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
        .follow_schema = follow_schema,
        .ctx = db,
    };
    db->follow_message.run = run_follow;
    int status = pager_start(&db->pager, &options);
    if (status == STATUS_IO)
        buf_puts(err, "cannot start the thread for snapshots: too many threads or open files?");
    return status;
}

static void post_later(void *ctx, struct sql_request *r)
{
    struct database *db = ctx;
    r->message.run = run_request;
    mailbox_post(&db->mailbox, &r->message);
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
        .post = post_later,
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
        status = start_mailbox(db, err);
    if (status == STATUS_OK)
        status = start_copier(db, err);
    if (status == STATUS_OK)
        status = start_thread(db, err);
    if (status == STATUS_OK)
        status = start_pager(db, err);
    return status == STATUS_OK ? start_runner(db, err) : status;
}

struct database *database_open(const struct database_options *options, struct buf *err)
{
    struct database *db = mem_zalloc(sizeof(*db));
    if (!db) {
        buf_puts(err, "out of memory");
        return NULL;
    }
    db->options = *options;
    int status = start(db, options->path, err);
    if (status == STATUS_OK)
        return db;
    if (status == STATUS_NOMEM && err->len == 0)
        buf_printf(err, "cannot open %s: out of memory", options->path);
    database_close(db);
    return NULL;
}

void database_follow(struct database *db)
{
    if (!db->external)
        return;
    db->start_message.run = run_start;
    mailbox_post(&db->mailbox, &db->start_message);
}

bool database_external(const struct database *db)
{
    return db->external;
}

void database_close(struct database *db)
{
    pager_stop(&db->pager);
    runner_stop(&db->runner);
    if (db->has_thread) {
        db->stop_message.run = run_stop;
        mailbox_post(&db->mailbox, &db->stop_message);
        pthread_join(db->thread, NULL);
    }
    runner_fini(&db->runner);
    copier_stop(&db->copier);
    if (db->has_mailbox) {
        take_messages(db);
        mailbox_fini(&db->mailbox);
    }
    if (db->has_readers)
        readers_close(&db->readers);
    /* Last, so that SQLite can empty and remove the write-ahead log. */
    writer_close(&db->writer);
    watch_fini(&db->watch);
    schema_unref(db->published.schema);
    places_fini(&db->published.places);
    pthread_mutex_destroy(&db->published.lock);
    mem_free(db->path);
    mem_free(db->open_path);
    mem_free(db);
}

void database_interrupt(struct database *db)
{
    atomic_store(&db->interrupted, true);
    pager_interrupt(&db->pager);
    runner_interrupt(&db->runner);
}

void database_scan(struct database *db, struct scan *s)
{
    pager_scan(&db->pager, s);
}

void database_read_past(struct database *db, struct past *p)
{
    pager_read_past(&db->pager, p);
}

struct schema *database_schema(struct database *db)
{
    pthread_mutex_lock(&db->published.lock);
    struct schema *s = schema_ref(db->published.schema);
    pthread_mutex_unlock(&db->published.lock);
    return s;
}

uint64_t database_seq(const struct database *db)
{
    return atomic_load(&db->published.seq);
}

const char *database_epoch(const struct database *db)
{
    return db->epoch;
}

bool database_past(const struct database *db, uint64_t *after)
{
    *after = atomic_load(&db->published.past);
    return db->options.journal;
}

const char *database_path(const struct database *db)
{
    return db->path;
}

const char *database_journal_mode(const struct database *db)
{
    return db->journal_mode;
}

int database_ping(struct database *db)
{
    struct sqlconn *c = readers_take(&db->readers);
    int rc = sqlconn_run(c, OWN_TOUCH);
    readers_give(&db->readers, c);
    return rc == SQLITE_OK ? STATUS_OK : STATUS_IO;
}

bool database_works(struct database *db)
{
    bool answered = pulse_ask(&db->pulse, &db->mailbox);
    uint64_t steps = atomic_load_explicit(&db->writer.conn.steps, memory_order_relaxed);
    bool moved = steps != db->steps_seen;
    db->steps_seen = steps;
    return answered || moved;
}

const char *database_sqlite_version(void)
{
    return sqlite3_libversion();
}

void database_post(struct database *db, struct sql_request *r)
{
    r->posted_ns = clock_mono_ns();
    statement_log_begin(r);
    post_later(db, r);
}

void database_run(struct database *db, struct sql_request *r)
{
    runner_run(&db->runner, r);
}

void cursor_open(struct database *db, struct cursor *c)
{
    runner_open(&db->runner, c);
}

bool database_drain(struct database *db, int64_t ms)
{
    return runner_drain(&db->runner, ms);
}

static bool read_only(struct database *db, struct sql_request *r)
{
    struct job j = {.request = r};
    struct sqlconn *c = readers_take(&db->readers);
    bool was = query_run(c, &db->published, &db->options, &j);
    readers_give(&db->readers, c);
    if (was) {
        statement_log_end(r, &db->published, &db->options, false);
        atomic_fetch_add(&db->published.statements, 1);
        atomic_fetch_add(&db->published.errors, r->error.code[0] != 0);
    }
    return was;
}

void database_execute(struct database *db, struct sql_request *r)
{
    r->posted_ns = clock_mono_ns();
    statement_log_begin(r);
    if (!query_possible(r) || !read_only(db, r))
        wait_post(db, r);
    if (r->done)
        r->done(r);
}

static uint64_t wal_bytes(const struct database *db)
{
    struct stat st;
    return db->wal_path && stat(db->wal_path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

void database_stats(struct database *db, struct database_stats *out)
{
    struct published *p = &db->published;
    *out = (struct database_stats){
        .commits = atomic_load(&p->commits),
        .changes = atomic_load(&p->changes),
        .statements = atomic_load(&p->statements),
        .errors = atomic_load(&p->errors),
        .group_commits = atomic_load(&p->group_commits),
        .own = atomic_load(&p->own),
        .external = atomic_load(&p->external),
        .restarts = atomic_load(&p->restarts),
        .journal_bytes = atomic_load(&p->journal_bytes),
        .wal_bytes = wal_bytes(db),
    };
    tally_read(&p->reads, &out->reads);
    tally_read(&p->writes, &out->writes);
    tally_read(&p->commit_times, &out->commit_times);
    tally_read(&p->group_sizes, &out->group_sizes);
}
