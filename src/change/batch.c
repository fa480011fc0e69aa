#include "change/batch.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"
#include <assert.h>
#include <pthread.h>
#include <stdalign.h>
#include <string.h>

/*
 * Rows live in chunks, newest first, that are filled from the front and never move. A small commit
 * takes one small chunk; each further one is twice as large, up to a bound.
 */
struct batch_chunk {
    struct batch_chunk *older;
    size_t used, cap; /* bytes of data */
    alignas(max_align_t) char data[];
};

#define FIRST_CHUNK 512
#define LAST_CHUNK (1024 * 1024)
#define FIRST_ARRAY 2

/*
 * One allocation with room for what most commits are. The history keeps tens of thousands of them,
 * made by one thread and freed by another; an allocator with an arena for each thread would keep
 * the memory of one while it takes that of the next. So those that were freed are used again, by
 * whichever thread.
 */
struct block {
    struct batch batch;
    struct change changes[FIRST_ARRAY];
    struct transaction transactions[FIRST_ARRAY];
    const struct table *tables[FIRST_ARRAY];
    alignas(max_align_t) char chunk[sizeof(struct batch_chunk) + FIRST_CHUNK];
};

/* None where a tool is to see each use of what was freed. */
#if defined(__SANITIZE_ADDRESS__)
#define SPARES_MAX 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SPARES_MAX 0
#endif
#endif
#ifndef SPARES_MAX
#define SPARES_MAX 2048
#endif

static struct {
    pthread_mutex_t lock;
    int count;
    struct block *blocks[SPARES_MAX + 1];
} spares = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct block *take_spare(void)
{
    struct block *spare = NULL;
    pthread_mutex_lock(&spares.lock);
    if (spares.count > 0)
        spare = spares.blocks[--spares.count];
    pthread_mutex_unlock(&spares.lock);
    return spare;
}

static void give_back(struct block *block)
{
    pthread_mutex_lock(&spares.lock);
    bool room = spares.count < SPARES_MAX;
    if (room)
        spares.blocks[spares.count++] = block;
    pthread_mutex_unlock(&spares.lock);
    if (!room)
        mem_free(block);
}

static struct block *block_of(struct batch *b)
{
    return (struct block *)b;
}

struct batch *batch_new(size_t max_bytes)
{
    struct block *block = take_spare();
    if (!block && !(block = mem_alloc(sizeof(*block))))
        return NULL;
    struct batch *b = &block->batch;
    memset(b, 0, sizeof(*b));
    atomic_init(&b->refs, 1);
    b->max_bytes = max_bytes;
    b->bytes = sizeof(*b);
    return b;
}

struct batch *batch_ref(struct batch *b)
{
    unsigned before = atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    assert(before > 0);
    (void)before;
    return b;
}

static void free_chunks(struct batch *b, struct batch_chunk *until)
{
    while (b->chunks != until) {
        struct batch_chunk *c = b->chunks;
        assert(c);
        b->chunks = c->older;
        b->bytes -= sizeof(*c) + c->cap;
        if ((char *)c != block_of(b)->chunk)
            mem_free(c);
    }
}

static void release(struct transaction *t)
{
    schema_unref(t->schema);
    receipt_unref(t->receipt);
}

