#include "hub/view.h"

#include "access/grant.h"
#include "base/mem.h"
#include "base/status.h"
#include "change/change_json.h"
#include "hub/session.h"
#include "hub/topic.h"

#include <stdio.h>
#include <string.h>

/* What the policy hides. */
struct view_limits {
    struct filter *rows; /* those it permits; NULL: every row */
    /* With `rows`, of an UPDATE: the row is no longer permitted, or it is from now on. */
    struct projection *gone, *came;
    bool some; /* it hides columns */
};

static struct projection *project(struct topics *t, struct map *set, const struct subscription *s,
    enum projection_shape shape, const uint64_t *bits, size_t words)
{
    return projection_get(
        bits ? set : &t->whole, &t->projections, session_dialect(s->session), shape, bits, words);
}

/* Nothing of the row but its key, which is what tells it from others. */
static struct projection *project_key(
    struct topics *t, struct map *set, const struct table *table, const struct subscription *s)
{
    size_t words = ((size_t)table->column_count + 63) / 64;
    uint64_t *bits = mem_array(words, sizeof(*bits));
    struct projection *p;

    if (!bits)
        return NULL;
    for (int i = 0; i < table->key_count; i++)
        bits[table->key_columns[i] / 64] |= UINT64_C(1) << (table->key_columns[i] % 64);
    p = project(t, set, s, PROJECTION_GONE, bits, words);
    mem_free(bits);
    return p;
}

static int take_projections(struct view *v, struct topics *t, struct map *set,
    const struct table *table, const struct subscription *s, const struct grant *g,
    struct error_text *err)
{
    size_t words = ((size_t)table->column_count + 63) / 64;
    uint64_t *bits = mem_array(words, sizeof(*bits)), *some;
    struct view_limits *l = v->limits;
    bool all = true;
    int status = STATUS_NOMEM;

    if (!bits)
        return STATUS_NOMEM;
    status = subscription_columns(s, table, g, bits, &all, err);
    some = all ? NULL : bits;
    words = all ? 0 : words;
    if (status == 0)
        v->change = project(t, set, s, PROJECTION_AS_IT_IS, some, words);
    if (status == 0 && l && l->rows) {
        l->came = project(t, set, s, PROJECTION_CAME, some, words);
        l->gone = project_key(t, set, table, s);
    }
    if (status == 0 && (!v->change || (l && l->rows && (!l->came || !l->gone))))
        status = STATUS_NOMEM;
    mem_free(bits);
    return status;
}

/* Takes the permitted rows out of the grant. STATUS_NOMEM. */
static int take_limits(struct view *v, struct grant *g)
{
    if (!g->rows && !g->columns)
        return 0;
    v->limits = mem_zalloc(sizeof(*v->limits));
    if (!v->limits)
        return STATUS_NOMEM;
    v->limits->some = g->columns;
    v->limits->rows = g->rows;
    g->rows = NULL;
    return 0;
}

int view_init(struct view *v, struct filter **filter, struct topics *t, struct map *set,
    const struct table *table, const struct subscription *s, struct error_text *err)
{
    const struct session *session = s->session;
    struct grant g;
    int status = grant_init(&g, session->policy, session->who, table);

    *v = (struct view){0};
    *filter = NULL;
    if (status < 0) {
        err->code = ERROR_NOT_FOUND;
        snprintf(err->message, sizeof(err->message), "no such table: %.128s", table->name);
        return status;
    }
    *filter = subscription_filter(s, table, &g, err, &status);
    if (*filter)
        status = take_limits(v, &g);
    if (status == 0)
        status = take_projections(v, t, set, table, s, &g, err);
    grant_fini(&g);
    if (status == 0)
        return 0;
    view_fini(v);
    filter_free(*filter);
    *filter = NULL;
    return status;
}

void view_fini(struct view *v)
{
    projection_put(v->change);
    if (v->limits) {
        filter_free(v->limits->rows);
        projection_put(v->limits->gone);
        projection_put(v->limits->came);
        mem_free(v->limits);
    }
    *v = (struct view){0};
}

/* No column that may be seen is another one. */
static bool looks_same(const struct projection *p, const struct change *c)
{
    const uint64_t *columns = projection_columns(p);

    for (int i = 0; i < c->table->column_count; i++)
        if ((!columns || (columns[i / 64] >> (i % 64) & 1)) && !value_same(&c->row[i], &c->old[i]))
            return false;
    return !change_moved_key(c);
}

struct projection *view_limited(const struct view *v, const struct change *c, uint8_t *kind)
{
    const struct view_limits *l = v->limits;
    bool now, before;

    if (c->kind != CHANGE_UPDATE)
        return v->change;
    now = !l->rows || filter_match(l->rows, c->row, c->rowid);
    before = !l->rows || filter_match(l->rows, c->old, c->old_rowid);
    if (now == before)
        return l->some && looks_same(v->change, c) ? NULL : v->change;
    *kind = now ? CHANGE_INSERT : CHANGE_DELETE;
    return now ? l->came : l->gone;
}

int view_allows(const struct session *s, const struct table *table)
{
    struct grant g;
    int status = grant_init(&g, s->policy, s->who, table);

    if (status == 0)
        grant_fini(&g);
    return status;
}

bool view_allows_all(const struct session *s, const struct table *table)
{
    struct grant g;
    bool all;

    if (!s->policy)
        return true;
    if (grant_init(&g, s->policy, s->who, table) < 0)
        return false;
    all = !g.columns;
    grant_fini(&g);
    return all;
}
