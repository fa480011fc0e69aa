#include "change/piece.h"

#include "base/mem.h"
#include "change/piece_format.h"
#include <assert.h>
#include <string.h>

#define MAX_TABLES 256                 /* kept by a reader */
#define DECODED_ID (UINT64_C(1) << 63) /* no living table or column has such an id */

/* What is left of the piece; a failure is sticky and empties it. */
struct input {
    const uint8_t *p, *end;
    int status;
};

struct reading {
    struct piece_reader *reader;
    struct batch *batch;
    struct input in;
    const struct table **tables; /* by their numbers in the piece; references */
    uint32_t table_count, table_cap;
};

static void fail(struct input *in, int status)
{
    if (!in->status)
        in->status = status;
    in->p = in->end;
}

static const uint8_t *take(struct input *in, uint64_t len)
{
    const uint8_t *p = in->p;
    if (len > (uint64_t)(in->end - p)) {
        fail(in, STATUS_INVALID);
        return NULL;
    }
    in->p += len;
    return p;
}

static uint8_t take_byte(struct input *in)
{
    const uint8_t *p = take(in, 1);
    return p ? *p : 0;
}

static uint64_t take_varint(struct input *in)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = take_byte(in);
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return v;
    }
    fail(in, STATUS_INVALID);
    return 0;
}

static int64_t take_signed(struct input *in)
{
    uint64_t v = take_varint(in);
    return (int64_t)(v >> 1 ^ (0 - (v & 1)));
}

