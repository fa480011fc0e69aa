#include "capture/cursor_run.h"

#include "base/clock.h"
#include "capture/cursor_fill.h"
#include "capture/sqlerror.h"
#include "capture/statement_log.h"

/*
 *   cursor_open -> fresh -> a worker <---- ready <----------- a page is given back
 *        |                   |   |   |       ^  ^                       ^
 *        |                   |   |   +-------+  |  others wait          |
 *        |                   |   +--------------+--------> resting -----+  all pages are taken
 *        |                   v                  |
 *        +-----------> database thread ---------+  what writes, or is no single query
 *
 * A worker ends what it runs, the watch what waits or rests.
 */
#define PROGRESS_NS 250000000

/* Ending. */

static void release_conn(struct cursor *c)
{
    struct runner *r = c->runner;
    if (!c->conn)
        return;
    cursor_close(c);
    spares_give(&r->spares, c->conn);
    c->conn = NULL;
}

static void post(struct cursor *c);

/* The next write that has one now, or NULL. The lock is held. */
static struct cursor *give_slot(struct cursor *c)
{
    struct runner *r = c->runner;
    enum cursor_slot slot = c->slot;
    c->slot = CURSOR_NO_SLOT;
    if (slot == CURSOR_OPEN_SLOT) {
        r->open--;
        pthread_cond_signal(&r->work);
    }
    if (slot != CURSOR_WRITE_SLOT || list_empty(&r->writes) || atomic_load(&r->closing)) {
        r->writing -= slot == CURSOR_WRITE_SLOT;
        return NULL;
    }
    struct cursor *next = list_entry(r->writes.next, struct cursor, node);
    list_del(&next->node);
    next->slot = CURSOR_WRITE_SLOT;
    next->state = CURSOR_AWAY;
    return next;
}

static void end(struct cursor *c)
{
    struct runner *r = c->runner;
    release_conn(c);
    /* The database thread has told of what it ran. */
    bool told = c->slot == CURSOR_WRITE_SLOT;
    pthread_mutex_lock(&r->lock);
    c->state = CURSOR_ENDED;
    list_del(&c->all);
    struct cursor *next = give_slot(c);
    pthread_mutex_unlock(&r->lock);
    c->request.rows = atomic_load(&c->rows);
    if (!told)
        statement_log_end(&c->request, r->options.published, r->options.database, false);
    if (next)
        post(next);
    c->done(c);
    runner_ended(r);
}

static bool is_late(const struct cursor *c)
{
    return c->deadline_ns && clock_mono_ns() > c->deadline_ns;
}

static bool is_cancelled(const struct cursor *c)
{
    return atomic_load_explicit(&c->request.cancel, memory_order_relaxed);
}

static bool must_end(const struct cursor *c)
{
    return is_cancelled(c) || is_late(c) || atomic_load(&c->runner->closing);
}

/* Between two steps, or before the first one. */
static void end_early(struct cursor *c)
{
    struct sql_error *e = &c->request.error;
    e->has_seq = c->cutting;
    e->seq = c->request.seq;
    if (atomic_load(&c->runner->closing))
        sqlerror_set(e, "QUERY_CANCELLED", "the query was stopped: the server shuts down");
    else if (is_cancelled(c))
        sqlerror_set(e, "QUERY_CANCELLED", "the query was cancelled");
    else if (c->cutting)
        sqlerror_set(e, "QUERY_CANCELLED",
            "what was asked for has been done, but its rows waited to be read for longer than %g "
            "s; "
            "--query-timeout sets the limit",
            (double)c->runner->options.database->query_timeout_ms / 1000);
    else
        sqlerror_set(e, "QUERY_CANCELLED",
            "the query was stopped after %g s, while its rows waited to be read; --query-timeout "
            "sets the limit",
            (double)c->runner->options.cursor_timeout_ms / 1000);
    atomic_fetch_add(&c->runner->options.published->errors, 1);
    end(c);
}

/* Running. */

