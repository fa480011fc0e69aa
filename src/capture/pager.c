#include "capture/pager.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/thread.h"
#include <stddef.h>

/*
 * So long a scan may try to begin between two commits, or wait for the writer to see the schema;
 * and a page of the journal may wait for commits.
 */
#define BEGIN_MS 10000
/* Between two looks for what was cancelled while it waits. */
#define CANCEL_MS 50

#define SCAN_OF(m) ((struct scan *)((char *)(m)-offsetof(struct scan, message)))
#define PAST_OF(m) ((struct past *)((char *)(m)-offsetof(struct past, message)))

static bool is_closing(const struct pager *p)
{
    return atomic_load_explicit(&p->closing, memory_order_relaxed);
}

static bool is_cancelled(struct scan *s)
{
    return atomic_load_explicit(&s->cancel, memory_order_relaxed);
}

/* The object is the asker's again, who may free it at once. */
static void finish(struct scan *s, int status)
{
    s->status = status;
    s->done(s);
}

/* Which serves this scan; NULL: a free one. */
static struct scanner *find(struct pager *p, const struct scan *s)
{
    for (int i = 0; i < p->options.snapshots; i++)
        if (p->scanners[i].scan == s)
            return &p->scanners[i];
    return NULL;
}

static void run_open(struct pager *p, struct scan *s)
{
    s->schema = NULL;
    s->message.next = NULL;
    *p->tail = s;
    p->tail = (struct scan **)&s->message.next;
}

static void run_page(struct pager *p, struct scan *s)
{
    struct scanner *c = find(p, s);
    s->batch = NULL;
    s->last = false;
    finish(s, !c || is_closing(p) || is_cancelled(s) ? STATUS_CLOSED : scanner_page(c));
}

static void run_close(struct pager *p, struct scan *s)
{
    struct scanner *c = find(p, s);
    if (c)
        scanner_release(c);
    schema_unref(s->schema);
    s->schema = NULL;
    finish(s, STATUS_OK);
}

static void run_scan(struct message *m, void *receiver)
{
    static void (*const steps[])(struct pager *, struct scan *) = {
        [SCAN_OPEN] = run_open, [SCAN_PAGE] = run_page, [SCAN_CLOSE] = run_close};
    struct scan *s = SCAN_OF(m);
    steps[s->step](receiver, s);
}

static int open_journal(struct pager *p)
{
    if (p->conn.db)
        return STATUS_OK;
    int rc = sqlconn_open(&p->conn, p->options.path, true, 0, &p->closing);
    if (rc == SQLITE_OK)
        return STATUS_OK;
    sqlconn_close(&p->conn);
    return (rc & 0xff) == SQLITE_NOMEM ? STATUS_NOMEM : STATUS_IO;
}

static int read_journal(struct pager *p, struct past *q)
{
    int status = open_journal(p);
    if (status < 0)
        return status;
    sqlconn_limit(&p->conn, 0, NULL);
    status = journal_read(&p->conn, &p->reader, q->after, q->max_bytes, &q->batch);
    sqlconn_unlimit(&p->conn);
    if (status == STATUS_INVALID) {
        if (!p->damaged)
            log_error("the journal is damaged after change %llu: what it holds there is as if it "
                      "were no longer kept",
                (unsigned long long)q->after);
        p->damaged = true;
        status = STATUS_NOT_FOUND;
    }
    return status < 0 && is_closing(p) ? STATUS_CLOSED : status;
}

static void run_past(struct message *m, void *receiver)
{
    struct pager *p = receiver;
    struct past *q = PAST_OF(m);
    q->batch = NULL;
    q->message.next = NULL;
    *p->past_tail = q;
    p->past_tail = (struct past **)&q->message.next;
}

/* In journal modes other than WAL a commit keeps readers away. */
static bool journal_is_busy(const struct pager *p)
{
    return p->conn.db && (sqlite3_errcode(p->conn.db) & 0xff) == SQLITE_BUSY;
}

static int past_status(struct pager *p, struct past *q)
{
    if (is_closing(p))
        return STATUS_CLOSED;
    return p->options.journal ? read_journal(p, q) : STATUS_NOT_FOUND;
}

/*
 * Reads what waits. Whether it should soon be called again: nothing is waited for in here, since
 * the commit that is in the way may itself wait for a scan.
 */
static bool read_waiting(struct pager *p)
{
    while (p->past) {
        struct past *q = p->past;
        int64_t now = clock_mono_ms();
        if (!p->past_ms)
            p->past_ms = now;
        q->status = past_status(p, q);
        if (q->status == STATUS_IO && journal_is_busy(p) && now - p->past_ms < BEGIN_MS)
            return true;
        p->past_ms = 0;
        p->past = (struct past *)q->message.next;
        if (!p->past)
            p->past_tail = &p->past;
        q->done(q);
    }
    return false;
}

static void run_stop(struct message *m, void *receiver)
{
    struct pager *p = receiver;
    (void)m;
    p->stop = true;
}

