#ifndef ROWTAP_CAPTURE_COPIER_H
#define ROWTAP_CAPTURE_COPIER_H

#include "capture/sqlconn.h"
#include <pthread.h>

/*
 * A connection that copies the log into the file: makes checkpoints. On a thread of its own, for
 * that waits for the disk, and the database thread has commits to follow meanwhile.
 *
 * It can keep the lock of those who make checkpoints between its own ones
 * (https://www.sqlite.org/walformat.html section 2.3.2). A process that commits tries to make one
 * after every commit as soon as the log has 1000 frames, and while our pin is in the way that costs
 * it more than the commit itself; with the lock taken it gives up at once.
 *
 * Everything is called by one thread, the database's.
 */
struct copier {
    struct sqlconn conn;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool asked, stop; /* under the lock */
    bool running;
    atomic_bool busy;
    void (*done)(void *ctx); /* on its thread, after each copy that was asked for */
    void *ctx;
};

/* STATUS_IO or STATUS_NOMEM; copier_stop in any case. */
int copier_start(struct copier *c, const char *path, const atomic_bool *closing,
    void (*done)(void *ctx), void *ctx);
void copier_stop(struct copier *c);

/* Begins to copy what can be copied without waiting for anybody. Not while it is busy. */
void copier_ask(struct copier *c);
bool copier_is_busy(const struct copier *c);
/* The same on the caller's thread. Not while it is busy. */
void copier_copy(struct copier *c);
/*
 * Others make no checkpoints from now on, or do again. Not while it is busy. False: somebody makes
 * one just now.
 */
bool copier_keep(struct copier *c, bool keep);

#endif
