#include "hub/topic.h"

#include "base/mem.h"
#include "base/status.h"
#include "hub/crowd.h"
#include "hub/session.h"

#include <assert.h>
#include <string.h>

void topics_init(struct topics *t, const struct schema *schema)
{
    *t = (struct topics){.schema = schema_ref(schema), .by_name = {.nocase = true}};
    list_init(&t->every);
    list_init(&t->leaving);
}

void topics_fini(struct topics *t)
{
    assert(t->by_name.count == 0 && list_empty(&t->every));
    schema_unref(t->schema);
    map_fini(&t->by_name);
    map_fini(&t->by_id);
    map_fini(&t->whole);
}

/* Bindings. */

static struct binding *binding_new(struct topics *t, struct topic *topic, const struct table *table)
{
    struct binding *b = mem_zalloc(sizeof(*b));

    if (!b)
        return NULL;
    b->index = filter_index_new();
    if (!b->index || map_set(&t->by_id, &table->id, sizeof(table->id), b) < 0) {
        if (b->index)
            filter_index_free(b->index);
        mem_free(b);
        return NULL;
    }
    b->topic = topic;
    b->table = table_ref(table);
    return b;
}

/* All that was bound to it is gone already. */
static void binding_free(struct topics *t, struct binding *b)
{
    uint64_t id = b->table->id;

    if (map_get(&t->by_id, &id, sizeof(id)) == b)
        map_del(&t->by_id, &id, sizeof(id));
    filter_index_free(b->index);
    assert(b->projections.count == 0 && !b->crowds);
    map_fini(&b->projections);
    table_unref(b->table);
    mem_free(b);
}

/* Ready for the index, with a copy of the filter. */
static struct bound *bound_with(
    struct subscription *s, const struct view *view, const struct filter *filter)
{
    struct bound *bound = mem_alloc(offsetof(struct bound, entry.filter) + filter->size);

    if (!bound)
        return NULL;
    bound->sub = s;
    bound->view = *view;
    filter_copy(&bound->entry.filter, filter);
    return bound;
}

static struct bound *bound_new(struct topics *t, struct binding *b, struct subscription *s,
    struct error_text *err, int *status)
{
    struct bound *bound;
    struct filter *f;
    struct view view;

    *status = view_init(&view, &f, t, &b->projections, b->table, s, err);
    if (*status < 0)
        return NULL;
    bound = bound_with(s, &view, f);
    filter_free(f);
    if (bound && (crowd_join(b, bound) || filter_index_add(b->index, &bound->entry) == 0))
        return bound;
    *status = STATUS_NOMEM;
    view_fini(&view);
    mem_free(bound);
    return NULL;
}

static void bound_free(struct binding *b, struct bound **slot)
{
    struct bound *bound = *slot;

    if (!bound)
        return;
    if (crowd_has(bound))
        crowd_leave(b, bound);
    else
        filter_index_remove(b->index, &bound->entry);
    view_fini(&bound->view);
    mem_free(bound);
    *slot = NULL;
}

/* Topics. */

static struct topic *topic_new(struct topics *t, const char *name)
{
    size_t len = strlen(name);
    struct topic *topic = mem_zalloc(sizeof(*topic) + len + 1);

    if (!topic)
        return NULL;
    list_init(&topic->subscriptions);
    list_init(&topic->leaving_node);
    topic->len = len;
    memcpy(topic->name, name, len);
    if (map_set(&t->by_name, name, len, topic) < 0) {
        mem_free(topic);
        return NULL;
    }
    return topic;
}

/* Frees one that nobody subscribes to. */
static void topic_release(struct topics *t, struct topic *topic)
{
    if (topic->busy || !list_empty(&topic->subscriptions))
        return;
    list_del(&topic->leaving_node);
    if (topic->binding)
        binding_free(t, topic->binding);
    if (topic->leaving)
        binding_free(t, topic->leaving);
    map_del(&t->by_name, topic->name, topic->len);
    mem_free(topic);
}

/* Ends the topic's being bound to *which; its subscriptions stay. */
static void topic_unbind(struct topics *t, struct topic *topic, bool leaving)
{
    struct binding **which = leaving ? &topic->leaving : &topic->binding;
    struct binding *b = *which;

    if (!b)
        return;
    for (struct list *n = topic->subscriptions.next; n != &topic->subscriptions; n = n->next) {
        struct subscription *s = list_entry(n, struct subscription, node);

        bound_free(b, leaving ? &s->leaving : &s->bound);
    }
    *which = NULL;
    binding_free(t, b);
}

/*
 * Binds all of a topic's subscriptions to a definition of its table. Those that no longer fit end;
 * where memory runs out, the connection does, and never goes on without its changes.
 */
static void topic_bind(
    struct topics *t, struct topic *topic, bool leaving, const struct table *table)
{
    struct binding *b;
    struct list *n, *next;

