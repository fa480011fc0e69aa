#include "hub/projection.h"

#include "base/mem.h"

#include <assert.h>
#include <string.h>

static size_t key_len(const struct projection *p)
{
    return (2 + p->words) * sizeof(p->key[0]);
}

struct projection *projection_get(struct map *set, uint64_t *serial, const struct dialect *dialect,
    enum projection_shape shape, const uint64_t *columns, size_t words)
{
    struct projection *p = mem_zalloc(sizeof(*p) + (2 + words) * sizeof(p->key[0])), *same;

    if (!p)
        return NULL;
    p->dialect = dialect;
    p->set = set;
    p->words = words;
    p->shape = (uint8_t)shape;
    p->key[0] = (uintptr_t)dialect;
    p->key[1] = shape;
    if (words)
        memcpy(p->key + 2, columns, words * sizeof(*columns));
    same = map_get(set, p->key, key_len(p));
    if (same || map_set(set, p->key, key_len(p), p) < 0) {
        mem_free(p);
        p = same;
    } else {
        p->serial = ++*serial;
    }
    if (p)
        p->refs++;
    return p;
}

void projection_put(struct projection *p)
{
    if (!p || --p->refs > 0)
        return;
    assert(!p->body);
    map_del(p->set, p->key, key_len(p));
    mem_free(p);
}
