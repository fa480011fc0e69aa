#include "hub/page.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/status.h"
#include "hub/replay.h"
#include "hub/session.h"
#include "hub/shard.h"

static void page_free(struct page *p)
{
    batch_unref(p->past.batch);
    mem_free(p);
}

/* On the loop, or in hub_free with no receiver. */
static void run_returned(struct message *m, void *receiver);

/* On the pager's thread. */
static void past_read(struct past *past)
{
    struct page *p = list_entry(past, struct page, past);

    past->message.run = run_returned;
    if (!hub_post(p->shard->hub, p->shard, &past->message))
        hub_keep(p->shard->hub, &past->message);
}

static struct page *ask(struct replay *r, uint64_t after)
{
    struct shard *s = r->session->shard;
    struct page *p = mem_zalloc(sizeof(*p));

    if (!p)
        return NULL;
    p->shard = s;
    p->replay = r;
    p->away = true;
    p->past.done = past_read;
    p->past.after = after;
    p->past.max_bytes = PAGE_BYTES;
    s->pages++;
    database_read_past(s->options->db, &p->past);
    return p;
}

/* A place is free: whoever has waited longest gets it. */
static void serve(struct shard *s)
{
    while (s->pages < SHARD_PAGES && !list_empty(&s->waiting)) {
        struct replay *r = list_entry(s->waiting.next, struct replay, ready);

        list_del(&r->ready);
        r->page = ask(r, r->seq);
        if (!r->page)
            session_fail(r->session);
    }
}

static void put(struct page **slot)
{
    struct page *p = *slot;
    struct shard *s;

    if (!p)
        return;
    *slot = NULL;
    p->replay = NULL;
    if (p->away)
        return;
    s = p->shard;
    s->pages--;
    page_free(p);
    serve(s);
}

static void run_returned(struct message *m, void *receiver)
{
    struct page *p = list_entry(m, struct page, past.message);
    struct shard *s = receiver;

    if (!s) {
        page_free(p);
        return;
    }
    p->away = false;
    if (!p->replay)
        put(&p);
    else if (p == p->replay->page)
        replay_ready(p->replay);
}

void page_drop(struct replay *r)
{
    put(&r->next_page);
    put(&r->page);
}

/* Not where memory has what follows, and not at the cost of others. */
static void read_ahead(struct replay *r)
{
    struct shard *s = r->session->shard;
    uint64_t last = r->page->past.batch->last_seq;

    if (!r->next_page && last < s->history.after && s->pages < SHARD_PAGES)
        r->next_page = ask(r, last);
}

static bool holds(const struct batch *b, uint64_t seq)
{
    return b->change_count && b->first_seq <= seq && seq <= b->last_seq;
}

static int check(const struct page *p, uint64_t seq)
{
    int status = p->past.status;

    if (status == 0 && holds(p->past.batch, seq))
        return 0;
    if (status != STATUS_NOT_FOUND && status != STATUS_CLOSED && !p->shard->told_damaged) {
        p->shard->told_damaged = true;
        log_error("cannot read the journal after change %llu (status %d): clients that resume from "
                  "before it are told to resynchronize",
            (unsigned long long)p->past.after, status);
    }
    return status < 0 ? status : STATUS_NOT_FOUND;
}

const struct batch *page_find(struct replay *r, int *status)
{
    *status = 0;
    if (r->page && !r->page->away && r->page->past.batch &&
        r->seq >= r->page->past.batch->last_seq) {
        struct page *read = r->page;

        r->page = r->next_page;
        r->next_page = NULL;
        put(&read);
    }
    if (!r->page || r->page->away)
        return NULL;
    *status = check(r->page, r->seq + 1);
    if (*status < 0)
        return NULL;
    read_ahead(r);
    return r->page->past.batch;
}

/* From those that wait for their clients; they ask again when they need them. */
static void reclaim(struct shard *s)
{
    while (s->pages >= SHARD_PAGES && !list_empty(&s->parked)) {
        struct replay *r = list_entry(s->parked.next, struct replay, ready);

        list_del(&r->ready);
        page_drop(r);
    }
}

int page_want(struct replay *r)
{
    struct shard *s = r->session->shard;

    if (r->page)
        return 0; /* it is on its way */
    if (s->pages >= SHARD_PAGES)
        reclaim(s);
    if (s->pages >= SHARD_PAGES || !list_empty(&s->waiting)) {
        list_add_tail(&s->waiting, &r->ready);
        serve(s);
        return 0;
    }
    r->page = ask(r, r->seq);
    return r->page ? 0 : STATUS_NOMEM;
}
