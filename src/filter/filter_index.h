#ifndef ROWTAP_FILTER_FILTER_INDEX_H
#define ROWTAP_FILTER_FILTER_INDEX_H

#include "filter/filter.h"
#include "filter/filter_keys.h"

/*
 * Which subscriptions may match a change of ONE table, found without trying them all. A
 * subscription is filed under one of its terms: an equality, `in` or "is null" under its values, in
 * a hash table of the column; what is compared with <, <=, > and >= as the range that all such
 * terms on the column leave, in a tree. It is only looked at when a row has such a value. What has
 * no such term is tried for every change. Owned by one loop; not thread-safe.
 */
struct filter_index;

/*
 * One per subscription, embedded in it as its last member, because the filter is in the entry, and
 * as long as it is. The link is the index's own.
 */
#define FILTER_NOT_FILED 255 /* for link.kind of an entry whose link somebody else uses */
struct filter_entry {
    struct filter_link link;
    struct filter filter;
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
