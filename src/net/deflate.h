#ifndef ROWTAP_NET_DEFLATE_H
#define ROWTAP_NET_DEFLATE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Compresses what one loop sends (RFC 7692 section 7.2.1). No connection keeps its window, so that
 * a body looks the same compressed to all its receivers: it is compressed for the first of them,
 * the result hangs on it, and what is private of a message goes in front as a stored block, which
 * ends at a whole byte. Not thread-safe.
 *
 * A message may always be sent as it is, and is: when it is short, does not shrink, there is no
 * memory, or the loop has compressed so much in this turn that others would wait for it.
 */
struct body;
struct deflater;

struct deflater_totals {                      /* written by its thread alone, read by any */
    _Atomic uint64_t bodies;                  /* compressed, whether they shrank or not */
    _Atomic uint64_t messages, before, after; /* sent, and the bytes of their payload */
};

struct deflater *deflater_new(size_t min_size); /* takes little memory before the first body */
void deflater_free(struct deflater *d);
struct deflater_totals *deflater_totals(struct deflater *d);
void deflater_turn(struct deflater *d); /* a turn of the loop has ended */

/*
 * The compressed form of b for a receiver whose window has that many bits: a part of b, to be
 * referenced by who keeps it. Or NULL: b is sent as it is.
 */
struct body *deflater_body(struct deflater *d, struct body *b, int window_bits);
/*
 * The same for a text that is not shared. That it was just sent to another connection, as happens
 * with what is put together for each, is noticed. To be referenced before the next call.
 */
struct body *deflater_text(struct deflater *d, const char *data, size_t len, int window_bits);

/* A stored block's header (RFC 1951 section 3.2.4), for up to 65535 bytes. */
#define DEFLATE_STORED_HEAD 5
#define DEFLATE_STORED_MAX 65535
void deflate_stored_head(uint8_t out[DEFLATE_STORED_HEAD], size_t len);

#endif
