#include "capture/database_parts.h"

#include "base/clock.h"
#include "base/cores.h"
#include "base/log.h"
#include "base/status.h"
#include "base/thread.h"
#include "capture/settle.h"

#define TRIM_MS 10000   /* between two looks at the journal's age, with nothing to do */
#define TRIM_SOON_MS 50 /* when the last one left some to delete */

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

void database_thread_follow_schema(void *ctx)
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

void database_thread_copied(void *ctx)
{
    struct database *db = ctx;
    if (!atomic_exchange(&db->copied, true))
        mailbox_post(&db->mailbox, &db->copied_message);
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
    if (db->writer.wrote)
        watch_wrote(&db->watch);
    db->writer.wrote = false;
    wait_ms = earlier(wait_ms, follower_soon(&db->writer.follower));
    watch_woke(&db->watch,
        mailbox_wait_or(&db->mailbox, watch_fd(&db->watch), watch_timeout(&db->watch, wait_ms)));
}

/*
 * Whether to go on at once. After a commit of our own it is the loops' turn, and the next request's
 * if there is one: the rest has time.
 */
static bool run_group(struct database *db)
{
    group_run(&db->group);
    return !group_empty(&db->group) || !db->writer.wrote || db->stop;
}

static void *run_thread(void *arg)
{
    struct database *db = arg;
    cores_ask_promptness();
    while (true) {
        take_messages(db);
        if (atomic_load(&db->interrupted))
            group_refuse(&db->group, "QUERY_CANCELLED", "the server shuts down");
        bool more = follower_run(&db->writer.follower);
        more |= settle_run(&db->writer.follower, !group_empty(&db->group));
        if (!group_empty(&db->group))
            more |= run_group(db);
        else if (db->stop)
            return NULL;
        if (!more)
            rest(db);
    }
}

int database_thread_prepare(struct database *db, struct buf *err)
{
    if (mailbox_init(&db->mailbox) < 0) {
        buf_puts(err, "cannot make an eventfd: too many open files?");
        return STATUS_IO;
    }
    db->has_mailbox = true;
    db->follow_message.run = run_follow;
    db->copied_message.run = run_copied;
    return STATUS_OK;
}

int database_thread_start(struct database *db, struct buf *err)
{
    group_init(&db->group, &db->writer);
    if (thread_start(&db->thread, NULL, run_thread, db, "database") != 0) {
        buf_puts(err, "cannot start the database thread: too many threads?");
        return STATUS_IO;
    }
    db->has_thread = true;
    return STATUS_OK;
}

void database_thread_run(void *ctx, struct sql_request *r)
{
    struct database *db = ctx;
    r->message.run = run_request;
    mailbox_post(&db->mailbox, &r->message);
}

void database_thread_stop(struct database *db)
{
    if (!db->has_thread)
        return;
    db->stop_message.run = run_stop;
    mailbox_post(&db->mailbox, &db->stop_message);
    pthread_join(db->thread, NULL);
}

void database_thread_fini(struct database *db)
{
    if (!db->has_mailbox)
        return;
    take_messages(db);
    mailbox_fini(&db->mailbox);
}

void database_follow(struct database *db)
{
    if (!db->external)
        return;
    db->start_message.run = run_start;
    mailbox_post(&db->mailbox, &db->start_message);
}
