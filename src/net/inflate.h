#ifndef ROWTAP_NET_INFLATE_H
#define ROWTAP_NET_INFLATE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Decompresses the messages of one loop's connections (RFC 7692 section 7.2.2). As no connection
 * keeps its window, one inflater does for all: a connection that has sent half a message holds the
 * compressed bytes of that and nothing more, so it cannot make the server hold more than it has
 * sent. The price is that broken text is noticed at the end of its message. Not thread-safe.
 */
struct inflater;

struct inflater_totals {                      /* written by its thread alone, read by any */
    _Atomic uint64_t messages, before, after; /* bytes, without and with the compression undone */
};

struct inflater *inflater_new(void); /* takes little memory before the first message */
void inflater_free(struct inflater *i);
const struct inflater_totals *inflater_totals(const struct inflater *i);

/*
 * One whole message. 0: *out is the inflater's until inflater_done. Otherwise the close code: 1009
 * past `max` bytes (no more than that was written), 1007 for what is not DEFLATE or ends in the
 * middle of a block, 1011 when memory ran out.
 */
int inflater_run(struct inflater *i, const void *data, size_t len, size_t max, const char **out,
    size_t *out_len);
void inflater_done(struct inflater *i); /* gives back what a large message took */

/* Compressed bytes after which a message is certainly larger than `max`, or pointless. */
size_t inflater_limit(size_t max);

#endif
