#include "hub/broadcast.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"
#include "hub/command.h"
#include "hub/news.h"
#include "hub/session.h"
#include "hub/shard.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

struct hop {
    struct message message;
    struct broadcast *broadcast;
};

struct broadcast {
    struct hub *hub;
    struct shard *home;      /* its sender's; NULL: it is awaited */
    struct session *session; /* home's thread: who gets the acknowledgement, or NULL */
    struct list node;        /* of the session's */
    struct reply reply;      /* the message; every loop sends a copy */
    struct text request_id;
    uint64_t author; /* the connection that wants no echo if it has said so; 0: none */
    bool self;       /* false: none in any case */
    bool awaited;    /* by hub_broadcast */
    bool charged;    /* its bytes are */
    bool queued;     /* home's thread: by all loops */
    size_t bytes;
    atomic_uint refs; /* the loops together are one, who waits is one */
    atomic_uint left; /* loops */
    atomic_ullong delivered;
    struct message done;
    pthread_mutex_t lock; /* with `wake`, for who waits */
    pthread_cond_t wake;
    struct hop hops[];
};

/* Copies a text to *at, behind the hops. */
static struct text keep(char **at, struct text t)
{
    struct text copy = {t.p ? *at : NULL, t.len};

    if (t.p)
        memcpy(*at, t.p, t.len);
    *at += t.len;
    return copy;
}

/* What the reply and the id point to is copied. */
static struct broadcast *create(struct hub *h, const struct reply *r, struct text request_id)
{
    size_t loops = (size_t)hub_loops(h);
    size_t bytes = sizeof(struct broadcast) + loops * sizeof(struct hop) + r->channel.len +
                   r->event.len + r->data.len + r->user.len + request_id.len;
    struct broadcast *b = mem_zalloc(bytes);
    char *at;

    if (!b)
        return NULL;
    at = (char *)&b->hops[loops];
    b->hub = h;
    list_init(&b->node);
    b->reply = *r;
    b->reply.time_ms = clock_wall_ms();
    b->reply.channel = keep(&at, r->channel);
    b->reply.event = keep(&at, r->event);
    b->reply.data = keep(&at, r->data);
    b->reply.user = keep(&at, r->user);
    b->request_id = keep(&at, request_id);
    b->bytes = bytes;
    atomic_init(&b->refs, 1);
    atomic_init(&b->left, (unsigned)loops);
    return b;
}

