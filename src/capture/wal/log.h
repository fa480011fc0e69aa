#ifndef ROWTAP_CAPTURE_WAL_LOG_H
#define ROWTAP_CAPTURE_WAL_LOG_H

#include "base/u32map.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The frames of a write-ahead log (https://www.sqlite.org/fileformat2.html#walformat):
 *
 *   header, 32 bytes: magic, version, page size, checkpoint sequence, salt (8), checksum (8)
 *   frame: page number, size of the database in pages after a commit (0: no commit ends here),
 *          salt (8), checksum (8), then the page itself
 *
 * All frames of one generation carry the header's salt; a restarted log has another one. Which
 * frames are committed is not looked for here: the index in shared memory says it (shm.h).
 */
#define WAL_HEADER 32
#define WAL_FRAME_HEADER 24
#define WAL_SALT 8

/* Where the bytes come from: 0, STATUS_IO, or STATUS_INVALID when there are not that many. */
struct wal_source {
    int (*read_log)(void *ctx, void *to, size_t size, int64_t offset);
    int (*read_file)(void *ctx, void *to, size_t size, int64_t offset);
    int (*file_size)(void *ctx, int64_t *size); /* of the database file */
    void *ctx;
};

struct wal_frame {
    uint32_t page;
    uint32_t before; /* the frame with this page before this one, 0: none */
    uint32_t pages;  /* of the database, where a commit ends; otherwise 0 */
};

/* The frames read so far of one generation; they are numbered from 1. One thread. */
struct wal_log {
    struct wal_source source;
    uint32_t page_size;
    uint8_t salt[WAL_SALT];
    struct wal_frame *frames;
    uint32_t count, cap;
    struct u32map latest; /* page -> its last frame */
};

void wal_log_init(struct wal_log *l, const struct wal_source *source, uint32_t page_size);
void wal_log_fini(struct wal_log *l);
/* Begins with another generation: no frame is known. */
void wal_log_restart(struct wal_log *l, const uint8_t *salt);
/*
 * Reads the heads of the frames up to `last`, all committed. STATUS_INVALID: they are not of this
 * generation, or make no sense. STATUS_NOMEM, STATUS_IO. On failure some of them may be known.
 */
int wal_log_extend(struct wal_log *l, uint32_t last);
/* The last frame of a page among the first `upto` (at most l->count); 0: it is in the file. */
uint32_t wal_log_find(const struct wal_log *l, uint32_t page, uint32_t upto);
/*
 * Reads on to the end of the commit that begins after `frame`: *end, 0 when it is not among the
 * first `last`, which are committed. Statuses as above.
 */
int wal_log_commit(struct wal_log *l, uint32_t frame, uint32_t last, uint32_t *end);
/*
 * Reads the head of a frame whatever generation it is of, which tells what an earlier one left
 * behind the present end. STATUS_INVALID: there is none.
 */
int wal_log_peek(const struct wal_log *l, uint32_t frame, uint8_t *salt, uint32_t *pages);
/* Reads a part of a frame's page. */
int wal_log_read(const struct wal_log *l, uint32_t frame, uint32_t offset, void *to, size_t size);

#endif
