#include "capture/pager.h"

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/status.h"
#include "capture/scan_place.h"
#include <stdlib.h>

#define DEFAULT_PLACES 4
#define SWEEP_MS 500 /* between two looks for scans that take too long */

struct pager {
    const struct database_options *options;
    struct published *published;
    const char *path;
    const atomic_bool *closing;
    struct mailbox mailbox;
    pthread_t thread;
    struct message stop;
    bool stopping;
    struct scan_place *places;
    int place_count, taken;
    struct scan *waiting, **waiting_tail; /* for a place */
    struct sqlconn journal;
    bool journal_connected;
    struct piece_reader pieces;
};

static int connect_to(struct pager *p, struct sqlconn *c, bool *connected)
{
    if (*connected)
        return SQLITE_OK;
    int rc = sqlconn_open(c, p->path, true, p->options->busy_timeout_ms, p->closing);
    *connected = rc == SQLITE_OK;
    if (rc != SQLITE_OK)
        sqlconn_close(c);
    return rc;
}

/* Scans. */

static struct scan_place *free_place(struct pager *p)
{
    for (int i = 0; i < p->place_count; i++)
        if (!p->places[i].owner)
            return &p->places[i];
    return NULL;
}

static void hand_back(struct scan *s, int status)
{
    s->status = status;
    s->done(s);
}

static void open_scan(struct pager *p, struct scan *s, struct scan_place *at)
{
    int rc = connect_to(p, &at->conn, &at->connected);
    if (rc != SQLITE_OK) {
        hand_back(s, rc == SQLITE_NOMEM ? STATUS_NOMEM : STATUS_IO);
        return;
    }
    scan_open(at, s, p->published);
    p->taken += at->owner == s;
    s->done(s);
}

/* Its place is still its own. */
static bool holds_place(const struct scan *s)
{
    return s->place && s->place->owner == s;
}

static void leave_place(struct pager *p, struct scan_place *at)
{
    scan_end(at);
    p->taken--;
}

/* Those that waited longest come first to the places that are free. */
static void admit(struct pager *p)
{
    struct scan_place *at;
    while (p->waiting && (at = free_place(p))) {
        struct scan *s = p->waiting;
        p->waiting = s->next;
        if (!p->waiting)
            p->waiting_tail = &p->waiting;
        open_scan(p, s, at);
    }
}

static void begin_scan(struct pager *p, struct scan *s)
{
    s->place = NULL;
    s->schema = NULL;
    s->batch = NULL;
    s->next = NULL;
    *p->waiting_tail = s;
    p->waiting_tail = &s->next;
    admit(p);
}

static void page_scan(struct scan *s)
{
    if (holds_place(s))
        scan_page(s->place, s);
    else
        s->status = STATUS_CLOSED;
    s->done(s);
}

static void close_scan(struct pager *p, struct scan *s)
{
    if (holds_place(s))
        leave_place(p, s->place);
    schema_unref(s->schema);
    s->schema = NULL;
    hand_back(s, STATUS_OK);
    admit(p);
}

static void run_scan(struct message *m, void *receiver)
{
    struct pager *p = receiver;
    struct scan *s = list_entry(m, struct scan, message);
    if (s->step == SCAN_CLOSE)
        close_scan(p, s);
    else if (p->stopping)
        hand_back(s, STATUS_CLOSED);
    else if (s->step == SCAN_OPEN)
        begin_scan(p, s);
    else
        page_scan(s);
}

void pager_scan(struct pager *p, struct scan *s)
{
    s->message.run = run_scan;
    mailbox_post(&p->mailbox, &s->message);
}

/* A reader that takes for ever would keep the write-ahead log growing. */
static void sweep(struct pager *p)
{
    int64_t now = clock_mono_ms();
    for (int i = 0; i < p->place_count; i++) {
        struct scan_place *at = &p->places[i];
        if (at->owner && p->options->scan_timeout_ms &&
            now - at->opened_ms > p->options->scan_timeout_ms)
            leave_place(p, at);
    }
    admit(p);
}

