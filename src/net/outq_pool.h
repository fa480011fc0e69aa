#ifndef ROWTAP_NET_OUTQ_POOL_H
#define ROWTAP_NET_OUTQ_POOL_H

#include "net/outq.h"

/* The blocks that the queues of a loop are made of. For outq.c only; the loop's thread. */
#define OUTQ_BLOCK_SIZE 1024

struct outq_block {
    struct outq_block *next;
    uint32_t used; /* bytes of data */
    _Alignas(8) char data[];
};
#define OUTQ_BLOCK_ROOM (OUTQ_BLOCK_SIZE - sizeof(struct outq_block))

struct outq_block *outq_pool_take(
    struct outq_pool *pool); /* next and used are unset; NULL: no memory */
void outq_pool_give(struct outq_pool *pool, struct outq_block *b);

#endif
