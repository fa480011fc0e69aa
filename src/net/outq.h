#ifndef ROWTAP_NET_OUTQ_H
#define ROWTAP_NET_OUTQ_H

#include "net/conn.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/*
 * What waits to be sent on one connection: frames, each a few private bytes and perhaps a shared
 * body. Memory is held only while something is queued, in small blocks that the connections of a
 * loop take from one pool and give back. Everything here belongs to one loop's thread.
 */
struct outq_block;

struct outq_pool {
    struct outq_block *free;
    size_t free_count;
    size_t low;    /* the smallest free_count since the last trim: blocks that nobody needed */
    size_t queued; /* bytes waiting in all queues of the pool */
    size_t own;    /* memory that they hold besides shared bodies, in bytes */
};

void outq_pool_init(struct outq_pool *pool);
void outq_pool_fini(struct outq_pool *pool);
/* Frees half of the blocks that have lain idle since the last call. */
void outq_pool_trim(struct outq_pool *pool);

struct outq {
    union {
        struct outq_block *first;
        struct body *part; /* while it is `alone` */
    };
    union {
        struct outq_block *last;
        struct {
            uint32_t from, size; /* what of it */
        };
    };
    size_t bytes;   /* not yet sent */
    size_t sent;    /* bytes of the first record that are gone already */
    uint32_t head;  /* offset of the first record in the first block */
    uint16_t tail;  /* of the last record in the last block, while `open` */
    bool alone : 1; /* nothing but a part of a body is queued, and there is no block */
    bool open : 1;  /* more of a body may be added to the last record */
    bool begun : 1; /* a part of the first frame is gone already, so the rest has to follow */
};

void outq_init(struct outq *q);
/*
 * Adds one frame: head and data are copied, the body (may be NULL) is referenced. `news` may be
 * forgotten by outq_forget. STATUS_NOMEM leaves the queue as it was.
 */
int outq_put(struct outq *q, struct outq_pool *pool, const void *head, size_t head_len,
    const void *data, size_t data_len, struct body *body, bool news);
/*
 * Adds one frame, of news, that lies in a body with others. Those that follow each other there are
 * kept together, and are forgotten together. STATUS_NOMEM leaves the queue as it was.
 */
int outq_put_part(
    struct outq *q, struct outq_pool *pool, struct body *body, uint32_t from, uint32_t size);
void outq_clear(struct outq *q, struct outq_pool *pool);
/* Forgets all news, but not what of it has begun. */
void outq_forget(struct outq *q, struct outq_pool *pool);
/* Forgets everything but the rest of a frame that has begun. */
void outq_drop(struct outq *q, struct outq_pool *pool);

/*
 * One system call's worth of a queue: small pieces are put together in `scratch`, large bodies are
 * pointed to. The caller sets scratch and cap.
 */
#define OUTQ_IOV 64
struct outq_gather {
    char *scratch;
    size_t cap;
    size_t used;
    size_t total; /* bytes in iov */
    int count;
    struct iovec iov[OUTQ_IOV];
};

const struct body *outq_first_body(const struct outq *q); /* of what is to be sent next, or NULL */
void outq_gather(const struct outq *q, struct outq_gather *g);
void outq_consume(
    struct outq *q, struct outq_pool *pool, size_t n); /* the first n bytes are sent */

#endif
