#include "base/mailbox.h"
#include "base/status.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

int mailbox_init(struct mailbox *m)
{
    m->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (m->fd < 0)
        return STATUS_IO;
    pthread_mutex_init(&m->lock, NULL);
    m->head = NULL;
    m->tail = &m->head;
    m->signalled = false;
    return 0;
}

void mailbox_fini(struct mailbox *m)
{
    assert(!m->head);
    pthread_mutex_destroy(&m->lock);
    close(m->fd);
    m->fd = -1;
}

void mailbox_post(struct mailbox *m, struct message *msg)
{
    uint64_t one = 1;

    msg->next = NULL;
    pthread_mutex_lock(&m->lock);
    *m->tail = msg;
    m->tail = &msg->next;
    /*
     * Only the first message since the last take needs the system call. It is made under the lock
     * so that the receiver cannot have freed the mailbox before it is through.
     */
    if (!m->signalled) {
        m->signalled = true;
        while (write(m->fd, &one, sizeof(one)) < 0 && errno == EINTR)
            ;
    }
    pthread_mutex_unlock(&m->lock);
}

struct message *mailbox_take(struct mailbox *m)
{
    struct message *chain;
    uint64_t count;

    pthread_mutex_lock(&m->lock);
    chain = m->head;
    m->head = NULL;
    m->tail = &m->head;
    if (m->signalled) {
        m->signalled = false;
        while (read(m->fd, &count, sizeof(count)) < 0 && errno == EINTR)
            ;
    }
    pthread_mutex_unlock(&m->lock);
    return chain;
}

void mailbox_wait(struct mailbox *m, int timeout_ms)
{
    struct pollfd p = {.fd = m->fd, .events = POLLIN};

    while (poll(&p, 1, timeout_ms) < 0 && errno == EINTR)
        ;
}

bool mailbox_wait_or(struct mailbox *m, int fd, int64_t timeout_ns)
{
    struct pollfd p[2] = {{.fd = m->fd, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    struct timespec timeout = {
        .tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};

    if (ppoll(p, 2, timeout_ns < 0 ? NULL : &timeout, NULL) <= 0)
        return false;
    return p[1].revents != 0;
}
