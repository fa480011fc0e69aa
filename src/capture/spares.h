#ifndef ROWTAP_CAPTURE_SPARES_H
#define ROWTAP_CAPTURE_SPARES_H

#include "capture/sqlconn.h"
#include <pthread.h>

/* Read-only connections that are made as they are needed, some of which are kept. Any thread. */
struct spares {
    const char *path;
    int64_t busy_timeout_ms;
    const atomic_bool *closing;
    int most; /* to keep */
    pthread_mutex_t lock;
    struct list free; /* of struct spare */
    int count;
};

/* The strings and the flag are the caller's and outlive it. */
void spares_init(struct spares *s, const char *path, int64_t busy_timeout_ms,
    const atomic_bool *closing, int most);
void spares_fini(struct spares *s);                     /* all have been given back */
struct sqlconn *spares_take(struct spares *s, int *rc); /* NULL: a result code of SQLite */
void spares_give(struct spares *s, struct sqlconn *c);  /* ends its transaction, if it is in one */

#endif
