#ifndef ROWTAP_TEST_CAPTURE_WAL_IMAGE_H
#define ROWTAP_TEST_CAPTURE_WAL_IMAGE_H

#include "capture/wal/pages.h"

/*
 * A database file and its write-ahead log as bytes in memory, read through the decoder's own
 * functions. Every read is counted and must lie inside: what is past the end is refused, as a file
 * would refuse it.
 */
struct wal_image {
    uint8_t *file, *log;
    size_t file_size, log_size;
    uint64_t reads; /* calls of the source's functions */
    struct wal_source source;
    struct wal_log frames;
    struct wal_pages pages;
    bool open;
};

/* Both files of a path; the log may be absent. False when the database cannot be read. */
bool wal_image_load(struct wal_image *im, const char *path);
/* Takes the bytes over (malloc). */
void wal_image_set(
    struct wal_image *im, uint8_t *file, size_t file_size, uint8_t *log, size_t log_size);
/*
 * Finds the page size and the generation, and reads all frames up to the last commit. The status of
 * wal_log_extend; STATUS_INVALID when the headers give no page size.
 */
int wal_image_open(struct wal_image *im, size_t cache_bytes);
/*
 * Reads both files again, after more commits, and extends or, in another generation, restarts what
 * is open. False when that fails.
 */
bool wal_image_refresh(struct wal_image *im, const char *path);
void wal_image_close(struct wal_image *im); /* keeps the bytes */
void wal_image_free(struct wal_image *im);

/* The log's page size as its header says it, 0 when that is none. */
uint32_t wal_image_page_size(const struct wal_image *im);
/* The last frame that ends a commit among the first ones that carry the header's salt. */
uint32_t wal_image_last(const struct wal_image *im, uint32_t page_size);

#endif
