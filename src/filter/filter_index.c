#include "filter/filter_index.h"

#include "base/map.h"
#include "base/mem.h"
#include "base/status.h"
#include <assert.h>

/*
 * A hash table (linear probing, no tombstones) from (column, value) to a ring of the entries filed
 * there. Only half of the hash is kept and the value not at all: every entry found is put to the
 * test of its whole filter anyway. `probes` are the columns worth looking up for a row.
 */
struct slot {
    struct list *ring; /* some node of it; NULL for a free slot */
    uint32_t hash;
    uint32_t count;
};

struct probe {
    int column;
    uint8_t collation;
    size_t count; /* entries filed under this column */
};

/* The filings of one `in` entry. */
struct filings {
    struct list node; /* in blocks */
    struct filter_filing filings[];
};

struct filter_index {
    struct slot *slots;
    size_t cap, used; /* cap is 0 or a power of two */
    struct probe *probes;
    size_t probe_count, probe_cap;
    struct list others; /* entries that are tried one by one */
    struct list blocks; /* of all `in` entries, so that they can be freed without the entries */
    size_t count;
    uint64_t stamp;
    bool matching;
};

#define MIN_SLOTS 16

struct filter_index *filter_index_new(void)
{
    struct filter_index *ix = mem_zalloc(sizeof(*ix));
    if (!ix)
        return NULL;
    list_init(&ix->others);
    list_init(&ix->blocks);
    return ix;
}

void filter_index_free(struct filter_index *ix)
{
    if (!ix)
        return;
    while (!list_empty(&ix->blocks)) {
        struct filings *block = list_entry(ix->blocks.next, struct filings, node);
        list_del(&block->node);
        mem_free(block);
    }
    mem_free(ix->slots);
    mem_free(ix->probes);
    mem_free(ix);
}

size_t filter_index_count(const struct filter_index *ix)
{
    return ix->count;
}

static uint32_t key_hash(int column, const struct value *v, uint8_t collation)
{
    return (uint32_t)(hash_u64(value_hash(v, collation) + (uint64_t)(column + 1)) >> 32);
}

static uint32_t term_hash(const struct filter_term *t, int value)
{
    return key_hash(t->column, &t->values[value], t->collation);
}

/* The slot of that hash, or the free one where it would go. There is always a free one. */
static struct slot *find_slot(const struct filter_index *ix, uint32_t hash)
{
    size_t mask = ix->cap - 1, i = hash & mask;
    while (ix->slots[i].ring && ix->slots[i].hash != hash)
        i = (i + 1) & mask;
    return &ix->slots[i];
}

static int resize(struct filter_index *ix, size_t cap)
{
    struct filter_index bigger = *ix;
    bigger.cap = cap;
    bigger.slots = mem_array(cap, sizeof(*bigger.slots));
    if (!bigger.slots)
        return STATUS_NOMEM;
    for (size_t i = 0; i < ix->cap; i++)
        if (ix->slots[i].ring)
            *find_slot(&bigger, ix->slots[i].hash) = ix->slots[i];
    mem_free(ix->slots);
    ix->slots = bigger.slots;
    ix->cap = cap;
    return STATUS_OK;
}

static int reserve_slots(struct filter_index *ix, size_t more)
{
    size_t cap = ix->cap ? ix->cap : MIN_SLOTS;
    while ((ix->used + more) * 4 > cap * 3)
        cap *= 2;
    return cap == ix->cap ? STATUS_OK : resize(ix, cap);
}

/* Frees a slot by moving up those behind it that would not be found past the gap. */
static void clear_slot(struct filter_index *ix, struct slot *slot)
{
    size_t mask = ix->cap - 1, gap = (size_t)(slot - ix->slots);
    for (size_t i = (gap + 1) & mask; ix->slots[i].ring; i = (i + 1) & mask) {
        size_t home = ix->slots[i].hash & mask;
        if (((i - home) & mask) < ((i - gap) & mask))
            continue;
        ix->slots[gap] = ix->slots[i];
        gap = i;
    }
    ix->slots[gap] = (struct slot){0};
    ix->used--;
}

