#include "capture/wal/tree.h"

#include "base/status.h"
#include "capture/wal/record.h"
#include <string.h>

/* As stored to as SQL would give it. */
static int set_field(const struct trees *all, const struct column *c, struct value *v,
    struct batch *b, struct buf *text, struct value *to)
{
    if (v->type == VALUE_TEXT && all->encoding > 1) {
        buf_reset(text);
        record_utf8(text, v->p, v->len, all->encoding);
        if (buf_error(text))
            return buf_error(text);
        v->p = text->data;
        v->len = (uint32_t)text->len;
    }
    if (v->type == VALUE_INTEGER && c->affinity == AFFINITY_REAL)
        *v = (struct value){.type = VALUE_REAL, .r = (double)v->i};
    return batch_set_value(b, to, v);
}

static int read_fields(const struct trees *all, const struct tree *t, struct record *r,
    struct batch *b, struct buf *text, struct value *row)
{
    for (int i = 0; i < t->field_count; i++) {
        int at = t->fields[i], status;
        const struct column *c = &t->table->columns[at];
        struct value v;
        if (record_more(r)) {
            status = record_next(r, &v);
            if (status == STATUS_OK)
                status = set_field(all, c, &v, b, text, &row[at]);
        } else {
            status = batch_set_value(b, &row[at], &t->defaults[at]);
        }
        if (status < 0)
            return status;
    }
    return STATUS_OK;
}

int tree_row(const struct trees *all, const struct tree *t, int64_t rowid, const uint8_t *payload,
    size_t size, struct batch *b, struct buf *text, struct value **row)
{
    struct record r;
    *row = NULL;
    int status = record_begin(&r, payload, size);
    if (status < 0)
        return status;
    struct value *values = batch_row(b, t->table->column_count);
    if (!values)
        return batch_full(b) ? STATUS_TOO_LARGE : STATUS_NOMEM;
    status = read_fields(all, t, &r, b, text, values);
    if (status < 0)
        return status;
    if (t->table->rowid_alias >= 0)
        values[t->table->rowid_alias] = (struct value){.type = VALUE_INTEGER, .i = rowid};
    *row = values;
    return STATUS_OK;
}

/* BINARY compares what is stored, in any encoding; the other two know UTF-8 only. */
static int compare_fields(const struct trees *all, struct value *a, struct value *b,
    const struct tree_key *key, int *order)
{
    struct buf texts[2] = {0};
    struct value *sides[2] = {a, b};
    int status = STATUS_OK;
    if (all->encoding > 1 && key->collation != COLLATION_BINARY && a->type == VALUE_TEXT &&
        b->type == VALUE_TEXT)
        for (int i = 0; i < 2; i++) {
            record_utf8(&texts[i], sides[i]->p, sides[i]->len, all->encoding);
            if (buf_error(&texts[i]))
                status = buf_error(&texts[i]);
            sides[i]->p = texts[i].data;
            sides[i]->len = (uint32_t)texts[i].len;
        }
    if (status == STATUS_OK)
        *order = value_compare(a, b, key->collation);
    buf_fini(&texts[0]);
    buf_fini(&texts[1]);
    return status;
}

int tree_compare(const struct trees *all, const struct tree *t, const uint8_t *a, size_t a_size,
    const uint8_t *b, size_t b_size, int *order)
{
    struct record left, right;
    *order = 0;
    if (record_begin(&left, a, a_size) < 0 || record_begin(&right, b, b_size) < 0)
        return STATUS_INVALID;
    for (int i = 0; i < t->key_count && *order == 0; i++) {
        struct value x, y;
        if (record_next(&left, &x) < 0 || record_next(&right, &y) < 0)
            return STATUS_INVALID;
        int status = compare_fields(all, &x, &y, &t->keys[i], order);
        if (status < 0)
            return status;
        if (t->keys[i].descending)
            *order = -*order;
    }
    return STATUS_OK;
}

bool tree_has_key(const struct tree *t, const uint8_t *payload, size_t size)
{
    struct record r;
    struct value v;
    if (record_begin(&r, payload, size) < 0)
        return false;
    for (int i = 0; i < t->key_count; i++)
        if (record_next(&r, &v) < 0)
            return false;
    return true;
}

bool tree_same_order(const struct tree *a, const struct tree *b)
{
    if (a->index != b->index || a->key_count != b->key_count)
        return false;
    for (int i = 0; i < a->key_count; i++)
        if (a->keys[i].collation != b->keys[i].collation ||
            a->keys[i].descending != b->keys[i].descending)
            return false;
    return true;
}
