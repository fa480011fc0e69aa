#include "net/outq.h"
#include "base/mem.h"
#include "base/status.h"
#include "net/outq_pool.h"

#include <assert.h>
#include <string.h>

/*
 * A queue is a chain of blocks, a block is a row of records, a record is a header and its private
 * bytes, padded to 8:
 *
 *     first                                   last
 *     [next used |rec|private..|rec|private..] -> [next used |rec|private..|    free    ]
 *                 ^ head (records before it are gone)
 *
 * A frame is one record, or two when its private part is too long for a block: that part becomes a
 * body of its own.
 */
#define INLINE_MAX 480 /* private bytes kept in a block */
#define COPY_MAX 4096  /* bodies up to this are copied together rather than pointed to */

struct record {
    struct body *body;   /* NULL: none */
    uint32_t from, size; /* what of it */
    uint32_t len;        /* private bytes behind this header */
    bool end;            /* the last record of its frame */
    bool news;           /* may be forgotten */
    bool own;            /* the body is a long private part */
    bool forgotten;      /* takes up its place, but no byte of it is sent */
    char data[];
};

static size_t stride(size_t len)
{
    return (sizeof(struct record) + len + 7) & ~(size_t)7;
}

static struct record *record_at(struct outq_block *b, uint32_t at)
{
    return (struct record *)(b->data + at);
}

static size_t record_size(const struct record *r)
{
    return r->forgotten ? 0 : (size_t)r->len + r->size;
}

void outq_init(struct outq *q)
{
    *q = (struct outq){0};
}

/* Makes room for n bytes in the last block. */
static int make_room(struct outq *q, struct outq_pool *pool, size_t n)
{
    struct outq_block *b;

    if (q->last && OUTQ_BLOCK_ROOM - q->last->used >= n)
        return 0;
    b = outq_pool_take(pool);
    if (!b)
        return STATUS_NOMEM;
    b->next = NULL;
    b->used = 0;
    if (q->last)
        q->last->next = b;
    else
        q->first = b;
    q->last = b;
    return 0;
}

/* Adds a record of len private bytes, to be filled in by the caller; there is room for it. */
static struct record *append(
    struct outq *q, struct outq_pool *pool, size_t len, struct body *body, bool end, bool news)
{
    struct record *r = record_at(q->last, q->last->used);

    r->body = body;
    r->from = 0;
    r->size = body ? body->len : 0;
    r->len = (uint32_t)len;
    r->end = end;
    r->news = news;
    r->own = false;
    r->forgotten = false;
    q->open = false;
    q->last->used += (uint32_t)stride(len);
    q->bytes += record_size(r);
    pool->queued += record_size(r);
    return r;
}

/* A record of a part of a body, which its bytes and the reference are still to be counted for. */
static int append_part(
    struct outq *q, struct outq_pool *pool, struct body *body, uint32_t from, uint32_t size)
{
    struct record *r;

    if (make_room(q, pool, stride(0)))
        return STATUS_NOMEM;
    q->tail = (uint16_t)q->last->used;
    r = append(q, pool, 0, NULL, true, true);
    r->body = body;
    r->from = from;
    r->size = size;
    q->open = true;
    return 0;
}

/* What was alone will have something behind it. STATUS_NOMEM leaves the queue as it was. */
static int into_block(struct outq *q, struct outq_pool *pool)
{
    struct outq rest = *q;

    if (!q->alone)
        return 0;
    rest.alone = false;
    rest.first = rest.last = NULL;
    rest.head = 0;
    if (append_part(&rest, pool, q->part, q->from, q->size) < 0)
        return STATUS_NOMEM;
    *q = rest;
    return 0;
}

static void join(char *to, const void *a, size_t alen, const void *b, size_t blen)
{
    if (alen)
        memcpy(to, a, alen);
    if (blen)
        memcpy(to + alen, b, blen);
}

static int put_long(struct outq *q, struct outq_pool *pool, const void *head, size_t head_len,
    const void *data, size_t data_len, struct body *body, bool news)
{
    struct body *copy;

    if (head_len + data_len > UINT32_MAX)
        return STATUS_NOMEM;
    copy = body_new_empty(head_len + data_len);
    if (!copy)
        return STATUS_NOMEM;
    if (make_room(q, pool, 2 * stride(0))) {
        body_unref(copy);
        return STATUS_NOMEM;
    }
    join(copy->data, head, head_len, data, data_len);
    append(q, pool, 0, copy, !body, news)->own = true;
    pool->own += copy->len;
    if (body) {
        body_ref(body);
        append(q, pool, 0, body, true, news);
    }
    return 0;
}

