#include "http/stack.h"

#include "base/mem.h"

#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define BYTES ((size_t)8 << 20) /* of addresses; memory comes with use */

struct stack {
    char *memory; /* its first page is never touched: running over the end is a fault there */
    size_t guard;
    bool busy;
    ucontext_t outside, inside;
    void (*run)(void *arg);
    void *arg;
};

/* makecontext passes on nothing but ints. */
static _Thread_local struct stack *entering;

static void enter(void)
{
    struct stack *s = entering;

    s->run(s->arg);
}

struct stack *stack_new(void)
{
    struct stack *s = mem_zalloc(sizeof(*s));
    void *memory;

    if (!s)
        return NULL;
    s->guard = (size_t)sysconf(_SC_PAGESIZE);
    memory = mmap(NULL, s->guard + BYTES, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (memory == MAP_FAILED) {
        mem_free(s);
        return NULL;
    }
    s->memory = memory;
    if (mprotect(memory, s->guard, PROT_NONE) == 0)
        return s;
    stack_free(s);
    return NULL;
}

void stack_free(struct stack *s)
{
    if (!s)
        return;
    munmap(s->memory, s->guard + BYTES);
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
    getcontext(&s->inside);
    s->inside.uc_stack.ss_sp = s->memory + s->guard;
    s->inside.uc_stack.ss_size = BYTES;
    s->inside.uc_link = &s->outside;
    makecontext(&s->inside, enter, 0);
    entering = s;
    swapcontext(&s->outside, &s->inside);
    s->busy = false;
}
