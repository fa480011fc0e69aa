#ifndef ROWTAP_HUB_DELIVERY_H
#define ROWTAP_HUB_DELIVERY_H

#include <stdbool.h>

/*
 * Receipts: how the author of a write learns that his changes have been handed to the sockets of
 * all who hear them live. Costs nothing where nobody waits.
 */
struct batch;
struct conn;
struct receipt;

void delivery_begin(const struct batch *b);  /* before it is posted to a loop; database thread */
bool delivery_wanted(const struct batch *b); /* it has one; any thread */
void delivery_end(const struct batch *b);    /* the loop has queued all of it */
/* What was just queued on the connection belongs to the receipt. Loop thread. */
void delivery_note(struct receipt *r, struct conn *c);

#endif
