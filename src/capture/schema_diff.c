#include "capture/schema_diff.h"

#include "base/status.h"
#include "base/text.h"
#include "change/change_json.h"
#include <assert.h>
#include <string.h>

static uint64_t next_id(void)
{
    static atomic_uint_fast64_t last;
    return atomic_fetch_add(&last, 1) + 1;
}

static bool same_name(const char *a, const char *b)
{
    return text_casecmp(a, b) == 0;
}

static int column_with_id(const struct table *t, uint64_t id)
{
    for (int i = 0; i < t->column_count; i++)
        if (t->columns[i].id == id)
            return i;
    return -1;
}

/* The column that was where this one is: at the same place in the rows, if it is stored. */
static const struct column *predecessor(const struct table *old, const struct column *c, int index)
{
    for (int i = 0; i < old->column_count; i++)
        if (c->stored >= 0 ? old->columns[i].stored == c->stored
                           : i == index && old->columns[i].stored < 0)
            return &old->columns[i];
    return NULL;
}

/*
 * By name first; then a column whose name is new stands for the one that was in its place: rows
 * that nobody wrote have its value. That is RENAME, or a DROP and an ADD that wrote every row anew.
 */
static void identify_columns(const struct table *old, struct table *t)
{
    for (int i = 0; old && i < t->column_count; i++) {
        const char *name = t->columns[i].name;
        int at = i < old->column_count && same_name(old->columns[i].name, name)
                     ? i
                     : table_column(old, name, strlen(name));
        t->columns[i].id = at >= 0 ? old->columns[at].id : 0;
    }
    for (int i = 0; i < t->column_count; i++) {
        if (t->columns[i].id)
            continue;
        const struct column *was = old ? predecessor(old, &t->columns[i], i) : NULL;
        bool renamed = was && was->kind == t->columns[i].kind && column_with_id(t, was->id) < 0;
        t->columns[i].id = renamed ? was->id : next_id();
    }
}

static bool same_column_names(const struct table *a, const struct table *b)
{
    if (a->kind != b->kind || a->column_count != b->column_count)
        return false;
    for (int i = 0; i < a->column_count; i++)
        if (!same_name(a->columns[i].name, b->columns[i].name))
            return false;
    return true;
}

/* The table that t was before it got its name: gone now, at the same root page, with its columns.
 */
static const struct table *renamed_from(
    const struct schema *previous, const struct schema *fresh, const struct table *t)
{
    for (int i = 0; i < previous->table_count; i++) {
        const struct table *old = previous->tables[i];
        if (old->root_page == t->root_page && same_column_names(old, t) &&
            !schema_find(fresh, old->name, strlen(old->name)) && !schema_find_id(fresh, old->id))
            return old;
    }
    return NULL;
}

/*
 * Another table has taken the place of the one that had its name: DROP, and RENAME to that name, in
 * one commit. With auto_vacuum a table may move to where a dropped one was, but then its definition
 * is as it was.
 */
static bool displaced(const struct schema *previous, const struct schema *fresh,
    const struct table *old, const struct table *t)
{
    return old->root_page != t->root_page && old->sql && t->sql && strcmp(old->sql, t->sql) != 0 &&
           renamed_from(previous, fresh, t);
}

/* No ALTER TABLE changes what rows are known by: if it is another, the table was made anew. */
static bool same_key(const struct table *old, const struct table *t)
{
    if (old->without_rowid != t->without_rowid || old->key_count != t->key_count ||
        (old->rowid_alias < 0) != (t->rowid_alias < 0))
        return false;
    for (int i = 0; i < t->key_count; i++)
        if (old->columns[old->key_columns[i]].id != t->columns[t->key_columns[i]].id)
            return false;
    return true;
}

/* Nor does one make a column that is computed of one that is not, or the contrary. */
static bool same_kinds(const struct table *old, const struct table *t)
{
    for (int i = 0; i < t->column_count; i++) {
        int at = column_with_id(old, t->columns[i].id);
        if (at >= 0 && old->columns[at].kind != t->columns[i].kind)
            return false;
    }
    return true;
}

