#ifndef ROWTAP_CHANGE_PIECE_H
#define ROWTAP_CHANGE_PIECE_H

#include "base/buf.h"
#include "base/map.h"
#include "change/batch.h"

/*
 * Batches as bytes, for the journal. A piece holds some consecutive changes of one batch together
 * with the definitions of the tables they need, so that each can be read without the others. The
 * format stands in piece_format.h.
 */

/*
 * Appends a piece with the changes from *next on, about `max` bytes of them but at least one, and
 * moves *next on. All transactions of the batch are closed. `run` names the process's life: an
 * origin means something only to the run that recorded it. The caller checks out's sticky error.
 */
void piece_write(struct buf *out, const struct batch *b, uint32_t *next, size_t max, uint64_t run);

/* The definitions met last, so that pieces which agree on one share it. One thread. */
struct piece_reader {
    uint64_t run; /* origins of other runs are read as 0 */
    struct map tables;
};
void piece_reader_init(struct piece_reader *r, uint64_t run);
void piece_reader_fini(struct piece_reader *r);

/*
 * Adds a piece's changes to b, numbered from first_seq, and its transactions, numbered from
 * first_tx; if the first of them continues the last one in b the two become one. b->continues
 * follows the piece. b is finished by piece_seal. STATUS_INVALID (damaged), STATUS_NOMEM or
 * STATUS_TOO_LARGE (b's bound) leave b as it was.
 */
int piece_read(struct piece_reader *r, struct batch *b, const void *data, size_t len,
    uint64_t first_seq, uint64_t first_tx);
void piece_seal(struct batch *b); /* first_seq and last_seq; it may be shared now */

#endif
