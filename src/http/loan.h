#ifndef ROWTAP_HTTP_LOAN_H
#define ROWTAP_HTTP_LOAN_H

#include <pthread.h>

/*
 * A worker's connection, which a thread for many (http/swift.h) may have for a while. What the
 * connection consists of belongs to who has it; the lock is held where it is used there.
 */
struct again;
struct swift_thread;

struct loan {
    pthread_mutex_t lock;
    pthread_cond_t over;
    struct again *again;     /* what is lent; NULL: nothing … */
    struct swift_thread *to; /* … and to whom */
};

void loan_init(struct loan *l);
void loan_fini(struct loan *l);

#endif
