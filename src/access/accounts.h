#ifndef ROWTAP_ACCESS_ACCOUNTS_H
#define ROWTAP_ACCESS_ACCOUNTS_H

#include "access/offender.h"
#include "access/rates.h"
#include "base/list.h"

/*
 * What users and addresses have used, over all their connections and requests. An account's buckets
 * are atomic, so taking from them locks nothing; a short lock of one part of the table is taken
 * when somebody comes, goes or is refused. Any thread.
 *
 * The table is bounded. An account that nobody uses stays until its buckets are full and its
 * offences forgotten, when it says no more than a new one would; only such are given up for
 * newcomers. So nobody gets a full bucket by crowding the table with other names. Where there is no
 * such account, newcomers share one, the crowd's, with one set of buckets.
 */
struct accounts;
struct accounts_part;

struct account {
    struct bucket buckets[RATE_KINDS];
    _Atomic int64_t barred_until_ns; /* it may not connect before */
    /* Under the part's lock. */
    struct accounts_part *part;
    struct list idle; /* in the part's list while nobody uses it */
    struct offender offender;
    uint32_t refs, connections, bars;
    size_t key_len;
    char key[];
};

struct accounts *accounts_new(size_t max); /* NULL: no memory */
void accounts_free(struct accounts *t);    /* nobody uses one any more; NULL is allowed */

/* The account of that name, to be put back. Never NULL: without memory it is the crowd's. */
struct account *accounts_get(struct accounts *t, const void *key, size_t len, int64_t now_ns);
void accounts_put(struct account *a, int64_t now_ns);
bool account_is_crowd(const struct account *a);

/* Counts a connection; false: there are `max` already (0: no bound; the crowd has none). */
bool account_connect(struct account *a, uint32_t max);
void account_disconnect(struct account *a);

/* The offender's functions on the account's, under the lock. */
int64_t account_waits(struct account *a, int kind, int64_t now_ns);
int64_t account_refuse(struct account *a, int kind, int64_t wait_ns, int64_t now_ns);
/* It was stubborn: it may not connect for a second, twice as long each time, up to a minute. */
void account_bar(struct account *a, int64_t now_ns);

struct accounts_stats {
    size_t count, idle;
};
void accounts_stats(struct accounts *t, struct accounts_stats *out);

#endif