void batch_unref(struct batch *b)
{
    if (!b || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
        return;
    free_chunks(b, NULL);
    for (uint32_t i = 0; i < b->transaction_count; i++)
        release(&b->transactions[i]);
    for (size_t i = 0; i < b->table_count; i++)
        table_unref(b->tables[i]);
    struct block *block = block_of(b);
    if (b->changes != block->changes)
        mem_free(b->changes);
    if (b->transactions != block->transactions)
        mem_free(b->transactions);
    if (b->tables != block->tables)
        mem_free(b->tables);
    give_back(block);
}

/* Whether `more` bytes may still be taken; notes why not. */
static bool may_grow(struct batch *b, size_t more)
{
    b->full = b->max_bytes && (b->bytes > b->max_bytes || more > b->max_bytes - b->bytes);
    return !b->full;
}

static size_t next_chunk_size(const struct batch *b, size_t need)
{
    size_t cap = b->chunks ? b->chunks->cap * 2 : FIRST_CHUNK;
    if (cap > LAST_CHUNK)
        cap = LAST_CHUNK;
    if (cap < need)
        cap = need;
    /* Near the bound the last chunk is what is left of it, so that the bound can be filled. */
    size_t used = b->bytes + sizeof(struct batch_chunk);
    if (b->max_bytes && used < b->max_bytes && cap > b->max_bytes - used &&
        need <= b->max_bytes - used)
        cap = b->max_bytes - used;
    return cap;
}

static void *arena_alloc(struct batch *b, size_t size, size_t align)
{
    struct batch_chunk *c = b->chunks;
    if (c) {
        size_t start = (c->used + align - 1) & ~(align - 1);
        if (start <= c->cap && size <= c->cap - start) {
            c->used = start + size;
            return c->data + start;
        }
    }
    size_t cap = next_chunk_size(b, size);
    if (!may_grow(b, sizeof(*c) + cap))
        return NULL;
    c = !b->chunks && cap <= FIRST_CHUNK ? (void *)block_of(b)->chunk : mem_alloc(sizeof(*c) + cap);
    if (!c)
        return NULL;
    *c = (struct batch_chunk){.older = b->chunks, .used = size, .cap = cap};
    b->chunks = c;
    b->bytes += sizeof(*c) + cap;
    return c->data;
}

struct batch_mark batch_mark(const struct batch *b)
{
    return (struct batch_mark){
        .change_count = b->change_count,
        .transaction_count = b->transaction_count,
        .chunk = b->chunks,
        .chunk_used = b->chunks ? b->chunks->used : 0,
    };
}

void batch_rewind(struct batch *b, const struct batch_mark *mark)
{
    assert(mark->change_count <= b->change_count);
    assert(mark->transaction_count <= b->transaction_count);
    free_chunks(b, mark->chunk);
    if (b->chunks)
        b->chunks->used = mark->chunk_used;
    while (b->transaction_count > mark->transaction_count)
        release(&b->transactions[--b->transaction_count]);
    b->change_count = mark->change_count;
}

struct value *batch_row(struct batch *b, int count)
{
    assert(count >= 0);
    struct value *row = arena_alloc(b, (size_t)count * sizeof(*row), alignof(struct value));
    for (int i = 0; row && i < count; i++)
        row[i] = (struct value){.type = VALUE_ABSENT};
    return row;
}

int batch_set_value(struct batch *b, struct value *v, const struct value *src)
{
    const char *copy = "";
    if (src->type != VALUE_TEXT && src->type != VALUE_BLOB) {
        *v = *src;
        return STATUS_OK;
    }
    if (src->len > 0) {
        char *p = arena_alloc(b, src->len, 1);
        if (!p)
            return b->full ? STATUS_TOO_LARGE : STATUS_NOMEM;
        copy = memcpy(p, src->p, src->len);
    }
    *v = (struct value){.p = copy, .len = src->len, .type = src->type};
    return STATUS_OK;
}

bool batch_full(const struct batch *b)
{
    return b->full;
}

static void *enlarge(void *array, void *first, size_t size, size_t cap)
{
    if (!array)
        return first;
    if (array != first)
        return mem_realloc(array, cap * size);
    void *grown = mem_alloc(cap * size);
    return grown ? memcpy(grown, first, FIRST_ARRAY * size) : NULL;
}

/*
 * The array with room for one more element, or NULL; *cap and b->bytes follow. It begins in the
 * block, at `first`.
 */
static void *grow(struct batch *b, void *array, void *first, size_t size, size_t count, size_t *cap)
{
    if (count < *cap)
        return array;
    size_t more = *cap ? *cap : FIRST_ARRAY;
    if (*cap + more > UINT32_MAX || !may_grow(b, more * size))
        return NULL;
    array = enlarge(array, first, size, *cap + more);
    if (!array)
        return NULL;
    *cap += more;
    b->bytes += more * size;
    return array;
}

static int reserve_change(struct batch *b)
{
    size_t cap = b->change_cap;
    struct change *changes =
        grow(b, b->changes, block_of(b)->changes, sizeof(*changes), b->change_count, &cap);
    if (!changes)
        return STATUS_NOMEM;
    b->changes = changes;
    b->change_cap = (uint32_t)cap;
    return STATUS_OK;
}

struct change *batch_add(struct batch *b, enum change_kind kind, const struct table *table)
{
    if (reserve_change(b) < 0 || batch_hold(b, table) < 0)
        return NULL;
    struct change *c = &b->changes[b->change_count++];
    *c = (struct change){.table = table, .kind = (uint8_t)kind};
    return c;
}

int batch_hold(struct batch *b, const struct table *table)
{
    /* Neighbouring changes mostly share their table: the one used last stands at the end. */
    for (size_t i = b->table_count; i-- > 0;) {
        if (b->tables[i] != table)
            continue;
        b->tables[i] = b->tables[b->table_count - 1];
        b->tables[b->table_count - 1] = table;
        return STATUS_OK;
    }
    const struct table **tables =
        grow(b, b->tables, block_of(b)->tables, sizeof(*b->tables), b->table_count, &b->table_cap);
    if (!tables)
        return b->full ? STATUS_TOO_LARGE : STATUS_NOMEM;
    b->tables = tables;
    b->tables[b->table_count++] = table_ref(table);
    return STATUS_OK;
}

/* The first change that belongs to no closed transaction. */
static uint32_t open_from(const struct batch *b)
{
    if (b->transaction_count == 0)
        return 0;
    const struct transaction *last = &b->transactions[b->transaction_count - 1];
    return last->first + last->count;
}

int batch_end_transaction(struct batch *b, uint64_t origin, const struct schema *schema)
{
    uint32_t first = open_from(b);
    if (first == b->change_count && !schema)
        return STATUS_OK;
    size_t cap = b->transaction_cap;
    struct transaction *transactions = grow(b, b->transactions, block_of(b)->transactions,
        sizeof(*transactions), b->transaction_count, &cap);
    if (!transactions)
        return b->full ? STATUS_TOO_LARGE : STATUS_NOMEM;
    b->transactions = transactions;
    b->transaction_cap = (uint32_t)cap;
    b->transactions[b->transaction_count++] = (struct transaction){
        .origin = origin,
        .schema = schema ? schema_ref(schema) : NULL,
        .first = first,
        .count = b->change_count - first,
    };
    return STATUS_OK;
}

void batch_set_receipt(struct batch *b, struct receipt *receipt)
{
    struct transaction *t = &b->transactions[b->transaction_count - 1];
    assert(b->transaction_count > 0 && !t->receipt);
    t->receipt = receipt_ref(receipt);
}

uint32_t batch_transaction_of(const struct batch *b, uint32_t change)
{
    uint32_t low = 0, high = b->transaction_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (b->transactions[middle].first + b->transactions[middle].count <= change)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void batch_stamp(struct batch *b)
{
    int64_t now = clock_wall_ms();
    for (uint32_t i = 0; i < b->transaction_count; i++)
        if (b->transactions[i].time_ms == 0)
            b->transactions[i].time_ms = now;
}

void batch_seal(struct batch *b, uint64_t *seq, uint64_t *tx)
{
    assert(open_from(b) == b->change_count);
    assert(!b->continued || (*tx > 0 && b->change_count > 0 && b->transactions[0].count > 0));
    assert(!b->continues ||
           (b->change_count > 0 && b->transactions[b->transaction_count - 1].count > 0));
    assert(!b->gap || (b->change_count == 0 && !b->continues));
    batch_stamp(b);
    b->first_seq = *seq + 1;
    *seq += b->gap != NULL;
    for (uint32_t i = 0; i < b->change_count; i++)
        b->changes[i].seq = ++*seq;
    *tx -= b->continued;
    for (uint32_t i = 0; i < b->transaction_count; i++)
        b->transactions[i].tx = ++*tx;
    b->last_seq = *seq;
}
