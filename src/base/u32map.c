#include "base/u32map.h"

#include "base/mem.h"
#include "base/status.h"
#include <string.h>

#define KEEP 4096

static size_t place(const struct u32map *m, uint32_t key)
{
    size_t i = (size_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (m->cap - 1);
    while (m->slots[i].key && m->slots[i].key != key)
        i = (i + 1) & (m->cap - 1);
    return i;
}

static int grow(struct u32map *m)
{
    struct u32map bigger = {.cap = m->cap ? m->cap * 2 : 64, .count = m->count};
    bigger.slots = mem_array(bigger.cap, sizeof(*bigger.slots));
    if (!bigger.slots)
        return STATUS_NOMEM;
    for (size_t i = 0; i < m->cap; i++)
        if (m->slots[i].key)
            bigger.slots[place(&bigger, m->slots[i].key)] = m->slots[i];
    mem_free(m->slots);
    *m = bigger;
    return STATUS_OK;
}

int u32map_put(struct u32map *m, uint32_t key, uint32_t value)
{
    struct u32map_slot *s = m->cap ? &m->slots[place(m, key)] : NULL;
    if (!s || (!s->key && m->count * 4 >= m->cap * 3)) {
        if (grow(m) < 0)
            return STATUS_NOMEM;
        s = &m->slots[place(m, key)];
    }
    m->count += !s->key;
    *s = (struct u32map_slot){.key = key, .value = value};
    return STATUS_OK;
}

bool u32map_get(const struct u32map *m, uint32_t key, uint32_t *value)
{
    if (!m->count)
        return false;
    const struct u32map_slot *s = &m->slots[place(m, key)];
    if (s->key && value)
        *value = s->value;
    return s->key != 0;
}

void u32map_clear(struct u32map *m)
{
    if (m->cap > KEEP)
        u32map_fini(m);
    else if (m->count)
        memset(m->slots, 0, m->cap * sizeof(*m->slots));
    m->count = 0;
}

void u32map_fini(struct u32map *m)
{
    mem_free(m->slots);
    *m = (struct u32map){0};
}
