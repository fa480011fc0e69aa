#ifndef ROWTAP_BASE_CLOCK_H
#define ROWTAP_BASE_CLOCK_H

#include <stdint.h>

int64_t clock_wall_ms(void); /* milliseconds since 1970, UTC */
int64_t clock_mono_ms(void); /* milliseconds that never go back */
int64_t clock_mono_ns(void);

#endif
