#include "net/loop.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/thread.h"
#include "net/private.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS 256 /* taken from epoll at once */
#define TICK_MS 1000
#define STOP_REASON "server is shutting down"

static _Thread_local struct loop *current;

int loop_id(const struct loop *l)
{
    return l->options.id;
}

bool loop_is_current(const struct loop *l)
{
    return current == l;
}

void loop_post(struct loop *l, struct message *m)
{
    mailbox_post(&l->mailbox, m);
}

void loop_put(struct loop *l, struct message *m)
{
    mailbox_put(&l->mailbox, m);
}

bool loop_wake(struct loop *l)
{
    return mailbox_wake(&l->mailbox);
}

bool loop_turns(struct loop *l)
{
    return pulse_ask(&l->pulse, &l->mailbox);
}

void loop_tick_by(struct loop *l, int64_t mono_ms)
{
    if (mono_ms < l->next_tick)
        l->next_tick = mono_ms;
}

void loop_run_mailbox(struct loop *l)
{
    struct message *m = mailbox_take(&l->mailbox), *next;

    for (; m; m = next) {
        next = m->next;
        m->run(m, l->options.ctx);
    }
}

void loop_wake_by(struct loop *l, int64_t mono_ms)
{
    if (mono_ms < l->wake_by)
        l->wake_by = mono_ms;
}

static struct conn *first(const struct list *l)
{
    return list_empty(l) ? NULL : list_entry(l->next, struct conn, timer);
}

static struct conn *first_quiet(const struct loop *l)
{
    return list_entry(l->quiet.next, struct conn, quiet);
}

static struct rest *first_resting(const struct loop *l)
{
    return list_entry(l->resting.next, struct rest, node);
}

static int timeout(const struct loop *l)
{
    const struct list *lists[] = {&l->idle, &l->closing, &l->draining};
    int64_t due = l->next_tick;
    int i;

    if (!list_empty(&l->dirty) || !list_empty(&l->dead) || !list_empty(&l->rests))
        return 0;
    if (l->stopping && l->stop_due < due)
        due = l->stop_due;
    if (l->hurry_due && l->hurry_due < due)
        due = l->hurry_due;
    if (!list_empty(&l->quiet) && heartbeat_quiet_at(first_quiet(l)) < due)
        due = heartbeat_quiet_at(first_quiet(l));
    if (!list_empty(&l->resting) && first_resting(l)->due < due)
        due = first_resting(l)->due;
    if (l->wake_by < due)
        due = l->wake_by;
    for (i = 0; i < 3; i++) {
        struct conn *c = first(lists[i]);

        if (c && c->due < due)
            due = c->due;
    }
    due -= clock_mono_ms();
    return due > 0 ? (int)due : 0;
}

/* Half of the grace has not been enough for those that read slowly. */
static void hurry_all(struct loop *l)
{
    for (struct list *n = l->closing.next; n != &l->closing; n = n->next)
        conn_hurry(list_entry(n, struct conn, timer), STOP_REASON);
    l->hurry_due = 0;
}

static void run_timers(struct loop *l)
{
    struct conn *c;

    if (l->hurry_due && l->hurry_due <= l->now)
        hurry_all(l);
    while ((c = first(&l->idle)) && c->due <= l->now)
        heartbeat_due(c);
    while (!list_empty(&l->quiet) && heartbeat_quiet_at(first_quiet(l)) <= l->now)
        heartbeat_quiet_due(first_quiet(l));
    while ((c = first(&l->closing)) && c->due <= l->now)
        conn_end(c);
    while ((c = first(&l->draining)) && c->due <= l->now)
        conn_end(c);
    if (l->now < l->next_tick)
        return;
    l->next_tick = l->now + TICK_MS;
    outq_pool_trim(&l->pool);
    while (!list_empty(&l->heavy)) {
        struct conn *slow = list_entry(l->heavy.next, struct conn, heavy);

        if ((uint32_t)l->now - slow->heavy_since < l->options.slow_ms)
            break;
        conn_slow(slow, l->options.slow_queue);
    }
    if (l->options.tick)
        l->options.tick(l->options.ctx, l->now);
}

