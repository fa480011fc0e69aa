#include "capture/runner.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"
#include "capture/query.h"
#include "capture/sqlerror.h"
#include <time.h>

/* Between two looks at what is under way. */
#define WATCH_NS 20000000

struct runner_conn {
    struct sqlconn conn;
    struct list node;
};

/* Ending. */

/* The request is the caller's again, who may free it at once. */
static void end(struct runner *r, struct sql_request *q)
{
    q->done(q);
    pthread_mutex_lock(&r->lock);
    if (--r->under_way == 0)
        pthread_cond_broadcast(&r->idle);
    pthread_mutex_unlock(&r->lock);
}

static void refuse(struct runner *r, struct sql_request *q, const char *code, const char *message)
{
    struct job j = {.request = q};
    executor_reset(&j);
    sqlerror_set(&q->error, code, "%s", message);
    executor_finish(&j, atomic_load(&r->options.published->seq));
    end(r, q);
}

static void refuse_closing(struct runner *r, struct sql_request *q)
{
    refuse(r, q, "QUERY_CANCELLED", "the server shuts down");
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

/* Connections. */

static struct runner_conn *new_conn(struct runner *r, int *rc)
{
    struct runner_conn *c = mem_zalloc(sizeof(*c));
    *rc = SQLITE_NOMEM;
    if (!c)
        return NULL;
    list_init(&c->node);
    *rc = sqlconn_open(
        &c->conn, r->options.path, true, r->options.database->busy_timeout_ms, &r->closing);
    if (*rc == SQLITE_OK)
        return c;
    sqlconn_close(&c->conn);
    mem_free(c);
    return NULL;
}

static struct runner_conn *take_conn(struct runner *r, int *rc)
{
    struct runner_conn *c = NULL;
    pthread_mutex_lock(&r->lock);
    if (!list_empty(&r->conns)) {
        c = list_entry(r->conns.prev, struct runner_conn, node);
        list_del(&c->node);
        r->conn_count--;
    }
    pthread_mutex_unlock(&r->lock);
    return c ? c : new_conn(r, rc);
}

static void free_conn(struct runner_conn *c)
{
    sqlconn_close(&c->conn);
    mem_free(c);
}

static void give_conn(struct runner *r, struct runner_conn *c)
{
    pthread_mutex_lock(&r->lock);
    bool keep = r->conn_count < r->options.threads;
    if (keep) {
        list_add_tail(&r->conns, &c->node);
        r->conn_count++;
    }
    pthread_mutex_unlock(&r->lock);
    if (!keep)
        free_conn(c);
}

/* Running. */

static void set_running(struct runner_worker *x, struct sql_request *q, struct sqlconn *c)
{
    pthread_mutex_lock(&x->runner->lock);
    x->request = q;
    x->conn = c;
    pthread_mutex_unlock(&x->runner->lock);
}

static bool run_query(struct runner_worker *x, struct runner_conn *c, struct sql_request *q)
{
    struct runner *r = x->runner;
    struct published *p = r->options.published;
    struct job j = {.request = q};
    set_running(x, q, &c->conn);
    bool was = query_run(&c->conn, p, r->options.database, &j);
    set_running(x, NULL, NULL);
    if (was) {
        atomic_fetch_add(&p->statements, 1);
        atomic_fetch_add(&p->errors, q->error.code[0] != 0);
    }
    return was;
}

static void serve(struct runner_worker *x, struct sql_request *q)
{
    struct runner *r = x->runner;
    int rc;
    struct runner_conn *c = take_conn(r, &rc);
    if (!c) {
        refuse(r, q, "SQL_ERROR",
            rc == SQLITE_NOMEM ? "out of memory" : "the database cannot be opened for reading");
        return;
    }
    bool was = run_query(x, c, q);
    give_conn(r, c);
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

static void *run_worker(void *arg)
{
    struct runner_worker *x = arg;
    struct runner *r = x->runner;
    pthread_mutex_lock(&r->lock);
    while (!r->stop) {
        if (!r->head) {
            pthread_cond_wait(&r->work, &r->lock);
            continue;
        }
        struct sql_request *q = unlink_at(r, &r->head);
        pthread_mutex_unlock(&r->lock);
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

static bool is_draining(struct runner *r)
{
    pthread_mutex_lock(&r->lock);
    bool draining = r->draining;
    pthread_mutex_unlock(&r->lock);
    return draining;
}

static void refuse_all(struct runner *r, struct sql_request *q, bool cancelled)
{
    while (q) {
        struct sql_request *next = (struct sql_request *)q->message.next;
        if (is_closing(r) || (!cancelled && is_draining(r)))
            refuse_closing(r, q);
        else if (cancelled)
            refuse(r, q, "QUERY_CANCELLED", "the statement was cancelled before it began");
        else
            refuse(r, q, "LIMIT_EXCEEDED",
                "too many statements wait on this server (--query-queue): try again later");
        q = next;
    }
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
    interrupt_running(r);
    struct sql_request *cancelled = take_cancelled(r), *refused = r->refused;
    r->refused = NULL;
    pthread_mutex_unlock(&r->lock);
    refuse_all(r, cancelled, true);
    refuse_all(r, refused, false);
    pthread_mutex_lock(&r->lock);
}

static void *run_watch(void *arg)
{
    struct runner *r = arg;
    pthread_mutex_lock(&r->lock);
    while (true) {
        look(r);
        if (r->refused)
            continue;
        if (r->stop && !r->head)
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

static void wake_watch(struct runner *r, bool now)
{
    if (now || !r->watching)
        pthread_cond_signal(&r->alarm);
    r->watching = true;
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
    pthread_mutex_lock(&r->lock);
    bool refused = r->draining || is_closing(r) || r->under_way >= r->options.max_waiting;
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
    if (!r->has_locks)
        return;
    pthread_mutex_lock(&r->lock);
    wake_watch(r, true);
    pthread_mutex_unlock(&r->lock);
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
    list_init(&r->conns);
    init_locks(r);
    r->workers = mem_array((size_t)options->threads, sizeof(*r->workers));
    if (!r->workers)
        return STATUS_NOMEM;
    if (pthread_create(&r->watch, NULL, run_watch, r) != 0)
        return STATUS_IO;
    r->has_watch = true;
    while (r->started < options->threads) {
        struct runner_worker *x = &r->workers[r->started];
        x->runner = r;
        if (pthread_create(&x->thread, NULL, run_worker, x) != 0)
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
    pthread_cond_broadcast(&r->alarm);
    pthread_mutex_unlock(&r->lock);
    for (int i = 0; i < r->started; i++)
        pthread_join(r->workers[i].thread, NULL);
    if (r->has_watch)
        pthread_join(r->watch, NULL);
    while (!list_empty(&r->conns)) {
        struct runner_conn *c = list_entry(r->conns.next, struct runner_conn, node);
        list_del(&c->node);
        free_conn(c);
    }
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
