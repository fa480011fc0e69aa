#include "capture/runner.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/thread.h"
#include "capture/cursor_run.h"
#include "capture/query.h"
#include "capture/sqlerror.h"
#include "capture/statement_log.h"
#include <time.h>

/* Between two looks at what is under way. */
#define WATCH_NS 20000000

/* Ending. */

void runner_ended(struct runner *r)
{
    pthread_mutex_lock(&r->lock);
    if (--r->under_way == 0)
        pthread_cond_broadcast(&r->idle);
    pthread_mutex_unlock(&r->lock);
}

/* The request is the caller's again, who may free it at once. */
static void end(struct runner *r, struct sql_request *q)
{
    q->done(q);
    runner_ended(r);
}

static void refuse(struct runner *r, struct sql_request *q, const char *code, const char *message)
{
    struct job j = {.request = q};
    executor_reset(&j);
    sqlerror_set(&q->error, code, "%s", message);
    executor_finish(&j, atomic_load(&r->options.published->seq));
    end(r, q);
}

/* On the database thread. */
static void written(struct sql_request *q)
{
    struct runner *r = q->runner;
    q->done = q->then;
    end(r, q);
}

static void post(struct runner *r, struct sql_request *q)
{
    q->runner = r;
    q->then = q->done;
    q->done = written;
    r->options.post(r->options.ctx, q);
}

/* Running. */

void runner_set_open_error(struct sql_error *e, int rc)
{
    e->sqlite_code = rc;
    sqlerror_set(e, "SQL_ERROR", "%s",
        (rc & 0xff) == SQLITE_NOMEM ? "out of memory"
                                    : "the database cannot be opened for reading");
}

void runner_set_running(struct runner_worker *x, struct sql_request *q, struct sqlconn *c)
{
    pthread_mutex_lock(&x->runner->lock);
    x->request = q;
    x->conn = c;
    pthread_mutex_unlock(&x->runner->lock);
}

static bool run_query(struct runner_worker *x, struct sqlconn *c, struct sql_request *q)
{
    struct runner *r = x->runner;
    struct published *p = r->options.published;
    struct job j = {.request = q};
    runner_set_running(x, q, c);
    bool was = query_run(c, p, r->options.database, &j);
    runner_set_running(x, NULL, NULL);
    if (was) {
        atomic_fetch_add(&p->statements, 1);
        atomic_fetch_add(&p->errors, q->error.code[0] != 0);
        statement_log_end(q, p, r->options.database, false);
    }
    return was;
}

static void serve(struct runner_worker *x, struct sql_request *q)
{
    struct runner *r = x->runner;
    int rc;
    struct sqlconn *c = spares_take(&r->spares, &rc);
    if (!c) {
        struct job j = {.request = q};
        executor_reset(&j);
        runner_set_open_error(&q->error, rc);
        executor_finish(&j, atomic_load(&r->options.published->seq));
        end(r, q);
        return;
    }
    bool was = run_query(x, c, q);
    spares_give(&r->spares, c);
    if (was)
        end(r, q);
    else
        post(r, q);
}

static struct sql_request *unlink_at(struct runner *r, struct sql_request **at)
{
    struct sql_request *q = *at;
    *at = (struct sql_request *)q->message.next;
    if (!*at)
        r->tail = at;
    return q;
}

/* Takes turns between requests and cursors. The lock is held. */
static bool next(struct runner *r, struct sql_request **q, struct cursor **c)
{
    *q = NULL;
    *c = r->cursor_turn || !r->head ? cursor_next(r) : NULL;
    if (!*c && r->head)
        *q = unlink_at(r, &r->head);
    r->cursor_turn = *q != NULL;
    return *q || *c;
}

