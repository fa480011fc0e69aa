#ifndef ROWTAP_CONFIG_CHECK_H
#define ROWTAP_CONFIG_CHECK_H

#include "config.h"

/* What the options say makes sense: 0, STATUS_NOMEM, or STATUS_INVALID with a sentence in err. */
int config_check(const struct config *c, struct buf *err);

#endif
