#include "hub/hub_private.h"

#include "base/clock.h"
#include "base/cores.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/thread.h"
#include "hub/delivery.h"
#include "hub/permit.h"
#include "hub/session.h"
#include "hub/shard.h"
#include "net/tls.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

static int start_shards(struct hub *h, struct buf *err)
{
    int count = h->options.loops;

    if (count <= 0)
        count = cores_available();
    h->planned = count;
    h->shards = mem_array((size_t)count, sizeof(*h->shards));
    if (!h->shards) {
        buf_puts(err, "not enough memory to start");
        return STATUS_NOMEM;
    }
    while (h->count < count) {
        struct shard *s = shard_new(h, h->count, &h->options, &h->gate);

        if (!s) {
            buf_printf(
                err, "cannot start event loop %d of %d: %s", h->count + 1, count, strerror(errno));
            return STATUS_IO;
        }
        h->shards[h->count++] = s;
    }
    return 0;
}

struct hub *hub_new(const struct hub_options *options, struct buf *err)
{
    struct hub *h = mem_zalloc(sizeof(*h));

    if (!h) {
        buf_puts(err, "not enough memory to start");
        return NULL;
    }
    h->options = *options;
    h->started_ms = clock_mono_ms();
    h->options.schema = schema_ref(options->schema);
    h->options.version = mem_strdup(options->version);
    h->options.epoch = mem_strdup(options->epoch);
    gate_init(&h->gate);
    pthread_mutex_init(&h->posting, NULL);
    if (!h->options.version || !h->options.epoch)
        buf_puts(err, "not enough memory to start");
    else if (start_shards(h, err) == 0)
        return h;
    hub_stop(h, 0);
    hub_free(h);
    return NULL;
}

struct stopper {
    pthread_t thread;
    bool started;
    struct loop *loop;
    int64_t grace_ms;
};

static void *stop_loop(void *arg)
{
    struct stopper *s = arg;

    loop_stop(s->loop, s->grace_ms);
    return NULL;
}

/* All at once, so that the grace is not granted loop by loop. */
static void stop_loops(struct hub *h, int64_t grace_ms)
{
    struct stopper *stoppers = mem_array((size_t)h->count, sizeof(*stoppers));
    int64_t end = clock_mono_ms() + grace_ms;

    for (int i = 0; stoppers && i < h->count; i++) {
        stoppers[i].loop = h->shards[i]->loop;
        stoppers[i].grace_ms = grace_ms;
        stoppers[i].started =
            thread_start(&stoppers[i].thread, NULL, stop_loop, &stoppers[i], "stop-%d", i) == 0;
    }
    for (int i = 0; i < h->count; i++) {
        int64_t left = end - clock_mono_ms();

        if (stoppers && stoppers[i].started)
            pthread_join(stoppers[i].thread, NULL);
        else
            loop_stop(h->shards[i]->loop, left > 0 ? left : 0);
    }
    mem_free(stoppers);
}

void hub_stop(struct hub *h, int64_t grace_ms)
{
    bool before;

    pthread_mutex_lock(&h->posting);
    before = h->stopped;
    h->stopped = true;
    pthread_mutex_unlock(&h->posting);
    /* Not earlier: a publisher let through must find that there is nothing to post to. */
    gate_open(&h->gate);
    if (!before)
        stop_loops(h, grace_ms);
}

bool hub_post(struct hub *h, struct shard *s, struct message *m)
{
    bool posted;

    pthread_mutex_lock(&h->posting);
    posted = !h->stopped;
    if (posted)
        loop_post(s->loop, m);
    pthread_mutex_unlock(&h->posting);
    return posted;
}

struct shard *hub_shard(const struct hub *h, int i)
{
    return i < h->count ? h->shards[i] : NULL;
}

void hub_keep(struct hub *h, struct message *m)
{
    pthread_mutex_lock(&h->posting);
    m->next = h->kept;
    h->kept = m;
    pthread_mutex_unlock(&h->posting);
}

void hub_free(struct hub *h)
{
    if (!h)
        return;
    while (h->kept) {
        struct message *m = h->kept;

        h->kept = m->next;
        m->run(m, NULL);
    }
    for (int i = 0; i < h->count; i++)
        shard_free(h->shards[i]);
    mem_free(h->shards);
    schema_unref(h->options.schema);
    mem_free((void *)(uintptr_t)h->options.version);
    mem_free((void *)(uintptr_t)h->options.epoch);
    pthread_mutex_destroy(&h->posting);
    gate_fini(&h->gate);
    mem_free(h);
}

/* Publishing. */

static bool has_room(void *ctx)
{
    const struct hub *h = ctx;

    for (int i = 0; i < h->count; i++)
        if (shard_full(h->shards[i]))
            return false;
    return true;
}

/*
 * Where a loop has little to do, and no processor of its own, its subscribers are told before we go
 * on: he who wrote waits for less then than they would.
 */
void hub_wake(struct hub *h)
{
    bool soon = false;

    pthread_mutex_lock(&h->posting);
    for (int i = 0; i < h->count && !h->stopped; i++)
        soon |= shard_wake_loop(h->shards[i]);
    pthread_mutex_unlock(&h->posting);
    if (soon)
        sched_yield();
}

void hub_publish(struct hub *h, struct batch *b)
{
    hub_put(h, b);
    hub_wake(h);
}

