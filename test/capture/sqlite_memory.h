#ifndef ROWTAP_TEST_CAPTURE_SQLITE_MEMORY_H
#define ROWTAP_TEST_CAPTURE_SQLITE_MEMORY_H

#include <stdbool.h>

/*
 * SQLite's own allocations are swept as well, from now on. First in main; false when it is too
 * late.
 */
bool sqlite_memory_counts(void);

#endif
