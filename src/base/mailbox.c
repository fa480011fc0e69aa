#include "base/mailbox.h"
#include "base/status.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

int mailbox_init(struct mailbox *m)
{
    m->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (m->fd < 0)
        return STATUS_IO;
    atomic_init(&m->latest, NULL);
    atomic_init(&m->asleep, false);
    atomic_init(&m->posting, 0);
    return 0;
}

/* What a sender posted may have been taken, and be all that its receiver waited for, before the
 * sender is through. */
void mailbox_fini(struct mailbox *m)
{
    while (atomic_load(&m->posting))
        sched_yield();
    assert(!atomic_load(&m->latest));
    close(m->fd);
    m->fd = -1;
}

static void put(struct mailbox *m, struct message *msg)
{
    struct message *latest = atomic_load_explicit(&m->latest, memory_order_relaxed);

    do
        msg->next = latest;
    while (!atomic_compare_exchange_weak(&m->latest, &latest, msg));
}

/*
 * `asleep` is set before the receiver looks for messages once more, and looked at after one was
 * put: whichever comes second sees the other.
 */
static bool wake(struct mailbox *m)
{
    uint64_t one = 1;

    if (!atomic_load(&m->asleep) || !atomic_exchange(&m->asleep, false))
        return false;
    while (write(m->fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
    return true;
}

void mailbox_post(struct mailbox *m, struct message *msg)
{
    atomic_fetch_add(&m->posting, 1);
    put(m, msg);
    wake(m);
    atomic_fetch_sub(&m->posting, 1);
}

void mailbox_put(struct mailbox *m, struct message *msg)
{
    atomic_fetch_add(&m->posting, 1);
    put(m, msg);
    atomic_fetch_sub(&m->posting, 1);
}

bool mailbox_wake(struct mailbox *m)
{
    atomic_fetch_add(&m->posting, 1);
    bool woken = atomic_load(&m->latest) && wake(m);
    atomic_fetch_sub(&m->posting, 1);
    return woken;
}

bool mailbox_waits(const struct mailbox *m)
{
    return atomic_load_explicit(&m->latest, memory_order_relaxed);
}

struct message *mailbox_take(struct mailbox *m)
{
    struct message *latest, *next, *chain = NULL;

    if (!atomic_load(&m->latest))
        return NULL;
    for (latest = atomic_exchange(&m->latest, NULL); latest; latest = next) {
        next = latest->next;
        latest->next = chain;
        chain = latest;
    }
    return chain;
}

bool mailbox_sleep(struct mailbox *m)
{
    atomic_store(&m->asleep, true);
    if (!atomic_load(&m->latest))
        return true;
    mailbox_awake(m);
    return false;
}

void mailbox_awake(struct mailbox *m)
{
    atomic_store(&m->asleep, false);
}

/* A sender that took `asleep` may write after this: then the next wait ends early, once. */
static void clear(struct mailbox *m)
{
    uint64_t count;

    while (read(m->fd, &count, sizeof(count)) < 0 && errno == EINTR)
        ;
}

void mailbox_wait(struct mailbox *m, int timeout_ms)
{
    mailbox_wait_or(m, -1, timeout_ms < 0 ? -1 : timeout_ms * (int64_t)1000000);
}

bool mailbox_wait_or(struct mailbox *m, int fd, int64_t timeout_ns)
{
    struct pollfd p[2] = {{.fd = m->fd, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    struct timespec timeout = {
        .tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};
    int n;

    if (!mailbox_sleep(m))
        return false;
    n = ppoll(p, 2, timeout_ns < 0 ? NULL : &timeout, NULL);
    mailbox_awake(m);
    if (n <= 0)
        return false;
    if (p[0].revents)
        clear(m);
    return p[1].revents != 0;
}
