#ifndef ROWTAP_ACCESS_POLICIES_H
#define ROWTAP_ACCESS_POLICIES_H

#include "access/policy.h"

/* The policy that is in use, which may be replaced while others look at it. Any thread. */
struct policies;

struct policies *policies_new(struct policy *p);  /* takes the reference over; NULL: no memory */
void policies_free(struct policies *ps);          /* NULL is allowed */
struct policy *policies_get(struct policies *ps); /* with a reference; NULL gives NULL */
void policies_set(struct policies *ps, struct policy *p); /* takes a reference of its own */

#endif
