#ifndef ROWTAP_CLI_BENCH_READER_PARTS_H
#define ROWTAP_CLI_BENCH_READER_PARTS_H

#include "cli/bench_frames.h"
#include "cli/bench_reader.h"
#include "cli/handshake.h"
#include <pthread.h>
#include <stdatomic.h>

/* What bench_reader.c and bench_reader_open.c share; for nobody else. */
enum subscriber_state { CLOSED, SHAKING_HANDS, GREETING, WELCOMING, OPEN };

struct subscriber {
    struct bench_reader *reader;
    struct bench_wire wire;
    struct handshake *handshake; /* while SHAKING_HANDS */
    struct buf rest;             /* a frame that has not come whole */
    uint64_t seq;                /* of its last change */
    uint64_t *last;              /* by writer, the count of its last row */
    struct bench_share share;
    enum subscriber_state state;
};

struct bench_reader {
    struct bench_reader_options o;
    int count;
    struct subscriber *subscribers;
    int epoll;
    int opening, open;
    int64_t confirmed; /* subscriptions */
    uint64_t *last;    /* of all subscribers */
    struct bench_places places;
    struct histogram latency;
    int64_t now; /* when what is being read arrived */
    atomic_uint_fast64_t received;
    atomic_bool stop, failed;
    bool started;
    pthread_t thread;
    struct buf err; /* the first thing that was wrong */
    uint8_t scratch[BENCH_FRAMES_READ];
};

/* Takes what arrives within the time; what is wrong is said in r->err. How many had something. */
int bench_reader_wait(struct bench_reader *r, int timeout_ms);

#endif
