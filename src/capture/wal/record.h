#ifndef ROWTAP_CAPTURE_WAL_RECORD_H
#define ROWTAP_CAPTURE_WAL_RECORD_H

#include "base/buf.h"
#include "change/value.h"

/*
 * Records (https://www.sqlite.org/fileformat2.html#record_format): the size of the head, a serial
 * type for each value, then the values.
 */
struct record {
    const uint8_t *type, *types_end; /* the next serial type */
    const uint8_t *value, *end;      /* the next value */
};

/* STATUS_INVALID: the head does not fit. */
int record_begin(struct record *r, const uint8_t *payload, size_t size);
bool record_more(const struct record *r);
/*
 * The next value; text is as stored, in the database's encoding, and points into the payload, as
 * blobs do. STATUS_INVALID: it does not fit, or its type does not exist.
 */
int record_next(struct record *r, struct value *v);

/*
 * Turns UTF-16 into UTF-8 as SQLite does, what is not right in it included. Appends to out; the
 * caller checks its error. `encoding` is 2 (little-endian) or 3.
 */
void record_utf8(struct buf *out, const char *p, size_t size, int encoding);

#endif
