#include "access/identity.h"

#include "base/mem.h"
#include <string.h>

static atomic_uint_fast64_t numbers;

/* Whether a wanted copy was made; a claim that is no text is not wanted. */
static bool copy_text(const json_t *claims, const char *name, char **out)
{
    const json_t *value = json_object_get(claims, name);
    *out = NULL;
    if (!json_is_string(value))
        return true;
    *out = mem_strdup(json_string_value(value));
    return *out != NULL;
}

struct identity *identity_new(json_t *claims, int64_t expires_ms)
{
    struct identity *who = json_is_object(claims) ? mem_zalloc(sizeof(*who)) : NULL;
    if (!who) {
        json_decref(claims);
        return NULL;
    }
    atomic_init(&who->refs, 1);
    who->claims = claims;
    who->expires_ms = expires_ms;
    who->number = atomic_fetch_add_explicit(&numbers, 1, memory_order_relaxed) + 1;
    if (!copy_text(claims, "sub", &who->user_id) || !copy_text(claims, "role", &who->role)) {
        identity_unref(who);
        return NULL;
    }
    return who;
}

struct identity *identity_ref(struct identity *who)
{
    if (who)
        atomic_fetch_add_explicit(&who->refs, 1, memory_order_relaxed);
    return who;
}

void identity_unref(struct identity *who)
{
    if (!who || atomic_fetch_sub_explicit(&who->refs, 1, memory_order_acq_rel) != 1)
        return;
    mem_free(who->user_id);
    mem_free(who->role);
    json_decref(who->claims);
    mem_free(who);
}

const char *identity_user(const struct identity *who)
{
    return who ? who->user_id : NULL;
}

/* What says something of the token, not of its bearer (RFC 7519, OpenID Connect Core, RFC 9068). */
static bool is_of_token(const char *claim)
{
    static const char *const names[] = {
        "exp", "nbf", "iat", "jti", "auth_time", "nonce", "at_hash", "c_hash", "sid"};

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (strcmp(names[i], claim) == 0)
            return true;
    return false;
}

/* Each claim of the one is that of the other; *count says how many there are. */
static bool has_claims_of(const struct identity *a, const struct identity *b, size_t *count)
{
    const char *name;
    json_t *value;

    *count = 0;
    json_object_foreach(a->claims, name, value)
    {
        if (is_of_token(name))
            continue;
        ++*count;
        if (!json_equal(value, json_object_get(b->claims, name)))
            return false;
    }
    return true;
}

bool identity_same_rights(const struct identity *a, const struct identity *b)
{
    size_t mine, theirs;

    if (!a || !b)
        return a == b;
    return has_claims_of(a, b, &mine) && has_claims_of(b, a, &theirs) && mine == theirs;
}
