#ifndef ROWTAP_TEST_NET_PEER_H
#define ROWTAP_TEST_NET_PEER_H

#include "net/loop.h"
#include <stdatomic.h>

/*
 * For the tests of connections: a server that obeys short commands, and the raw client end of a TCP
 * connection to it. What the client sees is told as text: "text abc", "ping", "pong abc",
 * "close 1000 why", "end" (FIN, and with TLS close_notify), "reset", "nothing" (for as long as the
 * peer waits). A text that came compressed is told as "deflated abc".
 *
 * The server echoes text, except
 *     flood N SIZE   N messages "i:bbb…", the b's a shared body of SIZE bytes
 *     drain N SIZE   the same, and counts in `drained` when less than half of it is queued
 *     note N SIZE    N messages, and a conn_note counted in notes_sent or notes_lost
 *     move N SIZE    N messages, and the last note moved behind them
 *     pour N SIZE    the same as flood, 2 ms for each; `queued` is what waits at the end
 *     parts N SIZE   messages "i:bbb…", each a part with a body of its own, until one is refused,
 *                    but at most N; how many are added to `parts`
 *     close          conn_close with 1008 "policy" after the message "bye"
 *     now            conn_close_now with 1008 "policy" after "bye", with a last message "last"
 *     stop           returns non-zero
 *     expect N       no answer; counted in too_early unless N messages were posted before
 */
struct server {
    struct loop *loop;
    atomic_int opened, closed, refused, messages;
    atomic_int drained;
    atomic_int queued;
    atomic_int parts; /* i goes on from one to the next */
    atomic_int notes_sent, notes_lost;
    atomic_int forgotten;   /* its news, with loop_options.forget */
    atomic_int last_code;   /* what `closed` was told */
    atomic_int refuse;      /* 1: open returns NULL; 2: after conn_close_now with 1008 */
    atomic_int posted;      /* by peer_server_post */
    atomic_int window_bits; /* of connections from now on: they have permessage-deflate */
    atomic_int too_early;   /* messages "expect N" that were handled before the Nth post */
};

extern const struct conn_ops server_ops;

void server_start(struct server *s, const struct loop_options *options); /* defaults for zeros */
void server_stop(struct server *s);                                      /* checks the balance */
void server_post(struct server *s); /* posts a message that increments `posted` */
/* Waits at most 5 seconds for *v to reach n. */
void server_wait(atomic_int *v, int n);

struct ssl_st;

struct peer {
    int fd;
    struct ssl_st *ssl; /* or NULL: see secure.h */
    int wait_ms;
    size_t len, at;
    char data[65536];
};

/* Both ends of a TCP connection over the loopback; buffer as in peer_new_buffered. */
void peer_pair(int fds[2], int buffer);

/* Connects, and reads the hello. */
struct peer *peer_new(struct server *s);
/* With so many bytes of buffer in the kernel, on the way to the peer; 0: the default. */
struct peer *peer_new_buffered(struct server *s, int buffer);
void peer_free(struct peer *p);
void peer_send(struct peer *p, unsigned first_byte, const void *data, size_t len);
void peer_text(struct peer *p, const char *text);
void peer_raw(struct peer *p, const void *data, size_t len);
void peer_shut(struct peer *p); /* no more will be sent */
/* What comes next; valid until the next call. */
const char *peer_next(struct peer *p);
#define peer_expect(p, what) assert_string_equal(peer_next(p), what)

#endif
