#include "capture/wal/diff.h"

#include "base/mem.h"
#include "base/status.h"
#include "change/change_json.h"
#include <stdlib.h>
#include <string.h>

/*
 * The order within a table is that of the keys under which it is stored. A replica knows rows by
 * their PRIMARY KEY; where that is another one, a row may take the key that another had, so first
 * what goes is reported, then rows whose key changed, then the rest.
 */
enum pass {
    PASS_ALL,
    PASS_LOOK,  /* reports nothing, counts */
    PASS_GONE,  /* deletions; of rows whose keys changed the old half, where `split` */
    PASS_MOVED, /* rows whose keys changed */
    PASS_REST,
};

/* More rows with changed keys are always split into a deletion and an insertion. */
#define MAX_MOVED 1024

struct side {
    const struct wal_view *view;
    const struct trees *all;
    struct cells cells;
    struct btree_cell cell;
    bool have;
    struct buf buf;
    const uint8_t *payload;
    uint64_t chained; /* pages of chains gone through in this pass */
};

struct join {
    struct wal_diff *d;
    struct wal_pair *pair;
    struct wal_output *out;
    struct side old, now;
    struct buf text;
    enum pass pass;
    bool split;
    bool only_old, only_now; /* the two cannot be compared */
    uint64_t gone, come;     /* counted by PASS_LOOK */
    uint64_t moved;
    uint64_t old_keys[MAX_MOVED], keys[MAX_MOVED]; /* hashes of the first ones */
};

static int advance(struct side *s)
{
    int status = cells_next(&s->cells, &s->cell);
    s->have = status == 1;
    s->payload = NULL;
    return status < 0 ? status : STATUS_OK;
}

/* Each page is in one chain and read once or twice: more is a damaged file that would keep us. */
static int count_chain(struct side *s)
{
    if (s->cell.overflow)
        s->chained += s->cell.size / (s->view->usable - 4) + 1;
    return s->chained > 4 * (uint64_t)s->view->most + 100 ? STATUS_INVALID : STATUS_OK;
}

static int load(struct side *s)
{
    if (s->payload)
        return STATUS_OK;
    int status = count_chain(s);
    return status < 0 ? status : btree_payload(s->view, &s->cell, &s->buf, &s->payload);
}

/* <0: the old cell comes first, and has no counterpart. */
static int compare(struct join *j, int *order)
{
    if (!j->old.have || !j->now.have) {
        *order = j->old.have ? -1 : 1;
        return STATUS_OK;
    }
    if (!j->pair->now->index) {
        *order = j->old.cell.rowid < j->now.cell.rowid ? -1 : j->old.cell.rowid > j->now.cell.rowid;
        return STATUS_OK;
    }
    int status = load(&j->old);
    if (status == STATUS_OK)
        status = load(&j->now);
    if (status < 0)
        return status;
    return tree_compare(j->d->trees, j->pair->now, j->old.payload, j->old.cell.size, j->now.payload,
        j->now.cell.size, order);
}

static int is_changed(void *ctx, uint32_t page)
{
    return u32map_get(ctx, page, NULL);
}

/* 1: the cells hold the same bytes, so that nothing need be decoded; 0: perhaps not. */
static int same_bytes(struct join *j)
{
    const struct btree_cell *a = &j->old.cell, *b = &j->now.cell;
    if (a->size != b->size || a->local_size != b->local_size ||
        memcmp(a->local, b->local, a->local_size) != 0)
        return 0;
    if (!a->overflow && !b->overflow)
        return 1;
    if (a->overflow == b->overflow) {
        int status = count_chain(&j->now);
        if (status == STATUS_OK)
            status = btree_overflow(&j->d->after, b, is_changed, &j->d->changed);
        if (status <= 0)
            return status < 0 ? status : 1;
    }
    int status = load(&j->old);
    if (status == STATUS_OK)
        status = load(&j->now);
    if (status < 0)
        return status;
    return memcmp(j->old.payload, j->now.payload, a->size) == 0;
}

static int read_row(struct join *j, struct side *s, const struct tree *t, struct value **row)
{
    int status = load(s);
    if (status < 0)
        return status;
    return tree_row(
        s->all, t, s->cell.rowid, s->payload, s->cell.size, j->out->batch, &j->text, row);
}