static void file_under(struct filter_index *ix, uint32_t hash, struct filter_filing *filing)
{
    struct slot *slot = find_slot(ix, hash);
    if (slot->ring) {
        list_add_tail(slot->ring, &filing->node);
    } else {
        list_init(&filing->node);
        *slot = (struct slot){.ring = &filing->node, .hash = hash};
        ix->used++;
    }
    slot->count++;
}

static void unfile(struct filter_index *ix, uint32_t hash, struct filter_filing *filing)
{
    struct slot *slot = find_slot(ix, hash);
    assert(slot->ring);
    slot->count--;
    if (slot->ring == &filing->node)
        slot->ring = filing->node.next;
    list_del(&filing->node);
    if (slot->count == 0)
        clear_slot(ix, slot);
}

static struct probe *find_probe(const struct filter_index *ix, const struct filter_term *t)
{
    for (size_t i = 0; i < ix->probe_count; i++)
        if (ix->probes[i].column == t->column && ix->probes[i].collation == t->collation)
            return &ix->probes[i];
    return NULL;
}

static int add_probe(struct filter_index *ix, const struct filter_term *t)
{
    struct probe *p = find_probe(ix, t);
    if (!p) {
        if (ix->probe_count == ix->probe_cap) {
            size_t cap = ix->probe_cap ? ix->probe_cap * 2 : 2;
            struct probe *probes = mem_realloc(ix->probes, cap * sizeof(*probes));
            if (!probes)
                return STATUS_NOMEM;
            ix->probes = probes;
            ix->probe_cap = cap;
        }
        p = &ix->probes[ix->probe_count++];
        *p = (struct probe){.column = t->column, .collation = t->collation};
    }
    p->count++;
    return STATUS_OK;
}

static void drop_probe(struct filter_index *ix, const struct filter_term *t)
{
    struct probe *p = find_probe(ix, t);
    assert(p);
    if (--p->count == 0)
        *p = ix->probes[--ix->probe_count];
}

/*
 * The term to file an entry under: the equality that fewest entries share so far, else the shortest
 * `in`, else none (-1).
 */
static int choose_term(const struct filter_index *ix, const struct filter *f)
{
    int best = -1;
    uint64_t best_cost = UINT64_MAX;
    for (int i = 0; i < f->term_count; i++) {
        const struct filter_term *t = &f->terms[i];
        uint64_t cost;
        if (t->op == FILTER_EQ)
            cost = ix->cap ? find_slot(ix, term_hash(t, 0))->count : 0;
        else if (t->op == FILTER_IN)
            cost = ((uint64_t)1 << 32) + (uint64_t)t->value_count;
        else
            continue;
        if (cost < best_cost) {
            best = i;
            best_cost = cost;
        }
    }
    return best;
}

static int new_filings(struct filter_index *ix, struct filter_entry *e, size_t count)
{
    struct filings *block = mem_alloc(sizeof(*block) + count * sizeof(block->filings[0]));
    if (!block)
        return STATUS_NOMEM;
    list_add_tail(&ix->blocks, &block->node);
    e->filings = block->filings;
    return STATUS_OK;
}

static void free_filings(struct filter_entry *e)
{
    if (e->filings == &e->filing)
        return;
    struct filings *block = list_entry(e->filings, struct filings, filings);
    list_del(&block->node);
    mem_free(block);
}

static int add_to_slots(struct filter_index *ix, struct filter_entry *e)
{
    const struct filter_term *t = &e->filter->terms[e->term];
    size_t n = (size_t)t->value_count;
    if (reserve_slots(ix, n) < 0)
        return STATUS_NOMEM;
    if (t->op == FILTER_IN && new_filings(ix, e, n) < 0)
        return STATUS_NOMEM;
    if (add_probe(ix, t) < 0) {
        free_filings(e);
        return STATUS_NOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        e->filings[i].entry = e;
        file_under(ix, term_hash(t, (int)i), &e->filings[i]);
    }
    return STATUS_OK;
}

