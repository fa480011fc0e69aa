#include "http/stack.h"

#include "base/mem.h"

#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define BYTES ((size_t)8 << 20) /* of addresses; memory comes with use */

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define WITH_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WITH_TSAN 1
#endif
#endif
#ifdef WITH_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef WITH_TSAN
#include <sanitizer/tsan_interface.h>
#endif

struct stack {
    char *memory; /* its first page is never touched: running over the end is a fault there */
    size_t guard;
    bool busy;
    ucontext_t outside, inside;
    void (*run)(void *arg);
    void *arg;
    /*
     * The sanitizers are told which stack is in use, in functions without a call or return of their
     * own.
     */
    void *fake;
    const void *thread_bottom;
    size_t thread_size;
    void *thread_fiber, *fiber;
};

/* makecontext passes on nothing but ints. */
static _Thread_local struct stack *entering;

static inline __attribute__((always_inline)) void tell_enter(struct stack *s)
{
    (void)s;
#ifdef WITH_ASAN
    __sanitizer_start_switch_fiber(&s->fake, s->memory + s->guard, BYTES);
#endif
#ifdef WITH_TSAN
    s->fiber = __tsan_create_fiber(0);
    s->thread_fiber = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(s->fiber, 0);
#endif
}

static inline __attribute__((always_inline)) void tell_entered(struct stack *s)
{
    (void)s;
#ifdef WITH_ASAN
    __sanitizer_finish_switch_fiber(NULL, &s->thread_bottom, &s->thread_size);
#endif
}

static inline __attribute__((always_inline)) void tell_leave(struct stack *s)
{
    (void)s;
#ifdef WITH_ASAN
    __sanitizer_start_switch_fiber(NULL, s->thread_bottom, s->thread_size);
#endif
#ifdef WITH_TSAN
    __tsan_switch_to_fiber(s->thread_fiber, 0);
#endif
}

static inline __attribute__((always_inline)) void tell_left(struct stack *s)
{
    (void)s;
#ifdef WITH_ASAN
    __sanitizer_finish_switch_fiber(s->fake, NULL, NULL);
#endif
#ifdef WITH_TSAN
    __tsan_destroy_fiber(s->fiber);
#endif
}

static void enter(void)
{
    struct stack *s = entering;

    tell_entered(s);
    s->run(s->arg);
    tell_leave(s);
    /* To return would do the same, but for a thread sanitizer, which counts calls and returns. */
    setcontext(&s->outside);
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
    s->inside.uc_link = NULL;
    makecontext(&s->inside, enter, 0);
    entering = s;
    tell_enter(s);
    swapcontext(&s->outside, &s->inside);
    tell_left(s);
    s->busy = false;
}
