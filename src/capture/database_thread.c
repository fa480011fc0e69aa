#include "capture/database_parts.h"

#include "base/clock.h"
#include "base/cores.h"
#include "base/log.h"
#include "base/status.h"
#include "base/thread.h"
#include "capture/settle.h"

#define TRIM_MS 10000   /* between two looks at the journal's age, with nothing to do */
#define TRIM_SOON_MS 50 /* when the last one left some to delete */
/* A request that is small, and a batch: bytes. */
#define SMALL_BYTES 16384
#define SMALL_STATEMENTS 16
#define SMALL_PARAMS 64
/* After one that was not the database thread does all for so long. */
#define LARGE_PAUSE_NS 1000000000
#define DUE_MS 5 /* before the log is settled after a commit: it is the loops' turn */

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
static void run_nudge(struct message *m, void *receiver)
{
    struct database *db = receiver;
    (void)m;
    atomic_store(&db->nudged, false);
}

void database_thread_nudge(void *ctx)
{
    struct database *db = ctx;
    if (!atomic_exchange(&db->nudged, true))
        mailbox_post(&db->mailbox, &db->nudge_message);
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

/*
 * After a commit of our own. What was told of it is heard, and with it what was told of others
 * until now, of whom nothing may be missing therefore. True: the thread is to be awake.
 */
static bool note_written(struct database *db)
{
    struct follower *f = &db->writer.follower;
    bool wrote = db->writer.wrote;
    db->writer.wrote = false;
    if (!wrote || !f->active)
        return false;
    bool due = watch_wrote(&db->watch);
    if (!db->watch.rush && !follower_has_all(f)) {
        watch_missed(&db->watch);
        due = true;
    }
    return due || settle_is_due(f);
}

static void take_duty(struct database *db)
{
    atomic_store(&db->duty_wanted, true);
    pthread_mutex_lock(&db->duty);
    atomic_store(&db->duty_wanted, false);
}

static void give_duty(struct database *db)
{
    pthread_mutex_unlock(&db->duty);
}

static void rest(struct database *db)
{
    int64_t wait_ms = trim(db), wait_ns;
    struct follower *f = &db->writer.follower;
    bool readable;
    int fd = -1;
    if (note_written(db))
        wait_ms = earlier(wait_ms, DUE_MS);
    if (f->active) {
        if (f->found)
            watch_found(&db->watch);
        watch_hear(&db->watch);
        fd = watch_fd(&db->watch);
        wait_ns = watch_timeout(&db->watch, earlier(wait_ms, follower_soon(f)));
    } else {
        wait_ns = wait_ms < 0 ? -1 : wait_ms * 1000000;
    }
    give_duty(db);
    readable = mailbox_wait_or(&db->mailbox, fd, wait_ns);
    take_duty(db);
    if (f->active)
        watch_woke(&db->watch, readable);
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

static void work(struct database *db)
{
    while (true) {
        take_messages(db);
        if (atomic_load(&db->interrupted))
            group_refuse(&db->group, "QUERY_CANCELLED", "the server shuts down");
        bool more = follower_run(&db->writer.follower);
        more |= settle_run(&db->writer.follower, !group_empty(&db->group));
        if (!group_empty(&db->group))
            more |= run_group(db);
        else if (db->stop)
            return;
        if (!more)
            rest(db);
    }
}

static void *run_thread(void *arg)
{
    struct database *db = arg;
    cores_ask_promptness();
    take_duty(db);
    work(db);
    give_duty(db);
    return NULL;
}

static size_t text_bytes(const struct value *v)
{
    return v->type == VALUE_TEXT || v->type == VALUE_BLOB ? v->len : 0;
}

/*
 * The memory of a batch outlives the request, in the history, and an allocator that has an arena
 * for each thread would keep it for this thread afterwards. So what writes much, for which the way
 * to the database thread matters little, is done there.
 */
static bool is_small(const struct sql_request *r)
{
    size_t bytes = 0;
    if (r->statement_count > SMALL_STATEMENTS)
        return false;
    for (int i = 0; i < r->statement_count; i++) {
        const struct sql_statement *s = &r->statements[i];
        bytes += s->len;
        if (s->param_count > SMALL_PARAMS)
            return false;
        for (int n = 0; n < s->param_count; n++)
            bytes += text_bytes(&s->params[n].value);
    }
    return bytes <= SMALL_BYTES;
}

static bool is_free(const struct database *db)
{
    return !mailbox_waits(&db->mailbox) && group_empty(&db->group) && !db->stop &&
           !atomic_load(&db->interrupted) &&
           (!db->large_ns || clock_mono_ns() - db->large_ns > LARGE_PAUSE_NS);
}

static void ignore(struct sql_request *r)
{
    (void)r;
}

static void run_alone(struct database *db, struct sql_request *r)
{
    void (*done)(struct sql_request *) = r->done;
    db->writer.batch_bytes = 0;
    r->done = ignore;
    group_push(&db->group, r);
    group_run(&db->group);
    r->done = done;
    db->large_ns = db->writer.batch_bytes > SMALL_BYTES ? clock_mono_ns() : 0;
}

bool database_thread_stand_in(struct database *db, struct sql_request *r)
{
    if (!is_small(r) || atomic_load(&db->duty_wanted) || pthread_mutex_trylock(&db->duty) != 0)
        return false;
    bool free = is_free(db);
    if (free) {
        watch_deafen(&db->watch);
        run_alone(db, r);
        if (note_written(db))
            database_thread_nudge(db);
        watch_hear(&db->watch);
    }
    give_duty(db);
    return free;
}

int database_thread_prepare(struct database *db, struct buf *err)
{
    if (mailbox_init(&db->mailbox) < 0) {
        buf_puts(err, "cannot make an eventfd: too many open files?");
        return STATUS_IO;
    }
    db->has_mailbox = true;
    db->follow_message.run = run_follow;
    db->nudge_message.run = run_nudge;
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
