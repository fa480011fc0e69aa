#include "access/policies.h"

#include "base/mem.h"
#include <pthread.h>

struct policies {
    pthread_mutex_t lock; /* held to take a reference, no longer */
    struct policy *policy;
};

struct policies *policies_new(struct policy *p)
{
    struct policies *ps = mem_zalloc(sizeof(*ps));

    if (!ps) {
        policy_unref(p);
        return NULL;
    }
    ps->policy = p;
    pthread_mutex_init(&ps->lock, NULL);
    return ps;
}

void policies_free(struct policies *ps)
{
    if (!ps)
        return;
    policy_unref(ps->policy);
    pthread_mutex_destroy(&ps->lock);
    mem_free(ps);
}

struct policy *policies_get(struct policies *ps)
{
    struct policy *p;

    if (!ps)
        return NULL;
    pthread_mutex_lock(&ps->lock);
    p = policy_ref(ps->policy);
    pthread_mutex_unlock(&ps->lock);
    return p;
}

void policies_set(struct policies *ps, struct policy *p)
{
    struct policy *before;

    pthread_mutex_lock(&ps->lock);
    before = ps->policy;
    ps->policy = policy_ref(p);
    pthread_mutex_unlock(&ps->lock);
    policy_unref(before);
}
