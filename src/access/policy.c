#include "access/policy.h"

#include "base/mem.h"
#include "base/text.h"
#include <string.h>

static void strings_free(char **items, int count)
{
    for (int i = 0; i < count; i++)
        mem_free(items[i]);
    mem_free(items);
}

static void table_free(struct policy_table *t)
{
    if (!t)
        return;
    for (int i = 0; i < t->rule_count; i++)
        rule_free(t->rules[i]);
    mem_free(t->rules);
    strings_free(t->read.names, t->read.count);
    strings_free(t->write.names, t->write.count);
    mem_free(t->name);
    mem_free(t);
}

static void role_free(struct policy_role *r)
{
    if (!r)
        return;
    for (int i = 0; i < r->table_count; i++)
        table_free(r->tables[i]);
    mem_free(r->tables);
    map_fini(&r->by_name);
    strings_free(r->join.items, r->join.count);
    strings_free(r->broadcast.items, r->broadcast.count);
    json_decref(r->source);
    mem_free(r->name);
    mem_free(r);
}

struct policy *policy_ref(struct policy *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void policy_unref(struct policy *p)
{
    if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (int i = 0; i < p->role_count; i++)
        role_free(p->roles[i]);
    mem_free(p->roles);
    mem_free(p->text);
    mem_free(p);
}

const struct policy_role *policy_role(const struct policy *p, const char *role)
{
    for (int i = 0; role && i < p->role_count; i++)
        if (strcmp(p->roles[i]->name, role) == 0)
            return p->roles[i];
    return NULL;
}

const struct policy_table *policy_table(const struct policy_role *r, const char *name)
{
    const struct policy_table *t = r ? map_get(&r->by_name, name, strlen(name)) : NULL;

    return t || !r ? t : map_get(&r->by_name, "*", 1);
}

bool policy_reads_all(const struct policy *p, const char *role)
{
    const struct policy_role *r = policy_role(p, role);
    const struct policy_table *every = policy_table(r, "*");
    bool all = every;

    for (int i = 0; r && i < r->table_count; i++)
        all = all && r->tables[i]->read.all && r->tables[i]->rule_count == 0;
    return all;
}

bool policy_unlimited(const struct policy *p, const char *role)
{
    const struct policy_role *r = policy_role(p, role);
    bool all = r && r->sql && policy_reads_all(p, role);

    for (int i = 0; all && i < r->table_count; i++)
        all = r->tables[i]->write.all;
    return all;
}

bool policy_has_column(const struct policy_columns *c, const char *name)
{
    for (int i = 0; i < c->count; i++)
        if (text_casecmp(c->names[i], name) == 0)
            return true;
    return c->all;
}

bool policy_channel(const struct policy_patterns *p, const char *name, size_t len)
{
    for (int i = 0; i < p->count; i++) {
        size_t n = strlen(p->items[i]);

        if (p->items[i][n - 1] == '*' ? len >= n - 1 && memcmp(p->items[i], name, n - 1) == 0
                                      : len == n && memcmp(p->items[i], name, n) == 0)
            return true;
    }
    return false;
}

bool policy_same_role(const struct policy *a, const struct policy *b, const char *role)
{
    const struct policy_role *x = policy_role(a, role), *y = policy_role(b, role);

    return x && y ? json_equal(x->source, y->source) : x == y;
}
