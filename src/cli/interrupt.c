#include "cli/interrupt.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static atomic_int seen; /* without a lock, so that a signal handler may write it */
static int event = -1;

static void on_signal(int signo)
{
    int saved = errno;
    uint64_t one = 1;

    if (seen)
        _exit(128 + signo);
    seen = 1;
    if (event >= 0 && write(event, &one, sizeof(one)) < 0)
        seen = 1;
    errno = saved;
}

void interrupt_catch(void)
{
    struct sigaction action;

    if (event < 0)
        event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    memset(&action, 0, sizeof(action));
    action.sa_handler = on_signal;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool interrupt_seen(void)
{
    return atomic_load(&seen) != 0;
}

void interrupt_clear(void)
{
    uint64_t count;

    if (event >= 0 && read(event, &count, sizeof(count)) < 0)
        errno = 0;
    seen = 0;
}

int interrupt_fd(void)
{
    return event;
}

bool interrupt_wait(int64_t ms)
{
    struct pollfd fd = {.fd = event, .events = POLLIN};

    if (!interrupt_seen() && ms > 0)
        poll(&fd, 1, ms > INT32_MAX ? INT32_MAX : (int)ms);
    return interrupt_seen();
}