/* The past. */

static int read_past(struct pager *p, struct past *r)
{
    int rc = connect_to(p, &p->journal, &p->journal_connected);
    if (rc != SQLITE_OK)
        return rc == SQLITE_NOMEM ? STATUS_NOMEM : STATUS_IO;
    sqlconn_limit(&p->journal, 0, NULL);
    int status = journal_read(&p->journal, &p->pieces, r->after, r->max_bytes, &r->batch);
    sqlconn_unlimit(&p->journal);
    if (status == STATUS_INVALID)
        log_error("the journal is damaged after seq %llu", (unsigned long long)r->after);
    return status;
}

static void run_past(struct message *m, void *receiver)
{
    struct pager *p = receiver;
    struct past *r = list_entry(m, struct past, message);
    r->batch = NULL;
    r->status = STATUS_NOT_FOUND;
    if (p->stopping)
        r->status = STATUS_CLOSED;
    else if (p->options->journal)
        r->status = read_past(p, r);
    if (r->status == STATUS_INVALID)
        r->status = STATUS_NOT_FOUND;
    r->done(r);
}

void pager_read_past(struct pager *p, struct past *r)
{
    r->message.run = run_past;
    mailbox_post(&p->mailbox, &r->message);
}

/* The thread. */

static void run_stop(struct message *m, void *receiver)
{
    struct pager *p = receiver;
    (void)m;
    p->stopping = true;
    while (p->waiting) {
        struct scan *s = p->waiting;
        p->waiting = s->next;
        hand_back(s, STATUS_CLOSED);
    }
    p->waiting_tail = &p->waiting;
}

static void take_messages(struct pager *p)
{
    struct message *m, *next;
    /* Handing something back may cause more to be posted. */
    while ((m = mailbox_take(&p->mailbox))) {
        for (; m; m = next) {
            next = m->next;
            m->run(m, p);
        }
    }
}

static void *run_thread(void *arg)
{
    struct pager *p = arg;
    while (!p->stopping) {
        mailbox_wait(&p->mailbox, p->taken > 0 && p->options->scan_timeout_ms ? SWEEP_MS : -1);
        take_messages(p);
        sweep(p);
    }
    return NULL;
}

static void pager_close(struct pager *p)
{
    for (int i = 0; i < p->place_count; i++) {
        if (p->places[i].owner)
            scan_end(&p->places[i]);
        if (p->places[i].connected)
            sqlconn_close(&p->places[i].conn);
    }
    if (p->journal_connected)
        sqlconn_close(&p->journal);
    piece_reader_fini(&p->pieces);
    mem_free(p->places);
    mem_free(p);
}

struct pager *pager_new(const struct database_options *options, struct published *published,
    const char *path, const atomic_bool *closing, uint64_t run)
{
    struct pager *p = mem_zalloc(sizeof(*p));
    if (!p)
        return NULL;
    p->options = options;
    p->published = published;
    p->path = path;
    p->closing = closing;
    p->waiting_tail = &p->waiting;
    piece_reader_init(&p->pieces, run);
    int count = options->snapshots > 0 ? options->snapshots : DEFAULT_PLACES;
    p->places = mem_array((size_t)count, sizeof(*p->places));
    p->place_count = p->places ? count : 0;
    if (!p->places || mailbox_init(&p->mailbox) < 0) {
        pager_close(p);
        return NULL;
    }
    if (pthread_create(&p->thread, NULL, run_thread, p) == 0)
        return p;
    mailbox_fini(&p->mailbox);
    pager_close(p);
    return NULL;
}

void pager_free(struct pager *p)
{
    if (!p)
        return;
    p->stop.run = run_stop;
    mailbox_post(&p->mailbox, &p->stop);
    pthread_join(p->thread, NULL);
    mailbox_fini(&p->mailbox);
    pager_close(p);
}