/* The old row, by the columns that the table has now. */
static int read_old(struct join *j, struct value **row)
{
    struct value *old;
    const struct wal_pair *p = j->pair;
    int count = p->now->table->column_count;
    int status = read_row(j, &j->old, p->old, &old);
    if (status < 0 || !p->from) {
        *row = old;
        return status;
    }
    *row = batch_row(j->out->batch, count);
    if (!*row)
        return STATUS_NOMEM;
    for (int i = 0; i < count && status == STATUS_OK; i++)
        if (p->from[i] >= 0)
            (*row)[i] = old[p->from[i]];
        else if (p->now->table->columns[i].stored >= 0)
            status = batch_set_value(j->out->batch, &(*row)[i], &p->now->defaults[i]);
    return status;
}

static int add(struct join *j, enum change_kind kind, struct value *old, struct value *row)
{
    const struct tree *t = j->pair->now;
    if (j->out->skip > 0) {
        j->out->skip--;
        return STATUS_OK;
    }
    struct change *c = batch_add(j->out->batch, kind, t->table);
    if (!c)
        return STATUS_NOMEM;
    c->old = old;
    c->row = row;
    c->external = true;
    c->old_rowid = old && !t->index ? j->old.cell.rowid : 0;
    c->rowid = t->index ? 0 : row ? j->now.cell.rowid : c->old_rowid;
    return STATUS_OK;
}

/* The batch is to be handed on, as soon as it is certain that another change follows. */
static bool is_full(const struct wal_output *out)
{
    return out->max && out->batch->bytes > out->max && out->batch->change_count > 0;
}

static int report(struct join *j, enum change_kind kind)
{
    struct value *old = NULL, *row = NULL;
    int status = is_full(j->out) ? j->out->full(j->out) : STATUS_OK;
    if (status == STATUS_OK && kind != CHANGE_INSERT)
        status = read_old(j, &old);
    if (status == STATUS_OK && kind != CHANGE_DELETE)
        status = read_row(j, &j->now, j->pair->now, &row);
    return status == STATUS_OK ? add(j, kind, old, row) : status;
}

static uint64_t hash_key(const struct table *t, const struct value *row)
{
    uint64_t hash = 0;
    for (int i = 0; i < t->key_count; i++) {
        const struct column *c = &t->columns[t->key_columns[i]];
        hash = hash * UINT64_C(0x9e3779b97f4a7c15) +
               value_hash(&row[t->key_columns[i]], (enum collation)c->collation);
    }
    return hash;
}

static bool same_key(const struct table *t, const struct value *a, const struct value *b)
{
    for (int i = 0; i < t->key_count; i++)
        if (!value_same(&a[t->key_columns[i]], &b[t->key_columns[i]]))
            return false;
    return true;
}

static void note_moved(struct join *j, const struct value *old, const struct value *row)
{
    if (j->moved < MAX_MOVED) {
        j->old_keys[j->moved] = hash_key(j->pair->now->table, old);
        j->keys[j->moved] = hash_key(j->pair->now->table, row);
    }
    j->moved++;
}

/* Of a row that is there before and after, what this pass says. */
static int report_kept(struct join *j)
{
    const struct table *t = j->pair->now->table;
    struct value *old, *row;
    bool full = j->pass != PASS_LOOK && is_full(j->out);
    struct batch_mark mark = batch_mark(j->out->batch);
    int status = read_old(j, &old);
    if (status == STATUS_OK)
        status = read_row(j, &j->now, j->pair->now, &row);
    if (status == STATUS_OK && j->pass == PASS_ALL) {
        status = add(j, CHANGE_UPDATE, old, row);
    } else if (status == STATUS_OK) {
        bool moved = !same_key(t, old, row);
        if (j->pass == PASS_LOOK && moved)
            note_moved(j, old, row);
        else if (j->pass == PASS_REST && moved && j->split)
            status = add(j, CHANGE_INSERT, NULL, row);
        else if (j->pass == PASS_REST ? !moved : j->pass == PASS_MOVED && moved)
            status = add(j, CHANGE_UPDATE, old, row);
        else if (j->pass == PASS_GONE && moved && j->split)
            status = add(j, CHANGE_DELETE, old, NULL);
    }
    if (status != STATUS_OK)
        return status;
    const struct batch *b = j->out->batch;
    bool added =
        b->change_count > mark.change_count && !change_is_empty(&b->changes[b->change_count - 1]);
    if (!added || full)
        batch_rewind(j->out->batch, &mark);
    if (!added || !full)
        return STATUS_OK;
    status = j->out->full(j->out);
    return status == STATUS_OK ? report_kept(j) : status;
}

