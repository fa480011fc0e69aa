#ifndef ROWTAP_CONFIG_LIMITS_H
#define ROWTAP_CONFIG_LIMITS_H

#include "config.h"

/* What --rate and --trusted-proxy say can be read: 0, or STATUS_INVALID with a sentence in err. */
int config_limits_check(const struct config *c, struct buf *err);

#endif
