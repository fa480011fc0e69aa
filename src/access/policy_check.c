#include "access/policy.h"

#include "access/place.h"
#include "base/mem.h"
#include "base/text.h"
#include "filter/filter.h"
#include <stdio.h>
#include <string.h>

struct check {
    const struct policy *policy;
    const struct schema *schema;
    struct buf *out;
    struct place place; /* of the role's table */
    int problems;
};

/* One line about a member of the table, or an item of its list. */
__attribute__((format(printf, 4, 5))) static void tell(
    struct check *c, const char *member, int item, const char *fmt, ...)
{
    struct place place = c->place;
    va_list ap;

    if (member)
        place.steps[place.depth++] = (struct place_step){.name = member};
    if (item >= 0)
        place.steps[place.depth++] = (struct place_step){.index = (size_t)item};
    buf_printf(c->out, "line %zu: ", place_line(&place, c->policy->text, c->policy->text_len));
    place_put(&place, c->out);
    buf_puts(c->out, ": ");
    va_start(ap, fmt);
    buf_vprintf(c->out, fmt, ap);
    va_end(ap);
    buf_putc(c->out, '\n');
    c->problems++;
}

static void check_columns(struct check *c, const struct policy_columns *columns,
    const struct table *t, const char *member)
{
    for (int i = 0; i < columns->count; i++)
        if (table_column(t, columns->names[i], strlen(columns->names[i])) < 0)
            tell(c, member, i, "the table %s has no column \"%.128s\"", t->name, columns->names[i]);
}

static void check_key(struct check *c, const struct policy_columns *read, const struct table *t)
{
    for (int i = 0; policy_any_column(read) && i < t->key_count; i++) {
        const char *name = t->columns[t->key_columns[i]].name;

        if (!policy_has_column(read, name))
            tell(c, "read", -1,
                "the column %.128s is missing: it is in the primary key, which every event shows",
                name);
    }
}

/* The condition with the same text for every claim: whether it fits does not depend on the value.
 */
static void check_rule(struct check *c, const struct rule *r, const struct table *t, int item)
{
    json_t *claims = json_object();
    struct buf text = {0};
    char err[256];
    const char *condition;
    struct filter *f = NULL;
    int status = 0;

    for (int i = 0; i < r->claim_count; i++)
        json_object_set_new(claims, r->claims[i].name, json_string("x"));
    if (rule_put(r, claims, &text) && (condition = buf_text(&text)) != NULL) {
        f = filter_new(t, &condition, &text.len, 1, err, sizeof(err), &status);
        if (!f)
            tell(c, "rows", item, "%s", err);
    } else {
        tell(c, "rows", item, "out of memory");
    }
    filter_free(f);
    buf_fini(&text);
    json_decref(claims);
}

static void check_table(struct check *c, const struct policy_table *pt)
{
    const struct table *t = schema_find(c->schema, pt->name, strlen(pt->name));

    if (!t || t->internal) {
        tell(c, NULL, -1, "there is no table of this name");
        return;
    }
    check_columns(c, &pt->read, t, "read");
    check_columns(c, &pt->write, t, "write");
    check_key(c, &pt->read, t);
    for (int i = 0; i < pt->rule_count; i++)
        check_rule(c, pt->rules[i], t, pt->rules_listed ? i : -1);
}

/* A condition on every table has to fit each that no other entry is about. */
static void check_every(struct check *c, const struct policy_role *r, const struct policy_table *pt)
{
    for (int i = 0; pt->rule_count && i < c->schema->table_count; i++) {
        const struct table *t = c->schema->tables[i];

        if (t->internal || policy_table(r, t->name) != pt)
            continue;
        for (int k = 0; k < pt->rule_count; k++)
            check_rule(c, pt->rules[k], t, pt->rules_listed ? k : -1);
    }
}

int policy_check(const struct policy *p, const struct schema *schema, struct buf *out)
{
    struct check c = {.policy = p, .schema = schema, .out = out};

    for (int i = 0; i < p->role_count; i++) {
        const struct policy_role *r = p->roles[i];

        for (int k = 0; k < r->table_count; k++) {
            const struct policy_table *pt = r->tables[k];

            c.place = (struct place){.depth = 4,
                .steps = {
                    {.name = "roles"}, {.name = r->name}, {.name = "tables"}, {.name = pt->name}}};
            if (strcmp(pt->name, "*") == 0)
                check_every(&c, r, pt);
            else
                check_table(&c, pt);
        }
    }
    return c.problems;
}