static int report_single(struct join *j, enum change_kind kind)
{
    bool gone = kind == CHANGE_DELETE;
    *(gone ? &j->gone : &j->come) += 1;
    if (j->pass == PASS_ALL || j->pass == (gone ? PASS_GONE : PASS_REST))
        return report(j, kind);
    return STATUS_OK;
}

static int step(struct join *j)
{
    int order;
    int status = compare(j, &order);
    if (status < 0)
        return status;
    if (order < 0) {
        status = report_single(j, CHANGE_DELETE);
    } else if (order > 0) {
        status = report_single(j, CHANGE_INSERT);
    } else {
        int same = same_bytes(j);
        /* Equal bytes may mean other values where the definition is another. */
        if (same < 0 || !same || j->pair->from)
            status = same < 0 ? same : report_kept(j);
    }
    if (status == STATUS_OK && order <= 0)
        status = advance(&j->old);
    if (status == STATUS_OK && order >= 0)
        status = advance(&j->now);
    return status;
}

static int run_pass(struct join *j, enum pass pass)
{
    static const struct u32map none;
    const struct wal_pair *p = j->pair;
    j->pass = pass;
    j->gone = j->come = 0;
    j->old.chained = j->now.chained = 0;
    j->old.cells = (struct cells){.view = &j->d->before,
        .tree = j->only_now ? NULL : p->old,
        .changed = &j->d->changed,
        .paths = &p->old_paths,
        .attached = j->only_old || p->whole ? &none : &p->attached};
    j->now.cells = (struct cells){.view = &j->d->after,
        .tree = j->only_old ? NULL : p->now,
        .changed = &j->d->changed,
        .paths = &p->paths,
        .attached = !p->old || j->only_now || p->whole ? &none : NULL};
    int status = advance(&j->old);
    if (status == STATUS_OK)
        status = advance(&j->now);
    while (status == STATUS_OK && (j->old.have || j->now.have))
        status = step(j);
    cells_end(&j->old.cells);
    cells_end(&j->now.cells);
    return status;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Some row took a key that another had and gave up as well. */
static bool keys_meet(struct join *j)
{
    if (j->moved > MAX_MOVED)
        return true;
    qsort(j->old_keys, j->moved, sizeof(*j->old_keys), by_value);
    for (uint64_t i = 0; i < j->moved; i++)
        if (bsearch(&j->keys[i], j->old_keys, j->moved, sizeof(*j->old_keys), by_value))
            return true;
    return false;
}

static int run_passes(struct join *j)
{
    int status = run_pass(j, PASS_LOOK);
    if (status < 0)
        return status;
    if (j->moved == 0 && (j->gone == 0 || j->come == 0))
        return run_pass(j, PASS_ALL);
    uint64_t gone = j->gone;
    j->split = keys_meet(j);
    if (gone > 0 || j->split)
        status = run_pass(j, PASS_GONE);
    if (status == STATUS_OK && j->moved > 0 && !j->split)
        status = run_pass(j, PASS_MOVED);
    return status == STATUS_OK ? run_pass(j, PASS_REST) : status;
}

/* A table that another took the place of, stored in another way. */
static int run_apart(struct join *j)
{
    j->only_old = true;
    int status = run_pass(j, PASS_ALL);
    j->only_old = false;
    j->only_now = true;
    return status == STATUS_OK ? run_pass(j, PASS_ALL) : status;
}

int wal_diff_join(struct wal_diff *d, struct wal_pair *pair, struct wal_output *out)
{
    const struct table *t = pair->now->table;
    struct join *j = mem_zalloc(sizeof(*j));
    if (!j)
        return STATUS_NOMEM;
    j->d = d;
    j->pair = pair;
    j->out = out;
    j->old = (struct side){.view = &d->before, .all = d->old_trees};
    j->now = (struct side){.view = &d->after, .all = d->trees};
    bool own_key = !pair->now->index && t->key_count > 0 && t->rowid_alias < 0;
    int status;
    if (pair->old && !tree_same_order(pair->old, pair->now))
        status = run_apart(j);
    else
        status = own_key ? run_passes(j) : run_pass(j, PASS_ALL);
    buf_fini(&j->old.buf);
    buf_fini(&j->now.buf);
    buf_fini(&j->text);
    mem_free(j);
    return status;
}
