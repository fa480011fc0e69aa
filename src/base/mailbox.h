#ifndef ROWTAP_BASE_MAILBOX_H
#define ROWTAP_BASE_MAILBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * The only queue between threads: many senders, one receiver, no lock. A message is embedded at the
 * start of (or inside) what is sent and belongs to the receiver from the post on. The receiver
 * blocks in mailbox_wait, or in a wait of its own for an edge of `fd` (an eventfd, which nobody
 * reads then) between mailbox_sleep and mailbox_awake; while it does not, posting to it is no
 * system call.
 */
struct message {
    struct message *next;
    /* Called on the receiving thread with the receiver's own object. Frees the message if due. */
    void (*run)(struct message *m, void *receiver);
};

struct mailbox {
    _Atomic(struct message *) latest; /* first, then the earlier ones */
    atomic_bool asleep;               /* who posts has to wake the receiver */
    atomic_uint posting;              /* senders that may still use fd */
    int fd;
};

int mailbox_init(struct mailbox *m);                       /* STATUS_IO */
void mailbox_fini(struct mailbox *m);                      /* must be empty; waits for senders */
void mailbox_post(struct mailbox *m, struct message *msg); /* any thread; wakes only a sleeper */

/* mailbox_post in two steps: a sleeper is only sure to find what was put when it has been woken. */
void mailbox_put(struct mailbox *m, struct message *msg); /* any thread */
bool mailbox_wake(struct mailbox *m);                     /* any thread; true: it slept */

/* The rest is for the receiver only. */

/* Takes all waiting messages, in order, as a chain; NULL when there is none. */
struct message *mailbox_take(struct mailbox *m);

bool mailbox_waits(const struct mailbox *m); /* there is one to take */

/* Blocks until something waits or the timeout (milliseconds, -1 for ever) passes, seldom less. */
void mailbox_wait(struct mailbox *m, int timeout_ms);
/*
 * The same for nanoseconds, and until another descriptor (-1: none) is readable as well, which is
 * the result.
 */
bool mailbox_wait_or(struct mailbox *m, int fd, int64_t timeout_ns);

/* From here to mailbox_awake posting gives fd an edge. False: something waits, so do not wait. */
bool mailbox_sleep(struct mailbox *m);
void mailbox_awake(struct mailbox *m);

#endif
