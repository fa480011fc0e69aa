#ifndef ROWTAP_TEST_FUZZ_FUZZ_SAME_H
#define ROWTAP_TEST_FUZZ_FUZZ_SAME_H

#include "hub/dialect.h"

/* Everything that the hub looks at is the same, the error too. */
bool fuzz_same_command(const struct command *a, const struct command *b);
bool fuzz_same_sql(const struct sql_request *a, const struct sql_request *b);

#endif
