#ifndef ROWTAP_CAPTURE_WAL_SHM_H
#define ROWTAP_CAPTURE_WAL_SHM_H

#include "capture/wal/log.h"

/*
 * The head of the index that SQLite keeps of a log in shared memory
 * (https://www.sqlite.org/walformat.html section 2.1). It is in the machine's byte order and there
 * twice, so that a reader can tell when it is being written:
 *
 *   0   version            16  committed frames      40  checksum of the 40 bytes before
 *   8   change counter     20  pages of the database     48  all of that again
 *   12  is valid (1 byte)  24  checksum of the log   96  frames copied into the database
 *   14  page size (2)      32  salt (8)              128 frames that may have been copied
 */
#define WAL_SHM_SIZE 136
#define WAL_SHM_REGION 32768 /* what is mapped at once, as SQLite does */

/* Locks of the index, section 2.3 there: of who writes, and of who makes checkpoints. */
#define WAL_SHM_WRITE 0
#define WAL_SHM_CHECKPOINT 1

struct wal_shm {
    uint8_t salt[WAL_SALT];
    uint32_t frames; /* committed */
    uint32_t pages;  /* of the database after them */
    uint32_t page_size;
    uint32_t copied;      /* frames that a checkpoint has put into the file */
    uint32_t copied_most; /* or may have begun to */
};

/* Reads it from the mapped memory. False while it is being written, or before it is there. */
bool wal_shm_read(const volatile void *mapped, struct wal_shm *out);

#endif
