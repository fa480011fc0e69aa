#include "capture/wal/trees.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/text.h"
#include "capture/default_value.h"
#include "capture/schema_read.h"
#include "capture/wal/view_file.h"
#include <string.h>

void trees_free(struct trees *t)
{
    if (!t)
        return;
    for (int i = 0; i < t->count; i++) {
        mem_free(t->items[i].fields);
        mem_free(t->items[i].keys);
        mem_free(t->items[i].defaults);
    }
    mem_free(t->items);
    u32map_fini(&t->roots);
    batch_unref(t->memory);
    table_unref(t->master);
    schema_unref(t->schema);
    mem_free(t);
}

static int allocate(struct tree *t)
{
    size_t count = t->table->column_count > 0 ? (size_t)t->table->column_count : 1;
    t->fields = mem_array(count, sizeof(*t->fields));
    t->defaults = mem_array(count, sizeof(*t->defaults));
    t->keys = mem_array(count, sizeof(*t->keys));
    return t->fields && t->defaults && t->keys ? STATUS_OK : STATUS_NOMEM;
}

/* In a table keyed by rowid the fields are the stored columns in their order. */
static void list_fields(struct tree *t)
{
    for (int i = 0; i < t->table->column_count; i++)
        if (t->table->columns[i].stored >= 0)
            t->fields[t->field_count++] = i;
}

static uint8_t collation_named(const char *name)
{
    return text_casecmp(name, "BINARY") == 0   ? COLLATION_BINARY
           : text_casecmp(name, "NOCASE") == 0 ? COLLATION_NOCASE
           : text_casecmp(name, "RTRIM") == 0  ? COLLATION_RTRIM
                                               : COLLATION_OTHER;
}

/* A row of PRAGMA index_xinfo: seqno, cid, name, desc, coll, key. */
static void add_field(struct tree *t, sqlite3_stmt *s)
{
    const char *collation = (const char *)sqlite3_column_text(s, 4);
    int column = sqlite3_column_int(s, 1);
    if (column < 0 || t->field_count == t->table->column_count)
        return;
    t->fields[t->field_count++] = column;
    if (!sqlite3_column_int(s, 5))
        return;
    struct tree_key *k = &t->keys[t->key_count++];
    k->collation = collation_named(collation ? collation : "");
    k->descending = sqlite3_column_int(s, 3) != 0;
    t->unordered |= k->collation == COLLATION_OTHER;
}

/* A table WITHOUT ROWID is the index of its PRIMARY KEY, with the other columns behind it. */
static int list_index_fields(struct sqlconn *c, struct tree *t)
{
    sqlite3_stmt *s;
    int rc = sqlconn_prepare(c, &s,
        "SELECT x.* FROM pragma_index_list(%Q) AS l, pragma_index_xinfo(l.name) AS x "
        "WHERE l.origin='pk' ORDER BY x.seqno",
        t->table->name);
    while (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        rc = SQLITE_OK;
        add_field(t, s);
    }
    sqlite3_finalize(s);
    return rc == SQLITE_DONE ? STATUS_OK : rc == SQLITE_NOMEM ? STATUS_NOMEM : STATUS_INVALID;
}

static const struct tree *find_same(const struct trees *previous, const struct table *t)
{
    for (int i = 0; previous && i < previous->count; i++)
        if (previous->items[i].table == t)
            return &previous->items[i];
    return NULL;
}

static int set_defaults(struct trees *all, struct tree *t, const struct tree *same)
{
    int status = STATUS_OK;
    for (int i = 0; i < t->table->column_count && status == STATUS_OK; i++)
        status = same ? batch_set_value(all->memory, &t->defaults[i], &same->defaults[i])
                      : default_value(&t->table->columns[i], all->memory, &t->defaults[i]);
    return status;
}

static int add_tree(
    struct trees *all, struct sqlconn *c, const struct table *table, const struct trees *previous)
{
    struct tree *t = &all->items[all->count++];
    *t = (struct tree){
        .table = table,
        .root = (uint32_t)table->root_page,
        .index = table->without_rowid,
    };
    const struct tree *same = find_same(previous, table);
    int status = allocate(t);
    if (status < 0)
        return status;
    if (!t->index)
        list_fields(t);
    else
        status = list_index_fields(c, t);
    if (t->unordered && !same)
        log_warn("table %s is sorted by a collation that only its application knows: rows written "
                 "by other processes are not seen in it",
            table->name);
    if (status == STATUS_OK)
        status = set_defaults(all, t, same);
    if (status == STATUS_OK && t->root)
        status = u32map_put(&all->roots, t->root, (uint32_t)all->count);
    return status;
}

/* The table of the schema itself, which is in no list. */
static int add_master(struct trees *all, struct sqlconn *c)
{
    all->master = table_new("sqlite_schema", 0);
    if (!all->master)
        return STATUS_NOMEM;
    all->master->internal = true;
    all->master->root_page = 1;
    return add_tree(all, c, all->master, NULL);
}

static bool is_stored(const struct table *t)
{
    return (t->kind == TABLE_PLAIN || t->kind == TABLE_SHADOW) && t->root_page > 0 &&
           t->root_page <= UINT32_MAX;
}

static int read_trees(
    struct trees *all, struct sqlconn *c, const struct trees *previous, struct schema *schema)
{
    int rc = SQLITE_OK;
    if (schema)
        all->schema = schema_ref(schema);
    else
        rc = schema_read(c, previous ? previous->schema : NULL, &all->schema);
    if (rc != SQLITE_OK)
        return (rc & 0xff) == SQLITE_NOMEM ? STATUS_NOMEM : STATUS_INVALID;
    all->items = mem_array((size_t)all->schema->table_count + 1, sizeof(*all->items));
    all->memory = batch_new(0);
    if (!all->items || !all->memory)
        return STATUS_NOMEM;
    int status = add_master(all, c);
    for (int i = 0; i < all->schema->table_count && status == STATUS_OK; i++)
        if (is_stored(all->schema->tables[i]))
            status = add_tree(all, c, all->schema->tables[i], previous);
    return status;
}

int trees_read(const struct wal_view *view, const struct trees *previous, struct schema *schema,
    struct trees **out)
{
    struct view_file file;
    *out = NULL;
    struct trees *all = mem_zalloc(sizeof(*all));
    if (!all)
        return STATUS_NOMEM;
    all->encoding = view->encoding;
    int status = view_file_open(&file, view);
    if (status == STATUS_OK)
        status = read_trees(all, &file.conn, previous, schema);
    view_file_close(&file);
    if (status == STATUS_OK)
        *out = all;
    else
        trees_free(all);
    return status;
}
