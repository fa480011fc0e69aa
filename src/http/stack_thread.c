#include "http/stack.h"

#include "base/mem.h"
#include "base/thread.h"

#include <pthread.h>
#include <semaphore.h>

/*
 * For C libraries without makecontext, musl for one, and for sanitizers: the stack is that of
 * another thread.
 */
#define BYTES ((size_t)8 << 20)

struct stack {
    pthread_t thread;
    sem_t begun, ended;
    bool busy;
    void (*run)(void *arg); /* NULL: the thread is to end */
    void *arg;
};

static void wait_for(sem_t *s)
{
    while (sem_wait(s) != 0)
        ;
}

static void *serve(void *arg)
{
    struct stack *s = arg;

    for (wait_for(&s->begun); s->run; wait_for(&s->begun)) {
        s->run(s->arg);
        sem_post(&s->ended);
    }
    return NULL;
}

static int start(struct stack *s)
{
    pthread_attr_t attr;
    int rc;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, BYTES);
    rc = thread_start(&s->thread, &attr, serve, s, "stack");
    pthread_attr_destroy(&attr);
    return rc;
}

struct stack *stack_new(void)
{
    struct stack *s = mem_zalloc(sizeof(*s));

    if (!s)
        return NULL;
    sem_init(&s->begun, 0, 0);
    sem_init(&s->ended, 0, 0);
    if (start(s) == 0)
        return s;
    sem_destroy(&s->begun);
    sem_destroy(&s->ended);
    mem_free(s);
    return NULL;
}

void stack_free(struct stack *s)
{
    if (!s)
        return;
    s->run = NULL;
    sem_post(&s->begun);
    pthread_join(s->thread, NULL);
    sem_destroy(&s->begun);
    sem_destroy(&s->ended);
    mem_free(s);
}

void stack_run(struct stack *s, void (*run)(void *arg), void *arg)
{
    if (s->busy) {
        run(arg);
        return;
    }
    s->busy = true;
    s->run = run;
    s->arg = arg;
    sem_post(&s->begun);
    wait_for(&s->ended);
    s->busy = false;
}
