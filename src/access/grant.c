#include "access/grant.h"

#include "base/mem.h"
#include "base/status.h"
#include <string.h>

static const struct policy_table *find(
    const struct policy *p, const struct identity *who, const char *table)
{
    return policy_table(policy_role(p, who ? who->role : NULL), table);
}

static const char *role_of(const struct identity *who)
{
    return who ? who->role : NULL;
}

bool grant_known(const struct policy *p, const struct identity *who)
{
    return !p || policy_role(p, role_of(who));
}

bool grant_sql(const struct policy *p, const struct identity *who)
{
    const struct policy_role *role = p ? policy_role(p, role_of(who)) : NULL;

    return !p || (role && role->sql);
}

bool grant_reads_all(const struct policy *p, const struct identity *who)
{
    return !p || policy_reads_all(p, role_of(who));
}

bool grant_unlimited(const struct policy *p, const struct identity *who)
{
    return !p || policy_unlimited(p, role_of(who));
}

bool grant_join(const struct policy *p, const struct identity *who, const char *channel, size_t len)
{
    const struct policy_role *role = p ? policy_role(p, role_of(who)) : NULL;

    return !p || (role && policy_channel(&role->join, channel, len));
}

bool grant_broadcast(
    const struct policy *p, const struct identity *who, const char *channel, size_t len)
{
    const struct policy_role *role = p ? policy_role(p, role_of(who)) : NULL;

    return !p || (role && policy_channel(&role->broadcast, channel, len));
}

static bool key_readable(const struct policy_columns *read, const struct table *t)
{
    for (int i = 0; i < t->key_count; i++)
        if (!policy_has_column(read, t->columns[t->key_columns[i]].name))
            return false;
    return true;
}

static int take_columns(struct grant *g, const struct policy_columns *some, const struct table *t)
{
    if (some->all)
        return 0;
    g->columns = mem_array(((size_t)t->column_count + 63) / 64 + 1, sizeof(*g->columns));
    if (!g->columns)
        return STATUS_NOMEM;
    for (int i = 0; i < t->column_count; i++)
        if (policy_has_column(some, t->columns[i].name))
            g->columns[i / 64] |= UINT64_C(1) << (i % 64);
    return 0;
}

/* One of two conditions that no row meets both of. */
static void put_nothing(struct buf *text, const struct column *c, bool is_null)
{
    buf_reset(text);
    buf_putc(text, '"');
    for (const char *p = c->name; *p; p++) {
        if (*p == '"')
            buf_putc(text, '"');
        buf_putc(text, *p);
    }
    buf_puts(text, is_null ? "\" is null" : "\" is not null");
}

/* Which column they are about does not matter, but it has to be a stored one. */
static int deny_rows(struct grant *g, const struct table *t, struct buf *texts)
{
    const char *list[2];
    size_t lens[2];
    char err[256];
    int status, column = 0;

    if (t->column_count == 0)
        return STATUS_NOT_FOUND;
    while (column + 1 < t->column_count && t->columns[column].kind != COLUMN_PLAIN)
        column++;
    for (int i = 0; i < 2; i++) {
        put_nothing(&texts[i], &t->columns[column], i == 0);
        list[i] = buf_text(&texts[i]);
        lens[i] = texts[i].len;
        if (!list[i])
            return STATUS_NOMEM;
    }
    g->rows = filter_new(t, list, lens, 2, err, sizeof(err), &status);
    return status == STATUS_INVALID ? STATUS_NOT_FOUND : status;
}

static int take_rows(struct grant *g, const struct policy_table *pt, const struct identity *who,
    const struct table *t, struct buf *texts)
{
    const char *list[POLICY_MAX_RULES];
    size_t lens[POLICY_MAX_RULES];
    char err[256];
    int status;

    for (int i = 0; i < pt->rule_count; i++) {
        if (!rule_put(pt->rules[i], who->claims, &texts[i]))
            return deny_rows(g, t, texts);
        list[i] = buf_text(&texts[i]);
        lens[i] = texts[i].len;
        if (!list[i])
            return STATUS_NOMEM;
    }
    g->rows = filter_new(t, list, lens, pt->rule_count, err, sizeof(err), &status);
    for (int i = 0; g->rows && i < g->rows->term_count; i++)
        if (g->rows->terms[i].column == FILTER_ROWID && !table_rowid_name(t))
            return STATUS_NOT_FOUND;
    return status == STATUS_NOMEM || status == 0 ? status : STATUS_NOT_FOUND;
}

static int take(struct grant *g, const struct policy_table *pt, const struct policy_columns *some,
    const struct identity *who, const struct table *t)
{
    struct buf texts[POLICY_MAX_RULES] = {{0}};
    int status = take_columns(g, some, t);

    if (status == 0 && pt->rule_count)
        status = take_rows(g, pt, who, t, texts);
    for (int i = 0; i < POLICY_MAX_RULES; i++)
        buf_fini(&texts[i]);
    if (status < 0)
        grant_fini(g);
    return status;
}

int grant_init(
    struct grant *g, const struct policy *p, const struct identity *who, const struct table *t)
{
    const struct policy_table *pt = p ? find(p, who, t->name) : NULL;

    *g = (struct grant){0};
    if (!p)
        return 0;
    if (!pt || !policy_any_column(&pt->read) || !key_readable(&pt->read, t))
        return STATUS_NOT_FOUND;
    return take(g, pt, &pt->read, who, t);
}

int grant_init_write(
    struct grant *g, const struct policy *p, const struct identity *who, const struct table *t)
{
    const struct policy_table *pt = p ? find(p, who, t->name) : NULL;

    *g = (struct grant){0};
    if (!p)
        return 0;
    return pt && policy_any_column(&pt->write) ? take(g, pt, &pt->write, who, t) : STATUS_NOT_FOUND;
}

void grant_fini(struct grant *g)
{
    mem_free(g->columns);
    filter_free(g->rows);
    *g = (struct grant){0};
}

struct filter *grant_filter(const struct grant *g, const struct table *t, const char *const *texts,
    const size_t *lens, int count, char *err, size_t errlen, int *status)
{
    struct filter *wanted =
        filter_new_within(t, g->columns, texts, lens, count, err, errlen, status);
    struct filter *both;

    if (!wanted || !g->rows)
        return wanted;
    both = filter_and(wanted, g->rows);
    filter_free(wanted);
    if (!both)
        *status = STATUS_NOMEM;
    return both;
}
