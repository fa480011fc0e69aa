#ifndef ROWTAP_CAPTURE_READERS_H
#define ROWTAP_CAPTURE_READERS_H

#include "capture/executor.h"
#include <pthread.h>

/* A pool of read-only connections. Any thread; a connection is one thread's while it is taken. */
struct readers {
    pthread_mutex_t lock;
    pthread_cond_t returned;
    struct sqlconn *conns;
    bool *taken;
    int count;
};

/* Opens `count` connections. A result code of SQLite; readers_close in any case. */
int readers_open(struct readers *r, int count, const char *path, int64_t busy_timeout_ms,
    const atomic_bool *closing);
void readers_close(struct readers *r);

struct sqlconn *readers_take(struct readers *r); /* waits until one is free */
struct sqlconn *readers_try(struct readers *r);  /* NULL: none is */
void readers_give(struct readers *r, struct sqlconn *c);

#endif
