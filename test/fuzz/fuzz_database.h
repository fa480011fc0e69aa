#ifndef ROWTAP_TEST_FUZZ_FUZZ_DATABASE_H
#define ROWTAP_TEST_FUZZ_FUZZ_DATABASE_H

#include <stdbool.h>

/*
 * In place of the database's threads that run SQL: what the hub asks waits until this is called,
 * and is then answered without being run. What has "fail" in its text fails; a query with "slow"
 * goes on until it is cancelled. False: nothing waited.
 */
bool fuzz_database_serve(void);

#endif