int outq_put(struct outq *q, struct outq_pool *pool, const void *head, size_t head_len,
    const void *data, size_t data_len, struct body *body, bool news)
{
    size_t len = head_len + data_len;
    struct record *r;

    if (into_block(q, pool) < 0)
        return STATUS_NOMEM;
    if (len > INLINE_MAX)
        return put_long(q, pool, head, head_len, data, data_len, body, news);
    if (make_room(q, pool, stride(len)))
        return STATUS_NOMEM;
    if (body)
        body_ref(body);
    r = append(q, pool, len, body, true, news);
    join(r->data, head, head_len, data, data_len);
    return 0;
}

/* Whether what is last goes on with these bytes. */
static bool extend(struct outq *q, const struct body *body, uint32_t from, uint32_t size)
{
    struct record *r = q->open ? record_at(q->last, q->tail) : NULL;

    if (q->alone && q->part == body && q->from + q->size == from)
        q->size += size;
    else if (r && r->body == body && r->from + r->size == from)
        r->size += size;
    else
        return false;
    return true;
}

int outq_put_part(
    struct outq *q, struct outq_pool *pool, struct body *body, uint32_t from, uint32_t size)
{
    if (!extend(q, body, from, size)) {
        if (!q->alone && !q->first) {
            q->alone = true;
            q->part = body;
            q->from = from;
            q->size = size;
        } else if (into_block(q, pool) < 0 || append_part(q, pool, body, from, size) < 0) {
            return STATUS_NOMEM;
        }
        body_ref(body);
    }
    q->bytes += size;
    pool->queued += size;
    return 0;
}

static void pop_block(struct outq *q, struct outq_pool *pool)
{
    struct outq_block *b = q->first;

    q->first = b->next;
    q->head = 0;
    if (!q->first) {
        q->last = NULL;
        q->open = false;
    }
    outq_pool_give(pool, b);
}

static void drop_body(struct outq_pool *pool, struct record *r)
{
    if (r->own && r->body)
        pool->own -= r->body->len;
    body_unref(r->body);
    r->body = NULL;
}

/* The first record is gone. */
static void pop(struct outq *q, struct outq_pool *pool)
{
    struct record *r = record_at(q->first, q->head);

    q->begun = !r->end;
    drop_body(pool, r);
    q->head += (uint32_t)stride(r->len);
    if (q->head == q->first->used)
        pop_block(q, pool);
}

/* The same for a part that is alone, of which so many bytes are gone now. */
static void consume_part(struct outq *q, size_t sent)
{
    q->sent = sent;
    q->begun = sent > 0;
    if (sent < q->size)
        return;
    body_unref(q->part);
    outq_init(q);
}

void outq_consume(struct outq *q, struct outq_pool *pool, size_t n)
{
    assert(n <= q->bytes);
    q->bytes -= n;
    pool->queued -= n;
    n += q->sent;
    if (q->alone) {
        consume_part(q, n);
        return;
    }
    while (q->first) {
        size_t size = record_size(record_at(q->first, q->head));

        if (n < size)
            break;
        n -= size;
        pop(q, pool);
    }
    q->sent = n;
    if (n)
        q->begun = true;
}

void outq_clear(struct outq *q, struct outq_pool *pool)
{
    outq_consume(q, pool, q->bytes);
    assert(!q->alone && !q->first);
    q->begun = false;
}

/* Unreferences the records of b from `at` on and takes them off. */
static void cut_block(struct outq *q, struct outq_pool *pool, struct outq_block *b, uint32_t at)
{
    uint32_t i;

    for (i = at; i < b->used; i += (uint32_t)stride(record_at(b, i)->len)) {
        struct record *r = record_at(b, i);

        q->bytes -= record_size(r);
        pool->queued -= record_size(r);
        drop_body(pool, r);
    }
    b->used = at;
}

