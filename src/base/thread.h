#ifndef ROWTAP_BASE_THREAD_H
#define ROWTAP_BASE_THREAD_H

#include <pthread.h>
#include <signal.h>

/*
 * Starts a thread in which all signals but those of faults are blocked, for they are the main
 * thread's, or those of the program that rowtap is a part of. Its name, at most 15 bytes, is what
 * top and gdb show. attr may be NULL. 0, or the number of the error. Any thread.
 */
int thread_start(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg,
    const char *name, ...) __attribute__((format(printf, 5, 6)));

/* The same for threads that a library starts in between. */
void thread_block_signals(sigset_t *before);
void thread_restore_signals(const sigset_t *before);

#endif
