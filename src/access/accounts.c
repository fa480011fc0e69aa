#include "access/accounts.h"

#include "base/map.h"
#include "base/mem.h"

#include <pthread.h>
#include <string.h>

#define PARTS 16
#define LOOKED_AT 4 /* idle accounts, for each newcomer */
#define SECOND INT64_C(1000000000)
#define BAR_FORGET (60 * SECOND)
#define BAR_LEVELS 6 /* 1, 2, 4, … 64 seconds */

struct accounts_part {
    pthread_mutex_t lock;
    struct map map;   /* key -> account */
    struct list idle; /* by when they were put back */
    size_t idle_count, max;
    struct account *crowd; /* not in the map */
};

struct accounts {
    struct accounts_part parts[PARTS];
};

static struct account *create(struct accounts_part *p, const void *key, size_t len)
{
    struct account *a = mem_zalloc(sizeof(*a) + len);

    if (!a)
        return NULL;
    list_init(&a->idle);
    a->part = p;
    a->key_len = len;
    if (len)
        memcpy(a->key, key, len);
    return a;
}

struct accounts *accounts_new(size_t max)
{
    struct accounts *t = mem_zalloc(sizeof(*t));
    bool complete = t;

    for (int i = 0; t && i < PARTS; i++) {
        struct accounts_part *p = &t->parts[i];

        pthread_mutex_init(&p->lock, NULL);
        list_init(&p->idle);
        p->max = max / PARTS + 1;
        p->crowd = create(p, NULL, 0);
        complete &= p->crowd != NULL;
    }
    if (complete)
        return t;
    accounts_free(t);
    return NULL;
}

void accounts_free(struct accounts *t)
{
    for (int i = 0; t && i < PARTS; i++) {
        struct accounts_part *p = &t->parts[i];
        const char *key;
        size_t pos = 0, len;
        void *value;

        while (map_next(&p->map, &pos, &key, &len, &value))
            mem_free(value);
        map_fini(&p->map);
        mem_free(p->crowd);
        pthread_mutex_destroy(&p->lock);
    }
    mem_free(t);
}

bool account_is_crowd(const struct account *a)
{
    return a->key_len == 0;
}

/* It says no more than one that was never seen. */
static bool is_like_new(const struct account *a, int64_t now)
{
    for (int i = 0; i < RATE_KINDS; i++)
        if (!bucket_is_full(&a->buckets[i], now))
            return false;
    return offender_is_forgotten(&a->offender, now) &&
           (!a->bars || now >= atomic_load(&a->barred_until_ns) + BAR_FORGET);
}

static void give_up(struct accounts_part *p, struct account *a)
{
    list_del(&a->idle);
    p->idle_count--;
    map_del(&p->map, a->key, a->key_len);
    mem_free(a);
}

/* The oldest ones: those that are like new go, the others are looked at again after the rest. */
static void tidy(struct accounts_part *p, int64_t now)
{
    for (int i = 0; i < LOOKED_AT && !list_empty(&p->idle); i++) {
        struct account *a = list_entry(p->idle.next, struct account, idle);

        if (is_like_new(a, now)) {
            give_up(p, a);
        } else {
            list_del(&a->idle);
            list_add_tail(&p->idle, &a->idle);
        }
    }
}

static struct account *find_or_add(
    struct accounts_part *p, const void *key, size_t len, int64_t now)
{
    struct account *a = map_get(&p->map, key, len);

    if (a)
        return a;
    tidy(p, now);
    a = p->map.count < p->max ? create(p, key, len) : NULL;
    if (a && map_set(&p->map, key, len, a) < 0) {
        mem_free(a);
        a = NULL;
    }
    return a ? a : p->crowd;
}

struct account *accounts_get(struct accounts *t, const void *key, size_t len, int64_t now)
{
    struct accounts_part *p = &t->parts[hash_bytes(key, len) >> 32 & (PARTS - 1)];
    struct account *a;

    pthread_mutex_lock(&p->lock);
    a = find_or_add(p, key, len, now);
    if (a->refs++ == 0 && !list_empty(&a->idle)) {
        list_del(&a->idle);
        p->idle_count--;
    }
    pthread_mutex_unlock(&p->lock);
    return a;
}

void accounts_put(struct account *a, int64_t now)
{
    struct accounts_part *p = a->part;

    pthread_mutex_lock(&p->lock);
    if (--a->refs == 0 && !account_is_crowd(a)) {
        list_add_tail(&p->idle, &a->idle);
        p->idle_count++;
        if (is_like_new(a, now))
            give_up(p, a);
    }
    pthread_mutex_unlock(&p->lock);
}

bool account_connect(struct account *a, uint32_t max)
{
    bool room;

    pthread_mutex_lock(&a->part->lock);
    room = !max || account_is_crowd(a) || a->connections < max;
    a->connections += room;
    pthread_mutex_unlock(&a->part->lock);
    return room;
}

void account_disconnect(struct account *a)
{
    pthread_mutex_lock(&a->part->lock);
    a->connections--;
    pthread_mutex_unlock(&a->part->lock);
}

int64_t account_waits(struct account *a, int kind, int64_t now)
{
    int64_t wait;

    pthread_mutex_lock(&a->part->lock);
    wait = offender_waits(&a->offender, kind, now);
    pthread_mutex_unlock(&a->part->lock);
    return wait;
}

int64_t account_refuse(struct account *a, int kind, int64_t wait, int64_t now)
{
    int64_t delay;

    pthread_mutex_lock(&a->part->lock);
    delay = offender_refuse(&a->offender, kind, wait, now);
    pthread_mutex_unlock(&a->part->lock);
    return delay;
}

void account_bar(struct account *a, int64_t now)
{
    int64_t until;

    pthread_mutex_lock(&a->part->lock);
    until = atomic_load(&a->barred_until_ns);
    if (now >= until + BAR_FORGET)
        a->bars = 0;
    a->bars += a->bars < BAR_LEVELS;
    until = now + (SECOND << (a->bars - 1));
    if (until > atomic_load(&a->barred_until_ns))
        atomic_store(&a->barred_until_ns, until);
    pthread_mutex_unlock(&a->part->lock);
}

void accounts_stats(struct accounts *t, struct accounts_stats *out)
{
    *out = (struct accounts_stats){0};
    for (int i = 0; i < PARTS; i++) {
        struct accounts_part *p = &t->parts[i];

        pthread_mutex_lock(&p->lock);
        out->count += p->map.count;
        out->idle += p->idle_count;
        pthread_mutex_unlock(&p->lock);
    }
}
