#include "change/change_json.h"

#include <assert.h>
#include <string.h>

static const char *const kind_names[] = {
    [CHANGE_INSERT] = "INSERT",
    [CHANGE_UPDATE] = "UPDATE",
    [CHANGE_DELETE] = "DELETE",
    [CHANGE_TABLE_CREATED] = "table:created",
    [CHANGE_TABLE_ALTERED] = "table:altered",
    [CHANGE_TABLE_DROPPED] = "table:dropped",
    [CHANGE_ROWIDS_RENUMBERED] = "rowids_renumbered",
};

const char *change_kind_name(enum change_kind kind)
{
    assert((size_t)kind < sizeof(kind_names) / sizeof(kind_names[0]));
    return kind_names[kind];
}

static void put_member(struct buf *out, const struct table *t, int column, const struct value *v)
{
    const char *name = t->columns[column].name;
    buf_put_json(out, name, strlen(name));
    buf_putc(out, ':');
    value_put_json(out, v);
}

void row_put_json(
    struct buf *out, const struct table *t, const struct value *row, const uint64_t *columns)
{
    bool first = true;
    buf_putc(out, '{');
    for (int i = 0; i < t->column_count; i++) {
        bool wanted = !columns || (columns[i / 64] >> (i % 64) & 1);
        if (!wanted || row[i].type == VALUE_ABSENT)
            continue;
        if (!first)
            buf_putc(out, ',');
        first = false;
        put_member(out, t, i, &row[i]);
    }
    buf_putc(out, '}');
}

/* SQLite allows NULL in most primary keys, any number of times: such a row is named by its rowid.
 */
static bool key_is_rowid(const struct table *t, const struct value *row)
{
    for (int i = 0; i < t->key_count; i++) {
        uint8_t type = row[t->key_columns[i]].type;
        if (type == VALUE_NULL || type == VALUE_ABSENT)
            return true;
    }
    return t->key_count == 0;
}

void key_put_json(struct buf *out, const struct table *t, const struct value *row, int64_t rowid)
{
    if (key_is_rowid(t, row)) {
        buf_puts(out, "{\"rowid\":");
        buf_put_i64(out, rowid);
        buf_putc(out, '}');
        return;
    }
    for (int i = 0; i < t->key_count; i++) {
        int column = t->key_columns[i];
        buf_putc(out, i == 0 ? '{' : ',');
        put_member(out, t, column, &row[column]);
    }
    buf_putc(out, '}');
}

bool change_moved_key(const struct change *c)
{
    if (c->kind != CHANGE_UPDATE)
        return false;
    const struct table *t = c->table;
    bool by_rowid = key_is_rowid(t, c->row);
    if (by_rowid != key_is_rowid(t, c->old))
        return true;
    if (by_rowid)
        return c->rowid != c->old_rowid;
    for (int i = 0; i < t->key_count; i++) {
        int column = t->key_columns[i];
        if (!value_same(&c->row[column], &c->old[column]))
            return true;
    }
    return false;
}

bool change_is_empty(const struct change *c)
{
    if (c->kind != CHANGE_UPDATE)
        return false;
    for (int i = 0; i < c->table->column_count; i++)
        if (!value_same(&c->row[i], &c->old[i]))
            return false;
    return !change_moved_key(c);
}

static const struct column *column_by_id(const struct table *t, uint64_t id)
{
    for (int i = 0; i < t->column_count; i++)
        if (t->columns[i].id == id)
            return &t->columns[i];
    return NULL;
}

/* The names of the columns of `t` that `other` does not have. */
static void put_missing(struct buf *out, const struct table *t, const struct table *other)
{
    bool first = true;
    buf_putc(out, '[');
    for (int i = 0; i < t->column_count; i++) {
        if (column_by_id(other, t->columns[i].id))
            continue;
        if (!first)
            buf_putc(out, ',');
        first = false;
        buf_put_json_text(out, t->columns[i].name);
    }
    buf_putc(out, ']');
}

static void put_renamed(struct buf *out, const struct table *old, const struct table *new)
{
    bool first = true;
    buf_putc(out, '[');
    for (int i = 0; i < old->column_count; i++) {
        const struct column *from = &old->columns[i];
        const struct column *to = column_by_id(new, from->id);
        if (!to || strcmp(from->name, to->name) == 0)
            continue;
        buf_puts(out, first ? "{\"from\":" : ",{\"from\":");
        first = false;
        buf_put_json_text(out, from->name);
        buf_puts(out, ",\"to\":");
        buf_put_json_text(out, to->name);
        buf_putc(out, '}');
    }
    buf_putc(out, ']');
}

static void put_alteration(struct buf *out, const struct table *old, const struct table *new)
{
    buf_puts(out, ",\"added\":");
    put_missing(out, new, old);
    buf_puts(out, ",\"dropped\":");
    put_missing(out, old, new);
    buf_puts(out, ",\"renamed\":");
    put_renamed(out, old, new);
    if (strcmp(old->name, new->name) != 0) {
        buf_puts(out, ",\"renamedFrom\":");
        buf_put_json_text(out, old->name);
    }
}

void ddl_put_json(struct buf *out, const struct change *c)
{
    buf_puts(out, "{\"columns\":");
    table_put_columns_json(out, c->table);
    if (c->kind == CHANGE_TABLE_ALTERED && c->old_table)
        put_alteration(out, c->old_table, c->table);
    buf_putc(out, '}');
}