static void unref(struct broadcast *b)
{
    if (atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (b->charged)
        hub_discharge(b->hub, b->bytes);
    if (b->awaited) {
        pthread_cond_destroy(&b->wake);
        pthread_mutex_destroy(&b->lock);
    }
    mem_free(b);
}

static void acknowledge(struct session *s, struct broadcast *b)
{
    struct reply r = {.type = REPLY_BROADCAST_ACK,
        .request_id = b->request_id,
        .channel = b->reply.channel,
        .delivered = atomic_load(&b->delivered)};

    list_del(&b->node);
    if (!conn_closing(s->conn))
        session_reply(s, &r);
    unref(b);
}

/*
 * On the sender's loop, or on none once they have ended (no receiver). It is acknowledged after
 * those that were sent before it.
 */
static void run_done(struct message *m, void *receiver)
{
    struct broadcast *b = list_entry(m, struct broadcast, done);
    struct session *s = receiver ? b->session : NULL;

    if (!s) {
        unref(b);
        return;
    }
    b->queued = true;
    while (!list_empty(&s->work->broadcasts)) {
        b = list_entry(s->work->broadcasts.next, struct broadcast, node);
        if (!b->queued)
            return;
        acknowledge(s, b);
    }
}

/* All loops have queued it. `here`: the loop whose thread this is. */
static void complete(struct broadcast *b, struct shard *here)
{
    if (b->awaited) {
        pthread_mutex_lock(&b->lock);
        pthread_cond_signal(&b->wake);
        pthread_mutex_unlock(&b->lock);
        unref(b);
        return;
    }
    b->done.run = run_done;
    if (here == b->home)
        run_done(&b->done, here);
    else if (!hub_post(b->hub, b->home, &b->done))
        hub_keep(b->hub, &b->done);
}

static void step(struct broadcast *b, struct shard *here)
{
    if (atomic_fetch_sub_explicit(&b->left, 1, memory_order_acq_rel) == 1)
        complete(b, here);
}

static void deliver(struct broadcast *b, struct shard *here)
{
    struct reply r = b->reply;
    const struct session *but = here == b->home && !b->self ? b->session : NULL;

    atomic_fetch_add(&b->delivered, news_to_channel(here, &r, but, b->author));
    step(b, here);
}

static void run_hop(struct message *m, void *receiver)
{
    deliver(list_entry(m, struct hop, message)->broadcast, receiver);
}

/* `here` (NULL: no loop) delivers at once, so that its members get it before what follows. */
static void send_out(struct broadcast *b, struct shard *here)
{
    int loops = hub_loops(b->hub);

    for (int i = 0; i < loops; i++) {
        struct shard *to = hub_shard(b->hub, i);

        b->hops[i] = (struct hop){.message.run = run_hop, .broadcast = b};
        if (to != here && !hub_post(b->hub, to, &b->hops[i].message))
            step(b, here);
    }
    if (here)
        deliver(b, here);
}

static bool allowed(struct session *s, const struct command *cmd)
{
    if (!command_channel_ok(s, cmd))
        return false;
    if (!channel_server_speaks(cmd->channel.p, cmd->channel.len))
        return true;
    session_refuse(s, cmd, ERROR_FORBIDDEN, "only the server sends to the channel %.*s",
        (int)cmd->channel.len, cmd->channel.p);
    return false;
}

void broadcast_run(struct session *s, const struct command *cmd)
{
    struct reply r = {.type = REPLY_BROADCAST,
        .connection = conn_id(s->conn),
        .channel = cmd->channel,
        .event = cmd->event,
        .data = cmd->data,
        .user = {session_user(s), session_user(s) ? strlen(session_user(s)) : 0}};
    struct broadcast *b;

    if (!allowed(s, cmd))
        return;
    b = session_work(s) == 0 ? create(s->shard->hub, &r, cmd->request_id) : NULL;
    if (!b) {
        session_fail(s);
        return;
    }
    if (!hub_charge(b->hub, b->bytes)) {
        unref(b);
        session_refuse(s, cmd, ERROR_LIMIT_EXCEEDED,
            "too many broadcasts are on their way: wait for the broadcast:ack of earlier ones");
        return;
    }
    b->charged = true;
    b->home = s->shard;
    b->session = s;
    b->self = cmd->self;
    b->author = r.connection;
    b->reply.number = ++s->replies;
    list_add_tail(&s->work->broadcasts, &b->node);
    send_out(b, s->shard);
}

void broadcast_forget_sender(struct session *s)
{
    while (!list_empty(&s->work->broadcasts)) {
        struct broadcast *b = list_entry(s->work->broadcasts.next, struct broadcast, node);

        b->session = NULL;
        list_del(&b->node);
        if (b->queued)
            unref(b);
    }
}

/* From outside. */

static void wait_for(struct broadcast *b, int64_t wait_ms)
{
    int64_t end = clock_mono_ms() + wait_ms;
    struct timespec t = {.tv_sec = end / 1000, .tv_nsec = end % 1000 * 1000000};
    int rc = 0;

    pthread_mutex_lock(&b->lock);
    while (atomic_load(&b->left) && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&b->wake, &b->lock, &t);
    pthread_mutex_unlock(&b->lock);
}

static void init_wait(struct broadcast *b)
{
    pthread_condattr_t attributes;

    b->awaited = true;
    pthread_mutex_init(&b->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&b->wake, &attributes);
    pthread_condattr_destroy(&attributes);
}

static struct text text_of(const char *s)
{
    return (struct text){s, s ? strlen(s) : 0};
}

int hub_broadcast(struct hub *h, const struct hub_message *m, int64_t wait_ms, uint64_t *delivered,
    unsigned *pending)
{
    struct reply r = {.type = REPLY_BROADCAST,
        .number = hub_next_number(h),
        .channel = text_of(m->channel),
        .event = text_of(m->event),
        .data = {m->data, m->data_len},
        .user = text_of(m->user_id)};
    struct broadcast *b;

    if (m->data_len > hub_shard(h, 0)->options->max_message)
        return STATUS_TOO_LARGE;
    b = create(h, &r, (struct text){0});
    if (!b)
        return STATUS_NOMEM;
    init_wait(b);
    if (!hub_charge(h, b->bytes)) {
        unref(b);
        return STATUS_CONFLICT;
    }
    b->charged = true;
    atomic_fetch_add(&b->refs, 1);
    send_out(b, NULL);
    wait_for(b, wait_ms);
    *pending = atomic_load(&b->left);
    *delivered = atomic_load(&b->delivered);
    unref(b);
    return 0;
}
