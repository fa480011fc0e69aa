#ifndef ROWTAP_BASE_LOG_LIMIT_H
#define ROWTAP_BASE_LOG_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

/*
 * How often one event may be logged, so that a client cannot flood the log: so many times in a
 * second that begins with the first of them. An event is known by its address. Any thread.
 */
#define LOG_LIMIT 100
#define LOG_LIMIT_MANY 2000 /* of one that may come often */

/*
 * Whether it may be logged now. *suppressed is set to how many of an earlier second may not, which
 * is to be said first; otherwise it is left alone.
 */
bool log_limit_pass(const char *event, bool many, int level, int64_t now_ms, uint64_t *suppressed);
/* The next event whose second is over and had too many, with its level; NULL: there is none. */
const char *log_limit_over(int64_t now_ms, int *level, uint64_t *suppressed);

#endif
