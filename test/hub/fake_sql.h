#ifndef ROWTAP_TEST_FAKE_SQL_H
#define ROWTAP_TEST_FAKE_SQL_H

#include "capture/database.h"

/*
 * In place of the database's runner: requests wait here until a test ends them, on its own thread
 * and in whatever order it likes.
 */

/* Waits until so many are here; fails the test after five seconds. */
void fake_sql_expect(int count);
/* The i-th that is here, in the order in which they came. */
struct sql_request *fake_sql_at(int i);
/* It is done with this answer, or failed with this code. */
void fake_sql_answer(int i, const char *json);
void fake_sql_fail(int i, const char *code, const char *message);

#endif
