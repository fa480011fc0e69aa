#include "filter/filter_index.h"

#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/status.h"
#include "filter/filter_ranges.h"
#include <assert.h>

/*
 * Neither hashes nor ranges decide: every entry found is put to the test of its whole filter. What
 * is filed once can be found once at most; only what has several keys, or is in ranges, could be
 * found for the new row and again for the old one, and has a stamp against that.
 */
enum kind {
    KIND_OTHER, /* in `others` */
    KIND_KEY,   /* its link is in `keys` of the column */
    KIND_LIST,  /* its link says which struct places, whose links are in `lists` */
    KIND_RANGE, /* its link says which struct filter_range */
};

/* Where an `in` is filed: one link for each value. */
struct places {
    struct list node; /* in blocks */
    uint64_t stamp;
    struct place {
        struct filter_link link;
        struct filter_entry *entry;
    } place[];
};

/* A column of the table that entries are filed under. */
struct column_index {
    int column; /* or FILTER_ROWID */
    uint8_t collation;
    size_t count; /* entries */
    struct filter_keys keys, lists;
    struct filter_ranges ranges;
};

struct filter_index {
    struct column_index *columns;
    size_t column_count, column_cap;
    struct filter_link *others;
    struct list blocks; /* of all struct places, so that they can be freed without the entries */
    size_t count;
    uint64_t stamp;
    bool matching;
};

static const struct value null = {.type = VALUE_NULL};

struct filter_index *filter_index_new(void)
{
    struct filter_index *ix = mem_zalloc(sizeof(*ix));
    if (!ix)
        return NULL;
    list_init(&ix->blocks);
    return ix;
}

static void column_fini(struct column_index *c)
{
    filter_keys_fini(&c->keys);
    filter_keys_fini(&c->lists);
    filter_ranges_fini(&c->ranges);
}

void filter_index_free(struct filter_index *ix)
{
    if (!ix)
        return;
    while (!list_empty(&ix->blocks)) {
        struct places *p = list_entry(ix->blocks.next, struct places, node);
        list_del(&p->node);
        mem_free(p);
    }
    for (size_t i = 0; i < ix->column_count; i++)
        column_fini(&ix->columns[i]);
    mem_free(ix->columns);
    mem_free(ix);
}

size_t filter_index_count(const struct filter_index *ix)
{
    return ix->count;
}

static uint32_t key_hash(const struct value *v, uint8_t collation)
{
    return (uint32_t)value_hash(v, collation);
}

/* The keys of an equality, `in` or "is null", of which there is always one. */
static int key_count(const struct filter_term *t)
{
    return t->op == FILTER_IS_NULL ? 1 : t->value_count;
}

static uint32_t term_hash(const struct filter *f, const struct filter_term *t, int key)
{
    const struct value *v = t->op == FILTER_IS_NULL ? &null : &filter_values(f)[t->first + key];
    return key_hash(v, t->collation);
}

static struct column_index *find_column(const struct filter_index *ix, const struct filter_term *t)
{
    for (size_t i = 0; i < ix->column_count; i++)
        if (ix->columns[i].column == t->column && ix->columns[i].collation == t->collation)
            return &ix->columns[i];
    return NULL;
}

static struct column_index *get_column(struct filter_index *ix, const struct filter_term *t)
{
    struct column_index *c = find_column(ix, t);
    if (c)
        return c;
    if (ix->column_count == ix->column_cap) {
        size_t cap = ix->column_cap ? ix->column_cap * 2 : 1;
        struct column_index *columns = mem_realloc(ix->columns, cap * sizeof(*columns));
        if (!columns)
            return NULL;
        ix->columns = columns;
        ix->column_cap = cap;
    }
    c = &ix->columns[ix->column_count++];
    *c = (struct column_index){
        .column = t->column, .collation = t->collation, .ranges.collation = t->collation};
    return c;
}

/* Gives a column back that nothing is filed under. */
static void put_column(struct filter_index *ix, struct column_index *c)
{
    if (c->count > 0)
        return;
    column_fini(c);
    *c = ix->columns[--ix->column_count];
}

/* Choosing a term. */

/* From the cheapest on; crowded is what many others share. */
enum {
    CROWD = 64,
    COST_LIST = CROWD, /* and its length */
    COST_RANGE = COST_LIST + FILTER_MAX_VALUES + 1,
    COST_CROWDED,
    COST_HALF_RANGE,
    COST_NONE,
};

static int crowd_in(const struct filter_keys *k, uint32_t hash)
{
    const struct filter_link *link = filter_keys_find(k, hash);
    int same = 0;
    for (int i = 0; link && i < CROWD; i++, link = link->next)
        same += link->hash == hash;
    return same;
}

/* How many entries are filed under a term's first key already, as far as CROWD matters. */
static int crowd(const struct filter_index *ix, const struct filter *f, const struct filter_term *t)
{
    const struct column_index *c = find_column(ix, t);
    uint32_t hash = term_hash(f, t, 0);
    return c ? crowd_in(&c->keys, hash) + crowd_in(&c->lists, hash) : 0;
}

