#ifndef ROWTAP_CAPTURE_WAL_PAGES_H
#define ROWTAP_CAPTURE_WAL_PAGES_H

#include "base/list.h"
#include "capture/wal/log.h"

/*
 * The pages of a database as they were after some frame of its log, through a bounded cache. What
 * is in the cache stays right as long as nobody copies frames past the oldest view into the file:
 * the reader's pin sees to that. One thread.
 */
struct wal_page {
    struct list recent;    /* all, the one used last at the end */
    struct wal_page *next; /* in its bucket */
    uint32_t frame;        /* 0: of the file */
    uint32_t number;
    uint32_t users;
    uint8_t data[]; /* page_size */
};

#define WAL_BUCKETS 4096

struct wal_pages {
    struct wal_log *log;
    struct list recent;
    struct wal_page *buckets[WAL_BUCKETS];
    size_t count, max; /* pages held; in use may be more than max */
    uint64_t reads;    /* pages read so far */
};

/* About max_bytes of memory. The log must outlive it; its page size is set. */
void wal_pages_init(struct wal_pages *p, struct wal_log *log, size_t max_bytes);
void wal_pages_fini(struct wal_pages *p);  /* none in use */
void wal_pages_clear(struct wal_pages *p); /* none in use: the log was restarted */

/* The database after `frame` frames. */
struct wal_view {
    struct wal_pages *pages;
    uint32_t frame;
    uint32_t page_count; /* 0: an empty database */
    uint32_t most;       /* pages that are there at all: a bound that no damaged number moves */
    uint32_t usable;     /* bytes of a page, without what is reserved at its end */
    uint8_t encoding;    /* of text: 1 UTF-8, 2 UTF-16le, 3 UTF-16be; 0 while empty */
    bool auto_vacuum;    /* there are pointer-map pages */
    uint32_t cookie;     /* the schema's */
};

/* STATUS_INVALID: the first page makes no sense. STATUS_IO, STATUS_NOMEM. */
int wal_view_init(struct wal_view *v, struct wal_pages *pages, uint32_t frame);
/*
 * A page, in use until wal_page_done. STATUS_INVALID: there is none of that number. STATUS_IO,
 * STATUS_NOMEM.
 */
int wal_view_page(const struct wal_view *v, uint32_t number, struct wal_page **out);
void wal_page_done(struct wal_page *p); /* NULL is allowed */
/* The page's first 4 bytes, which need not bring all of it into the cache. */
int wal_view_head(const struct wal_view *v, uint32_t number, uint32_t *head);
/* Where the pointer map has a page's entry (section 1.8): the page of the map. */
uint32_t wal_view_map_page(const struct wal_view *v, uint32_t number);
/* The page with the bytes for file locks, in a file that is so large. */
uint32_t wal_view_lock_page(const struct wal_view *v);
/* A page of the pointer map, or that one: in no tree or chain. */
bool wal_view_is_special(const struct wal_view *v, uint32_t number);

#endif