static struct cursor_page *take_page(struct cursor *c)
{
    struct runner *r = c->runner;
    struct cursor_page *p = NULL;
    pthread_mutex_lock(&r->lock);
    for (int i = 0; i < CURSOR_PAGES && !p; i++)
        if (!c->pages[i].taken)
            p = &c->pages[i];
    if (p) {
        p->taken = true;
    } else {
        c->state = CURSOR_RESTS;
        list_add_tail(&r->resting, &c->node);
    }
    pthread_mutex_unlock(&r->lock);
    return p;
}

static bool can_open(const struct runner *r)
{
    return !list_empty(&r->fresh) && r->open < r->options.max_open;
}

/* Lets others have the thread. */
static bool yield(struct cursor *c)
{
    struct runner *r = c->runner;
    pthread_mutex_lock(&r->lock);
    bool others = r->head || !list_empty(&r->ready) || can_open(r);
    if (others) {
        c->state = CURSOR_WAITS;
        list_add_tail(&r->ready, &c->node);
    }
    pthread_mutex_unlock(&r->lock);
    return others;
}

/* On the database thread. */
static void written(struct sql_request *q)
{
    struct cursor *c = list_entry(q, struct cursor, request);
    struct runner *r = c->runner;
    if (!q->error.code[0])
        cursor_cut(c, r->options.database->query_timeout_ms);
    pthread_mutex_lock(&r->lock);
    bool ended = q->error.code[0] || r->stop;
    if (!ended) {
        c->state = CURSOR_WAITS;
        list_add_tail(&r->ready, &c->node);
        pthread_cond_signal(&r->work);
    }
    pthread_mutex_unlock(&r->lock);
    if (ended)
        end(c);
}

static void post(struct cursor *c)
{
    struct runner *r = c->runner;
    c->request.done = written;
    r->options.post(r->options.ctx, &c->request);
}

void cursor_post(struct cursor *c)
{
    struct runner *r = c->runner;
    pthread_mutex_lock(&r->lock);
    give_slot(c);
    bool room = r->writing < r->options.max_open;
    if (room) {
        r->writing++;
        c->slot = CURSOR_WRITE_SLOT;
        c->state = CURSOR_AWAY;
    } else {
        c->state = CURSOR_WAITS;
        list_add_tail(&r->writes, &c->node);
    }
    pthread_mutex_unlock(&r->lock);
    if (room)
        post(c);
}

static bool take_conn(struct cursor *c)
{
    struct runner *r = c->runner;
    int rc;
    if (c->conn || c->cutting)
        return true;
    c->conn = spares_take(&r->spares, &rc);
    if (c->conn)
        return true;
    runner_set_open_error(&c->request.error, rc);
    return false;
}

static enum cursor_step fill(struct runner_worker *x, struct cursor *c, struct cursor_page *p)
{
    struct runner *r = x->runner;
    struct published *published = r->options.published;
    bool begins = c->conn && !c->statement;
    int64_t began_ns = clock_mono_ns();
    runner_set_running(x, &c->request, c->conn);
    enum cursor_step step =
        cursor_fill(c, p, published, r->options.database, r->options.cursor_timeout_ms);
    runner_set_running(x, NULL, NULL);
    if (c->statement) /* what ran whole knows */
        c->request.run_ns += clock_mono_ns() - began_ns;
    if (begins && step != CURSOR_WRITE)
        atomic_fetch_add(&published->statements, 1);
    if (step == CURSOR_FAILED)
        atomic_fetch_add(&published->errors, 1);
    if (c->cutting || step == CURSOR_WRITE)
        release_conn(c);
    return step;
}

