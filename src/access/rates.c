#include "access/rates.h"

#include "base/mem.h"
#include "base/status.h"
#include "base/text.h"

#include <string.h>

static const char *const kinds[RATE_KINDS] = {
    "commands", "queries", "broadcasts", "cursors", "http", "handshakes"};
static const char *const scopes[RATE_SCOPES] = {"connection", "user", "address"};

/* Per second and of a burst, for a connection, a user and an address. */
static const struct {
    int32_t rate, burst;
} defaults[RATE_SCOPES][RATE_KINDS] = {
    [RATE_CONNECTION] = {[RATE_COMMANDS] = {500, 2000},
        [RATE_QUERIES] = {100, 500},
        [RATE_BROADCASTS] = {100, 500},
        [RATE_CURSORS] = {100, 200}},
    [RATE_USER] = {{1000, 4000}, {200, 1000}, {200, 1000}, {200, 400}, {500, 2000}, {20, 200}},
    [RATE_ADDRESS] = {{5000, 20000}, {1000, 5000}, {1000, 5000}, {5000, 10000}, {2000, 10000},
        {200, 2000}},
};

const char *rate_kind_name(enum rate_kind kind)
{
    return kinds[kind];
}

void rates_init(struct rates *r)
{
    *r = (struct rates){.count = 1};
    for (int s = 0; s < RATE_SCOPES; s++)
        for (int k = 0; k < RATE_KINDS; k++)
            r->tiers[0].rates[s][k] = rate_of(defaults[s][k].rate, defaults[s][k].burst);
}

void rates_fini(struct rates *r)
{
    for (int i = 0; i < r->count; i++)
        mem_free(r->tiers[i].role);
    r->count = 0;
}

/* One option, taken apart. */
struct setting {
    const char *role; /* NULL: everybody */
    size_t role_len;
    int kind, scope; /* scope -1: none was given */
    struct rate rate;
};

static int find(const char *const *names, int count, const char *s, size_t len)
{
    int i = 0;

    while (i < count && !text_same_nocase(names[i], strlen(names[i]), s, len))
        i++;
    return i < count ? i : -1;
}

static bool has_connection(int kind)
{
    return kind < RATE_OF_CONNECTIONS;
}

static bool fits(const struct setting *s)
{
    return s->kind >= 0 && !(s->scope == RATE_CONNECTION && !has_connection(s->kind)) &&
           !(s->scope == RATE_ADDRESS && s->role);
}

static int take_apart(struct setting *s, const char *text)
{
    const char *equals = strchr(text, '='), *name = text, *colon = NULL, *at;
    size_t len;

    if (!equals)
        return STATUS_INVALID;
    /* A role may have a colon in it, a kind has none. */
    for (const char *p = text; p < equals; p++)
        colon = *p == ':' ? p : colon;
    *s = (struct setting){.scope = -1};
    if (colon) {
        s->role = text;
        s->role_len = (size_t)(colon - text);
        name = colon + 1;
    }
    at = memchr(name, '@', (size_t)(equals - name));
    len = (size_t)((at ? at : equals) - name);
    s->kind = find(kinds, RATE_KINDS, name, len);
    if (at) {
        s->scope = find(scopes, RATE_SCOPES, at + 1, (size_t)(equals - at - 1));
        if (s->scope < 0)
            return STATUS_INVALID;
    }
    if (!fits(s) || (s->role && s->role_len == 0))
        return STATUS_INVALID;
    return rate_parse(&s->rate, equals + 1, strlen(equals + 1));
}

static struct tier *find_role(struct rates *r, const char *role, size_t len)
{
    for (int i = 1; i < r->count; i++)
        if (strlen(r->tiers[i].role) == len && memcmp(r->tiers[i].role, role, len) == 0)
            return &r->tiers[i];
    return NULL;
}

static struct tier *add_role(struct rates *r, const char *role, size_t len)
{
    struct tier *t = &r->tiers[r->count];

    *t = r->tiers[0];
    t->role = mem_strndup(role, len);
    r->count += t->role != NULL;
    return t->role ? t : NULL;
}

static void apply(struct tier *t, const struct setting *s)
{
    if (s->scope >= 0) {
        t->rates[s->scope][s->kind] = s->rate;
        return;
    }
    t->rates[RATE_USER][s->kind] = s->rate;
    if (has_connection(s->kind))
        t->rates[RATE_CONNECTION][s->kind] = s->rate;
    else if (!s->role)
        t->rates[RATE_ADDRESS][s->kind] = s->rate;
}

static int set(struct rates *r, const struct setting *s, struct buf *err)
{
    struct tier *t = s->role ? find_role(r, s->role, s->role_len) : &r->tiers[0];

    if (!t && r->count == 1 + RATES_ROLES) {
        buf_printf(err, "--rate names more than %d roles", RATES_ROLES);
        return STATUS_INVALID;
    }
    if (!t)
        t = add_role(r, s->role, s->role_len);
    if (!t)
        return STATUS_NOMEM;
    apply(t, s);
    return 0;
}

/* What everybody has comes first, since roles begin with it. */
int rates_read(struct rates *r, const char *const *options, int count, struct buf *err)
{
    struct setting s;
    int rc = 0;

    for (int roles = 0; roles < 2; roles++) {
        for (int i = 0; i < count && rc == 0; i++) {
            if (take_apart(&s, options[i]) < 0) {
                buf_printf(err,
                    "--rate is \"%.100s\" but must be [ROLE:]KIND[@SCOPE]=RATE[/BURST], such as "
                    "queries=50/100, admin:queries=off or http@address=200; KIND is commands, "
                    "queries, broadcasts, cursors, http or handshakes; SCOPE is connection (not of "
                    "the last two), user or address (not of a role); RATE is per second",
                    options[i]);
                return STATUS_INVALID;
            }
            if (roles == (s.role != NULL))
                rc = set(r, &s, err);
        }
    }
    return rc;
}

const struct tier *rates_of(const struct rates *r, const char *role)
{
    for (int i = 1; role && i < r->count; i++)
        if (strcmp(r->tiers[i].role, role) == 0)
            return &r->tiers[i];
    return &r->tiers[0];
}
