#ifndef ROWTAP_CHANGE_RECEIPT_H
#define ROWTAP_CHANGE_RECEIPT_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Tells somebody who wrote when his changes have been handed to all who listen. It travels with the
 * transactions of the write; the loops say what they expect before they begin to wait for it.
 * Counted by references; any thread.
 */
struct receipt;

struct receipt *receipt_new(void); /* one reference; NULL: no memory */
struct receipt *receipt_ref(struct receipt *r);
void receipt_unref(struct receipt *r); /* NULL is allowed */
/*
 * The author's last word, with his reference: what is known of the connections is freed, however
 * long the history holds the transactions. NULL is allowed.
 */
void receipt_close(struct receipt *r);

/* A loop will look for receivers, before the batch is posted to it; and has done so. */
void receipt_begin(struct receipt *r);
void receipt_end(struct receipt *r);

/* A connection has bytes of it queued; they have been sent, or never will be. */
void receipt_expect(struct receipt *r, uint64_t connection);
void receipt_settle(struct receipt *r, uint64_t connection, bool sent);

/*
 * Waits at most ms milliseconds for the end. Whether it came. *delivered: connections that took all
 * of it; *pending: that have not taken it yet.
 */
bool receipt_wait(struct receipt *r, int64_t ms, uint64_t *delivered, uint64_t *pending);

#endif
