#include "base/thread.h"

#include <stdarg.h>
#include <stdio.h>

#define NAME_SIZE 16

/* But for those of a fault, which come to the thread that made it, blocked or not. */
void thread_block_signals(sigset_t *before)
{
    static const int faults[] = {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGTRAP};
    sigset_t others;

    sigfillset(&others);
    for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++)
        sigdelset(&others, faults[i]);
    pthread_sigmask(SIG_SETMASK, &others, before);
}

void thread_restore_signals(const sigset_t *before)
{
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

int thread_start(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg,
    const char *name, ...)
{
    char text[NAME_SIZE];
    sigset_t before;
    va_list ap;
    int rc;

    thread_block_signals(&before);
    rc = pthread_create(thread, attr, run, arg);
    thread_restore_signals(&before);
    if (rc)
        return rc;
    va_start(ap, name);
    vsnprintf(text, sizeof(text), name, ap);
    va_end(ap);
    pthread_setname_np(*thread, text);
    return 0;
}
