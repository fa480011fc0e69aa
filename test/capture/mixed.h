#ifndef ROWTAP_TEST_CAPTURE_MIXED_H
#define ROWTAP_TEST_CAPTURE_MIXED_H

#include "fixture.h"
#include "other.h"

/*
 * A followed database with a table t(id INTEGER PRIMARY KEY, v), and two other processes that may
 * write it. Begins with the fixture, so that its helpers and hooks take one for the other.
 */
struct mixed {
    struct fixture f;
    struct other o, intruder;
};

int mixed_set_up(void **state);
int mixed_tear_down(void **state);

/* Changes of t, in words. */
#define ROW(id, v) "{\"id\":" #id ",\"v\":" v "}"
#define OWN(id, v) "INSERT t {\"id\":" #id "} " ROW(id, v) "\ncommit\n"
#define OTHERS(id, v) "INSERT t {\"id\":" #id "} " ROW(id, v) " external\ncommit\n"

#endif
