#ifndef ROWTAP_HTTP_AGAIN_H
#define ROWTAP_HTTP_AGAIN_H

#include "http/request.h"

/*
 * A program that asks over a kept connection sends the same head again and again, with another
 * body. Once civetweb has read a few, its thread waits for the next one here, before it goes back
 * to civetweb: what is the same head to the letter was understood and checked before, so it is
 * neither read by civetweb nor checked again, and there is one wait for it where civetweb has two.
 * What is looked at stays in the socket until it is known to be that, so anything else is left
 * whole to civetweb. The request itself is served as all are: limits, tokens and Host are looked at
 * each time.
 */
struct again {
    struct request *r;
    struct buf head; /* that the next one has to have … */
    size_t split;    /* … with its Content-Length's value behind so many bytes */
    int swift;       /* requests in a row that were: see http/swift.h */
    char text[8192]; /* the next request */
};

enum again_found {
    AGAIN_NONE, /* nothing has come yet */
    AGAIN_NEXT, /* *r is the next request, with its body, to be served */
    AGAIN_OTHER /* what civetweb has to see, or the end */
};

/* After *r was answered: whether it is worth a try. */
bool again_possible(struct request *r);
/*
 * The same when it is: true when the next one is to be waited for here, and again_end is due. The
 * request's thread.
 */
bool again_begin(struct again *a, struct request *r);
/* Looks for the next one; waits for it without MSG_DONTWAIT in flags. */
enum again_found again_look(struct again *a, int flags);
void again_end(struct again *a);

#endif
