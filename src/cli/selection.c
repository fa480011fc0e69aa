#include "cli/selection.h"
#include "base/status.h"
#include "base/text.h"

#include <string.h>

#define TABLES_LISTED 40

uint32_t selection_events(const char *list, struct buf *err)
{
    static const char *const names[] = {"insert", "update", "delete"};
    uint32_t events = 0;

    while (list && *list) {
        size_t used = strcspn(list, ","), len = used, i;
        const char *word = list;

        for (; len && *word == ' '; word++)
            len--;
        while (len && word[len - 1] == ' ')
            len--;
        for (i = 0; i < 3 && !text_same_nocase(word, len, names[i], strlen(names[i])); i++)
            ;
        if (i == 3) {
            buf_printf(
                err, "--events wants some of insert,update,delete, not \"%.*s\"", (int)len, word);
            return 0;
        }
        events |= 1u << (CHANGE_INSERT + i);
        list += used + (list[used] == ',');
    }
    return events ? events : EVENTS_ALL;
}

static void put_tables(struct buf *out, const struct schema *schema)
{
    int count = 0;

    for (int i = 0; i < schema->table_count; i++) {
        if (!table_has_events(schema->tables[i]))
            continue;
        if (count < TABLES_LISTED)
            buf_printf(out, "%s%s", count ? ", " : "; its tables: ", schema->tables[i]->name);
        count++;
    }
    if (count > TABLES_LISTED)
        buf_printf(out, " and %d more", count - TABLES_LISTED);
    if (count == 0)
        buf_puts(out, "; it has no tables yet");
}

/* What stands under that name, where it is nothing whose rows change. */
static const char *kind_of(const struct table *t)
{
    if (t->kind == TABLE_VIEW)
        return "a view: follow the tables that it reads from";
    if (t->kind == TABLE_VIRTUAL)
        return "a virtual table, whose rows SQLite does not keep as such";
    return "internal, and not followed";
}

static int check_table(
    const struct schema *schema, const char *name, const char *path, struct buf *err)
{
    const struct table *t = schema_find(schema, name, strlen(name));

    if (t && table_has_events(t))
        return 0;
    if (t) {
        buf_printf(err, "%s in %s is %s", t->name, path, kind_of(t));
        return STATUS_INVALID;
    }
    buf_printf(err, "%s has no table \"%s\"", path, name);
    put_tables(err, schema);
    return STATUS_NOT_FOUND;
}

/* Binds the filters to the table's present definition. */
static int bind(struct selection *s, const struct table *t, struct buf *err)
{
    size_t lens[OPTION_LIST_MAX];
    char why[256];
    int status = 0;
    struct filter *filter;

    for (int i = 0; i < s->filters->count; i++)
        lens[i] = strlen(s->filters->items[i]);
    filter = filter_new(t, s->filters->items, lens, s->filters->count, why, sizeof(why), &status);
    if (!filter) {
        buf_printf(err, "the filter cannot be used on %s: %s", t->name,
            status == STATUS_NOMEM ? "out of memory" : why);
        return status;
    }
    selection_fini(s);
    s->filter = filter;
    s->bound = table_ref(t);
    return 0;
}

int selection_check(
    struct selection *s, const struct schema *schema, const char *path, struct buf *err)
{
    int status = 0;

    for (int i = 0; status == 0 && i < s->table_count; i++)
        status = check_table(schema, s->tables[i], path, err);
    if (status == 0 && s->filters->count)
        status = bind(s, schema_find(schema, s->tables[0], strlen(s->tables[0])), err);
    return status;
}

static bool named(const struct selection *s, const struct table *t)
{
    for (int i = 0; t && i < s->table_count; i++)
        if (text_casecmp(s->tables[i], t->name) == 0)
            return true;
    return false;
}

int selection_wants(
    struct selection *s, const struct change *c, enum transition *transition, struct buf *err)
{
    bool matched_new, matched_old;
    int status;

    *transition = TRANSITION_NONE;
    if (!table_has_events(c->table))
        return 0;
    if (s->table_count && !named(s, c->table) && !named(s, c->old_table))
        return 0;
    if (c->kind > CHANGE_DELETE)
        return 1;
    if (!(s->events >> c->kind & 1))
        return 0;
    if (!s->filters->count)
        return 1;
    if (s->bound != c->table && (status = bind(s, c->table, err)) < 0)
        return status;
    matched_new = filter_match(s->filter, c->row, c->rowid);
    matched_old = filter_match(s->filter, c->old, c->old_rowid);
    if (c->kind == CHANGE_UPDATE && matched_new != matched_old)
        *transition = matched_new ? TRANSITION_ENTER : TRANSITION_LEAVE;
    return matched_new || matched_old;
}

void selection_fini(struct selection *s)
{
    filter_free(s->filter);
    table_unref(s->bound);
    s->filter = NULL;
    s->bound = NULL;
}