    topic_unbind(t, topic, leaving);
    b = binding_new(t, topic, table);
    *(leaving ? &topic->leaving : &topic->binding) = b;
    topic->busy = true;
    for (n = topic->subscriptions.next; n != &topic->subscriptions; n = next) {
        struct subscription *s = list_entry(n, struct subscription, node);
        struct error_text err = {0};
        int status = STATUS_NOMEM;
        struct bound *bound = b ? bound_new(t, b, s, &err, &status) : NULL;

        next = n->next;
        if (bound)
            *(leaving ? &s->leaving : &s->bound) = bound;
        else if (status == STATUS_NOMEM)
            session_fail(s->session);
        else
            session_end_subscription(s, topic->name, &err);
    }
    topic->busy = false;
    topic_release(t, topic);
}

int topics_add(
    struct topics *t, struct subscription *s, const struct table *table, struct error_text *err)
{
    struct topic *topic;
    int status = STATUS_NOMEM;

    if (!table) {
        s->whole = projection_get(
            &t->whole, &t->projections, session_dialect(s->session), PROJECTION_AS_IT_IS, NULL, 0);
        if (s->whole)
            list_add_tail(&t->every, &s->node);
        return s->whole ? 0 : STATUS_NOMEM;
    }
    topic = map_get(&t->by_name, table->name, strlen(table->name));
    if (!topic)
        topic = topic_new(t, table->name);
    if (!topic)
        return STATUS_NOMEM;
    if (!topic->binding)
        topic->binding = binding_new(t, topic, table);
    if (topic->binding)
        s->bound = bound_new(t, topic->binding, s, err, &status);
    if (!s->bound) {
        topic_release(t, topic);
        return status;
    }
    s->topic = topic;
    list_add_tail(&topic->subscriptions, &s->node);
    return 0;
}

void topics_remove(struct topics *t, struct subscription *s)
{
    struct topic *topic = s->topic;

    list_del(&s->node);
    if (!topic) {
        projection_put(s->whole);
        s->whole = NULL;
        return;
    }
    bound_free(topic->binding, &s->bound);
    bound_free(topic->leaving, &s->leaving);
    s->topic = NULL;
    topic_release(t, topic);
}

static int part(struct binding *b, struct bound *bound)
{
    if (!bound || !crowd_has(bound))
        return 0;
    crowd_leave(b, bound);
    if (filter_index_add(b->index, &bound->entry) == 0)
        return 0;
    crowd_join(b, bound); /* in the place that it has just left */
    return STATUS_NOMEM;
}

int topics_part(struct subscription *s)
{
    int status = s->topic ? part(s->topic->binding, s->bound) : 0;

    return status < 0 || !s->topic ? status : part(s->topic->leaving, s->leaving);
}

struct topic *topics_find(const struct topics *t, const struct table *table)
{
    return map_get(&t->by_name, table->name, strlen(table->name));
}

struct binding *topics_binding(struct topics *t, const struct table *table)
{
    struct binding *b = map_get(&t->by_id, &table->id, sizeof(table->id));

    /* A table altered and dropped by one transaction was never in a schema as its rows have it. */
    if (b && b->table != table) {
        topic_bind(t, b->topic, b == b->topic->leaving, table);
        b = map_get(&t->by_id, &table->id, sizeof(table->id));
    }
    return b;
}

/* Following the schema. */

static const struct table *table_for(const struct schema *schema, const struct topic *topic)
{
    const struct table *table = schema_find(schema, topic->name, topic->len);

    return table && table_has_events(table) ? table : NULL;
}

static void keep_leaving(struct topics *t, struct topic *topic)
{
    for (struct list *n = topic->subscriptions.next; n != &topic->subscriptions; n = n->next) {
        struct subscription *s = list_entry(n, struct subscription, node);

        s->leaving = s->bound;
        s->bound = NULL;
    }
    topic->leaving = topic->binding;
    topic->binding = NULL;
    list_add_tail(&t->leaving, &topic->leaving_node);
}

void topics_follow(struct topics *t, const struct schema *schema)
{
    const struct schema *before = t->schema;
    void *value;

    /* First let go of everything, so that two tables may exchange their names. */
    for (size_t pos = 0; map_next(&t->by_name, &pos, NULL, NULL, &value);) {
        struct topic *topic = value;
        const struct table *now = table_for(schema, topic);
        const struct table *old = topic->binding ? topic->binding->table : NULL;

        if (!old || (now && now->id == old->id))
            continue;
        if (schema_find_id(schema, old->id))
            topic_unbind(t, topic, false);
        else
            keep_leaving(t, topic);
    }
    t->schema = schema_ref(schema);
    for (size_t pos = 0; map_next(&t->by_name, &pos, NULL, NULL, &value);) {
        struct topic *topic = value;
        const struct table *now = table_for(schema, topic);

        if (now && (!topic->binding || topic->binding->table != now))
            topic_bind(t, topic, false, now);
    }
    schema_unref(before);
}

void topics_settle(struct topics *t)
{
    while (!list_empty(&t->leaving)) {
        struct topic *topic = list_entry(t->leaving.next, struct topic, leaving_node);

        list_del(&topic->leaving_node);
        topic_unbind(t, topic, true);
    }
}
