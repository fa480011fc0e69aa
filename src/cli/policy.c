#include "cli/policy.h"
#include "access/policy.h"
#include "base/status.h"
#include "capture/schema_file.h"
#include "cli/term.h"

#include <stdio.h>
#include <string.h>

const struct option_row policy_option_rows[] = {
    {"role", "ROLE", "only what this role may do", OPTION_TEXT,
        offsetof(struct policy_options, role)},
    {NULL},
};

const char policy_help[] =
    "policy check FILE [DATABASE] reads a policy as serve --policy would, and explains who may\n"
    "what. With a database it also finds the tables and columns that are not there, conditions\n"
    "that do not fit their table, and tables whose key may not be read. The exit status is 1\n"
    "when something is wrong.\n"
    "\n"
    "Examples:\n"
    "  rowtap policy check policy.json\n"
    "  rowtap policy check policy.json app.db --role user\n";

static void put_text(struct buf *out, const char *text)
{
    term_put(out, text, strlen(text), 0);
}

static void put_list(struct buf *out, char *const *items, int count)
{
    for (int i = 0; i < count; i++) {
        buf_puts(out, i ? ", " : "");
        put_text(out, items[i]);
    }
}

static void put_columns(struct buf *out, const char *verb, const struct policy_columns *c)
{
    buf_puts(out, verb);
    if (c->all) {
        buf_puts(out, " every column");
    } else if (c->count) {
        buf_putc(out, ' ');
        put_list(out, c->names, c->count);
    } else {
        buf_puts(out, " nothing");
    }
}

static void put_table(struct buf *out, const struct policy_table *t, bool others)
{
    buf_puts(out, "  ");
    if (strcmp(t->name, "*") == 0) {
        buf_puts(out, others ? "every other table" : "every table");
    } else {
        buf_puts(out, "table ");
        put_text(out, t->name);
    }
    buf_puts(out, ": ");
    put_columns(out, "reads", &t->read);
    put_columns(out, "; writes", &t->write);
    for (int i = 0; i < t->rule_count; i++) {
        buf_puts(out, i ? " and " : "; only rows where ");
        put_text(out, t->rules[i]->text);
    }
    buf_putc(out, '\n');
}

static void put_patterns(struct buf *out, const char *what, const struct policy_patterns *p)
{
    buf_printf(out, "  %s ", what);
    if (p->count)
        put_list(out, p->items, p->count);
    else
        buf_puts(out, "no channel");
    buf_putc(out, '\n');
}

static void put_role(struct buf *out, const struct policy_role *r)
{
    const struct policy_table *every = policy_table(r, "*");

    buf_puts(out, "role ");
    put_text(out, r->name);
    buf_printf(out, "\n  SQL: %s\n", r->sql ? "yes, on these tables" : "no");
    for (int i = 0; i < r->table_count; i++)
        if (r->tables[i] != every)
            put_table(out, r->tables[i], false);
    if (every)
        put_table(out, every, r->table_count > 1);
    else
        buf_printf(out, "  %s: nothing\n", r->table_count ? "every other table" : "every table");
    put_patterns(out, "joins", &r->join);
    put_patterns(out, "broadcasts to", &r->broadcast);
}

static int put_roles(struct buf *out, const struct policy *p, const char *only)
{
    const struct policy_role *one = policy_role(p, only);

    if (only && !one)
        return STATUS_NOT_FOUND;
    for (int i = 0; i < p->role_count; i++)
        if (!one || p->roles[i] == one)
            put_role(out, p->roles[i]);
    if (!only)
        buf_puts(out, "anybody else: nothing\n");
    return 0;
}

static void compare(const struct policy *p, const char *database, struct buf *err)
{
    struct schema *schema = schema_file_read(database, err);

    if (schema)
        policy_check(p, schema, err);
    schema_unref(schema);
}

/* What is wrong, each line of it as a message. */
static int complain(struct buf *err)
{
    const char *text = buf_text(err);
    char *line, *rest;

    if (!text)
        term_error("out of memory");
    for (line = text ? err->data : NULL; line && *line; line = rest) {
        rest = strchr(line, '\n');
        if (rest)
            *rest++ = 0;
        term_error(line);
    }
    return 1;
}

static int check(const char *path, const char *database, const char *role)
{
    struct buf out = {0}, err = {0};
    int status, result = 0;
    struct policy *p = policy_read(path, &err, &status);

    if (p && put_roles(&out, p, role) < 0)
        buf_printf(&err, "%s has no role \"%s\"; whoever has it may do nothing", path, role);
    if (status == STATUS_NOMEM)
        buf_puts(&err, "out of memory");
    status = term_flush(&out);
    if (p && !err.len && database)
        compare(p, database, &err);
    if (err.len || buf_error(&err))
        result = complain(&err);
    policy_unref(p);
    buf_fini(&out);
    buf_fini(&err);
    return result || (status < 0 && status != STATUS_CLOSED);
}

int policy_run(const void *options, int argc, char **argv)
{
    const struct policy_options *o = options;

    if (argc < 2 || strcmp(argv[0], "check") != 0) {
        fputs("rowtap policy: say check and name a file\ntry: rowtap help policy\n", stderr);
        return 2;
    }
    return check(argv[1], argc > 2 ? argv[2] : NULL, o->role);
}
