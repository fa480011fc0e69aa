#ifndef ROWTAP_CLI_INPUT_H
#define ROWTAP_CLI_INPUT_H

#include "base/buf.h"

/* Appends all of standard input. STATUS_NOMEM or STATUS_IO, said on standard error. */
int input_read_all(struct buf *text);

#endif
