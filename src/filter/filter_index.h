#ifndef ROWTAP_FILTER_FILTER_INDEX_H
#define ROWTAP_FILTER_FILTER_INDEX_H

#include "base/list.h"
#include "filter/filter.h"

/*
 * Which subscriptions may match a change of ONE table, found without trying them all: a
 * subscription with an equality or `in` term is filed under (column, value) and only looked at when
 * a row has that value; the others are tried one by one. Owned by one loop; not thread-safe.
 */
struct filter_index;

/* A place in the index: under one value, or among those that are tried one by one. Private. */
struct filter_filing {
    struct list node;
    struct filter_entry *entry;
};

/*
 * One per subscription, embedded in it. The filter is not owned and must outlive the entry's stay
 * in the index. The rest is the index's own: `stamp` keeps an entry from being offered twice for
 * one change.
 */
struct filter_entry {
    const struct filter *filter;
    uint64_t stamp;
    struct filter_filing filing;
    struct filter_filing *filings; /* for `in`: one per value; otherwise &filing */
    int term;                      /* the term it is filed under, or -1 */
};

struct filter_index *filter_index_new(void);
void filter_index_free(struct filter_index *ix); /* entries are only forgotten */
int filter_index_add(struct filter_index *ix, struct filter_entry *e); /* STATUS_NOMEM */
void filter_index_remove(struct filter_index *ix, struct filter_entry *e);
size_t filter_index_count(const struct filter_index *ix);

/*
 * Calls `found` once for each entry whose filter matches the new row, the old row or both (either
 * may be NULL). Nothing may be added or removed meanwhile. No allocation.
 */
void filter_index_match(struct filter_index *ix, const struct value *row, int64_t rowid,
    const struct value *old, int64_t old_rowid,
    void (*found)(struct filter_entry *e, bool matched_new, bool matched_old, void *ctx),
    void *ctx);

#endif
