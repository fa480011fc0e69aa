#ifndef ROWTAP_FILTER_FILTER_PARSE_H
#define ROWTAP_FILTER_FILTER_PARSE_H

#include "filter/filter.h"

/* One condition on its way from text to a term. Used by filter.c only. */
struct filter_parse {
    const struct table *table;
    const uint64_t *columns; /* a bit set of those that may be named; NULL: all */
    const char *text;
    size_t len;
    char *scratch; /* room for len bytes; the values' text ends up here or stays in `text` */
    char *err;     /* the message of a failure, errlen bytes */
    size_t errlen;

    struct filter_term term; /* the result; `first` is the caller's */
    struct value *values;    /* the term's; the caller frees them, after a failure too */

    size_t pos; /* private from here on */
    int value_cap;
};

/* 0, STATUS_INVALID, STATUS_TOO_LARGE or STATUS_NOMEM. */
int filter_parse(struct filter_parse *p);

#endif
