#include "wal_rows.h"

#include "base/mem.h"
#include "base/status.h"
#include "capture/values.h"
#include "change/change_json.h"
#include <search.h>
#include <stdlib.h>
#include <string.h>

/* Two rows of a table at the same place in its b-tree are equal. */
static int by_storage(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    if (x->table->id != y->table->id)
        return x->table->id < y->table->id ? -1 : 1;
    if (!x->table->without_rowid)
        return x->rowid < y->rowid ? -1 : x->rowid > y->rowid;
    for (int i = 0; i < x->table->key_count; i++) {
        int column = x->table->key_columns[i];
        int order = value_compare(&x->values[column], &y->values[column],
            (enum collation)x->table->columns[column].collation);
        if (order)
            return order;
    }
    return 0;
}

/* The same for what subscribers know rows by; tables with a key only. */
static int by_key(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    if (x->table->id != y->table->id)
        return x->table->id < y->table->id ? -1 : 1;
    for (int i = 0; i < x->table->key_count; i++) {
        int column = x->table->key_columns[i];
        int order = value_compare(&x->values[column], &y->values[column],
            (enum collation)x->table->columns[column].collation);
        if (order)
            return order;
    }
    return 0;
}

static bool has_null_key(const struct row *r)
{
    for (int i = 0; i < r->table->key_count; i++)
        if (r->values[r->table->key_columns[i]].type == VALUE_NULL)
            return true;
    return r->table->key_count == 0;
}

static bool same_values(const struct table *t, const struct value *a, const struct value *b)
{
    for (int i = 0; i < t->column_count; i++)
        if (!value_same(&a[i], &b[i]) && a[i].type != VALUE_ABSENT && b[i].type != VALUE_ABSENT)
            return false;
    return true;
}

static struct row *add_row(struct rows *r)
{
    if (r->count == r->cap) {
        r->cap = r->cap ? 2 * r->cap : 256;
        r->items = realloc(r->items, r->cap * sizeof(*r->items));
    }
    return &r->items[r->count++];
}

static bool read_table(struct rows *r, sqlite3 *db, const struct table *t)
{
    sqlite3_stmt *s;
    char *sql = sqlite3_mprintf("SELECT %s, * FROM %Q", t->without_rowid ? "0" : "rowid", t->name);
    int rc = sqlite3_prepare_v2(db, sql, -1, &s, NULL);
    sqlite3_free(sql);
    while (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        struct row *row = add_row(r);
        row->table = t;
        row->rowid = sqlite3_column_int64(s, 0);
        row->values = batch_row(r->memory, t->column_count);
        for (int i = 0; i < t->column_count; i++) {
            struct value v;
            values_from(&v, sqlite3_column_value(s, i + 1), AFFINITY_BLOB);
            batch_set_value(r->memory, &row->values[i], &v);
        }
        rc = SQLITE_OK;
    }
    sqlite3_finalize(s);
    return rc == SQLITE_DONE;
}

struct rows *rows_read(sqlite3 *db, const struct schema *schema)
{
    struct rows *r = calloc(1, sizeof(*r));
    r->memory = batch_new(0);
    for (int i = 0; i < schema->table_count; i++)
        if (table_has_events(schema->tables[i]) && !read_table(r, db, schema->tables[i])) {
            rows_free(r);
            return NULL;
        }
    return r;
}

void rows_free(struct rows *r)
{
    if (!r)
        return;
    batch_unref(r->memory);
    free(r->items);
    free(r);
}

struct replica {
    void *stored, *keyed; /* trees of tsearch */
    struct rows rows;     /* memory of what changes bring */
    size_t count;
    struct buf *wrong;
};

static struct row *find(void *const *tree, int (*order)(const void *, const void *), struct row *r)
{
    struct row *const *found = tfind(r, tree, order);
    return found ? *found : NULL;
}

static bool complain(struct replica *p, const char *what, const struct row *r)
{
    buf_printf(p->wrong, "%s: table %s, rowid %lld: ", what, r->table->name, (long long)r->rowid);
    row_put_json(p->wrong, r->table, r->values, NULL);
    if (p->wrong->len > 600)
        buf_truncate(p->wrong, 600);
    return false;
}

static bool insert(struct replica *p, struct row *r)
{
    if (find(&p->stored, by_storage, r))
        return complain(p, "inserted, and is there", r);
    if (!has_null_key(r) && find(&p->keyed, by_key, r))
        return complain(p, "its key is taken", r);
    tsearch(r, &p->stored, by_storage);
    if (!has_null_key(r))
        tsearch(r, &p->keyed, by_key);
    p->count++;
    return true;
}

static bool erase(struct replica *p, struct row *r)
{
    struct row *found = find(&p->stored, by_storage, r);
    if (!found)
        return complain(p, "is not there", r);
    if (!same_values(r->table, found->values, r->values))
        return complain(p, "its old values are not right", r);
    if (!has_null_key(found))
        tdelete(found, &p->keyed, by_key);
    tdelete(found, &p->stored, by_storage);
    p->count--;
    return true;
}