void hub_put(struct hub *h, struct batch *b)
{
    if (b->gap)
        atomic_fetch_add_explicit(&h->gaps, 1, memory_order_relaxed);
    if (!has_room(h))
        hub_wake(h);
    gate_wait(&h->gate, has_room, h);
    pthread_mutex_lock(&h->posting);
    for (int i = 0; i < h->count && !h->stopped; i++) {
        delivery_begin(b);
        shard_publish(h->shards[i], b);
    }
    pthread_mutex_unlock(&h->posting);
}

/* The policy. */

struct policy_news {
    struct message message;
    struct policy *policy; /* a reference */
};

static void run_policy(struct message *m, void *receiver)
{
    struct policy_news *n = list_entry(m, struct policy_news, message);

    permit_follow(receiver, n->policy);
    policy_unref(n->policy);
    mem_free(n);
}

int hub_set_policy(struct hub *h, struct policy *p)
{
    struct policy_news **all = mem_array((size_t)h->count, sizeof(*all));
    int made = 0;

    while (all && made < h->count && (all[made] = mem_zalloc(sizeof(**all))) != NULL)
        made++;
    for (int i = 0; i < made; i++) {
        all[i]->message.run = run_policy;
        all[i]->policy = policy_ref(p);
        if (made == h->count && hub_post(h, h->shards[i], &all[i]->message))
            continue;
        policy_unref(p);
        mem_free(all[i]);
    }
    mem_free(all);
    return made == h->count ? 0 : STATUS_NOMEM;
}

/* Between loops. */

/* Broadcasts that wait for other loops; past it their senders are refused. */
#define IN_FLIGHT_MAX ((size_t)64 << 20)

int hub_loops(const struct hub *h)
{
    return h->planned;
}

uint64_t hub_subscriptions(const struct hub *h)
{
    uint64_t n = 0;

    for (int i = 0; i < h->count; i++)
        n += atomic_load_explicit(&h->shards[i]->subscriptions, memory_order_relaxed) +
             atomic_load_explicit(&h->shards[i]->memberships, memory_order_relaxed);
    return n;
}

bool hub_charge(struct hub *h, size_t bytes)
{
    size_t before = atomic_fetch_add_explicit(&h->in_flight, bytes, memory_order_relaxed);

    if (before == 0 || before + bytes <= IN_FLIGHT_MAX)
        return true;
    hub_discharge(h, bytes);
    return false;
}

void hub_discharge(struct hub *h, size_t bytes)
{
    atomic_fetch_sub_explicit(&h->in_flight, bytes, memory_order_relaxed);
}

uint64_t hub_next_number(struct hub *h)
{
    return atomic_fetch_add_explicit(&h->numbers, 1, memory_order_relaxed) + 1;
}

/* Connections. */

bool hub_reserve(struct hub *h)
{
    unsigned max = h->options.max_connections, now = atomic_load(&h->connections);

    while (!max || now < max)
        if (atomic_compare_exchange_weak(&h->connections, &now, now + 1))
            return true;
    return false;
}

void hub_unreserve(struct hub *h)
{
    atomic_fetch_sub(&h->connections, 1);
}

static struct shard *least_connections(const struct hub *h)
{
    struct shard *best = h->shards[0];

    for (int i = 1; i < h->count; i++)
        if (atomic_load(&h->shards[i]->connections) < atomic_load(&best->connections))
            best = h->shards[i];
    return best;
}

static struct arrival *arrival_new(
    struct shard *s, const struct dialect *dialect, const struct hub_client *client)
{
    struct arrival *a = mem_zalloc(sizeof(*a));

    if (!a)
        return NULL;
    a->shard = s;
    a->dialect = dialect;
    a->window_bits = client->window_bits;
    a->who = identity_ref(client->who);
    a->address = mem_strdup(client->address ? client->address : "unknown");
    a->request = mem_strdup(client->request ? client->request : "");
    a->headers = dialect->put_keep_alive ? mem_strdup(client->headers) : NULL;
    if (client->limits && client->limits->limiter)
        a->limits = mem_dup(client->limits, sizeof(*a->limits));
    if (a->address && a->request && (a->limits || !client->limits || !client->limits->limiter) &&
        (a->headers || !dialect->put_keep_alive))
        return a;
    identity_unref(a->who);
    mem_free(a->address);
    mem_free(a->limits);
    mem_free(a->request);
    mem_free(a->headers);
    mem_free(a);
    return NULL;
}

int hub_adopt(struct hub *h, int fd, const struct dialect *dialect, const struct hub_client *client,
    const void *hello, size_t hello_len)
{
    struct shard *s;
    struct arrival *a = NULL;
    int result = STATUS_CLOSED;

    pthread_mutex_lock(&h->posting);
    s = least_connections(h);
    if (!h->stopped) {
        a = arrival_new(s, dialect, client);
        result = STATUS_NOMEM;
    }
    if (a) {
        atomic_fetch_add(&s->connections, 1);
        result = loop_adopt_tls(s->loop, fd, client->tls,
            dialect->put_keep_alive ? &session_stream_ops : &session_ops, a, hello, hello_len);
    }
    pthread_mutex_unlock(&h->posting);
    if (!a) {
        if (client->limits)
            limiter_end(client->limits);
        tls_free(client->tls);
        close(fd);
        hub_unreserve(h);
    }
    return result;
}
