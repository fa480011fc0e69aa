#include "change/schema.h"

#include "base/mem.h"
#include "base/text.h"
#include <assert.h>
#include <string.h>

struct schema *schema_new(int table_count)
{
    struct schema *s = mem_zalloc(sizeof(*s));
    if (!s)
        return NULL;
    atomic_init(&s->refs, 1);
    s->table_count = table_count;
    s->tables = mem_array(table_count > 0 ? (size_t)table_count : 1, sizeof(*s->tables));
    if (!s->tables) {
        mem_free(s);
        return NULL;
    }
    return s;
}

/* Only the count of references of a published schema ever changes. */
static struct schema *writable(const struct schema *s)
{
    return (struct schema *)(uintptr_t)s;
}

struct schema *schema_ref(const struct schema *s)
{
    unsigned before = atomic_fetch_add_explicit(&writable(s)->refs, 1, memory_order_relaxed);
    assert(before > 0);
    (void)before;
    return writable(s);
}

void schema_unref(const struct schema *s)
{
    if (!s || atomic_fetch_sub_explicit(&writable(s)->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (int i = 0; i < s->table_count; i++)
        table_unref(s->tables[i]);
    mem_free(s->tables);
    mem_free(writable(s));
}

/* The order of text_casecmp, for a name that is not NUL-terminated. */
static int compare_name(const char *name, size_t len, const char *own)
{
    size_t own_len = strlen(own);
    int c = text_ncasecmp(name, own, len < own_len ? len : own_len);
    return c ? c : (len > own_len) - (len < own_len);
}

struct table *schema_find(const struct schema *s, const char *name, size_t len)
{
    int low = 0, high = s->table_count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        int c = compare_name(name, len, s->tables[middle]->name);
        if (c == 0)
            return s->tables[middle];
        if (c < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

struct table *schema_find_id(const struct schema *s, uint64_t id)
{
    for (int i = 0; i < s->table_count; i++)
        if (s->tables[i]->id == id)
            return s->tables[i];
    return NULL;
}