static void *run_worker(void *arg)
{
    struct runner_worker *x = arg;
    struct runner *r = x->runner;
    struct sql_request *q;
    struct cursor *c;
    pthread_mutex_lock(&r->lock);
    while (!r->stop) {
        if (!next(r, &q, &c)) {
            pthread_cond_wait(&r->work, &r->lock);
            continue;
        }
        pthread_mutex_unlock(&r->lock);
        if (c)
            cursor_run(x, c);
        else
            serve(x, q);
        pthread_mutex_lock(&r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* Watching. */

static bool is_closing(const struct runner *r)
{
    return atomic_load_explicit(&r->closing, memory_order_relaxed);
}

static bool is_cancelled(const struct sql_request *q)
{
    return atomic_load_explicit(&q->cancel, memory_order_relaxed);
}

/*
 * Some of SQLite's loops, as that of a plain count(*), never come by the progress handler, but do
 * look for this.
 */
static void interrupt_running(struct runner *r)
{
    for (int i = 0; i < r->started; i++) {
        struct runner_worker *x = &r->workers[i];
        if (x->conn && (is_closing(r) || is_cancelled(x->request) || sqlconn_late(x->conn)))
            sqlite3_interrupt(x->conn->db);
    }
}

/* The requests that nobody waits for any more. */
static struct sql_request *take_cancelled(struct runner *r)
{
    struct sql_request *first = NULL, **last = &first;
    for (struct sql_request **at = &r->head; *at;) {
        if (!is_closing(r) && !is_cancelled(*at)) {
            at = (struct sql_request **)&(*at)->message.next;
            continue;
        }
        *last = unlink_at(r, at);
        last = (struct sql_request **)&(*last)->message.next;
        *last = NULL;
    }
    return first;
}

struct refusal {
    const char *code, *message;
};

static struct refusal why_unwanted(const struct runner *r)
{
    if (is_closing(r) || r->draining)
        return (struct refusal){"QUERY_CANCELLED", "the server shuts down"};
    return (struct refusal){"LIMIT_EXCEEDED",
        "too many statements wait on this server (--query-queue): try again later"};
}

static void refuse_all(struct runner *r, struct sql_request *q, struct refusal why)
{
    while (q) {
        struct sql_request *next = (struct sql_request *)q->message.next;
        refuse(r, q, why.code, why.message);
        q = next;
    }
}

/* Takes all of `from`, which is empty then. */
static void take_list(struct list *to, struct list *from)
{
    list_init(to);
    while (!list_empty(from)) {
        struct list *n = from->next;
        list_del(n);
        list_add_tail(to, n);
    }
}

static void refuse_cursors(struct list *cursors, struct refusal why)
{
    while (!list_empty(cursors))
        cursor_refuse(list_entry(cursors->next, struct cursor, node), why.code, why.message);
}

static void pause_watch(struct runner *r)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += WATCH_NS;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(&r->alarm, &r->lock, &t);
}

static void look(struct runner *r)
{
    struct refusal closing = {"QUERY_CANCELLED", "the server shuts down"};
    struct refusal cancelled = {"QUERY_CANCELLED", "the statement was cancelled before it began"};
    struct refusal unwanted = why_unwanted(r);
    struct list ended, cursors;
    interrupt_running(r);
    list_init(&ended);
    cursor_look(r, &ended);
    take_list(&cursors, &r->unwanted);
    struct sql_request *waited = take_cancelled(r), *refused = r->refused;
    r->refused = NULL;
    pthread_mutex_unlock(&r->lock);
    cursor_end_all(&ended);
    refuse_cursors(&cursors, unwanted);
    refuse_all(r, waited, is_closing(r) ? closing : cancelled);
    refuse_all(r, refused, unwanted);
    pthread_mutex_lock(&r->lock);
}

static bool has_more(const struct runner *r)
{
    return r->refused || !list_empty(&r->unwanted) ||
           (r->ending && (r->head || !list_empty(&r->fresh) || !list_empty(&r->ready) ||
                             !list_empty(&r->resting) || !list_empty(&r->writes)));
}

static void *run_watch(void *arg)
{
    struct runner *r = arg;
    pthread_mutex_lock(&r->lock);
    while (true) {
        r->alarmed = false;
        look(r);
        if (has_more(r) || r->alarmed)
            continue;
        if (r->ending)
            break;
        r->watching = r->under_way > 0;
        if (r->watching)
            pause_watch(r);
        else
            pthread_cond_wait(&r->alarm, &r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* From outside. */

/* The lock is held. */
static void wake_watch(struct runner *r, bool now)
{
    if (now || !r->watching)
        pthread_cond_signal(&r->alarm);
    r->alarmed |= now;
    r->watching = true;
}

void runner_wake_watch(struct runner *r)
{
    pthread_mutex_lock(&r->lock);
    wake_watch(r, true);
    pthread_mutex_unlock(&r->lock);
}

static bool has_room(const struct runner *r)
{
    return !r->draining && !is_closing(r) && r->under_way < r->options.max_waiting;
}

static void line_up(struct runner *r, struct sql_request *q)
{
    q->message.next = NULL;
    *r->tail = q;
    r->tail = (struct sql_request **)&q->message.next;
    pthread_cond_signal(&r->work);
    wake_watch(r, false);
}

void runner_run(struct runner *r, struct sql_request *q)
{
    bool query = query_possible(q);
    q->posted_ns = clock_mono_ns();
    statement_log_begin(q);
    pthread_mutex_lock(&r->lock);
    bool refused = !has_room(r);
    r->under_way++;
    if (refused) {
        q->message.next = (struct message *)r->refused;
        r->refused = q;
        wake_watch(r, true);
    } else if (query) {
        line_up(r, q);
    }
    pthread_mutex_unlock(&r->lock);
    if (!refused && !query)
        post(r, q);
}

void runner_open(struct runner *r, struct cursor *c)
{
    bool query = query_possible(&c->request);
    cursor_init(c, r);
    statement_log_begin(&c->request);
    pthread_mutex_lock(&r->lock);
    bool refused = !has_room(r);
    r->under_way++;
    if (refused) {
        list_add_tail(&r->unwanted, &c->node);
    } else {
        list_add_tail(&r->cursors, &c->all);
        c->state = CURSOR_AWAY;
    }
    if (!refused && query) {
        c->state = CURSOR_WAITS;
        list_add_tail(&r->fresh, &c->node);
        pthread_cond_signal(&r->work);
    }
    wake_watch(r, refused);
    pthread_mutex_unlock(&r->lock);
    if (!refused && !query)
        cursor_post(c);
}

bool runner_drain(struct runner *r, int64_t ms)
{
    struct timespec t;
    ms = ms > 0 ? ms : 0;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += ms % 1000 * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&r->lock);
    r->draining = true;
    int err = 0;
    while (r->under_way > 0 && err == 0)
        err = pthread_cond_timedwait(&r->idle, &r->lock, &t);
    bool drained = r->under_way == 0;
    pthread_mutex_unlock(&r->lock);
    return drained;
}

void runner_interrupt(struct runner *r)
{
    atomic_store(&r->closing, true);
    if (r->has_locks)
        runner_wake_watch(r);
}

static void init_locks(struct runner *r)
{
    pthread_condattr_t steady;
    pthread_condattr_init(&steady);
    pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->work, NULL);
    pthread_cond_init(&r->alarm, &steady);
    pthread_cond_init(&r->idle, &steady);
    pthread_condattr_destroy(&steady);
    r->has_locks = true;
}

int runner_start(struct runner *r, const struct runner_options *options)
{
    r->options = *options;
    r->tail = &r->head;
    spares_init(&r->spares, options->path, options->database->busy_timeout_ms, &r->closing,
        options->threads);
    list_init(&r->cursors);
    list_init(&r->fresh);
    list_init(&r->ready);
    list_init(&r->resting);
    list_init(&r->writes);
    list_init(&r->unwanted);
    init_locks(r);
    r->workers = mem_array((size_t)options->threads, sizeof(*r->workers));
    if (!r->workers)
        return STATUS_NOMEM;
    if (thread_start(&r->watch, NULL, run_watch, r, "query-watch") != 0)
        return STATUS_IO;
    r->has_watch = true;
    while (r->started < options->threads) {
        struct runner_worker *x = &r->workers[r->started];
        x->runner = r;
        if (thread_start(&x->thread, NULL, run_worker, x, "query-%d", r->started) != 0)
            return STATUS_IO;
        pthread_mutex_lock(&r->lock);
        r->started++;
        pthread_mutex_unlock(&r->lock);
    }
    return STATUS_OK;
}

void runner_stop(struct runner *r)
{
    if (!r->has_locks)
        return;
    runner_interrupt(r);
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    pthread_cond_broadcast(&r->work);
    pthread_mutex_unlock(&r->lock);
    for (int i = 0; i < r->started; i++)
        pthread_join(r->workers[i].thread, NULL);
    pthread_mutex_lock(&r->lock);
    r->ending = true;
    wake_watch(r, true);
    pthread_mutex_unlock(&r->lock);
    if (r->has_watch)
        pthread_join(r->watch, NULL);
    spares_fini(&r->spares);
}

void runner_fini(struct runner *r)
{
    mem_free(r->workers);
    if (!r->has_locks)
        return;
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->work);
    pthread_cond_destroy(&r->alarm);
    pthread_cond_destroy(&r->idle);
}