int filter_index_add(struct filter_index *ix, struct filter_entry *e)
{
    assert(!ix->matching);
    e->stamp = 0;
    e->filing.entry = e;
    e->filings = &e->filing;
    e->term = choose_term(ix, e->filter);
    if (e->term < 0)
        list_add_tail(&ix->others, &e->filing.node);
    else if (add_to_slots(ix, e) < 0)
        return STATUS_NOMEM;
    ix->count++;
    return STATUS_OK;
}

void filter_index_remove(struct filter_index *ix, struct filter_entry *e)
{
    assert(!ix->matching && ix->count > 0);
    ix->count--;
    if (e->term < 0) {
        list_del(&e->filing.node);
        return;
    }
    const struct filter_term *t = &e->filter->terms[e->term];
    for (int i = 0; i < t->value_count; i++)
        unfile(ix, term_hash(t, i), &e->filings[i]);
    free_filings(e);
    drop_probe(ix, t);
    /* Giving memory back may fail: the larger table serves as well. */
    if (ix->cap > MIN_SLOTS && ix->used * 8 < ix->cap)
        resize(ix, ix->cap / 2);
}

/* One change on its way through the index. */
struct lookup {
    const struct value *row, *old;
    int64_t rowid, old_rowid;
    uint64_t stamp;
    void (*found)(struct filter_entry *e, bool matched_new, bool matched_old, void *ctx);
    void *ctx;
};

static void offer(const struct lookup *l, struct list *node)
{
    struct filter_entry *e = list_entry(node, struct filter_filing, node)->entry;
    if (e->stamp == l->stamp)
        return;
    e->stamp = l->stamp;
    bool new = filter_match(e->filter, l->row, l->rowid);
    bool old = filter_match(e->filter, l->old, l->old_rowid);
    if (new || old)
        l->found(e, new, old, l->ctx);
}

static void offer_slot(const struct filter_index *ix, const struct lookup *l, uint32_t hash)
{
    struct list *ring = find_slot(ix, hash)->ring, *node = ring;
    if (!ring)
        return;
    do {
        offer(l, node);
        node = node->next;
    } while (node != ring);
}

/* The hash of a row's value in that column; false where no equality can hold. */
static bool probe_hash(
    const struct probe *p, const struct value *row, int64_t rowid, uint32_t *hash)
{
    struct value key = {.i = rowid, .type = VALUE_INTEGER};
    if (!row)
        return false;
    const struct value *v = p->column == FILTER_ROWID ? &key : &row[p->column];
    if (v->type == VALUE_NULL || v->type == VALUE_ABSENT)
        return false;
    *hash = key_hash(p->column, v, p->collation);
    return true;
}

void filter_index_match(struct filter_index *ix, const struct value *row, int64_t rowid,
    const struct value *old, int64_t old_rowid,
    void (*found)(struct filter_entry *e, bool matched_new, bool matched_old, void *ctx), void *ctx)
{
    struct lookup l = {row, old, rowid, old_rowid, ++ix->stamp, found, ctx};
    ix->matching = true;
    for (size_t i = 0; i < ix->probe_count; i++) {
        uint32_t new_hash, old_hash;
        bool has_new = probe_hash(&ix->probes[i], row, rowid, &new_hash);
        bool has_old = probe_hash(&ix->probes[i], old, old_rowid, &old_hash);
        if (has_new)
            offer_slot(ix, &l, new_hash);
        if (has_old && !(has_new && new_hash == old_hash))
            offer_slot(ix, &l, old_hash);
    }
    for (struct list *node = ix->others.next; node != &ix->others; node = node->next)
        offer(&l, node);
    ix->matching = false;
}
