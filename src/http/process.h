#ifndef ROWTAP_HTTP_PROCESS_H
#define ROWTAP_HTTP_PROCESS_H

#include <stdint.h>

/* What the kernel says of this process; 0 where it says nothing. Any thread. */
struct process {
    double cpu_seconds;
    double start_time; /* seconds since 1970 */
    uint64_t resident_bytes, virtual_bytes;
    uint64_t open_files, max_files;
    uint64_t threads;
};

void process_read(struct process *p);

#endif
