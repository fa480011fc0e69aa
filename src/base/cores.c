#include "base/cores.h"

#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static int allowed(void)
{
    cpu_set_t set;
    long n;

    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        return CPU_COUNT(&set);
    n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}

/* Of the group that a container sees as its root; 0: there is none. */
static int quota(void)
{
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re");
    long long max, period;
    int n = 0;

    if (!file)
        return 0;
    if (fscanf(file, "%lld %lld", &max, &period) == 2 && max > 0 && period > 0)
        n = (int)((max + period - 1) / period);
    fclose(file);
    return n;
}

int cores_available(void)
{
    int n = allowed(), bound = quota();

    if (bound > 0 && bound < n)
        n = bound;
    return n > 0 ? n : 1;
}

#define SLICE_NS 100000 /* the shortest there is */

/* As in linux/sched/types.h, which older headers lack: its first version. */
struct attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

void cores_ask_promptness(void)
{
    struct attributes a = {0};

    if (syscall(SYS_sched_getattr, 0, &a, sizeof(a), 0) != 0 || a.policy != SCHED_OTHER)
        return;
    a.size = sizeof(a);
    a.runtime = SLICE_NS;
    syscall(SYS_sched_setattr, 0, &a, 0);
}