/* Takes the transaction from scans that are too old, whatever their owners do. */
static void expire(struct pager *p, int64_t now)
{
    int64_t timeout = p->options.scan_timeout_ms;
    for (int i = 0; timeout > 0 && i < p->options.snapshots; i++)
        if (p->scanners[i].scan && now - p->scanners[i].opened_ms >= timeout)
            scanner_release(&p->scanners[i]);
}

static void unlink_open(struct pager *p, struct scan **at)
{
    struct scan *s = *at;
    if (at == &p->head)
        p->trying_ms = 0;
    *at = (struct scan *)s->message.next;
    if (!*at)
        p->tail = at;
}

static void drop_cancelled(struct pager *p)
{
    for (struct scan **at = &p->head; *at;) {
        struct scan *s = *at;
        if (is_closing(p) || is_cancelled(s)) {
            unlink_open(p, at);
            finish(s, STATUS_CLOSED);
        } else {
            at = (struct scan **)&s->message.next;
        }
    }
}

/* Begins what waits while there are scanners. Whether it should soon be called again. */
static bool begin_waiting(struct pager *p)
{
    struct scanner *c;
    while (p->head && (c = find(p, NULL))) {
        struct scan *s = p->head;
        int64_t now = clock_mono_ms();
        if (!p->trying_ms)
            p->trying_ms = now;
        int status = scanner_open(c, &p->scanner, s);
        if (status == STATUS_CONFLICT)
            p->options.follow_schema(p->options.ctx);
        if ((status == SCANNER_BUSY || status == STATUS_CONFLICT) && now - p->trying_ms < BEGIN_MS)
            return true;
        unlink_open(p, &p->head);
        finish(s, status == SCANNER_BUSY ? STATUS_CLOSED : status);
    }
    return false;
}

/* What is due between two messages; how long there is nothing more (milliseconds, -1: for ever). */
static int work(struct pager *p)
{
    int64_t timeout = p->options.scan_timeout_ms, wait = -1;
    int64_t now = clock_mono_ms();
    expire(p, now);
    drop_cancelled(p);
    bool again = read_waiting(p);
    if (begin_waiting(p) || again)
        return 1;
    if (p->head)
        wait = CANCEL_MS;
    for (int i = 0; timeout > 0 && i < p->options.snapshots; i++) {
        int64_t left = p->scanners[i].opened_ms + timeout - now;
        if (p->scanners[i].scan && (wait < 0 || left < wait))
            wait = left > 0 ? left : 0;
    }
    return wait > INT32_MAX ? INT32_MAX : (int)wait;
}

/* Whether there was any. */
static bool take_messages(struct pager *p)
{
    struct message *m = mailbox_take(&p->mailbox);
    bool any = m != NULL;
    while (m) {
        struct message *next = m->next;
        m->run(m, p);
        work(p);
        m = next;
    }
    return any;
}

/* What `done` posts is taken before the end, too. */
static void *run_thread(void *arg)
{
    struct pager *p = arg;
    while (true) {
        int wait = work(p);
        if (take_messages(p))
            continue;
        if (p->stop)
            return NULL;
        mailbox_wait(&p->mailbox, wait);
    }
}

int pager_start(struct pager *p, const struct pager_options *options)
{
    p->options = *options;
    p->scanner = (struct scanner_options){
        .path = options->path, .published = options->published, .closing = &p->closing};
    p->tail = &p->head;
    p->past_tail = &p->past;
    p->scanners = mem_array((size_t)options->snapshots, sizeof(*p->scanners));
    if (!p->scanners)
        return STATUS_NOMEM;
    if (mailbox_init(&p->mailbox) < 0)
        return STATUS_IO;
    piece_reader_init(&p->reader, options->run);
    if (thread_start(&p->thread, NULL, run_thread, p, "pager") != 0) {
        piece_reader_fini(&p->reader);
        mailbox_fini(&p->mailbox);
        return STATUS_IO;
    }
    p->has_thread = true;
    return STATUS_OK;
}

void pager_interrupt(struct pager *p)
{
    atomic_store(&p->closing, true);
}

void pager_stop(struct pager *p)
{
    if (p->has_thread) {
        pager_interrupt(p);
        p->stop_message.run = run_stop;
        mailbox_post(&p->mailbox, &p->stop_message);
        pthread_join(p->thread, NULL);
        piece_reader_fini(&p->reader);
        mailbox_fini(&p->mailbox);
    }
    for (int i = 0; p->scanners && i < p->options.snapshots; i++)
        scanner_fini(&p->scanners[i]);
    sqlconn_close(&p->conn);
    mem_free(p->scanners);
    p->scanners = NULL;
    p->has_thread = false;
}

void pager_scan(struct pager *p, struct scan *s)
{
    s->message.run = run_scan;
    mailbox_post(&p->mailbox, &s->message);
}

void pager_read_past(struct pager *p, struct past *q)
{
    q->message.run = run_past;
    mailbox_post(&p->mailbox, &q->message);
}