void outq_drop(struct outq *q, struct outq_pool *pool)
{
    struct outq_block *b = q->first, *rest;
    uint32_t at = q->head;
    bool end = false;

    q->open = false;
    if (!q->begun)
        outq_clear(q, pool);
    if (!q->first || q->alone)
        return;
    while (!end) {
        struct record *r;

        if (at == b->used) {
            b = b->next;
            at = 0;
        }
        r = record_at(b, at);
        end = r->end;
        at += (uint32_t)stride(r->len);
    }
    cut_block(q, pool, b, at);
    rest = b->next;
    b->next = NULL;
    q->last = b;
    while (rest) {
        b = rest;
        rest = b->next;
        cut_block(q, pool, b, 0);
        outq_pool_give(pool, b);
    }
}

static void forget_record(struct outq *q, struct outq_pool *pool, struct record *r)
{
    q->bytes -= record_size(r);
    pool->queued -= record_size(r);
    drop_body(pool, r);
    r->forgotten = true;
}

/* Forgets the news of a block from *at on; whether anything else is left in it. */
static bool forget_in_block(
    struct outq *q, struct outq_pool *pool, struct outq_block *b, uint32_t at, bool *begun)
{
    bool left = false;

    for (; at < b->used; at += (uint32_t)stride(record_at(b, at)->len)) {
        struct record *r = record_at(b, at);
        bool in_begun = *begun;

        *begun = in_begun && !r->end;
        if (r->news && !in_begun && !r->forgotten)
            forget_record(q, pool, r);
        left |= !r->forgotten;
    }
    return left;
}

void outq_forget(struct outq *q, struct outq_pool *pool)
{
    struct outq_block *b = q->first, *next;
    uint32_t at = q->head;
    bool begun = q->begun;

    if (q->alone) {
        outq_drop(q, pool);
        return;
    }
    q->open = false;
    q->first = q->last = NULL;
    q->head = 0;
    for (; b; b = next, at = 0) {
        next = b->next;
        b->next = NULL;
        if (!forget_in_block(q, pool, b, at, &begun)) {
            outq_pool_give(pool, b);
        } else if (q->last) {
            q->last->next = b;
            q->last = b;
        } else {
            q->first = q->last = b;
            q->head = at;
        }
    }
}

/* Adds a piece by copying; false when the scratch is full before its end. */
static bool gather_copy(struct outq_gather *g, const char *p, size_t n)
{
    size_t room = g->cap - g->used;
    size_t take = n < room ? n : room;
    char *to = g->scratch + g->used;
    struct iovec *v = g->count ? &g->iov[g->count - 1] : NULL;

    if (take == 0)
        return n == 0;
    if (!v || g->used == 0 || (char *)v->iov_base + v->iov_len != to) {
        if (g->count == OUTQ_IOV)
            return false;
        v = &g->iov[g->count++];
        v->iov_base = to;
        v->iov_len = 0;
    }
    memcpy(to, p, take);
    v->iov_len += take;
    g->used += take;
    g->total += take;
    return take == n;
}

static bool gather_body(struct outq_gather *g, const struct record *r, size_t skip)
{
    char *data = r->body->data + r->from + skip;
    size_t n = r->size - skip;

    if (n <= COPY_MAX)
        return gather_copy(g, data, n);
    if (g->count == OUTQ_IOV)
        return false;
    g->iov[g->count++] = (struct iovec){data, n};
    g->total += n;
    return true;
}

static bool gather_record(struct outq_gather *g, struct record *r, size_t skip)
{
    if (r->forgotten)
        return true;
    if (skip < r->len && !gather_copy(g, r->data + skip, r->len - skip))
        return false;
    if (!r->body)
        return true;
    return gather_body(g, r, skip > r->len ? skip - r->len : 0);
}

const struct body *outq_first_body(const struct outq *q)
{
    if (q->alone)
        return q->part;
    return q->first ? record_at(q->first, q->head)->body : NULL;
}

void outq_gather(const struct outq *q, struct outq_gather *g)
{
    struct outq_block *b = q->first;
    uint32_t at = q->head;
    size_t skip = q->sent;

    g->used = g->total = 0;
    g->count = 0;
    if (q->alone) {
        g->iov[g->count++] = (struct iovec){q->part->data + q->from + skip, q->size - skip};
        g->total = q->size - skip;
        return;
    }
    while (b) {
        struct record *r = record_at(b, at);

        if (!gather_record(g, r, skip))
            return;
        skip = 0;
        at += (uint32_t)stride(r->len);
        if (at == b->used) {
            b = b->next;
            at = 0;
        }
    }
}
