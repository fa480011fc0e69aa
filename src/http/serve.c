#include "http/serve.h"

#include "http/again.h"
#include "http/auth.h"
#include "http/limits.h"
#include "http/request_log.h"
#include "http/route.h"
#include "http/swift.h"

#include <sys/socket.h>
#include <time.h>

static void serve(struct request *r)
{
    if (!r->weighed)
        limits_begin(r);
    route_run(r);
    r->weighed = false;
}

#define REFUSALS 3         /* of a connection, for a bad token or too many requests, without … */
#define REFUSAL_WAIT_MS 20 /* … this, before its next request is read */

/* It keeps a worker from others anyhow, but need not keep it busy. */
static void have_it_wait(struct request *r)
{
    const struct timespec pause = {.tv_nsec = REFUSAL_WAIT_MS * 1000000};

    if ((r->status == 401 || r->status == 429) && r->keep && ++r->worker->refusals > REFUSALS &&
        !atomic_load(&r->http->stopping))
        nanosleep(&pause, NULL);
}

static void end(struct request *r)
{
    request_finish(r);
    request_log(r);
    auth_fini(r);
    limits_end(r);
    workers_set(&r->http->workers, r->worker, WORKER_WAITING, NULL);
}

static void conclude(struct request *r)
{
    end(r);
    have_it_wait(r);
}

enum serve_end serve_swiftly(struct again *a, struct database_turn *turn)
{
    struct request *r = a->r;
    enum again_found found = again_look(a, MSG_DONTWAIT);

    if (found != AGAIN_NEXT)
        return found == AGAIN_NONE ? SERVE_NOTHING : SERVE_BACK;
    r->swift = turn;
    serve(r);
    r->swift = NULL;
    if (!r->put_off)
        return SERVE_ANSWERED;
    auth_fini(r);
    r->put_off = false;
    r->weighed = true;
    return SERVE_BACK;
}

/* `stopping` is looked at after the worker's state was set: see http/again.c. */
bool serve_send(struct again *a)
{
    struct request *r = a->r;
    bool sent = request_send_left(r);

    end(r);
    atomic_fetch_add_explicit(&r->http->stats.swift, 1, memory_order_relaxed);
    return sent && r->status == 200 && r->keep && !atomic_load(&r->http->stopping);
}

/* Whatever came of it while it was lent. */
static void take_back(struct request *r)
{
    if (r->unsent.len)
        request_write(r, r->unsent.data, r->unsent.len);
    have_it_wait(r);
}

static bool next(struct again *a)
{
    struct request *r = a->r;

    if (swift_wanted(a)) {
        swift_lend(a);
        if (r->weighed)
            return true;
        take_back(r);
    }
    return again_look(a, 0) == AGAIN_NEXT;
}

/* All of them on the stack that their SQL wants. */
static void serve_again(void *arg)
{
    struct request *r = arg;
    struct again a;

    if (!again_begin(&a, r))
        return;
    while (next(&a)) {
        serve(r);
        conclude(r);
    }
    buf_fini(&r->unsent);
    again_end(&a);
}

void serve_request(struct request *r, bool readable)
{
    if (readable)
        serve(r);
    conclude(r);
    if (again_possible(r))
        stack_run(r->worker->stack, serve_again, r);
}
