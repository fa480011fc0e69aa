#include "fuzz.h"

#include "../change/fixture.h"
#include "access/grant.h"
#include "base/json.h"
#include "base/status.h"
#include "base/text.h"
#include "dialect/native_args.h"

/*
 * Policy files, and what they grant: never more than they name, whatever a token claims. A value
 * that a claim puts into a rule stays one value.
 */
static struct schema *schema;

static struct schema *tables(void)
{
    if (schema)
        return schema;
    mem_fail_after(-1);
    schema = schema_new(3);
    schema->tables[0] = TABLE("it's", "\"a\":TEXT:k", "B:BLOB:k", "v:TEXT:v", "h:INTEGER:h");
    schema->tables[1] =
        TABLE("notes", "id:INTEGER:k", "user_id:TEXT:", "title:TEXT:n", "team:ANY:");
    schema->tables[2] = TABLE("users", "name:TEXT:", "age:REAL:");
    for (int i = 0; i < schema->table_count; i++)
        schema->tables[i]->id = (uint64_t)i + 1;
    return schema;
}

/* What tokens may claim, the first of them harmless. */
static json_t *claims_of(const char *value)
{
    json_t *claims = json_object();
    static const char *const names[] = {"sub", "team", "role", "a b"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        json_object_set_new(claims, names[i], json_string(value));
    return claims;
}

static struct filter *filter_of(const struct rule *r, const struct table *t, const char *value)
{
    struct buf text = {0};
    json_t *claims = claims_of(value);
    char err[256];
    int status;
    struct filter *f = NULL;
    if (rule_put(r, claims, &text) && buf_text(&text)) {
        const char *p = text.data;
        f = filter_new(t, &p, &text.len, 1, err, sizeof(err), &status);
    }
    json_decref(claims);
    buf_fini(&text);
    return f;
}

/* The rule is the same condition with any claim, but for the value. */
static void check_rule(const struct rule *r, const struct table *t)
{
    static const char *const nasty[] = {"", "'", ",b,c", "b,c", "' or 'x", "'), ('", "a','b", ")",
        "\"", "{sub}", "x'00'", "null", "1,2", "--"};
    struct filter *plain = filter_of(r, t, "nobody else is called so");
    for (size_t i = 0; i < sizeof(nasty) / sizeof(*nasty); i++) {
        struct filter *f = filter_of(r, t, nasty[i]);
        REQUIRE(!f == !plain || mem_fail_hit());
        if (f && plain) {
            const struct filter_term *a = f->terms, *b = plain->terms;
            REQUIRE(f->term_count == 1 && a->column == b->column && a->op == b->op);
            REQUIRE(a->value_count <= b->value_count); /* fewer where two are the same */
            REQUIRE(a->op == FILTER_IN || a->value_count == b->value_count);
        }
        filter_free(f);
    }
    filter_free(plain);
}

static void check_rules(const struct policy_role *role)
{
    for (int i = 0; i < role->table_count; i++)
        for (int k = 0; k < role->tables[i]->rule_count; k++)
            for (int n = 0; n < tables()->table_count; n++)
                if (role->table_count < 20)
                    check_rule(role->tables[i]->rules[k], tables()->tables[n]);
}

static void check_columns(
    const struct grant *g, const struct policy_table *pt, const struct table *t)
{
    for (int i = 0; i < t->column_count; i++) {
        bool named = false;
        for (int k = 0; k < pt->read.count; k++)
            named |= text_casecmp(pt->read.names[k], t->columns[i].name) == 0;
        REQUIRE(grant_column(g, i) == (pt->read.all || named));
        REQUIRE(!t->columns[i].pk || grant_column(g, i));
    }
}

/* Where a claim that a rule needs is missing, no row is permitted. */
static void check_rows(const struct grant *g, const struct policy_table *pt, const json_t *claims)
{
    struct value row[4] = {{.type = VALUE_NULL}};
    bool missing = false;
    for (int i = 0; i < pt->rule_count; i++)
        for (int k = 0; k < pt->rules[i]->claim_count; k++)
            missing |= !json_object_get(claims, pt->rules[i]->claims[k].name);
    REQUIRE(!g->rows == !pt->rule_count);
    if (g->rows && missing) {
        REQUIRE(!filter_match(g->rows, row, 1));
        row[0] = row[1] = row[2] = row[3] = (struct value){.i = 1, .type = VALUE_INTEGER};
        REQUIRE(!filter_match(g->rows, row, 1));
    }
}

/* A filter of the person's own only takes rows away, and sees no other columns. */
static void check_filter(const struct grant *g, const struct table *t)
{
    for (int i = 0; i < t->column_count; i++) {
        struct buf text = {0};
        char err[256];
        int status;
        buf_printf(&text, "\"%s\" is null",
            t->columns[i].name[0] == '"' ? "\"\"a\"\"" : t->columns[i].name);
        const char *p = buf_text(&text);
        struct filter *f =
            p ? grant_filter(g, t, &p, &text.len, 1, err, sizeof(err), &status) : NULL;
        REQUIRE(!f || grant_column(g, i));
        REQUIRE(!f || f->term_count == 1 + (g->rows ? g->rows->term_count : 0));
        filter_free(f);
        buf_fini(&text);
    }
}

static void check_grant(
    const struct policy *p, const char *role, const struct table *t, json_t *claims)
{
    const struct policy_table *pt = policy_table(policy_role(p, role), t->name);
    json_object_set_new(claims, "role", json_string(role));
    struct identity *who = identity_new(json_incref(claims), 0);
    struct grant g;
    int status = who ? grant_init(&g, p, who, t) : STATUS_NOMEM;
    REQUIRE(status == STATUS_OK || status == STATUS_NOT_FOUND || mem_fail_hit());
    if (status == STATUS_OK && who->role) {
        REQUIRE(pt && policy_any_column(&pt->read));
        check_columns(&g, pt, t);
        check_rows(&g, pt, claims);
        check_filter(&g, t);
        fuzz_accepted++;
    }
    if (status == STATUS_OK && grant_reads_all(p, who))
        REQUIRE(!g.columns && !g.rows);
    REQUIRE(who == NULL || !grant_unlimited(p, who) || grant_reads_all(p, who));
    if (status == STATUS_OK)
        grant_fini(&g);
    identity_unref(who);
}

static void check_channels(const struct policy_patterns *p)
{
    for (int i = 0; i < p->count; i++) {
        size_t len = strlen(p->items[i]), plain = strcspn(p->items[i], "*");
        REQUIRE(len && plain + 1 >= len && policy_channel(p, p->items[i], len));
        REQUIRE(policy_channel(p, p->items[i], plain));
    }
}

static void check_role(const struct policy *p, const struct policy_role *role)
{
    json_t *none = json_object(), *all = claims_of("o'hara");
    check_channels(&role->join);
    check_channels(&role->broadcast);
    check_rules(role);
    for (int i = 0; i < tables()->table_count && role->table_count < 20; i++) {
        check_grant(p, role->name, tables()->tables[i], all);
        check_grant(p, role->name, tables()->tables[i], none);
    }
    json_decref(none);
    json_decref(all);
}

/* Nobody, and whose role is not in the file. */
static void check_strangers(const struct policy *p)
{
    struct grant g;
    REQUIRE(!policy_role(p, NULL) && !grant_known(p, NULL) && !grant_reads_all(p, NULL));
    REQUIRE(!grant_unlimited(p, NULL) && !grant_join(p, NULL, "a", 1));
    for (int i = 0; i < tables()->table_count; i++)
        REQUIRE(grant_init(&g, p, NULL, tables()->tables[i]) == STATUS_NOT_FOUND);
}

/* Written otherwise it is the same. */
static void read_again(const struct policy *p, const uint8_t *data, size_t size)
{
    struct buf text = {0}, err = {0};
    char why[256];
    int status;
    json_t *root = json_read((const char *)data, size, why, sizeof(why));
    REQUIRE(root);
    native_put_json(&text, root);
    if (buf_error(&text) == 0) {
        struct policy *again = policy_parse(text.data, text.len, &err, &status);
        REQUIRE(mem_fail_hit() || (again && again->role_count == p->role_count));
        for (int i = 0; again && i < p->role_count; i++)
            REQUIRE(policy_same_role(p, again, p->roles[i]->name));
        policy_unref(again);
    }
    json_decref(root);
    buf_fini(&text);
    buf_fini(&err);
}

void fuzz_policy(const uint8_t *data, size_t size)
{
    struct buf err = {0}, problems = {0};
    int status = STATUS_OK;
    struct policy *p = policy_parse((const char *)data, size, &err, &status);
    REQUIRE(p ? err.len == 0 && status == STATUS_OK
              : (status == STATUS_INVALID && (err.len || mem_fail_hit())) || mem_fail_hit());
    if (p) {
        int count = policy_check(p, tables(), &problems), lines = 0;
        for (size_t i = 0; i < problems.len; i++)
            lines += problems.data[i] == '\n';
        REQUIRE(buf_error(&problems) || count >= 0);
        REQUIRE(buf_error(&problems) || lines >= count);
        check_strangers(p);
        for (int i = 0; i < p->role_count && i < 8; i++)
            check_role(p, p->roles[i]);
        read_again(p, data, size);
    }
    policy_unref(p);
    buf_fini(&err);
    buf_fini(&problems);
}