static uint64_t take_fixed(struct input *in, int bytes)
{
    const uint8_t *p = take(in, (uint64_t)bytes);
    uint64_t v = 0;
    for (int i = 0; p && i < bytes; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

/* A count of things that take at least a byte each. */
static int take_count(struct input *in)
{
    uint64_t v = take_varint(in);
    if (v > (uint64_t)(in->end - in->p)) {
        fail(in, STATUS_INVALID);
        return 0;
    }
    return (int)v;
}

static uint8_t take_below(struct input *in, uint8_t bound)
{
    uint8_t v = take_byte(in);
    if (v < bound)
        return v;
    fail(in, STATUS_INVALID);
    return 0;
}

/* An index from `low` to below `high`. */
static int take_index(struct input *in, int64_t low, int64_t high)
{
    int64_t v = take_signed(in);
    if (v >= low && v < high)
        return (int)v;
    fail(in, STATUS_INVALID);
    return 0;
}

static char *take_text(struct input *in)
{
    uint64_t len = take_varint(in);
    const uint8_t *p = len ? take(in, len - 1) : NULL;
    char *s;
    if (!p)
        return NULL;
    if (memchr(p, 0, len - 1)) {
        fail(in, STATUS_INVALID);
        return NULL;
    }
    s = mem_strndup((const char *)p, len - 1);
    if (!s)
        fail(in, STATUS_NOMEM);
    return s;
}

/* Definitions. */

static void take_column(struct input *in, struct column *c, int column_count)
{
    c->id = take_varint(in) | DECODED_ID;
    c->name = take_text(in);
    c->type = take_text(in);
    c->default_sql = take_text(in);
    c->stored = take_index(in, -1, column_count);
    uint64_t pk = take_varint(in);
    if (pk > (uint64_t)column_count || (!c->name && !in->status))
        fail(in, STATUS_INVALID);
    c->pk = (int)(pk & INT32_MAX);
    c->kind = take_below(in, COLUMN_STORED + 1);
    c->affinity = take_below(in, AFFINITY_REAL + 1);
    c->collation = take_below(in, COLLATION_OTHER + 1);
    c->not_null = take_below(in, 2);
}

static void take_key(struct input *in, struct table *t)
{
    int count = take_count(in);
    t->key_columns = mem_array((size_t)count + 1, sizeof(int));
    if (!t->key_columns) {
        fail(in, STATUS_NOMEM);
        return;
    }
    for (t->key_count = 0; t->key_count < count && !in->status; t->key_count++) {
        uint64_t column = take_varint(in);
        if (column >= (uint64_t)t->column_count)
            fail(in, STATUS_INVALID);
        else
            t->key_columns[t->key_count] = (int)column;
    }
}

static struct table *take_definition(struct input *in)
{
    uint64_t id = take_varint(in);
    char *name = take_text(in);
    uint8_t kind = take_below(in, TABLE_VIEW + 1), flags = take_byte(in);
    int columns = take_count(in);
    struct table *t = name && !in->status ? table_new(name, columns) : NULL;
    if (!t)
        fail(in, name ? STATUS_NOMEM : STATUS_INVALID);
    mem_free(name);
    if (!t)
        return NULL;
    t->id = id | DECODED_ID;
    t->kind = kind;
    t->without_rowid = flags & PIECE_WITHOUT_ROWID;
    t->strict = flags & PIECE_STRICT;
    t->internal = flags & PIECE_INTERNAL;
    for (int i = 0; i < columns && !in->status; i++)
        take_column(in, &t->columns[i], columns);
    take_key(in, t);
    t->rowid_alias = take_index(in, -1, columns);
    if (in->p != in->end)
        fail(in, STATUS_INVALID);
    if (!in->status)
        return t;
    table_unref(t);
    return NULL;
}

static void forget_tables(struct piece_reader *r)
{
    size_t pos = 0, len;
    const char *key;
    void *table;
    while (map_next(&r->tables, &pos, &key, &len, &table))
        table_unref(table);
    map_fini(&r->tables);
    r->tables = (struct map){0};
}

/* The table that this definition describes, a reference. */
static const struct table *define(struct reading *r)
{
    uint64_t len = take_varint(&r->in);
    const uint8_t *p = take(&r->in, len);
    struct input in = {p, p ? p + len : NULL, 0};
    struct table *t = p ? map_get(&r->reader->tables, p, len) : NULL;
    if (!p || t)
        return t ? table_ref(t) : NULL;
    t = take_definition(&in);
    if (!t) {
        fail(&r->in, in.status);
        return NULL;
    }
    if (r->reader->tables.count >= MAX_TABLES)
        forget_tables(r->reader);
    if (map_set(&r->reader->tables, p, len, t) == 0)
        table_ref(t);
    return t;
}

static const struct table *take_table(struct reading *r)
{
    uint64_t number = take_varint(&r->in);
    if (r->in.status || number < r->table_count)
        return r->in.status ? NULL : r->tables[number];
    if (number > r->table_count) {
        fail(&r->in, STATUS_INVALID);
        return NULL;
    }
    if (r->table_count == r->table_cap) {
        uint32_t cap = r->table_cap ? r->table_cap * 2 : 8;
        void *grown = mem_realloc(r->tables, cap * sizeof(*r->tables));
        if (!grown) {
            fail(&r->in, STATUS_NOMEM);
            return NULL;
        }
        r->tables = grown;
        r->table_cap = cap;
    }
    const struct table *t = define(r);
    if (t)
        r->tables[r->table_count++] = t;
    return t;
}

/* Changes. */

static void take_value(struct input *in, struct value *v, const struct value *old)
{
    uint64_t bits;
    *v = (struct value){.type = take_below(in, PIECE_SAME + 1)};
    switch (v->type) {
    case VALUE_INTEGER:
        v->i = take_signed(in);
        break;
    case VALUE_REAL:
        bits = take_fixed(in, 8);
        memcpy(&v->r, &bits, sizeof(bits));
        break;
    case VALUE_TEXT:
    case VALUE_BLOB:
        bits = take_varint(in);
        v->p = (const char *)take(in, bits);
        v->len = (uint32_t)bits;
        break;
    case PIECE_SAME:
        if (old)
            *v = *old;
        else
            fail(in, STATUS_INVALID);
        break;
    }
}

static struct value *take_row(struct reading *r, const struct table *t, const struct value *old)
{
    /* A value takes at least a byte: hostile counts end here. */
    if (t->column_count > r->in.end - r->in.p) {
        fail(&r->in, STATUS_INVALID);
        return NULL;
    }
    struct value *row = batch_row(r->batch, t->column_count);
    if (!row)
        fail(&r->in, batch_full(r->batch) ? STATUS_TOO_LARGE : STATUS_NOMEM);
    for (int i = 0; row && i < t->column_count; i++)
        take_value(&r->in, &row[i], old ? &old[i] : NULL);
    return row;
}

static void take_change(struct reading *r, uint64_t seq)
{
    uint8_t head = take_byte(&r->in), kind = head & PIECE_KIND;
    const struct table *t = take_table(r), *old_table = NULL;
    struct value *row = NULL, *old = NULL;
    int64_t rowid = 0, old_rowid = 0;
    if (kind > CHANGE_ROWIDS_RENUMBERED || head & ~(PIECE_KIND | PIECE_EXTERNAL | PIECE_MOVED))
        fail(&r->in, STATUS_INVALID);
    if (kind == CHANGE_TABLE_ALTERED)
        old_table = take_table(r);
    if (kind <= CHANGE_DELETE) {
        rowid = take_signed(&r->in);
        old_rowid = head & PIECE_MOVED ? take_signed(&r->in) : kind == CHANGE_INSERT ? 0 : rowid;
    }
    if (!r->in.status && (kind == CHANGE_UPDATE || kind == CHANGE_DELETE))
        old = take_row(r, t, NULL);
    if (!r->in.status && (kind == CHANGE_INSERT || kind == CHANGE_UPDATE))
        row = take_row(r, t, old);
    if (r->in.status)
        return;
    struct change *c = batch_add(r->batch, kind, t);
    if (!c || (old_table && batch_hold(r->batch, old_table) < 0)) {
        fail(&r->in, batch_full(r->batch) ? STATUS_TOO_LARGE : STATUS_NOMEM);
        return;
    }
    *c = (struct change){.seq = seq,
        .table = t,
        .old_table = old_table,
        .row = row,
        .old = old,
        .rowid = rowid,
        .old_rowid = old_rowid,
        .kind = kind,
        .external = head & PIECE_EXTERNAL};
}

static void take_transaction(
    struct reading *r, uint64_t run, uint64_t first_seq, uint64_t first_tx, bool continued)
{
    struct batch *b = r->batch;
    uint64_t tx = first_tx + take_varint(&r->in), origin = take_varint(&r->in);
    int64_t time_ms = (int64_t)take_varint(&r->in);
    uint32_t count = (uint32_t)take_fixed(&r->in, 4), from = b->change_count;
    if (count == 0)
        fail(&r->in, STATUS_INVALID);
    for (uint32_t i = 0; i < count && !r->in.status; i++)
        take_change(r, first_seq + i);
    if (r->in.status)
        return;
    struct transaction *last =
        b->transaction_count ? &b->transactions[b->transaction_count - 1] : NULL;
    if (continued && last && last->tx == tx) {
        last->count += b->change_count - from;
        return;
    }
    if (batch_end_transaction(b, run == r->reader->run ? origin : 0, NULL) < 0) {
        fail(&r->in, batch_full(b) ? STATUS_TOO_LARGE : STATUS_NOMEM);
        return;
    }
    b->transactions[b->transaction_count - 1].tx = tx;
    b->transactions[b->transaction_count - 1].time_ms = time_ms;
}

static void take_piece(struct reading *r, uint64_t first_seq, uint64_t first_tx)
{
    uint8_t version = take_byte(&r->in), flags = take_byte(&r->in);
    uint64_t run = take_varint(&r->in);
    bool continued = flags & PIECE_CONTINUED;
    if (version != PIECE_VERSION || flags & ~(PIECE_CONTINUED | PIECE_CONTINUES) ||
        r->in.p == r->in.end)
        fail(&r->in, STATUS_INVALID);
    while (!r->in.status && r->in.p < r->in.end) {
        uint32_t before = r->batch->change_count;
        take_transaction(r, run, first_seq, first_tx, continued);
        first_seq += r->batch->change_count - before;
        continued = false;
    }
    if (!r->in.status)
        r->batch->continues = flags & PIECE_CONTINUES;
}

int piece_read(struct piece_reader *reader, struct batch *b, const void *data, size_t len,
    uint64_t first_seq, uint64_t first_tx)
{
    struct reading r = {.reader = reader, .batch = b};
    struct batch_mark mark = batch_mark(b);
    uint32_t last = b->transaction_count;
    uint32_t last_count = last ? b->transactions[last - 1].count : 0;
    /* Texts and blobs of the batch point into this copy. */
    struct value copy, piece = {.p = data, .len = (uint32_t)len, .type = VALUE_BLOB};
    if (len > UINT32_MAX)
        return STATUS_INVALID;
    int status = batch_set_value(b, &copy, &piece);
    if (status < 0)
        return status;
    r.in = (struct input){(const uint8_t *)copy.p, (const uint8_t *)copy.p + len, 0};
    take_piece(&r, first_seq, first_tx);
    if (r.in.status) {
        batch_rewind(b, &mark);
        if (last)
            b->transactions[last - 1].count = last_count;
    }
    for (uint32_t i = 0; i < r.table_count; i++)
        table_unref(r.tables[i]);
    mem_free(r.tables);
    return r.in.status;
}

void piece_seal(struct batch *b)
{
    assert(b->change_count > 0);
    b->first_seq = b->changes[0].seq;
    b->last_seq = b->changes[b->change_count - 1].seq;
}

void piece_reader_init(struct piece_reader *r, uint64_t run)
{
    *r = (struct piece_reader){.run = run};
}

void piece_reader_fini(struct piece_reader *r)
{
    forget_tables(r);
}