static void forget_identity(struct table *t)
{
    t->id = 0;
    for (int i = 0; i < t->column_count; i++)
        t->columns[i].id = 0;
}

void schema_diff_identify(const struct schema *previous, struct schema *fresh)
{
    for (int i = 0; previous && i < fresh->table_count; i++) {
        struct table *t = fresh->tables[i];
        const struct table *old = t->id ? NULL : schema_find(previous, t->name, strlen(t->name));
        if (!old || (old->kind == TABLE_VIEW) != (t->kind == TABLE_VIEW) ||
            displaced(previous, fresh, old, t))
            continue;
        t->id = old->id;
        identify_columns(old, t);
        if (!same_key(old, t) || !same_kinds(old, t))
            forget_identity(t);
    }
    for (int i = 0; i < fresh->table_count; i++) {
        struct table *t = fresh->tables[i];
        if (t->id)
            continue;
        const struct table *old = previous ? renamed_from(previous, fresh, t) : NULL;
        t->id = old ? old->id : next_id();
        identify_columns(old, t);
    }
}

static bool reported(const struct table *t)
{
    return !t->internal && (t->kind == TABLE_PLAIN || t->kind == TABLE_VIRTUAL);
}

/* A dropped table whose name another one has now: it must go first, and its rows with it. */
static bool replaced(const struct schema_diff *d, const struct table *dropped)
{
    return schema_find(d->after, dropped->name, strlen(dropped->name)) != NULL;
}

static int remap_row(const struct schema_diff *d, const struct table *from, const struct table *to,
    struct value **row)
{
    if (!*row)
        return STATUS_OK;
    struct value *fresh = batch_row(d->batch, to->column_count);
    int status = fresh ? STATUS_OK : batch_full(d->batch) ? STATUS_TOO_LARGE : STATUS_NOMEM;
    for (int i = 0; status == STATUS_OK && i < to->column_count; i++) {
        int at = column_with_id(from, to->columns[i].id);
        if (at >= 0)
            fresh[i] = (*row)[at];
        else if (to->columns[i].kind != COLUMN_VIRTUAL)
            status = d->default_value(d->ctx, &to->columns[i], &fresh[i]);
    }
    if (status == STATUS_OK)
        *row = fresh;
    return status;
}

static bool same_layout(const struct table *a, const struct table *b)
{
    for (int i = 0; i < a->column_count && a->column_count == b->column_count; i++)
        if (a->columns[i].id != b->columns[i].id)
            return false;
    return a->column_count == b->column_count;
}

static int remap(const struct schema_diff *d, struct change *c, const struct table *to)
{
    int status = STATUS_OK;
    if (!same_layout(c->table, to)) {
        status = remap_row(d, c->table, to, &c->row);
        if (status == STATUS_OK)
            status = remap_row(d, c->table, to, &c->old);
    }
    if (status == STATUS_OK)
        status = batch_hold(d->batch, to);
    c->table = to;
    return status;
}

static int finish_rows(const struct schema_diff *d)
{
    uint32_t kept = d->first;
    for (uint32_t i = d->first; i < d->batch->change_count; i++) {
        struct change *c = &d->batch->changes[i];
        const struct table *to = schema_find_id(d->after, c->table->id);
        if (!to) {
            to = schema_find_id(d->before, c->table->id);
            if (!to || replaced(d, to))
                continue;
        }
        bool other = to != c->table;
        int status = other ? remap(d, c, to) : STATUS_OK;
        if (status != STATUS_OK)
            return status;
        /* The array may not grow here, so that c stays where it is. */
        /* An update of nothing but a column that was dropped afterwards. */
        if (other && change_is_empty(c))
            continue;
        d->batch->changes[kept++] = *c;
    }
    d->batch->change_count = kept;
    return STATUS_OK;
}

static int add(const struct schema_diff *d, enum change_kind kind, const struct table *table,
    const struct table *old)
{
    if (old && batch_hold(d->batch, old) < 0)
        return STATUS_NOMEM;
    struct change *c = batch_add(d->batch, kind, table);
    if (!c)
        return STATUS_NOMEM;
    c->old_table = old;
    c->external = d->external;
    return STATUS_OK;
}

