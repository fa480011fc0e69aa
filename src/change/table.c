#include "base/mem.h"
#include "base/text.h"
#include "change/schema.h"
#include <assert.h>
#include <string.h>

static const char *const kind_names[] = {
    [TABLE_PLAIN] = "table",
    [TABLE_VIRTUAL] = "virtual",
    [TABLE_SHADOW] = "shadow",
    [TABLE_VIEW] = "view",
};

struct table *table_new(const char *name, int column_count)
{
    struct table *t = mem_zalloc(sizeof(*t));
    if (!t)
        return NULL;
    atomic_init(&t->refs, 1);
    t->rowid_alias = -1;
    t->column_count = column_count;
    t->name = mem_strdup(name);
    t->columns = mem_array(column_count > 0 ? (size_t)column_count : 1, sizeof(*t->columns));
    if (!t->name || !t->columns) {
        table_unref(t);
        return NULL;
    }
    return t;
}

/* Only the count of references of a published table ever changes. */
static struct table *writable(const struct table *t)
{
    return (struct table *)(uintptr_t)t;
}

struct table *table_ref(const struct table *t)
{
    unsigned before = atomic_fetch_add_explicit(&writable(t)->refs, 1, memory_order_relaxed);
    assert(before > 0);
    (void)before;
    return writable(t);
}

static void table_free(struct table *t)
{
    for (int i = 0; t->columns && i < t->column_count; i++) {
        mem_free(t->columns[i].name);
        mem_free(t->columns[i].type);
        mem_free(t->columns[i].default_sql);
    }
    mem_free(t->columns);
    mem_free(t->key_columns);
    mem_free(t->name);
    mem_free(t->sql);
    mem_free(t);
}

void table_unref(const struct table *t)
{
    if (t && atomic_fetch_sub_explicit(&writable(t)->refs, 1, memory_order_acq_rel) == 1)
        table_free(writable(t));
}

int table_column(const struct table *t, const char *name, size_t len)
{
    for (int i = 0; i < t->column_count; i++) {
        const char *own = t->columns[i].name;
        if (text_same_nocase(own, strlen(own), name, len))
            return i;
    }
    return -1;
}

const char *table_rowid_name(const struct table *t)
{
    static const char *const names[] = {"rowid", "_rowid_", "oid"};
    if (t->without_rowid || t->kind != TABLE_PLAIN)
        return NULL;
    if (t->rowid_alias >= 0)
        return t->columns[t->rowid_alias].name;
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (table_column(t, names[i], strlen(names[i])) < 0)
            return names[i];
    return NULL;
}

bool table_has_events(const struct table *t)
{
    return t->kind == TABLE_PLAIN && !t->internal;
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_column(const struct column *a, const struct column *b)
{
    return same_text(a->name, b->name) && same_text(a->type, b->type) &&
           same_text(a->default_sql, b->default_sql) && a->pk == b->pk && a->kind == b->kind &&
           a->affinity == b->affinity && a->collation == b->collation && a->not_null == b->not_null;
}

bool table_same_columns(const struct table *a, const struct table *b)
{
    if (a == b)
        return true;
    if (a->column_count != b->column_count || a->kind != b->kind || a->strict != b->strict ||
        a->without_rowid != b->without_rowid || a->rowid_alias != b->rowid_alias)
        return false;
    for (int i = 0; i < a->column_count; i++)
        if (!same_column(&a->columns[i], &b->columns[i]))
            return false;
    return true;
}

static void put_bool(struct buf *out, bool value)
{
    buf_puts(out, value ? "true" : "false");
}

static void put_column_json(struct buf *out, const struct column *c)
{
    buf_puts(out, "{\"name\":");
    buf_put_json_text(out, c->name);
    buf_puts(out, ",\"type\":");
    buf_put_json_text(out, c->type ? c->type : "");
    buf_puts(out, ",\"notNull\":");
    put_bool(out, c->not_null);
    buf_puts(out, ",\"default\":");
    buf_put_json_text(out, c->default_sql);
    buf_puts(out, ",\"primaryKey\":");
    put_bool(out, c->pk > 0);
    buf_puts(out, ",\"generated\":");
    buf_put_json_text(out, c->kind == COLUMN_VIRTUAL  ? "virtual"
                           : c->kind == COLUMN_STORED ? "stored"
                                                      : NULL);
    buf_putc(out, '}');
}

static void put_columns(struct buf *out, const struct table *t, const uint64_t *columns)
{
    const char *separator = "[";
    for (int i = 0; i < t->column_count; i++) {
        if (t->columns[i].kind == COLUMN_HIDDEN || (columns && !(columns[i / 64] >> (i % 64) & 1)))
            continue;
        buf_puts(out, separator);
        put_column_json(out, &t->columns[i]);
        separator = ",";
    }
    buf_puts(out, *separator == '[' ? "[]" : "]");
}

void table_put_columns_json(struct buf *out, const struct table *t)
{
    put_columns(out, t, NULL);
}

void table_put_json(struct buf *out, const struct table *t)
{
    table_put_some_json(out, t, NULL);
}

void table_put_some_json(struct buf *out, const struct table *t, const uint64_t *columns)
{
    buf_puts(out, "{\"name\":");
    buf_put_json_text(out, t->name);
    buf_puts(out, ",\"columns\":");
    put_columns(out, t, columns);
    buf_puts(out, ",\"primaryKey\":[");
    for (int i = 0; i < t->key_count; i++) {
        if (i > 0)
            buf_putc(out, ',');
        buf_put_json_text(out, t->columns[t->key_columns[i]].name);
    }
    buf_puts(out, "],\"withoutRowid\":");
    put_bool(out, t->without_rowid);
    buf_puts(out, ",\"strict\":");
    put_bool(out, t->strict);
    buf_puts(out, ",\"kind\":");
    buf_put_json_text(out, kind_names[t->kind]);
    buf_putc(out, '}');
}
