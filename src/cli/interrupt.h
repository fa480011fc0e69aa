#ifndef ROWTAP_CLI_INTERRUPT_H
#define ROWTAP_CLI_INTERRUPT_H

#include <stdbool.h>
#include <stdint.h>

/*
 * ^C (and SIGTERM) for verbs that want to leave cleanly. The second one before interrupt_clear ends
 * the process at once.
 */
void interrupt_catch(void); /* installs the handler; may be called again */
bool interrupt_seen(void);  /* any thread */
void interrupt_clear(void);
bool interrupt_wait(int64_t ms); /* sleeps; true as soon as a signal was seen */
int interrupt_fd(void);          /* readable once a signal was seen; -1 when there is none */

#endif
