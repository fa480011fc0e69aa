#ifndef ROWTAP_HTTP_WORKERS_H
#define ROWTAP_HTTP_WORKERS_H

#include "access/address.h"
#include "http/loan.h"
#include "http/peer.h"
#include "http/stack.h"
#include "net/front.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * What each civetweb worker is doing, and one thread that looks after them: civetweb bounds the
 * silence of a client, not the time it takes altogether, so one that sends or reads a byte now and
 * then could hold a worker for hours. Past its deadline a connection is shut down, which wakes the
 * worker. When all workers are taken, those that only wait for a request are freed early.
 */
enum worker_state {
    WORKER_FREE,
    WORKER_WAITING, /* for a request's head, also between two requests */
    WORKER_BUSY,    /* a handler runs */
};

struct worker {
    pthread_mutex_t lock;
    enum worker_state state;
    int64_t since_ms;    /* in this state */
    int64_t deadline_ms; /* shut the connection down then; 0: never */
    int how;             /* SHUT_RD: an answer can still be sent; or SHUT_RDWR */
    struct peer peer;
    /* The rest is its own thread's. */
    int64_t bytes_before;                /* that the connection's earlier requests had */
    bool answered;                       /* what civetweb could not parse */
    struct address address;              /* the peer's, once there was a request … */
    char address_text[ADDRESS_TEXT_MAX]; /* … and as it is written; "": not yet */
    int requests, misses;                /* see http/again.c */
    int refusals;                        /* that the connection has had */
    struct stack *stack;                 /* for SQL, once there was any */
    struct loan loan;                    /* of its connection */
    int port;                            /* with TLS: that civetweb sees, the front's … */
    struct front_peer client;            /* … and who is behind it; id 0: not known */
};

struct workers {
    struct worker *all;
    int count, given;
    int taken; /* not FREE */
    int busy;
    pthread_mutex_t lock;
    pthread_cond_t wake, idle;
    bool stopping, started;
    bool asleep;  /* nothing to look after */
    bool hurried; /* all were taken when it last looked */
    pthread_t thread;
    struct silence *silence;
    const int *ports; /* that the server listens on; see workers_ports */
    int port_count;
};

int workers_init(struct workers *w, int count); /* STATUS_NOMEM, STATUS_IO */
void workers_fini(struct workers *w);
/* Where silent clients are looked for. The array outlives the workers. */
void workers_ports(struct workers *w, const int *ports, int count);

struct worker *workers_give(struct workers *w); /* to a starting civetweb thread; NULL: none left */
void workers_set(
    struct workers *w, struct worker *x, enum worker_state state, const struct peer *p);
/* Shuts the connection down in ms milliseconds (`how` as in shutdown); 0 takes that back. */
void workers_deadline(struct worker *x, int64_t ms, int how);
/* More than three quarters are taken: connections should not be kept for later requests. */
bool workers_scarce(struct workers *w);
/* Waits until no handler runs, at most ms milliseconds; false: some still do. */
bool workers_drain(struct workers *w, int64_t ms);
/* Shuts down every connection on which no handler runs. */
void workers_drop_waiting(struct workers *w);

#endif
