#include "capture/database_parts.h"

#include "base/clock.h"
#include "base/status.h"
#include "capture/query.h"
#include "capture/sqlerror.h"
#include "capture/statement_log.h"
#include "capture/wait.h"
#include <string.h>
#include <sys/stat.h>

bool database_external(const struct database *db)
{
    return db->external;
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
    database_thread_run(db, r);
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
    if (was)
        statement_log_read(r, &db->published, &db->options);
    return was;
}

void database_execute(struct database *db, struct sql_request *r)
{
    r->posted_ns = clock_mono_ns();
    statement_log_begin(r);
    r->only_read = query_possible(r) && read_only(db, r);
    if (!r->only_read && !database_thread_stand_in(db, r))
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
