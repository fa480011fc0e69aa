#ifndef ROWTAP_HTTP_SILENCE_H
#define ROWTAP_HTTP_SILENCE_H

#include "http/workers.h"

/*
 * Clients that have connected and say nothing, or only half of a request's head. civetweb gives
 * each a worker, and tells whose it is only when the head is there; so when all workers are taken
 * such connections are looked for among the descriptors: no worker's request is theirs, and all
 * they have sent has been read.
 */
struct silence {
    struct {
        int port; /* of the peer; 0: none */
        int64_t since_ms;
    } seen[PEER_LOW]; /* by descriptor */
};

/*
 * Ends those to the local port that have been there for `patience` ms (since the first such call):
 * they can send no more, so their worker answers and closes. The watching thread.
 */
void silence_end(struct silence *s, struct workers *w, int server_port, int64_t patience);

#endif
