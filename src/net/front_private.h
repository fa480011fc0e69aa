#ifndef ROWTAP_NET_FRONT_PRIVATE_H
#define ROWTAP_NET_FRONT_PRIVATE_H

#include "base/list.h"
#include "base/mailbox.h"
#include "base/map.h"
#include "net/front.h"
#include "net/tls.h"
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

/*
 * What front.c (listening, threads, who is who) and relay.c (one connection) share.
 *
 *     HANDSHAKE -----> SILENT -----> OPEN -----> ENDING
 *
 * From every state to DEAD when a socket fails or the state has lasted too long; a failed handshake
 * goes to ENDING, so that the peer gets to hear of it.
 */
enum relay_state {
    RELAY_HANDSHAKE,
    RELAY_SILENT, /* and nothing has come since */
    RELAY_OPEN,   /* connected to the server; bytes go both ways */
    RELAY_ENDING, /* our side is shut; input is thrown away up to its end, so that no reset is sent
                   */
    RELAY_DEAD,   /* freed at the end of the turn */
};

struct front_thread;

/* What epoll watches. */
struct source {
    void (*ready)(struct front_thread *w, struct source *s, uint32_t events);
    int fd;          /* or -1 */
    uint32_t events; /* 0: not in the epoll */
};

struct relay {
    struct list timer; /* in one of its thread's lists: waiting, stalled, open, ending, dead */
    int64_t due;       /* ms, of this list; in `open` there is none */
    struct front_thread *thread;
    struct tls *tls;
    struct source client, server;
    struct buf up; /* decrypted, and not taken by the server from up_at on */
    size_t up_at;
    uint64_t forwarded; /* bytes, to the server */
    struct front_peer peer;
    int port; /* that the server sees; 0 before */
    uint8_t state;
    bool client_ended, server_ended;
    bool deaf; /* the server takes no more */
};

struct front_thread {
    struct front *front;
    pthread_t thread;
    int number;
    bool has_mailbox, running, stopping;
    int epoll;
    struct mailbox mailbox;
    struct message stop;
    struct list waiting; /* in HANDSHAKE or SILENT, by due */
    struct list open, stalled, ending, dead;
    unsigned waiting_count;
    int64_t now, stop_due, accept_again; /* ms; accept_again 0: it does accept */
    struct source *listeners;
    struct tls_room *room;
    char *scratch; /* what was just received */
};
#define FRONT_SCRATCH (4 * TLS_RECORD)

struct front {
    struct front_options options;
    int server_port;
    int *listeners;
    struct front_thread *threads;
    int thread_count;
    int64_t grace_ms;
    atomic_bool refusing;
    pthread_mutex_t lock;
    struct tls_context *context; /* these two under the lock */
    struct map relays;           /* by port */
    _Atomic uint64_t connections, last_id, handshakes, resumed, failed, late, dropped;
};

/* A connection that was accepted; fd is closed whatever happens. */
void relay_start(struct front_thread *w, int fd, const struct sockaddr_storage *from);
void relay_kill(struct relay *r); /* closes both ends */
void relay_free(struct relay *r); /* one that is dead */
/* See front_take; STATUS_CONFLICT: not now, but soon. */
int relay_take(struct relay *r, struct front_taking *t);
int front_thread_start(struct front_thread *w);  /* STATUS_NOMEM, STATUS_IO; then close it */
void front_thread_close(struct front_thread *w); /* which does not run */
/* Changes what epoll watches; false: it cannot. */
bool front_watch(struct front_thread *w, struct source *s, uint32_t events);
/* The same descriptor above low_fd; it is closed below. -1: there is none. */
int front_lift(const struct front *f, int fd);

#endif
