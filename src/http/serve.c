#include "http/serve.h"

#include "http/again.h"
#include "http/auth.h"
#include "http/limits.h"
#include "http/request_log.h"
#include "http/route.h"

#include <time.h>

static void serve(struct request *r)
{
    limits_begin(r);
    route_run(r);
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

static void conclude(struct request *r)
{
    request_finish(r);
    request_log(r);
    auth_fini(r);
    limits_end(r);
    workers_set(&r->http->workers, r->worker, WORKER_WAITING, NULL);
    have_it_wait(r);
}

/* All of them on the stack that their SQL wants. */
static void serve_again(void *arg)
{
    struct request *r = arg;
    struct again a;

    if (!again_begin(&a, r))
        return;
    while (again_next(&a)) {
        serve(r);
        conclude(r);
    }
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