static void tell_owners(struct loop *l)
{
    struct conn *c;

    while ((c = first(&l->dead))) {
        list_del(&c->timer);
        list_add_tail(&l->told, &c->timer);
        if (c->owner)
            c->ops->closed(c->owner, c->code ? c->code : WS_CLOSE_ABNORMAL);
        c->owner = NULL;
    }
}

static void free_told(struct loop *l)
{
    struct conn *c;

    while ((c = first(&l->told)))
        conn_free(c);
}

/* Once for each that is in the list now. */
static void resume_paused(struct loop *l, int64_t until)
{
    struct list end;

    while (!list_empty(&l->resting) && first_resting(l)->due <= l->now) {
        struct rest *r = first_resting(l);

        list_del(&r->node);
        list_add_tail(&l->rests, &r->node);
    }
    list_add_tail(&l->rests, &end);
    while (l->rests.next != &end && clock_mono_ns() < until)
        conn_io_resume(list_entry(l->rests.next, struct rest, node));
    list_del(&end);
}

/* Not always the same first, for the last may have to wait for the next turn. */
static void hear(struct loop *l, const struct epoll_event *events, int n, int64_t until)
{
    for (int i = 0; i < n && (i == 0 || clock_mono_ns() < until); i++) {
        const struct epoll_event *e = &events[l->next_event++ % (unsigned)n];
        struct conn *c = e->data.ptr;

        if (c && c->state != CONN_DEAD)
            conn_io_event(c, e->events);
    }
}

/*
 * All have had their turn. Those who have sent more go on, one after the other, while there is
 * time: what they ask for is done together, and sent with what comes of it.
 */
static void hear_on(struct loop *l, int64_t until)
{
    while (!list_empty(&l->rests) && clock_mono_ns() < until)
        conn_io_resume(list_entry(l->rests.next, struct rest, node));
}

static int wait(struct loop *l, struct epoll_event *events)
{
    int ms = timeout(l), n;

    l->behind = mailbox_waits(&l->mailbox);
    if (ms && !mailbox_sleep(&l->mailbox))
        ms = 0;
    n = epoll_wait(l->epoll, events, EVENTS, ms);
    mailbox_awake(&l->mailbox);
    return n;
}

static void turn(struct loop *l)
{
    struct epoll_event events[EVENTS];
    int n = wait(l, events);
    int64_t now_ns = clock_mono_ns();

    l->now = now_ns / 1000000;
    round_begin(l, now_ns);
    if (l->wake_by <= l->now)
        l->wake_by = INT64_MAX;
    loop_run_mailbox(l);
    resume_paused(l, clock_mono_ns() + TURN_NS / 2);
    hear(l, events, n, clock_mono_ns() + TURN_NS / 2);
    hear_on(l, now_ns + TURN_NS);
    run_timers(l);
    tell_owners(l);
    if (l->options.turn_end)
        l->options.turn_end(l->options.ctx);
    round_flush(l);
    free_told(l);
    if (l->deflater)
        deflater_turn(l->deflater);
    atomic_store_explicit(&l->counters.queued_bytes, l->pool.queued, memory_order_relaxed);
}

static void end_all(struct loop *l)
{
    struct list *lists[] = {&l->idle, &l->closing, &l->draining};
    struct conn *c;
    int i;

    for (i = 0; i < 3; i++) {
        while ((c = first(lists[i])))
            conn_end(c);
    }
    tell_owners(l);
    free_told(l);
}

static bool stopped(const struct loop *l)
{
    if (!l->stopping)
        return false;
    return l->now >= l->stop_due ||
           (list_empty(&l->closing) && list_empty(&l->draining) && list_empty(&l->dead));
}

static void *loop_main(void *arg)
{
    struct loop *l = arg;

    current = l;
    while (!stopped(l))
        turn(l);
    end_all(l);
    return NULL;
}

