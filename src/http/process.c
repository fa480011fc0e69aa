#include "http/process.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* In proc(5): seconds since 1970 at which the machine was started. */
static double boot_time(void)
{
    FILE *f = fopen("/proc/stat", "re");
    char line[256];
    unsigned long long seconds = 0;

    while (f && !seconds && fgets(line, sizeof(line), f))
        sscanf(line, "btime %llu", &seconds);
    if (f)
        fclose(f);
    return (double)seconds;
}

/* The name, which is field 2, may hold spaces and parentheses. */
static void read_stat(struct process *p)
{
    FILE *f = fopen("/proc/self/stat", "re");
    unsigned long long user, kernel, threads, start, size, pages;
    double tick = (double)sysconf(_SC_CLK_TCK);
    char line[1024];
    const char *after;

    if (!f)
        return;
    after = fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;
    fclose(f);
    if (!after || tick <= 0 ||
        sscanf(after + 1,
            " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %llu %*d %llu "
            "%llu %llu",
            &user, &kernel, &threads, &start, &size, &pages) != 6)
        return;
    p->cpu_seconds = (double)(user + kernel) / tick;
    p->threads = threads;
    p->start_time = boot_time() + (double)start / tick;
    p->virtual_bytes = size;
    p->resident_bytes = pages * (unsigned long long)sysconf(_SC_PAGESIZE);
}

static uint64_t count_files(void)
{
    DIR *d = opendir("/proc/self/fd");
    uint64_t n = 0;

    if (!d)
        return 0;
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n - 1; /* the directory's own */
}

void process_read(struct process *p)
{
    struct rlimit files;

    memset(p, 0, sizeof(*p));
    read_stat(p);
    p->open_files = count_files();
    if (getrlimit(RLIMIT_NOFILE, &files) == 0)
        p->max_files = files.rlim_cur;
}
