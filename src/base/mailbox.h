#ifndef ROWTAP_BASE_MAILBOX_H
#define ROWTAP_BASE_MAILBOX_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * The only queue between threads: many senders, one receiver. A message is embedded at the start of
 * (or inside) what is sent and belongs to the receiver from the post on. The receiver waits on `fd`
 * (an eventfd, readable while messages wait and the receiver asked to be woken) or in mailbox_wait.
 */
struct message {
    struct message *next;
    /* Called on the receiving thread with the receiver's own object. Frees the message if due. */
    void (*run)(struct message *m, void *receiver);
};

struct mailbox {
    pthread_mutex_t lock;
    struct message *head, **tail;
    bool signalled;
    int fd;
};

int mailbox_init(struct mailbox *m);                       /* STATUS_IO */
void mailbox_fini(struct mailbox *m);                      /* must be empty */
void mailbox_post(struct mailbox *m, struct message *msg); /* any thread; wakes only a sleeper */
/* Takes all waiting messages, in order, as a chain; NULL when there is none. Receiver only. */
struct message *mailbox_take(struct mailbox *m);
/* Blocks until something waits or the timeout (milliseconds, -1 for ever) passes. Receiver only. */
void mailbox_wait(struct mailbox *m, int timeout_ms);
/*
 * The same for nanoseconds, and until another descriptor (-1: none) is readable as well, which is
 * the result.
 */
bool mailbox_wait_or(struct mailbox *m, int fd, int64_t timeout_ns);

#endif