/* In the replica's memory. */
static struct row *new_row(
    struct replica *p, const struct table *t, int64_t rowid, struct value *values)
{
    struct row *r =
        (void *)batch_row(p->rows.memory, 1 + (int)(sizeof(struct row) / sizeof(struct value)));
    *r = (struct row){.table = t, .rowid = rowid, .values = values};
    return r;
}

static bool apply(struct replica *p, const struct change *c)
{
    bool ok = true;
    if (c->kind > CHANGE_DELETE)
        return true;
    struct row old = {.table = c->table, .rowid = c->old_rowid, .values = c->old};
    if (c->kind == CHANGE_UPDATE && c->rowid == c->old_rowid && change_is_empty(c))
        return complain(p, "an update that changes nothing", &old);
    if (!c->external)
        return complain(p, "not external", &old);
    if (c->old)
        ok = erase(p, &old);
    return ok && c->row ? insert(p, new_row(p, c->table, c->rowid, c->row)) : ok;
}

static const struct tree *tree_of(const struct trees *trees, uint64_t id)
{
    for (int i = 0; i < trees->count; i++)
        if (trees->items[i].table->id == id)
            return &trees->items[i];
    return NULL;
}

/* The row with the columns that its table has now; NULL: it is gone with its table. */
static struct row *carry_over(struct replica *p, const struct row *r, const struct trees *trees)
{
    const struct tree *t = tree_of(trees, r->table->id);
    if (!t)
        return NULL;
    struct value *values = batch_row(p->rows.memory, t->table->column_count);
    for (int i = 0; i < t->table->column_count; i++) {
        values[i] = t->defaults[i];
        for (int k = 0; k < r->table->column_count; k++)
            if (r->table->columns[k].id == t->table->columns[i].id)
                values[i] = r->values[k];
    }
    return new_row(p, t->table, r->rowid, values);
}

static void free_nothing(void *r)
{
    (void)r;
}

/* There an update may come in two halves. */
static bool has_own_key(const struct table *t)
{
    return t->key_count > 0 && t->rowid_alias < 0 && !t->without_rowid;
}

static bool set_up(struct replica *p, const struct rows *old, const struct trees *trees, void **was)
{
    for (size_t i = 0; i < old->count; i++) {
        struct row *r = carry_over(p, &old->items[i], trees);
        if (r && !insert(p, r))
            return false;
        if (r)
            tsearch(r, was, by_storage);
    }
    return true;
}

/* How many changes it takes. */
static uint64_t count_needed(void *const *was, size_t old_count, const struct rows *now)
{
    uint64_t needed = 0, kept = 0;
    for (size_t i = 0; i < now->count; i++) {
        const struct row *r = find(was, by_storage, &now->items[i]);
        kept += r != NULL;
        needed += !r || !same_values(r->table, r->values, now->items[i].values);
    }
    return needed + old_count - kept;
}

static bool compare(struct replica *p, const struct rows *now)
{
    for (size_t i = 0; i < now->count; i++) {
        const struct row *r = find(&p->stored, by_storage, &now->items[i]);
        if (!r)
            return complain(p, "missing", &now->items[i]);
        if (!same_values(r->table, r->values, now->items[i].values))
            return complain(p, "not as it should be", r);
    }
    if (p->count != now->count)
        buf_printf(p->wrong, "%zu rows too many", p->count - now->count);
    return p->count == now->count;
}

static bool follow(
    struct replica *p, const struct rows *now, const struct batch *changes, uint64_t needed)
{
    uint64_t said = 0;
    for (uint32_t i = 0; i < changes->change_count; i++) {
        const struct change *c = &changes->changes[i];
        bool second_half = c->kind == CHANGE_INSERT && has_own_key(c->table);
        said += c->kind <= CHANGE_DELETE && !second_half;
        if (!apply(p, c))
            return false;
    }
    if (!compare(p, now))
        return false;
    if (said > needed)
        buf_printf(p->wrong, "%llu changes where %llu are needed", (unsigned long long)said,
            (unsigned long long)needed);
    return said <= needed;
}

bool rows_follow(const struct rows *old, const struct rows *now, const struct trees *trees,
    const struct batch *changes, struct buf *wrong)
{
    struct replica p = {.wrong = wrong};
    p.rows.memory = batch_new(0);
    void *was = NULL;
    bool ok =
        set_up(&p, old, trees, &was) && follow(&p, now, changes, count_needed(&was, p.count, now));
    tdestroy(was, free_nothing);
    tdestroy(p.stored, free_nothing);
    tdestroy(p.keyed, free_nothing);
    batch_unref(p.rows.memory);
    return ok;
}
