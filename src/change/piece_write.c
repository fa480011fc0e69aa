#include "change/piece.h"

#include "base/mem.h"
#include "change/piece_format.h"
#include <assert.h>
#include <string.h>

/* The tables met so far; their places are their numbers. */
struct tables {
    const struct table **items;
    uint32_t count, cap, last;
};

static void put_varint(struct buf *out, uint64_t v)
{
    uint8_t bytes[10];
    size_t n = 0;
    do {
        bytes[n] = (uint8_t)(v & 0x7f);
        v >>= 7;
        if (v)
            bytes[n] |= 0x80;
        n++;
    } while (v);
    buf_put(out, bytes, n);
}

static void put_signed(struct buf *out, int64_t v)
{
    put_varint(out, (uint64_t)v << 1 ^ (uint64_t)(v >> 63));
}

static void put_u64(struct buf *out, uint64_t v)
{
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(v >> (8 * i));
    buf_put(out, bytes, sizeof(bytes));
}

static void put_bytes(struct buf *out, const char *p, size_t len)
{
    put_varint(out, len);
    buf_put(out, p, len);
}

/* NULL is told from "" by its length. */
static void put_text(struct buf *out, const char *s)
{
    size_t len = s ? strlen(s) : 0;
    put_varint(out, s ? len + 1 : 0);
    buf_put(out, s ? s : "", len);
}

static void put_column(struct buf *out, const struct column *c)
{
    put_varint(out, c->id);
    put_text(out, c->name);
    put_text(out, c->type);
    put_text(out, c->default_sql);
    put_signed(out, c->stored);
    put_varint(out, (uint64_t)c->pk);
    buf_putc(out, (char)c->kind);
    buf_putc(out, (char)c->affinity);
    buf_putc(out, (char)c->collation);
    buf_putc(out, (char)c->not_null);
}

static void put_definition(struct buf *out, const struct table *t)
{
    put_varint(out, t->id);
    put_text(out, t->name);
    buf_putc(out, (char)t->kind);
    buf_putc(out, (char)((t->without_rowid ? PIECE_WITHOUT_ROWID : 0) |
                         (t->strict ? PIECE_STRICT : 0) | (t->internal ? PIECE_INTERNAL : 0)));
    put_varint(out, (uint64_t)t->column_count);
    for (int i = 0; i < t->column_count; i++)
        put_column(out, &t->columns[i]);
    put_varint(out, (uint64_t)t->key_count);
    for (int i = 0; i < t->key_count; i++)
        put_varint(out, (uint64_t)t->key_columns[i]);
    put_signed(out, t->rowid_alias);
}

static void add_definition(struct buf *out, struct tables *tables, const struct table *t)
{
    struct buf definition = {0};
    if (tables->count == tables->cap) {
        uint32_t cap = tables->cap ? tables->cap * 2 : 8;
        void *grown = mem_realloc(tables->items, cap * sizeof(*tables->items));
        if (!grown) {
            out->err = STATUS_NOMEM;
            return;
        }
        tables->items = grown;
        tables->cap = cap;
    }
    tables->last = tables->count;
    tables->items[tables->count++] = t;
    put_definition(&definition, t);
    put_bytes(out, definition.data, definition.len);
    if (buf_error(&definition))
        out->err = STATUS_NOMEM;
    buf_fini(&definition);
}

static void put_table(struct buf *out, struct tables *tables, const struct table *t)
{
    uint32_t i = tables->last;
    if (i >= tables->count || tables->items[i] != t)
        for (i = 0; i < tables->count && tables->items[i] != t; i++)
            continue;
    put_varint(out, i);
    if (i == tables->count)
        add_definition(out, tables, t);
    else
        tables->last = i;
}

static void put_value(struct buf *out, const struct value *v)
{
    uint64_t bits;
    buf_putc(out, (char)v->type);
    switch (v->type) {
    case VALUE_INTEGER:
        put_signed(out, v->i);
        break;
    case VALUE_REAL:
        memcpy(&bits, &v->r, sizeof(bits));
        put_u64(out, bits);
        break;
    case VALUE_TEXT:
    case VALUE_BLOB:
        put_bytes(out, v->p, v->len);
        break;
    }
}

static void put_row(
    struct buf *out, const struct table *t, const struct value *row, const struct value *old)
{
    for (int i = 0; i < t->column_count; i++) {
        if (old && value_same(&row[i], &old[i]))
            buf_putc(out, PIECE_SAME);
        else
            put_value(out, &row[i]);
    }
}

static void put_change(struct buf *out, struct tables *tables, const struct change *c)
{
    bool moved = c->kind == CHANGE_UPDATE && c->old_rowid != c->rowid;
    buf_putc(out, (char)(c->kind | (c->external ? PIECE_EXTERNAL : 0) | (moved ? PIECE_MOVED : 0)));
    put_table(out, tables, c->table);
    if (c->kind == CHANGE_TABLE_ALTERED)
        put_table(out, tables, c->old_table);
    if (c->kind > CHANGE_DELETE)
        return;
    put_signed(out, c->rowid);
    if (moved)
        put_signed(out, c->old_rowid);
    if (c->kind != CHANGE_INSERT)
        put_row(out, c->table, c->old, NULL);
    if (c->kind != CHANGE_DELETE)
        put_row(out, c->table, c->row, c->kind == CHANGE_UPDATE ? c->old : NULL);
}

/* A count stands before the changes that it counts: it has four bytes, filled in afterwards. */
static void set_count(struct buf *out, size_t at, uint32_t count)
{
    for (int i = 0; i < 4 && !buf_error(out); i++)
        out->data[at + (size_t)i] = (char)(count >> (8 * i));
}

void piece_write(struct buf *out, const struct batch *b, uint32_t *next, size_t max, uint64_t run)
{
    size_t start = out->len, flags_at;
    uint8_t flags = 0;
    struct tables tables = {0};
    uint32_t i = *next, first = batch_transaction_of(b, i), n = first;
    assert(i < b->change_count);
    if (b->transactions[first].first < i || (b->continued && first == 0))
        flags |= PIECE_CONTINUED;
    buf_putc(out, PIECE_VERSION);
    flags_at = out->len;
    buf_putc(out, 0);
    put_varint(out, run);
    for (; i < b->change_count && (i == *next || out->len - start < max) && !buf_error(out); n++) {
        const struct transaction *t = &b->transactions[n];
        uint32_t from = i, end = t->first + t->count;
        size_t count_at = 0;
        if (t->count == 0)
            continue;
        put_varint(out, n - first);
        put_varint(out, t->origin);
        put_varint(out, (uint64_t)t->time_ms);
        count_at = out->len;
        buf_put(out, "\0\0\0\0", 4);
        do
            put_change(out, &tables, &b->changes[i++]);
        while (i < end && out->len - start < max && !buf_error(out));
        set_count(out, count_at, i - from);
        if (i < end)
            flags |= PIECE_CONTINUES;
    }
    if (b->continues && i == b->change_count)
        flags |= PIECE_CONTINUES;
    if (!buf_error(out))
        out->data[flags_at] = (char)flags;
    mem_free(tables.items);
    *next = i;
}
