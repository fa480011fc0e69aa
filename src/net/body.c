#include "base/mem.h"
#include "net/conn.h"

#include <assert.h>
#include <string.h>

struct body *body_new_empty(size_t len)
{
    struct body *b;

    if (len > UINT32_MAX)
        return NULL;
    b = mem_alloc(sizeof(*b) + len);
    if (!b)
        return NULL;
    b->refs = 1;
    b->len = (uint32_t)len;
    b->number = 0;
    b->deflated[0] = b->deflated[1] = NULL;
    return b;
}

struct body *body_new(const void *data, size_t len)
{
    struct body *b = body_new_empty(len);

    if (b && len)
        memcpy(b->data, data, len);
    return b;
}

void body_ref(struct body *b)
{
    assert(b->refs > 0 && b->refs < UINT32_MAX);
    b->refs++;
}

/* Apart, so that the way there is short for all but the last reference. */
__attribute__((noinline)) static void body_free(struct body *b)
{
    for (int i = 0; i < BODY_FORMS; i++)
        if (b->deflated[i] != b)
            body_unref(b->deflated[i]);
    mem_free(b);
}

void body_unref(struct body *b)
{
    if (!b)
        return;
    assert(b->refs > 0);
    if (--b->refs == 0)
        body_free(b);
}
