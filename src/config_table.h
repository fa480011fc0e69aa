#ifndef ROWTAP_CONFIG_TABLE_H
#define ROWTAP_CONFIG_TABLE_H

#include "config.h"

/* The options of `rowtap serve`, one row each; config.c derives everything from them. */
enum config_kind {
    KIND_FLAG,
    KIND_COUNT,
    KIND_SIZE,     /* bytes */
    KIND_DURATION, /* milliseconds */
    KIND_LIST,
    KIND_TEXT, /* not empty */
    KIND_LOG_LEVEL,
    KIND_CHOICE, /* of the two words that `argument` gives; true for the second */
};

struct config_row {
    const char *name;
    const char *argument; /* placeholder in the help; NULL for flags */
    const char *help;
    enum config_kind kind;
    size_t offset;
    const char *value; /* default; NULL: zero, false or empty */
    int64_t min, max;  /* of the number in its unit (count, bytes, milliseconds) */
};

extern const struct config_row config_table[];
extern const size_t config_rows;

#endif
