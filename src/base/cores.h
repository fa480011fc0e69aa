#ifndef ROWTAP_BASE_CORES_H
#define ROWTAP_BASE_CORES_H

/*
 * How many processors the calling thread may use at once: those it may run on (sched_setaffinity),
 * or fewer where the control group has a quota (cpu.max of cgroup v2). At least 1. Any thread.
 */
int cores_available(void);

/*
 * The calling thread never works for long at a time: once woken it shall come before threads that
 * do, where they share a processor. Asks the scheduler for short slices (sched_setattr, Linux 6.12
 * and later); elsewhere nothing happens.
 */
void cores_ask_promptness(void);

#endif