static void run(struct runner_worker *x, struct cursor *c)
{
    if (!take_conn(c)) {
        end(c);
        return;
    }
    do {
        if (must_end(c)) {
            end_early(c);
            return;
        }
        struct cursor_page *p = take_page(c);
        if (!p)
            return;
        enum cursor_step step = fill(x, c, p);
        if (step != CURSOR_PAGE) {
            pthread_mutex_lock(&x->runner->lock);
            p->taken = false;
            pthread_mutex_unlock(&x->runner->lock);
        }
        if (step == CURSOR_WRITE) {
            cursor_post(c);
            return;
        }
        bool last = step == CURSOR_FAILED || p->last;
        if (step == CURSOR_PAGE) {
            p->cursor = c;
            p->number = c->made++;
            if (last)
                release_conn(c);
            c->page(c, p);
        }
        if (last) {
            end(c);
            return;
        }
    } while (!yield(c));
}

void cursor_run(struct runner_worker *x, struct cursor *c)
{
    struct runner *r = x->runner;
    run(x, c);
    pthread_mutex_lock(&r->lock);
    r->stepping--;
    pthread_mutex_unlock(&r->lock);
}

/* One thread is left for requests, where there are several. */
struct cursor *cursor_next(struct runner *r)
{
    uint32_t most = r->options.threads > 1 ? (uint32_t)r->options.threads - 1 : 1;
    bool fresh = can_open(r) && (list_empty(&r->ready) || r->fresh_turn);
    if (r->stepping >= most || (!fresh && list_empty(&r->ready)))
        return NULL;
    struct list *from = fresh ? &r->fresh : &r->ready;
    struct cursor *c = list_entry(from->next, struct cursor, node);
    list_del(&c->node);
    c->state = CURSOR_RUNS;
    r->stepping++;
    if (fresh) {
        r->open++;
        c->slot = CURSOR_OPEN_SLOT;
    }
    r->fresh_turn = !fresh;
    return c;
}

/* Watching. */

void cursor_look(struct runner *r, struct list *ended)
{
    int64_t now = clock_mono_ns();
    struct list *next;
    for (struct list *n = r->cursors.next; n != &r->cursors; n = next) {
        struct cursor *c = list_entry(n, struct cursor, all);
        next = n->next;
        if ((c->state == CURSOR_WAITS || c->state == CURSOR_RESTS) && must_end(c)) {
            list_del(&c->node);
            list_add_tail(ended, &c->node);
            c->state = CURSOR_RUNS;
        } else if (c->progress && now - c->told_ns >= PROGRESS_NS) {
            c->told_ns = now;
            c->progress(c);
        }
    }
}

void cursor_end_all(struct list *ended)
{
    while (!list_empty(ended)) {
        struct cursor *c = list_entry(ended->next, struct cursor, node);
        list_del(&c->node);
        end_early(c);
    }
}

void cursor_refuse(struct cursor *c, const char *code, const char *message)
{
    list_del(&c->node);
    sqlerror_set(&c->request.error, code, "%s", message);
    end(c);
}

/* From outside. */

void cursor_init(struct cursor *c, struct runner *r)
{
    c->runner = r;
    c->begun_ns = c->told_ns = c->request.posted_ns = clock_mono_ns();
    sqlerror_init(&c->request.error);
    atomic_init(&c->percent, -1);
    list_init(&c->node);
    list_init(&c->all);
    c->state = CURSOR_WAITS;
}

void cursor_give(struct cursor *c, struct cursor_page *p)
{
    struct runner *r = c->runner;
    pthread_mutex_lock(&r->lock);
    p->taken = false;
    if (c->state == CURSOR_RESTS) {
        c->state = CURSOR_WAITS;
        list_del(&c->node);
        list_add_tail(&r->ready, &c->node);
        pthread_cond_signal(&r->work);
    }
    pthread_mutex_unlock(&r->lock);
}

void cursor_cancel(struct cursor *c)
{
    atomic_store(&c->request.cancel, true);
    runner_wake_watch(c->runner);
}

void cursor_fini(struct cursor *c)
{
    for (int i = 0; i < CURSOR_PAGES; i++)
        buf_fini(&c->pages[i].rows);
    buf_fini(&c->columns);
    sql_request_fini(&c->request);
}