static bool is_bound(const struct filter_term *t, const struct filter_term *same)
{
    return t->column == same->column && t->collation == same->collation && t->op >= FILTER_LT &&
           t->op <= FILTER_GE;
}

/* Narrows r by a term. */
static void narrow(struct filter_range *r, const struct filter_term *t, const struct value *v)
{
    bool open = t->op == FILTER_LT || t->op == FILTER_GT;
    bool low = t->op == FILTER_GT || t->op == FILTER_GE;
    const struct value **bound = low ? &r->low : &r->high;
    bool *bound_open = low ? &r->after_low : &r->before_high;
    int c = *bound ? value_compare(v, *bound, t->collation) : 0;
    if (!*bound || (low ? c > 0 : c < 0)) {
        *bound = v;
        *bound_open = open;
    } else if (c == 0) {
        *bound_open |= open;
    }
}

/* What all terms on that term's column leave. */
static void set_range(struct filter_range *r, const struct filter *f, const struct filter_term *t)
{
    *r = (struct filter_range){0};
    for (int i = 0; i < f->term_count; i++)
        if (is_bound(&f->terms[i], t))
            narrow(r, &f->terms[i], &filter_values(f)[f->terms[i].first]);
}

static int cost(const struct filter_index *ix, const struct filter *f, const struct filter_term *t)
{
    struct filter_range r;
    int same;
    switch (t->op) {
    case FILTER_EQ:
    case FILTER_IS_NULL:
        same = crowd(ix, f, t);
        return same < CROWD ? same : COST_CROWDED;
    case FILTER_IN:
        return crowd(ix, f, t) < CROWD ? COST_LIST + t->value_count : COST_CROWDED;
    case FILTER_LT:
    case FILTER_LE:
    case FILTER_GT:
    case FILTER_GE:
        set_range(&r, f, t);
        return r.low && r.high ? COST_RANGE : COST_HALF_RANGE;
    default:
        return COST_NONE;
    }
}

static void choose(const struct filter_index *ix, struct filter_entry *e)
{
    static const uint8_t kinds[] = {
        [FILTER_EQ] = KIND_KEY,
        [FILTER_IS_NULL] = KIND_KEY,
        [FILTER_IN] = KIND_LIST,
        [FILTER_LT] = KIND_RANGE,
        [FILTER_LE] = KIND_RANGE,
        [FILTER_GT] = KIND_RANGE,
        [FILTER_GE] = KIND_RANGE,
    };
    int best = COST_NONE;
    e->link.kind = KIND_OTHER;
    for (int i = 0; i < e->filter.term_count; i++) {
        int c = cost(ix, &e->filter, &e->filter.terms[i]);
        if (c >= best)
            continue;
        best = c;
        e->link.term = (uint8_t)i;
        e->link.kind = kinds[e->filter.terms[i].op];
    }
}

/* Filing. */

static int add_key(struct column_index *c, struct filter_entry *e, const struct filter_term *t)
{
    e->link.hash = term_hash(&e->filter, t, 0);
    return filter_keys_add(&c->keys, &e->link);
}

static int add_list(struct filter_index *ix, struct column_index *c, struct filter_entry *e,
    const struct filter_term *t)
{
    int n = key_count(t);
    struct places *p = mem_alloc(sizeof(*p) + (size_t)n * sizeof(p->place[0]));
    if (!p)
        return STATUS_NOMEM;
    p->stamp = 0;
    for (int i = 0; i < n; i++) {
        p->place[i].entry = e;
        p->place[i].link.hash = term_hash(&e->filter, t, i);
        /* Only the first can fail: see filter_keys_add. */
        if (filter_keys_add(&c->lists, &p->place[i].link) < 0) {
            assert(i == 0);
            mem_free(p);
            return STATUS_NOMEM;
        }
    }
    list_add_tail(&ix->blocks, &p->node);
    e->link.apart = p;
    return STATUS_OK;
}

static int add_range(struct column_index *c, struct filter_entry *e, const struct filter_term *t)
{
    struct filter_range *r = mem_alloc(sizeof(*r));
    if (!r)
        return STATUS_NOMEM;
    set_range(r, &e->filter, t);
    r->owner = e;
    filter_ranges_add(&c->ranges, r);
    e->link.apart = r;
    return STATUS_OK;
}

static int add_to_column(struct filter_index *ix, struct filter_entry *e)
{
    const struct filter_term *t = &e->filter.terms[e->link.term];
    struct column_index *c = get_column(ix, t);
    int rc;
    if (!c)
        return STATUS_NOMEM;
    if (e->link.kind == KIND_KEY)
        rc = add_key(c, e, t);
    else if (e->link.kind == KIND_LIST)
        rc = add_list(ix, c, e, t);
    else
        rc = add_range(c, e, t);
    if (rc == STATUS_OK)
        c->count++;
    put_column(ix, c);
    return rc;
}

static void add_other(struct filter_index *ix, struct filter_link *link)
{
    link->next = ix->others;
    link->back = &ix->others;
    if (link->next)
        link->next->back = &link->next;
    ix->others = link;
}

