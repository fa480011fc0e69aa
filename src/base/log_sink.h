#ifndef ROWTAP_BASE_LOG_SINK_H
#define ROWTAP_BASE_LOG_SINK_H

#include <stddef.h>
#include <stdint.h>

/*
 * Where the lines of the log go: standard error, each whole, in order. While the sink is started a
 * thread of its own writes them, and nobody else waits for who reads them.
 */
#define LOG_SINK_MAX (256u << 10) /* bytes that wait for the thread */

/*
 * `tick` is called on the thread about once a second and at the end, with the number of lines left
 * out since the last time; it may write. Nested calls count. STATUS_NOMEM, STATUS_IO: not started.
 */
int log_sink_start(void (*tick)(uint64_t dropped));
void log_sink_stop(void); /* writes what waits, for half a second at most */
void log_sink_write(const char *line, size_t len); /* any thread */

#endif
