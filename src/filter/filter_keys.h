#ifndef ROWTAP_FILTER_FILTER_KEYS_H
#define ROWTAP_FILTER_FILTER_KEYS_H

#include <stddef.h>
#include <stdint.h>

/*
 * A hash table for filter_index.c alone, of links that sit inside what is filed. It grows and
 * shrinks a bucket at a time (linear hashing: W. Litwin, VLDB 1980), so no insertion moves more
 * than a few links, and however many there are it takes some 8 bytes for each. Many may have the
 * same hash. Not thread-safe.
 */
struct filter_link {
    union {
        struct filter_link *next;
        void *apart; /* the owner's, while it is in no table */
    };
    struct filter_link **back; /* what points to it */
    uint32_t hash;
    uint8_t kind, term; /* the owner's */
};

#define FILTER_KEYS_FIRST 16 /* buckets of the first segment, and all there ever are at least */
#define FILTER_KEYS_SEGMENTS 28

/* Segment 0 and 1 have FILTER_KEYS_FIRST buckets, each further one twice those of the one before.
 */
struct filter_keys {
    struct filter_link **segments[FILTER_KEYS_SEGMENTS];
    size_t buckets, mask; /* the mask is of all bits that a bucket's number may have */
    size_t count;
};

/* A zeroed struct is an empty table. The links are only forgotten. */
void filter_keys_fini(struct filter_keys *k);
/* STATUS_NOMEM: nothing is changed. The hash is set. */
int filter_keys_add(struct filter_keys *k, struct filter_link *link);
void filter_keys_remove(struct filter_keys *k, struct filter_link *link);
/* The first of a chain, by `next`, that has all links of that hash, and perhaps a few others. */
struct filter_link *filter_keys_find(const struct filter_keys *k, uint32_t hash);

#endif
