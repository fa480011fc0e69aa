#include "capture/group.h"

#include "base/clock.h"
#include "base/log.h"
#include "capture/query.h"
#include "capture/sqlerror.h"
#include "capture/statement_log.h"
#include "capture/unit.h"

/* A group takes no further request after so long, so that the first does not wait for many. */
#define GROUP_NS 10000000

void group_init(struct group *g, struct writer *w)
{
    *g = (struct group){.w = w};
    g->tail = &g->head;
}

void group_push(struct group *g, struct sql_request *r)
{
    r->message.next = NULL;
    *g->tail = r;
    g->tail = (struct sql_request **)&r->message.next;
}

bool group_empty(const struct group *g)
{
    return !g->head;
}

static struct sql_request *pop(struct group *g)
{
    struct sql_request *r = g->head;
    g->head = (struct sql_request *)r->message.next;
    if (!g->head)
        g->tail = &g->head;
    return r;
}

/* The request belongs to the caller again, who may free it at once. */
static void answer(struct group *g, struct sql_request *r)
{
    if (r->error.code[0])
        atomic_fetch_add(&g->w->published->errors, 1);
    statement_log_end(r, g->w->published, g->w->options, true);
    r->done(r);
}

static void finish(struct group *g, struct job *j, uint64_t seq)
{
    executor_finish(j, seq);
    answer(g, j->request);
}

static uint64_t present_seq(const struct group *g)
{
    return atomic_load(&g->w->published->seq);
}

/* Each unit of it commits, and is published, by itself. */
static void run_alone(struct group *g, struct job *j)
{
    struct writer *w = g->w;
    w->alone = true;
    executor_write(w, j);
    w->alone = false;
    finish(g, j, present_seq(g));
}

static void abandon(struct group *g, struct schema *schema)
{
    struct writer *w = g->w;
    if (!sqlite3_get_autocommit(w->conn.db))
        sqlconn_run(&w->conn, OWN_ROLLBACK);
    batch_unref(w->batch);
    w->batch = w->recorder.batch = NULL;
    if (w->recorder.schema != schema)
        recorder_set_schema(&w->recorder, schema_ref(schema));
}

/* Nothing of the group was kept: its requests run again, one after the other. */
static void rerun(struct group *g)
{
    log_debug("a group of %d requests is run again one by one", g->count);
    for (int i = 0; i < g->count; i++)
        run_alone(g, &g->jobs[i]);
}

/* Who writes one row after the other goes on while the subscribers are told of the last. */
static int commit_quietly(struct writer *w)
{
    w->answers_first = true;
    int rc = writer_commit(w);
    w->answers_first = false;
    return rc;
}

static void commit(struct group *g, struct schema *schema)
{
    int rc = commit_quietly(g->w);
    if (rc != SQLITE_OK) {
        log_warn("a commit failed (SQLite code %d); its requests are run again one by one", rc);
        abandon(g, schema);
        rerun(g);
        return;
    }
    atomic_fetch_add(&g->w->published->group_commits, 1);
    tally_add(&g->w->published->group_sizes, &tally_counts, g->count);
    for (int i = 0; i < g->count; i++) {
        finish(g, &g->jobs[i], g->w->base + g->jobs[i].end);
        if (i == 0)
            writer_published(g->w);
    }
    if (g->count == 0)
        writer_published(g->w);
}

static int begin(struct group *g)
{
    struct writer *w = g->w;
    int rc = writer_new_batch(w);
    return rc == SQLITE_OK ? writer_begin(w) : rc;
}

/* Runs one request in the group, leaving nothing of it behind where it must run alone. */
static enum outcome run_job(struct group *g, struct job *j)
{
    struct writer *w = g->w;
    struct batch_mark mark = batch_mark(w->batch);
    struct schema *schema = schema_ref(w->recorder.schema);
    enum outcome outcome = OUTCOME_LOST;
    if (sqlconn_run(&w->conn, OWN_JOB) == SQLITE_OK)
        outcome = executor_write(w, j);
    if (outcome == OUTCOME_ALONE) {
        if (sqlconn_run(&w->conn, OWN_JOB_ROLLBACK) != SQLITE_OK)
            outcome = OUTCOME_LOST;
        batch_rewind(w->batch, &mark);
        if (w->recorder.schema != schema)
            recorder_set_schema(&w->recorder, schema_ref(schema));
    }
    if (outcome != OUTCOME_LOST && sqlconn_run(&w->conn, OWN_JOB_RELEASE) != SQLITE_OK)
        outcome = OUTCOME_LOST;
    schema_unref(schema);
    j->end = w->batch->change_count;
    return outcome;
}

static bool has_room(const struct group *g, int64_t began_ns)
{
    size_t max = g->w->options->max_transaction;
    return g->head && g->count < GROUP_MAX && clock_mono_ns() - began_ns < GROUP_NS &&
           (!max || g->w->batch->bytes < max / 2);
}

/*
 * The request that took the transaction with it keeps its error if that is all there is to it; what
 * it had done before in units of its own must stay, so then it runs again as well.
 */
static void recover(struct group *g, struct job *offender)
{
    bool final = offender->request->error.code[0] && !offender->wrote;
    rerun(g);
    if (final)
        finish(g, offender, present_seq(g));
    else
        run_alone(g, offender);
}

static void refuse_all(struct group *g, int rc)
{
    struct sql_error error;
    sqlerror_init(&error);
    sqlerror_from(&error, &g->w->conn, rc, 0, 0);
    while (g->head) {
        struct job j = {.request = pop(g)};
        executor_reset(&j);
        j.request->error = error;
        finish(g, &j, present_seq(g));
    }
}

/* What only reads needs no write lock, which another process may hold. */
static void run_queries(struct group *g)
{
    struct writer *w = g->w;
    while (g->head && query_possible(g->head)) {
        struct job j = {.request = g->head};
        if (!query_run(&w->conn, w->published, w->options, &j))
            return;
        atomic_fetch_add_explicit(&w->published->statements, 1, memory_order_relaxed);
        answer(g, pop(g));
    }
}

void group_run(struct group *g)
{
    run_queries(g);
    if (!g->head)
        return;
    int rc = begin(g);
    if (rc != SQLITE_OK) {
        if (!sqlite3_get_autocommit(g->w->conn.db))
            sqlconn_run(&g->w->conn, OWN_ROLLBACK);
        refuse_all(g, rc);
        return;
    }
    int64_t began_ns = clock_mono_ns();
    struct schema *schema = schema_ref(g->w->known);
    g->count = 0;
    do {
        struct job *j = &g->jobs[g->count];
        *j = (struct job){.request = pop(g)};
        enum outcome outcome = run_job(g, j);
        if (outcome == OUTCOME_LOST) {
            abandon(g, schema);
            recover(g, j);
            break;
        }
        if (outcome == OUTCOME_ALONE) {
            struct job alone = *j;
            commit(g, schema);
            run_alone(g, &alone);
            break;
        }
        g->count++;
        if (!has_room(g, began_ns)) {
            commit(g, schema);
            break;
        }
    } while (true);
    schema_unref(schema);
}

void group_refuse(struct group *g, const char *code, const char *message)
{
    while (g->head) {
        struct job j = {.request = pop(g)};
        executor_reset(&j);
        sqlerror_set(&j.request->error, code, "%s", message);
        finish(g, &j, present_seq(g));
    }
}
