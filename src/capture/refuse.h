#ifndef ROWTAP_CAPTURE_REFUSE_H
#define ROWTAP_CAPTURE_REFUSE_H

#include <stdbool.h>

/* A PRAGMA (https://www.sqlite.org/pragma.html) that users may run. */
struct pragma_rule {
    const char *name;
    bool value;  /* may also be given a value: it then sets, or is an argument */
    bool alone;  /* cannot run inside a transaction */
    bool writer; /* runs on the write connection */
};

/* The rule that allows it; NULL: refused. `value` is its argument or NULL. */
const struct pragma_rule *refuse_find_pragma(const char *name, const char *value);

#endif
