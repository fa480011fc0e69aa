#ifndef ROWTAP_ACCESS_LIMITER_H
#define ROWTAP_ACCESS_LIMITER_H

#include "access/accounts.h"
#include "access/address.h"

/*
 * Who may do how much: takes tokens of the connection, the user and the address, and says how long
 * to wait where one has none left. Shared by all threads.
 */
struct limiter;

struct limiter_options {
    const struct rates *rates; /* outlives the limiter */
    uint32_t max_per_address;  /* connections; 0: no bound */
    size_t max_accounts;       /* users and addresses remembered */
    bool loopback;             /* clients on this machine are not exempt */
};

struct limiter *limiter_new(const struct limiter_options *options); /* NULL: no memory */
void limiter_free(struct limiter *l); /* after all its clients; NULL is allowed */

/*
 * One connection, or one request. Its owner's thread; it may be handed on. A zeroed one is not
 * bounded, and nothing need be done at its end.
 */
struct limiter_client {
    struct limiter *limiter; /* NULL: not bounded */
    const struct tier *tier;
    struct account *address, *user; /* user NULL: nobody known */
    struct limiter_own *own;        /* of a connection; NULL: of none */
};

struct verdict {
    int64_t wait_ms; /* 0: go on; otherwise nothing was taken */
    bool stubborn;   /* a connection that does not hear: to be closed with 1008 */
};

/*
 * Begins a request of that address, which is the peer's or what a trusted proxy says. IPv6
 * addresses are told apart by their first 64 bits, which is what one customer has at least.
 * `forwarded`: a proxy spoke for it, so that it is not on this machine whatever it says.
 */
void limiter_begin(
    struct limiter_client *c, struct limiter *l, const struct address *a, bool forwarded);
/* Who it is; once more when that changes. NULL: nobody. */
void limiter_identify(struct limiter_client *c, const char *user, const char *role);
/*
 * Becomes a connection. STATUS_TOO_LARGE: the address has as many as it may have; STATUS_NOMEM. It
 * stays a request then.
 */
int limiter_connect(struct limiter_client *c);
void limiter_end(struct limiter_client *c); /* leaves it zeroed */

/* Takes one token of each, or none. */
struct verdict limiter_take(struct limiter_client *c, enum rate_kind kind);
/* The same of one scope alone: what was not known when the rest was taken. */
struct verdict limiter_take_of(
    struct limiter_client *c, enum rate_kind kind, enum rate_scope scope);
/* It was stubborn and is closed: whoever it was has to wait before connecting again. */
void limiter_bar(struct limiter_client *c);
/* ms until it may connect again, or 0. */
int64_t limiter_barred(const struct limiter_client *c);

uint64_t limiter_refusals(const struct limiter *l, enum rate_kind kind); /* so far; any thread */

#endif