static void run_stop(struct message *m, void *receiver)
{
    struct loop *l = list_entry(m, struct loop, stop);
    struct conn *c;

    (void)receiver;
    l->stopping = true;
    l->stop_due = l->now + l->grace_ms;
    l->hurry_due = l->now + l->grace_ms / 2;
    while ((c = first(&l->idle))) {
        if (c->ops->stopping && c->owner)
            c->ops->stopping(c->owner);
        conn_close(c, WS_CLOSE_RESTART, STOP_REASON);
    }
}

static int start_thread(struct loop *l)
{
    int rc = thread_start(&l->thread, NULL, loop_main, l, "loop-%d", l->options.id);

    if (rc) {
        errno = rc;
        return STATUS_IO;
    }
    l->running = true;
    return 0;
}

static int open_descriptors(struct loop *l)
{
    /* By its edge: then what makes it readable need not be read. */
    struct epoll_event e = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};

    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll < 0)
        return STATUS_IO;
    if (mailbox_init(&l->mailbox))
        goto no_mailbox;
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->mailbox.fd, &e) == 0)
        return 0;
    mailbox_fini(&l->mailbox);
no_mailbox:
    close(l->epoll);
    return STATUS_IO;
}

static void close_descriptors(struct loop *l)
{
    mailbox_fini(&l->mailbox);
    close(l->epoll);
}

static void init_lists(struct loop *l)
{
    list_init(&l->idle);
    list_init(&l->closing);
    list_init(&l->draining);
    list_init(&l->dead);
    list_init(&l->told);
    list_init(&l->dirty);
    list_init(&l->heavy);
    list_init(&l->quiet);
    list_init(&l->rests);
    list_init(&l->resting);
    list_init(&l->halves);
}

static int take_memory(struct loop *l)
{
    l->in = mem_alloc(LOOP_IN_SIZE);
    l->out = mem_alloc(LOOP_OUT_SIZE);
    if (l->options.compress) {
        l->deflater = deflater_new(l->options.compress_min);
        l->inflater = inflater_new();
    }
    return l->in && l->out && (!l->options.compress || (l->deflater && l->inflater)) ? 0
                                                                                     : STATUS_NOMEM;
}

static void give_memory(struct loop *l)
{
    deflater_free(l->deflater);
    inflater_free(l->inflater);
    tls_room_free(l->room);
    mem_free(l->in);
    mem_free(l->out);
    mem_free(l);
}

/* Less than makes a connection slow, or has it sent at once. */
static size_t parts_max(const struct loop_options *o)
{
    size_t max = o->max_queue < PARTS_SIZE ? o->max_queue : PARTS_SIZE;

    return o->slow_queue && o->slow_queue < max ? o->slow_queue : max;
}

struct loop *loop_new(const struct loop_options *options)
{
    struct loop *l = mem_zalloc(sizeof(*l));
    int err;

    if (!l)
        return NULL;
    l->options = *options;
    l->half_ms = options->heartbeat_ms > 1 ? options->heartbeat_ms / 2 : options->heartbeat_ms > 0;
    l->parts_max = parts_max(options);
    l->parts_few = l->parts_max < LOOP_OUT_SIZE ? l->parts_max : LOOP_OUT_SIZE;
    l->stop.run = run_stop;
    l->now = clock_mono_ms();
    l->next_tick = l->now + TICK_MS;
    l->wake_by = INT64_MAX;
    init_lists(l);
    outq_pool_init(&l->pool);
    errno = ENOMEM;
    if (take_memory(l) || open_descriptors(l))
        goto no_descriptors;
    if (start_thread(l) == 0)
        return l;
    err = errno;
    close_descriptors(l);
    errno = err;
no_descriptors:
    err = errno;
    give_memory(l);
    errno = err;
    return NULL;
}

void loop_stop(struct loop *l, int64_t grace_ms)
{
    struct loop *before = current;

    if (!l->running)
        return;
    l->grace_ms = grace_ms;
    loop_post(l, &l->stop);
    pthread_join(l->thread, NULL);
    l->running = false;
    /* What crossed the end of the thread is run in its name. */
    current = l;
    loop_run_mailbox(l);
    current = before;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    assert(!l->running);
    close_descriptors(l);
    outq_pool_fini(&l->pool);
    give_memory(l);
}
