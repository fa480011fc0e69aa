#include "hub/view.h"

#include "access/grant.h"
#include "base/mem.h"
#include "base/status.h"
#include "change/change_json.h"
#include "hub/session.h"
#include "hub/topic.h"

#include <stdio.h>
#include <string.h>

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
    bool all = true;
    int status = STATUS_NOMEM;

    if (!bits)
        return STATUS_NOMEM;
    status = subscription_columns(s, table, g, bits, &all, err);
    some = all ? NULL : bits;
    words = all ? 0 : words;
    if (status == 0)
        v->change = project(t, set, s, PROJECTION_AS_IT_IS, some, words);
    if (status == 0 && v->rows) {
        v->came = project(t, set, s, PROJECTION_CAME, some, words);
        v->gone = project_key(t, set, table, s);
    }
    if (status == 0 && (!v->change || (v->rows && (!v->came || !v->gone))))
        status = STATUS_NOMEM;
    mem_free(bits);
    return status;
}

int view_init(struct view *v, struct topics *t, struct map *set, const struct table *table,
    const struct subscription *s, struct error_text *err)
{
    const struct session *session = s->session;
    struct grant g;
    int status = grant_init(&g, session->policy, session->who, table);

    *v = (struct view){0};
    if (status < 0) {
        err->code = ERROR_NOT_FOUND;
        snprintf(err->message, sizeof(err->message), "no such table: %.128s", table->name);
        return status;
    }
    v->filter = subscription_filter(s, table, &g, err, &status);
    v->some = g.columns;
    v->rows = g.rows;
    g.rows = NULL;
    if (v->filter)
        status = take_projections(v, t, set, table, s, &g, err);
    grant_fini(&g);
    if (status < 0)
        view_fini(v);
    return status;
}

void view_fini(struct view *v)
{
    filter_free(v->filter);
    filter_free(v->rows);
    projection_put(v->change);
    projection_put(v->gone);
    projection_put(v->came);
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

struct projection *view_of(const struct view *v, const struct change *c, uint8_t *kind)
{
    bool now, before;

    if (c->kind != CHANGE_UPDATE)
        return v->change;
    now = !v->rows || filter_match(v->rows, c->row, c->rowid);
    before = !v->rows || filter_match(v->rows, c->old, c->old_rowid);
    if (now == before)
        return v->some && looks_same(v->change, c) ? NULL : v->change;
    *kind = now ? CHANGE_INSERT : CHANGE_DELETE;
    return now ? v->came : v->gone;
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
