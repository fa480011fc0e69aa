#ifndef ROWTAP_CAPTURE_DEFAULT_VALUE_H
#define ROWTAP_CAPTURE_DEFAULT_VALUE_H

#include "change/batch.h"

/*
 * The value that rows have in a column which ALTER TABLE ADD COLUMN gave them: its DEFAULT, NULL
 * without one. Text is in the batch's memory. 0, STATUS_NOMEM or STATUS_TOO_LARGE.
 */
int default_value(const struct column *column, struct batch *memory, struct value *value);

#endif
