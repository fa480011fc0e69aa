#include "hub/poll.h"

#include "base/clock.h"
#include "base/mem.h"
#include "hub/replay.h"
#include "hub/session.h"
#include "hub/shard.h"

/* Who does not want to wait has this long to come through the past that it asked for. */
#define CATCH_UP_MS 25000

struct poll {
    struct session *session;
    struct list node;  /* in its shard's polls, or alone */
    struct list ready; /* in its shard's polls_ready, or alone */
    int64_t due;       /* ms */
    struct buf items;
    size_t max; /* bytes of items after which the answer is full */
    uint32_t count, limit;
};

struct poll *poll_new(struct session *s)
{
    struct poll *p = mem_zalloc(sizeof(*p));

    if (!p)
        return NULL;
    p->session = s;
    list_init(&p->node);
    list_init(&p->ready);
    return p;
}

void poll_free(struct poll *p)
{
    if (!p)
        return;
    list_del(&p->node);
    list_del(&p->ready);
    buf_fini(&p->items);
    mem_free(p);
}

static void make_ready(struct poll *p)
{
    if (list_empty(&p->ready))
        list_add_tail(&p->session->shard->polls_ready, &p->ready);
}

void poll_begin(struct poll *p, const struct command *cmd)
{
    struct shard *s = p->session->shard;
    struct list *after = s->polls.prev;

    p->limit = cmd->limit;
    p->max = s->options->max_queue / 2;
    if (p->max > POLL_MAX_BYTES)
        p->max = POLL_MAX_BYTES;
    p->due = clock_mono_ms() + (cmd->wait_ms ? cmd->wait_ms : CATCH_UP_MS);
    if (!cmd->wait_ms)
        make_ready(p);
    while (after != &s->polls && list_entry(after, struct poll, node)->due > p->due)
        after = after->prev;
    list_add_tail(after->next, &p->node);
    loop_tick_by(s->loop, p->due);
}

/* Everything up to here that it asked for is in the answer. */
static uint64_t position(struct session *s)
{
    uint64_t seq = s->shard->seq;

    for (struct list *n = s->work->replays.next; n != &s->work->replays; n = n->next) {
        const struct replay *r = list_entry(n, struct replay, node);

        if (r->seq < seq)
            seq = r->seq;
    }
    return seq;
}

static void answer(struct poll *p, uint64_t seq)
{
    struct reply r = {
        .type = REPLY_CHANGES, .rows = {p->items.data, p->items.len}, .position = seq};
    struct session *s = p->session;

    list_del(&p->node);
    list_del(&p->ready);
    if (buf_error(&p->items))
        session_fail(s);
    else if (!conn_closing(s->conn))
        session_reply(s, &r);
}

int poll_add(
    struct poll *p, const struct change_prefix *prefix, const struct body *body, uint64_t seq)
{
    p->session->dialect->put_item(&p->items, prefix, body->data, body->len);
    p->count++;
    make_ready(p);
    if (p->count >= p->limit || p->items.len >= p->max)
        answer(p, seq);
    return buf_error(&p->items);
}

bool poll_takes(struct poll *p, struct reply *r)
{
    switch (r->type) {
    case REPLY_SUBSCRIBED:
        return true;
    case REPLY_RESYNC:
        session_put_reply(p->session, &p->items, r);
        make_ready(p);
        return true;
    case REPLY_ERROR:
        if (!p->items.len)
            return false;
        /* The next one will be told. */
        answer(p, position(p->session));
        return true;
    default:
        return false;
    }
}

struct reply poll_too_large(void)
{
    return (struct reply){.type = REPLY_ERROR,
        .code = ERROR_LIMIT_EXCEEDED,
        .message = "a change is larger than --max-queue allows"};
}

void poll_finish(struct poll *p)
{
    answer(p, position(p->session));
}

void poll_end(struct poll *p)
{
    struct reply r = {.type = REPLY_ERROR,
        .code = ERROR_LIMIT_EXCEEDED,
        .message = "the server is shutting down",
        .busy = true};

    if (p->items.len)
        answer(p, position(p->session));
    else
        session_reply(p->session, &r);
}

void poll_run(struct shard *s)
{
    struct list *n = s->polls_ready.next, *next;

    for (; n != &s->polls_ready; n = next) {
        struct poll *p = list_entry(n, struct poll, ready);

        next = n->next;
        if (list_empty(&p->session->work->replays))
            answer(p, s->seq);
    }
}

void poll_tick(void *shard, int64_t mono_ms)
{
    struct shard *s = shard;

    while (!list_empty(&s->polls)) {
        struct poll *p = list_entry(s->polls.next, struct poll, node);

        if (p->due > mono_ms) {
            loop_tick_by(s->loop, p->due);
            return;
        }
        answer(p, position(p->session));
    }
}
