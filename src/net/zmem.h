#ifndef ROWTAP_NET_ZMEM_H
#define ROWTAP_NET_ZMEM_H

#include "base/mem.h"

/* zlib's memory comes from where all other does. */
static inline void *zmem_alloc(void *ctx, unsigned count, unsigned size)
{
    (void)ctx;
    return mem_array(count, size);
}

static inline void zmem_free(void *ctx, void *p)
{
    (void)ctx;
    mem_free(p);
}

#endif
