#include "sqlite_memory.h"

#include "base/mem.h"
#include <sqlite3.h>
#include <stddef.h>

/* Each block begins with its size. */
#define HEADER 16

static void *sqlite_alloc(int size)
{
    char *p = mem_alloc((size_t)size + HEADER);
    if (!p)
        return NULL;
    *(int *)p = size;
    return p + HEADER;
}

static void sqlite_release(void *p)
{
    if (p)
        mem_free((char *)p - HEADER);
}

static void *sqlite_resize(void *p, int size)
{
    char *grown = mem_realloc((char *)p - HEADER, (size_t)size + HEADER);
    if (!grown)
        return NULL;
    *(int *)grown = size;
    return grown + HEADER;
}

static int sqlite_size(void *p)
{
    return p ? *(int *)((char *)p - HEADER) : 0;
}

static int sqlite_roundup(int size)
{
    return (size + 7) & ~7;
}

static int sqlite_start(void *ctx)
{
    (void)ctx;
    return SQLITE_OK;
}

static void sqlite_stop(void *ctx)
{
    (void)ctx;
}

bool sqlite_memory_counts(void)
{
    static const sqlite3_mem_methods methods = {sqlite_alloc, sqlite_release, sqlite_resize,
        sqlite_size, sqlite_roundup, sqlite_start, sqlite_stop, NULL};
    return sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) == SQLITE_OK;
}
