#include "net/outq_pool.h"
#include "base/mem.h"

#include <assert.h>

void outq_pool_init(struct outq_pool *pool)
{
    *pool = (struct outq_pool){0};
}

static void free_blocks(struct outq_pool *pool, size_t n)
{
    while (n-- && pool->free) {
        struct outq_block *b = pool->free;

        pool->free = b->next;
        pool->free_count--;
        mem_free(b);
    }
}

void outq_pool_fini(struct outq_pool *pool)
{
    assert(pool->queued == 0 && pool->own == 0);
    free_blocks(pool, pool->free_count);
}

void outq_pool_trim(struct outq_pool *pool)
{
    free_blocks(pool, (pool->low + 1) / 2);
    pool->low = pool->free_count;
}

struct outq_block *outq_pool_take(struct outq_pool *pool)
{
    struct outq_block *b = pool->free;

    if (b) {
        pool->free = b->next;
        if (--pool->free_count < pool->low)
            pool->low = pool->free_count;
    } else {
        b = mem_alloc(OUTQ_BLOCK_SIZE);
    }
    pool->own += b ? OUTQ_BLOCK_SIZE : 0;
    return b;
}

void outq_pool_give(struct outq_pool *pool, struct outq_block *b)
{
    b->next = pool->free;
    pool->free = b;
    pool->free_count++;
    pool->own -= OUTQ_BLOCK_SIZE;
}
