#include "filter/filter_ranges.h"

#include "base/map.h"
#include "base/mem.h"
#include <assert.h>

/* Where r begins, compared with where o does. No two are equal. */
static bool begins_before(
    const struct filter_ranges *s, const struct filter_range *r, const struct filter_range *o)
{
    int c;
    if (!r->low || !o->low)
        c = (r->low != NULL) - (o->low != NULL);
    else
        c = value_compare(r->low, o->low, s->collation);
    if (c == 0 && r->low && o->low)
        c = r->after_low - o->after_low;
    return c ? c < 0 : (uintptr_t)r < (uintptr_t)o;
}

static bool ends_before(
    const struct filter_ranges *s, const struct filter_range *r, const struct filter_range *o)
{
    if (!r->high || !o->high)
        return r->high != NULL && !o->high;
    int c = value_compare(r->high, o->high, s->collation);
    return c ? c < 0 : r->before_high && !o->before_high;
}

static bool begun(
    const struct filter_ranges *s, const struct filter_range *r, const struct value *v)
{
    int c = r->low ? value_compare(r->low, v, s->collation) : -1;
    return c < 0 || (c == 0 && !r->after_low);
}

static bool ended(
    const struct filter_ranges *s, const struct filter_range *r, const struct value *v)
{
    int c = r->high ? value_compare(r->high, v, s->collation) : 1;
    return c < 0 || (c == 0 && r->before_high);
}

static void note_last(const struct filter_ranges *s, struct filter_range *n)
{
    n->last = n;
    if (n->left && ends_before(s, n->last, n->left->last))
        n->last = n->left->last;
    if (n->right && ends_before(s, n->last, n->right->last))
        n->last = n->right->last;
}

/* Cuts the subtree n into what begins before r and what begins after it. */
static void split(const struct filter_ranges *s, struct filter_range *n,
    const struct filter_range *r, struct filter_range **before, struct filter_range **after)
{
    if (!n) {
        *before = *after = NULL;
        return;
    }
    if (begins_before(s, n, r)) {
        split(s, n->right, r, &n->right, after);
        *before = n;
    } else {
        split(s, n->left, r, before, &n->left);
        *after = n;
    }
    note_last(s, n);
}

/* All of a begins before all of b. */
static struct filter_range *join(
    const struct filter_ranges *s, struct filter_range *a, struct filter_range *b)
{
    if (!a || !b)
        return a ? a : b;
    if (a->priority > b->priority) {
        a->right = join(s, a->right, b);
        note_last(s, a);
        return a;
    }
    b->left = join(s, a, b->left);
    note_last(s, b);
    return b;
}

static struct filter_range *insert(
    const struct filter_ranges *s, struct filter_range *n, struct filter_range *r)
{
    if (!n || r->priority > n->priority) {
        split(s, n, r, &r->left, &r->right);
        n = r;
    } else if (begins_before(s, r, n)) {
        n->left = insert(s, n->left, r);
    } else {
        n->right = insert(s, n->right, r);
    }
    note_last(s, n);
    return n;
}

static struct filter_range *take_out(
    const struct filter_ranges *s, struct filter_range *n, const struct filter_range *r)
{
    assert(n);
    if (n == r)
        return join(s, n->left, n->right);
    if (begins_before(s, r, n))
        n->left = take_out(s, n->left, r);
    else
        n->right = take_out(s, n->right, r);
    note_last(s, n);
    return n;
}

void filter_ranges_add(struct filter_ranges *s, struct filter_range *r)
{
    r->priority = (uint32_t)hash_u64((uintptr_t)r);
    s->root = insert(s, s->root, r);
}

void filter_ranges_remove(struct filter_ranges *s, struct filter_range *r)
{
    s->root = take_out(s, s->root, r);
}

static void free_all(struct filter_range *n)
{
    if (!n)
        return;
    free_all(n->left);
    free_all(n->right);
    mem_free(n);
}

void filter_ranges_fini(struct filter_ranges *s)
{
    free_all(s->root);
    s->root = NULL;
}

static void find(const struct filter_ranges *s, struct filter_range *n, const struct value *v,
    void (*found)(struct filter_range *r, void *ctx), void *ctx)
{
    for (; n && !ended(s, n->last, v); n = n->right) {
        find(s, n->left, v, found, ctx);
        if (!begun(s, n, v))
            return;
        if (!ended(s, n, v))
            found(n, ctx);
    }
}

void filter_ranges_find(const struct filter_ranges *s, const struct value *v,
    void (*found)(struct filter_range *r, void *ctx), void *ctx)
{
    find(s, s->root, v, found, ctx);
}
