#include "access/limiter.h"

#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/status.h"

#include <string.h>

#define MS INT64_C(1000000)
#define KEY_MAX 128

struct limiter {
    struct limiter_options options;
    struct accounts *accounts;
    _Atomic uint64_t refusals[RATE_KINDS];
};

/* What a connection has besides what its accounts have. */
struct limiter_own {
    struct offender offender; /* of others it is the account's */
    struct bucket buckets[RATE_OF_CONNECTIONS];
};

struct limiter *limiter_new(const struct limiter_options *options)
{
    struct limiter *l = mem_zalloc(sizeof(*l));

    if (!l)
        return NULL;
    l->options = *options;
    l->accounts = accounts_new(options->max_accounts);
    if (l->accounts)
        return l;
    mem_free(l);
    return NULL;
}

void limiter_free(struct limiter *l)
{
    if (!l)
        return;
    accounts_free(l->accounts);
    mem_free(l);
}

/* Coming and going. */

static struct account *get(struct limiter *l, char kind, const void *name, size_t len)
{
    char key[1 + sizeof(uint64_t) + KEY_MAX];
    uint64_t hash = len > KEY_MAX ? hash_bytes(name, len) : 0;
    size_t kept = len > KEY_MAX ? KEY_MAX : len;

    key[0] = kind;
    memcpy(key + 1, &hash, sizeof(hash));
    if (kept)
        memcpy(key + 1 + sizeof(hash), name, kept);
    return accounts_get(l->accounts, key, 1 + sizeof(hash) + kept, clock_mono_ns());
}

void limiter_begin(
    struct limiter_client *c, struct limiter *l, const struct address *a, bool forwarded)
{
    *c = (struct limiter_client){0};
    if (!l || (!l->options.loopback && !forwarded && address_is_loopback(a)))
        return;
    c->limiter = l;
    c->tier = rates_of(l->options.rates, NULL);
    c->address = get(l, 'a', a->bytes, address_is_v4(a) ? 16 : 8);
}

void limiter_identify(struct limiter_client *c, const char *user, const char *role)
{
    if (!c->limiter)
        return;
    if (c->user)
        accounts_put(c->user, clock_mono_ns());
    c->user = user ? get(c->limiter, 'u', user, strlen(user)) : NULL;
    c->tier = rates_of(c->limiter->options.rates, role);
}

int limiter_connect(struct limiter_client *c)
{
    if (!c->limiter)
        return 0;
    c->own = mem_zalloc(sizeof(*c->own));
    if (!c->own)
        return STATUS_NOMEM;
    if (account_connect(c->address, c->limiter->options.max_per_address))
        return 0;
    mem_free(c->own);
    c->own = NULL;
    return STATUS_TOO_LARGE;
}

void limiter_end(struct limiter_client *c)
{
    int64_t now;

    if (!c->limiter)
        return;
    now = clock_mono_ns();
    if (c->own)
        account_disconnect(c->address);
    if (c->user)
        accounts_put(c->user, now);
    accounts_put(c->address, now);
    mem_free(c->own);
    *c = (struct limiter_client){0};
}

/* Taking. */

static struct bucket *bucket_of(const struct limiter_client *c, int kind, int scope)
{
    switch (scope) {
    case RATE_CONNECTION:
        return c->own && kind < RATE_OF_CONNECTIONS ? &c->own->buckets[kind] : NULL;
    case RATE_USER:
        return c->user ? &c->user->buckets[kind] : NULL;
    default:
        return &c->address->buckets[kind];
    }
}

/* Of the scopes from `first` to before `end`; ns to wait. */
static int64_t take(struct limiter_client *c, int kind, int first, int end, int64_t now)
{
    for (int i = first; i < end; i++) {
        struct bucket *b = bucket_of(c, kind, i);
        int64_t wait = b ? bucket_take(b, &c->tier->rates[i][kind], now) : 0;

        if (!wait)
            continue;
        while (--i >= first) {
            b = bucket_of(c, kind, i);
            if (b)
                bucket_give_back(b, &c->tier->rates[i][kind]);
        }
        return wait;
    }
    return 0;
}

/* A request has no memory of its own. */
static struct account *blamed(const struct limiter_client *c)
{
    return c->user ? c->user : c->address;
}

static int64_t waits(struct limiter_client *c, int kind, int64_t now)
{
    return c->own ? offender_waits(&c->own->offender, kind, now)
                  : account_waits(blamed(c), kind, now);
}

static int64_t refuse(struct limiter_client *c, int kind, int64_t wait, int64_t now)
{
    return c->own ? offender_refuse(&c->own->offender, kind, wait, now)
                  : account_refuse(blamed(c), kind, wait, now);
}

static struct verdict judge(struct limiter_client *c, enum rate_kind kind, int first, int end)
{
    struct verdict v = {0};
    int64_t now, wait;

    if (!c->limiter)
        return v;
    now = clock_mono_ns();
    wait = waits(c, (int)kind, now);
    if (!wait) {
        wait = take(c, (int)kind, first, end, now);
        if (!wait)
            return v;
        wait = refuse(c, (int)kind, wait, now);
    }
    v.wait_ms = (wait + MS - 1) / MS;
    v.stubborn = c->own && offender_is_stubborn(&c->own->offender, now);
    atomic_fetch_add_explicit(&c->limiter->refusals[kind], 1, memory_order_relaxed);
    return v;
}

struct verdict limiter_take(struct limiter_client *c, enum rate_kind kind)
{
    return judge(c, kind, 0, RATE_SCOPES);
}

struct verdict limiter_take_of(struct limiter_client *c, enum rate_kind kind, enum rate_scope scope)
{
    return judge(c, kind, (int)scope, (int)scope + 1);
}

void limiter_bar(struct limiter_client *c)
{
    if (c->limiter)
        account_bar(blamed(c), clock_mono_ns());
}

int64_t limiter_barred(const struct limiter_client *c)
{
    int64_t until, other;

    if (!c->limiter)
        return 0;
    until = atomic_load_explicit(&c->address->barred_until_ns, memory_order_relaxed);
    other = c->user ? atomic_load_explicit(&c->user->barred_until_ns, memory_order_relaxed) : 0;
    if (other > until)
        until = other;
    other = until - clock_mono_ns();
    return until && other > 0 ? (other + MS - 1) / MS : 0;
}

uint64_t limiter_refusals(const struct limiter *l, enum rate_kind kind)
{
    return atomic_load_explicit(&l->refusals[kind], memory_order_relaxed);
}