static int add_dropped(const struct schema_diff *d, bool first)
{
    int status = STATUS_OK;
    for (int i = 0; i < d->before->table_count && status == STATUS_OK; i++) {
        const struct table *t = d->before->tables[i];
        if (reported(t) && !schema_find_id(d->after, t->id) && replaced(d, t) == first)
            status = add(d, CHANGE_TABLE_DROPPED, t, NULL);
    }
    return status;
}

static bool is_altered(const struct table *t, const struct table *old)
{
    return old && t != old && reported(t) &&
           (strcmp(t->name, old->name) != 0 || !table_same_columns(t, old));
}

/* The event of this table was added already; `from` is where such events begin. */
static bool is_added(const struct schema_diff *d, uint32_t from, uint64_t id)
{
    for (uint32_t i = from; i < d->batch->change_count; i++)
        if (d->batch->changes[i].table->id == id)
            return true;
    return false;
}

/* The table's new name is still another's, until the event of that one's renaming. */
static bool name_is_taken(const struct schema_diff *d, uint32_t from, const struct table *t)
{
    const struct table *owner = schema_find(d->before, t->name, strlen(t->name));
    return owner && owner->id != t->id && schema_find_id(d->after, owner->id) &&
           !is_added(d, from, owner->id);
}

/* One round; *count tells how many were added. */
static int add_altered_round(const struct schema_diff *d, uint32_t from, bool any, int *count)
{
    int status = STATUS_OK;
    *count = 0;
    for (int i = 0; i < d->after->table_count && status == STATUS_OK; i++) {
        const struct table *t = d->after->tables[i];
        const struct table *old = schema_find_id(d->before, t->id);
        if (!is_altered(t, old) || is_added(d, from, t->id) || (!any && name_is_taken(d, from, t)))
            continue;
        status = add(d, CHANGE_TABLE_ALTERED, t, old);
        (*count)++;
    }
    return status;
}

/*
 * A table that takes another's name comes after that one was renamed. Names exchanged in a circle
 * have no such order.
 */
static int add_altered(const struct schema_diff *d)
{
    uint32_t from = d->batch->change_count;
    int count, status;
    do
        status = add_altered_round(d, from, false, &count);
    while (status == STATUS_OK && count > 0);
    return status == STATUS_OK ? add_altered_round(d, from, true, &count) : status;
}

static int add_created(const struct schema_diff *d)
{
    int status = STATUS_OK;
    for (int i = 0; i < d->after->table_count && status == STATUS_OK; i++) {
        const struct table *t = d->after->tables[i];
        if (reported(t) && !schema_find_id(d->before, t->id))
            status = add(d, CHANGE_TABLE_CREATED, t, NULL);
    }
    return status;
}

static void reverse(struct change *changes, uint32_t from, uint32_t to)
{
    while (from + 1 < to) {
        struct change swap = changes[from];
        changes[from++] = changes[--to];
        changes[to] = swap;
    }
}

int schema_diff_finish(const struct schema_diff *d)
{
    if (d->before == d->after)
        return STATUS_OK;
    int status = finish_rows(d);
    uint32_t rows_end = d->batch->change_count;
    if (status == STATUS_OK)
        status = add_dropped(d, true);
    if (status == STATUS_OK)
        status = add_altered(d);
    if (status == STATUS_OK)
        status = add_created(d);
    if (status == STATUS_OK) {
        /* The rows change places with the events that were added behind them. */
        struct change *all = d->batch->changes;
        uint32_t end = d->batch->change_count;
        uint32_t middle = d->first + (end - rows_end);
        reverse(all, d->first, end);
        reverse(all, d->first, middle);
        reverse(all, middle, end);
        status = add_dropped(d, false);
    }
    return status;
}

int schema_diff_announce(const struct schema_diff *d)
{
    if (d->before == d->after)
        return STATUS_OK;
    int status = add_dropped(d, true);
    if (status == STATUS_OK)
        status = add_altered(d);
    return status == STATUS_OK ? add_created(d) : status;
}

int schema_diff_retire(const struct schema_diff *d)
{
    return d->before == d->after ? STATUS_OK : add_dropped(d, false);
}
