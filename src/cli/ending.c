#include "cli/ending.h"
#include "base/status.h"
#include "base/thread.h"
#include "cli/interrupt.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define LOOK_MS 1000

static void *wait_for_it(void *ctx)
{
    struct ending *e = ctx;
    struct pollfd fds[] = {
        {.fd = e->done, .events = POLLIN}, {.fd = interrupt_fd(), .events = POLLIN},
        {.fd = fcntl(STDOUT_FILENO, F_GETFD) < 0 ? -1
                                                 : STDOUT_FILENO}, /* what poll always reports */
    };

    int n;

    do
        n = poll(fds, 3, LOOK_MS);
    while ((n < 0 && errno == EINTR) || (n == 0 && !e->look(e->ctx)));
    atomic_store(&e->stop, true);
    return NULL;
}

/* The signals are for the thread that works: they interrupt what it waits for. */
static int start_thread(struct ending *e)
{
    int rc = thread_start(&e->thread, NULL, wait_for_it, e, "ending");

    return rc == 0 ? 0 : STATUS_NOMEM;
}

int ending_start(struct ending *e, bool (*look)(void *ctx), void *ctx)
{
    int status;

    e->look = look;
    e->ctx = ctx;
    atomic_init(&e->stop, false);
    interrupt_catch();
    e->done = eventfd(0, EFD_CLOEXEC);
    if (e->done < 0)
        return STATUS_IO;
    status = start_thread(e);
    if (status < 0)
        close(e->done);
    return status;
}

void ending_stop(struct ending *e)
{
    uint64_t one = 1;

    while (write(e->done, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
    pthread_join(e->thread, NULL);
    close(e->done);
}
