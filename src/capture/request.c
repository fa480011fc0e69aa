#include "access/grant.h"
#include "base/mem.h"
#include "base/status.h"
#include "capture/database.h"

/* The size of the next array when `count` elements fill it: powers of two from 1. */
static bool is_full(int count)
{
    return (count & (count - 1)) == 0;
}

static int reserve_statement(struct sql_request *r)
{
    int count = r->statement_count;
    if (is_full(count)) {
        size_t cap = count ? (size_t)count * 2 : 1;
        struct sql_statement *grown = mem_realloc(r->statements, cap * sizeof(*grown));
        if (!grown)
            return STATUS_NOMEM;
        r->statements = grown;
    }
    return STATUS_OK;
}

struct sql_statement *sql_request_add(struct sql_request *r, const char *sql, size_t len)
{
    char *copy = reserve_statement(r) == STATUS_OK ? mem_strndup(sql, len) : NULL;
    if (!copy)
        return NULL;
    struct sql_statement *s = &r->statements[r->statement_count++];
    *s = (struct sql_statement){.sql = copy, .len = len};
    return s;
}

struct sql_statement *sql_request_add_lent(struct sql_request *r)
{
    if (reserve_statement(r) < 0)
        return NULL;
    struct sql_statement *s = &r->statements[r->statement_count++];
    *s = (struct sql_statement){.lent = true};
    return s;
}

static int copy_value(struct value *to, const struct value *from)
{
    *to = *from;
    if (from->type != VALUE_TEXT && from->type != VALUE_BLOB)
        return STATUS_OK;
    to->p = from->len ? mem_dup(from->p, from->len) : mem_strdup("");
    return to->p ? STATUS_OK : STATUS_NOMEM;
}

static int reserve_param(struct sql_statement *s)
{
    int count = s->param_count;
    if (is_full(count)) {
        size_t cap = count ? (size_t)count * 2 : 1;
        struct sql_param *grown = mem_realloc(s->params, cap * sizeof(*grown));
        if (!grown)
            return STATUS_NOMEM;
        s->params = grown;
    }
    return STATUS_OK;
}

int sql_statement_bind_lent(struct sql_statement *s, const struct value *value)
{
    if (reserve_param(s) < 0)
        return STATUS_NOMEM;
    s->params[s->param_count++] = (struct sql_param){.value = *value};
    return STATUS_OK;
}

int sql_statement_bind(struct sql_statement *s, const char *name, const struct value *value)
{
    if (reserve_param(s) < 0)
        return STATUS_NOMEM;
    struct sql_param p = {0};
    if (name) {
        if (*name == ':' || *name == '@' || *name == '$')
            name++;
        p.name = mem_strdup(name);
        if (!p.name)
            return STATUS_NOMEM;
        s->named = true;
    }
    if (copy_value(&p.value, value) < 0) {
        mem_free(p.name);
        return STATUS_NOMEM;
    }
    s->params[s->param_count++] = p;
    return STATUS_OK;
}

static void param_fini(struct sql_param *p)
{
    mem_free(p->name);
    if (p->value.type == VALUE_TEXT || p->value.type == VALUE_BLOB)
        mem_free((void *)(uintptr_t)p->value.p);
}

void sql_request_restrict(struct sql_request *r, struct policy *policy, struct identity *who)
{
    policy_unref(r->policy);
    identity_unref(r->who);
    r->policy = policy && !grant_unlimited(policy, who) ? policy_ref(policy) : NULL;
    r->who = r->policy ? identity_ref(who) : NULL;
}

void sql_request_fini(struct sql_request *r)
{
    for (int i = 0; i < r->statement_count; i++) {
        struct sql_statement *s = &r->statements[i];
        for (int k = 0; k < s->param_count && !s->lent; k++)
            param_fini(&s->params[k]);
        mem_free(s->params);
        if (!s->lent)
            mem_free(s->sql);
    }
    sql_request_restrict(r, NULL, NULL);
    mem_free(r->statements);
    r->statements = NULL;
    r->statement_count = 0;
    buf_fini(&r->strings);
    buf_fini(&r->json);
}