int filter_index_add(struct filter_index *ix, struct filter_entry *e)
{
    assert(!ix->matching);
    choose(ix, e);
    if (e->link.kind == KIND_OTHER)
        add_other(ix, &e->link);
    else if (add_to_column(ix, e) < 0)
        return STATUS_NOMEM;
    ix->count++;
    return STATUS_OK;
}

static void remove_other(struct filter_link *link)
{
    *link->back = link->next;
    if (link->next)
        link->next->back = link->back;
}

static void remove_list(struct column_index *c, struct places *p, int n)
{
    for (int i = 0; i < n; i++)
        filter_keys_remove(&c->lists, &p->place[i].link);
    list_del(&p->node);
    mem_free(p);
}

void filter_index_remove(struct filter_index *ix, struct filter_entry *e)
{
    assert(!ix->matching && ix->count > 0);
    ix->count--;
    if (e->link.kind == KIND_OTHER) {
        remove_other(&e->link);
        return;
    }
    const struct filter_term *t = &e->filter.terms[e->link.term];
    struct column_index *c = find_column(ix, t);
    assert(c);
    if (e->link.kind == KIND_KEY) {
        filter_keys_remove(&c->keys, &e->link);
    } else if (e->link.kind == KIND_LIST) {
        remove_list(c, e->link.apart, key_count(t));
    } else {
        filter_ranges_remove(&c->ranges, e->link.apart);
        mem_free(e->link.apart);
    }
    c->count--;
    put_column(ix, c);
}

/* Matching. */

/* One change on its way through the index. */
struct lookup {
    const struct value *row, *old;
    int64_t rowid, old_rowid;
    uint64_t stamp;
    void (*found)(struct filter_entry *e, bool matched_new, bool matched_old, void *ctx);
    void *ctx;
};

static void offer(const struct lookup *l, struct filter_entry *e)
{
    bool every = e->filter.term_count == 0;
    bool new = every ? l->row != NULL : filter_match(&e->filter, l->row, l->rowid);
    bool old = every ? l->old != NULL : filter_match(&e->filter, l->old, l->old_rowid);
    if (new || old)
        l->found(e, new, old, l->ctx);
}

/* Whether it has not been offered for this change. */
static bool first_time(const struct lookup *l, uint64_t *stamp)
{
    bool first = *stamp != l->stamp;
    *stamp = l->stamp;
    return first;
}

static void offer_keys(const struct lookup *l, const struct column_index *c, uint32_t hash)
{
    struct filter_link *link, *next;
    for (link = filter_keys_find(&c->keys, hash); link; link = next) {
        next = link->next;
        if (link->hash == hash)
            offer(l, list_entry(link, struct filter_entry, link));
    }
    for (link = filter_keys_find(&c->lists, hash); link; link = next) {
        next = link->next;
        if (link->hash != hash)
            continue;
        struct filter_entry *e = list_entry(link, struct place, link)->entry;
        if (first_time(l, &((struct places *)e->link.apart)->stamp))
            offer(l, e);
    }
}

static void offer_range(struct filter_range *r, void *ctx)
{
    const struct lookup *l = ctx;
    if (first_time(l, &r->stamp))
        offer(l, r->owner);
}

/* The row's value in that column. A NULL row has none. */
static const struct value *value_in(
    const struct column_index *c, const struct value *row, const struct value *key)
{
    return !row ? NULL : c->column == FILTER_ROWID ? key : &row[c->column];
}

static void look_in(struct lookup *l, const struct column_index *c)
{
    const struct value key = {.i = l->rowid, .type = VALUE_INTEGER};
    const struct value old_key = {.i = l->old_rowid, .type = VALUE_INTEGER};
    const struct value *new = value_in(c, l->row, &key), *old = value_in(c, l->old, &old_key);
    if (new &&old && value_same(new, old))
        old = NULL;
    if (c->keys.count || c->lists.count) {
        uint32_t new_hash = new ? key_hash(new, c->collation) : 0;
        uint32_t old_hash = old ? key_hash(old, c->collation) : 0;
        if (new)
            offer_keys(l, c, new_hash);
        if (old && !(new &&new_hash == old_hash))
            offer_keys(l, c, old_hash);
    }
    if (new &&new->type != VALUE_NULL)
        filter_ranges_find(&c->ranges, new, offer_range, l);
    if (old && old->type != VALUE_NULL)
        filter_ranges_find(&c->ranges, old, offer_range, l);
}

void filter_index_match(struct filter_index *ix, const struct value *row, int64_t rowid,
    const struct value *old, int64_t old_rowid,
    void (*found)(struct filter_entry *e, bool matched_new, bool matched_old, void *ctx), void *ctx)
{
    struct lookup l = {row, old, rowid, old_rowid, ++ix->stamp, found, ctx};
    struct filter_link *link, *next;
    ix->matching = true;
    for (size_t i = 0; i < ix->column_count; i++)
        look_in(&l, &ix->columns[i]);
    for (link = ix->others; link; link = next) {
        next = link->next;
        offer(&l, list_entry(link, struct filter_entry, link));
    }
    ix->matching = false;
}
