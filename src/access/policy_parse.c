#include "access/policy.h"

#include "access/place.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/text.h"
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

/* Bounds beside those in policy.h; names as SQLite and channels have them. */
#define MAX_NAME 255
#define MAX_ROLES 1000
#define MAX_TABLES 10000 /* of one role */
#define MAX_COLUMNS 32767
#define MAX_PATTERNS 1000
#define CHANNEL_NAME_MAX 128

struct parse {
    const char *text;
    size_t len;
    struct place place;
    struct buf *err;
};

static void begin_error(struct parse *p)
{
    size_t line = place_line(&p->place, p->text, p->len);

    if (line)
        buf_printf(p->err, "line %zu: ", line);
    place_put(&p->place, p->err);
    buf_puts(p->err, ": ");
}

__attribute__((format(printf, 2, 3))) static int fail(struct parse *p, const char *fmt, ...)
{
    va_list ap;

    begin_error(p);
    va_start(ap, fmt);
    buf_vprintf(p->err, fmt, ap);
    va_end(ap);
    return STATUS_INVALID;
}

static void step_name(struct parse *p, const char *name)
{
    p->place.steps[p->place.depth++] = (struct place_step){.name = name};
}

static void step_index(struct parse *p, size_t index)
{
    p->place.steps[p->place.depth++] = (struct place_step){.index = index};
}

static void step_back(struct parse *p)
{
    p->place.depth--;
}

/* Members: each kind of object has a table of them. */
struct member {
    const char *name;
    int (*take)(struct parse *p, json_t *value, void *to);
};

static const struct member *find_member(const struct member *members, const char *name)
{
    for (; members->name; members++)
        if (strcmp(members->name, name) == 0)
            return members;
    return NULL;
}

static int unknown_member(struct parse *p, const struct member *members)
{
    begin_error(p);
    buf_puts(p->err, "unknown member; there can be ");
    for (const struct member *m = members; m->name; m++)
        buf_printf(p->err, "%s\"%s\"", m == members ? "" : m[1].name ? ", " : " and ", m->name);
    return STATUS_INVALID;
}

static int take_members(struct parse *p, json_t *value, const struct member *members, void *to)
{
    const char *name;
    json_t *item;
    int status = 0;

    if (!json_is_object(value))
        return fail(p, "an object { } is expected here");
    json_object_foreach(value, name, item)
    {
        const struct member *m = find_member(members, name);

        step_name(p, name);
        status = m ? m->take(p, item, to) : unknown_member(p, members);
        if (status < 0)
            return status;
        step_back(p);
    }
    return 0;
}

static int check_name(struct parse *p, const char *name, const char *what)
{
    size_t len = strlen(name);

    if (len == 0 || len > MAX_NAME)
        return fail(p, "%s has 1 to %d bytes", what, MAX_NAME);
    return 0;
}

/* A list of texts, each checked; *items has room for all. */
static int take_texts(struct parse *p, const json_t *list, size_t max,
    int (*check)(struct parse *p, const char *text), char ***items, int *count)
{
    size_t n = json_array_size(list);
    int status = 0;

    if (n > max)
        return fail(p, "there can be at most %zu here", max);
    *items = mem_array(n ? n : 1, sizeof(**items));
    if (!*items)
        return STATUS_NOMEM;
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(list, i));

        step_index(p, i);
        status = text ? check(p, text) : fail(p, "a text is expected here");
        if (status < 0)
            return status;
        (*items)[i] = mem_strdup(text);
        if (!(*items)[i])
            return STATUS_NOMEM;
        ++*count;
        step_back(p);
    }
    return 0;
}

/* Tables. */

static int check_column(struct parse *p, const char *text)
{
    if (strcmp(text, "*") == 0)
        return fail(p, "for all columns write true instead of the list");
    return check_name(p, text, "a column's name");
}

static int check_no_double(struct parse *p, const struct policy_columns *c)
{
    for (int i = 0; i < c->count; i++)
        for (int k = 0; k < i; k++)
            if (text_casecmp(c->names[i], c->names[k]) == 0) {
                step_index(p, (size_t)i);
                return fail(p, "%s is in the list already", c->names[i]);
            }
    return 0;
}

static int take_columns(struct parse *p, json_t *value, struct policy_columns *c)
{
    int status;

    if (json_is_boolean(value)) {
        c->all = json_is_true(value);
        return 0;
    }
    if (!json_is_array(value))
        return fail(p, "true, false or a list of columns is expected here");
    status = take_texts(p, value, MAX_COLUMNS, check_column, &c->names, &c->count);
    return status < 0 ? status : check_no_double(p, c);
}

static int take_read(struct parse *p, json_t *value, void *to)
{
    return take_columns(p, value, &((struct policy_table *)to)->read);
}

static int take_write(struct parse *p, json_t *value, void *to)
{
    return take_columns(p, value, &((struct policy_table *)to)->write);
}

static int add_rule(struct parse *p, json_t *value, struct policy_table *t)
{
    const char *text = json_string_value(value);
    struct buf why = {0};
    int status;

    if (!text)
        return fail(p, "a condition is expected here, as \"user_id={sub}\"");
    if (text[strspn(text, " \t\r\n")] == 0)
        return fail(p, "the condition is empty; leave \"rows\" out where all rows are permitted");
    t->rules[t->rule_count] = rule_new(text, &why, &status);
    if (status == STATUS_INVALID)
        fail(p, "%s", buf_text(&why) ? buf_text(&why) : "out of memory");
    buf_fini(&why);
    t->rule_count += status == 0;
    return status;
}

static int take_rows(struct parse *p, json_t *value, void *to)
{
    struct policy_table *t = to;
    bool list = json_is_array(value);
    size_t n = list ? json_array_size(value) : 1;
    int status = 0;

    if (n > POLICY_MAX_RULES)
        return fail(p, "there can be at most %d conditions", POLICY_MAX_RULES);
    if (n == 0)
        return fail(p, "the list is empty; leave \"rows\" out where all rows are permitted");
    t->rules = mem_array(n, sizeof(struct rule *));
    if (!t->rules)
        return STATUS_NOMEM;
    t->rules_listed = list;
    if (!list)
        return add_rule(p, value, t);
    for (size_t i = 0; i < n && status == 0; i++) {
        step_index(p, i);
        status = add_rule(p, json_array_get(value, i), t);
        if (status == 0)
            step_back(p);
    }
    return status;
}

static const struct member table_members[] = {
    {"read", take_read},
    {"write", take_write},
    {"rows", take_rows},
    {NULL, NULL},
};

/* What only the whole of a table's members shows. */
static int check_table(struct parse *p, const struct policy_table *t)
{
    bool every = strcmp(t->name, "*") == 0;

    if (every && t->read.count + t->write.count > 0)
        return fail(p, "columns are those of one table: name the table, or write true or false");
    return 0;
}

static int add_table(struct parse *p, struct policy_role *r, const char *name, json_t *value)
{
    struct policy_table *t;
    int status = check_name(p, name, "a table's name");

    if (status < 0)
        return status;
    if (map_get(&r->by_name, name, strlen(name)))
        return fail(p, "the table is there already, in another case");
    t = mem_zalloc(sizeof(*t));
    if (!t)
        return STATUS_NOMEM;
    r->tables[r->table_count++] = t;
    t->name = mem_strdup(name);
    if (!t->name || map_set(&r->by_name, name, strlen(name), t) < 0)
        return STATUS_NOMEM;
    status = take_members(p, value, table_members, t);
    return status < 0 ? status : check_table(p, t);
}

static int take_tables(struct parse *p, json_t *value, void *to)
{
    struct policy_role *r = to;
    size_t n = json_object_size(value);
    const char *name;
    json_t *item;

    if (!json_is_object(value))
        return fail(p, "an object {TABLE: { }} is expected here");
    if (n > MAX_TABLES)
        return fail(p, "a role can have at most %d tables", MAX_TABLES);
    r->by_name.nocase = true;
    r->tables = mem_array(n ? n : 1, sizeof(*r->tables));
    if (!r->tables)
        return STATUS_NOMEM;
    json_object_foreach(value, name, item)
    {
        step_name(p, name);
        int status = add_table(p, r, name, item);
        if (status < 0)
            return status;
        step_back(p);
    }
    return 0;
}

/* Channels. */

static int check_pattern(struct parse *p, const char *text)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_:.-";
    size_t len = strlen(text), ok = strspn(text, allowed);

    if (len == 0 || len > CHANNEL_NAME_MAX + 1 || (ok < len && (text[ok] != '*' || ok + 1 < len)))
        return fail(p, "a channel has 1 to %d characters of A-Z a-z 0-9 _ : . - and may end in *",
            CHANNEL_NAME_MAX);
    return 0;
}

static int take_patterns(struct parse *p, json_t *value, struct policy_patterns *to)
{
    if (!json_is_array(value))
        return fail(p, "a list of channels is expected here");
    return take_texts(p, value, MAX_PATTERNS, check_pattern, &to->items, &to->count);
}

static int take_join(struct parse *p, json_t *value, void *to)
{
    return take_patterns(p, value, &((struct policy_role *)to)->join);
}

static int take_broadcast(struct parse *p, json_t *value, void *to)
{
    return take_patterns(p, value, &((struct policy_role *)to)->broadcast);
}

static const struct member channel_members[] = {
    {"join", take_join},
    {"broadcast", take_broadcast},
    {NULL, NULL},
};

static int take_channels(struct parse *p, json_t *value, void *to)
{
    return take_members(p, value, channel_members, to);
}

/* Roles. */

static int take_sql(struct parse *p, json_t *value, void *to)
{
    if (!json_is_boolean(value))
        return fail(p, "true or false is expected here");
    ((struct policy_role *)to)->sql = json_is_true(value);
    return 0;
}

static const struct member role_members[] = {
    {"sql", take_sql},
    {"tables", take_tables},
    {"channels", take_channels},
    {NULL, NULL},
};

static int add_role(struct parse *p, struct policy *to, const char *name, json_t *value)
{
    struct policy_role *r;
    int status = check_name(p, name, "a role's name");

    if (status < 0)
        return status;
    r = mem_zalloc(sizeof(*r));
    if (!r)
        return STATUS_NOMEM;
    to->roles[to->role_count++] = r;
    r->source = json_incref(value);
    r->name = mem_strdup(name);
    return r->name ? take_members(p, value, role_members, r) : STATUS_NOMEM;
}

static int take_roles(struct parse *p, json_t *value, void *to)
{
    struct policy *policy = to;
    size_t n = json_object_size(value);
    const char *name;
    json_t *item;

    if (!json_is_object(value))
        return fail(p, "an object {ROLE: { }} is expected here");
    if (n > MAX_ROLES)
        return fail(p, "there can be at most %d roles", MAX_ROLES);
    policy->roles = mem_array(n ? n : 1, sizeof(struct policy_role *));
    if (!policy->roles)
        return STATUS_NOMEM;
    json_object_foreach(value, name, item)
    {
        step_name(p, name);
        int status = add_role(p, policy, name, item);
        if (status < 0)
            return status;
        step_back(p);
    }
    return 0;
}

static const struct member file_members[] = {
    {"roles", take_roles},
    {NULL, NULL},
};

/* NULL: STATUS_INVALID and what is wrong, or STATUS_NOMEM, in *status. */
static json_t *read_json(const char *text, size_t len, struct buf *err, int *status)
{
    json_error_t wrong;
    json_t *root = NULL;

    *status = STATUS_INVALID;
    if (len && memchr(text, '\0', len)) /* jansson reads over one behind a word */
        buf_puts(err, "it is not JSON: it has a NUL character");
    else if (!(root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &wrong)) &&
             json_error_code(&wrong) == json_error_out_of_memory)
        *status = STATUS_NOMEM;
    else if (!root)
        buf_printf(err, "line %d: %s", wrong.line, wrong.text);
    return root;
}

struct policy *policy_parse(const char *text, size_t len, struct buf *err, int *status)
{
    struct parse p = {.text = text, .len = len, .err = err};
    struct policy *policy = mem_zalloc(sizeof(*policy));
    json_t *root = NULL;

    *status = STATUS_NOMEM;
    if (!policy)
        return NULL;
    atomic_init(&policy->refs, 1);
    policy->text = mem_strndup(text, len);
    policy->text_len = len;
    if (policy->text)
        root = read_json(text, len, err, status);
    if (root) {
        *status = take_members(&p, root, file_members, policy);
        if (*status == 0 && !policy->roles)
            *status = fail(&p, "the member \"roles\" is missing");
    }
    json_decref(root);
    if (*status == 0)
        return policy;
    policy_unref(policy);
    return NULL;
}

/* Regular files and pipes alike; STATUS_IO with errno, STATUS_TOO_LARGE, STATUS_NOMEM. */
static int read_all(const char *path, struct buf *text)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = -1;

    if (fd < 0)
        return STATUS_IO;
    for (char *to; (to = buf_reserve(text, 65536)) != NULL; text->len += (size_t)n) {
        do
            n = read(fd, to, 65536);
        while (n < 0 && errno == EINTR);
        if (n <= 0)
            break;
    }
    int saved = errno;
    close(fd);
    errno = saved;
    if (buf_error(text))
        return buf_error(text);
    return n < 0 ? STATUS_IO : 0;
}

struct policy *policy_read(const char *path, struct buf *err, int *status)
{
    struct buf text = {.max = POLICY_MAX_FILE + 65536}, why = {0};
    struct policy *p = NULL;

    *status = read_all(path, &text);
    if (*status == 0 && text.len > POLICY_MAX_FILE)
        *status = STATUS_TOO_LARGE;
    if (*status == STATUS_IO)
        buf_printf(err, "cannot read the policy %s: %s", path, strerror(errno));
    else if (*status == STATUS_TOO_LARGE)
        buf_printf(err, "the policy %s is larger than %u bytes", path, POLICY_MAX_FILE);
    else if (*status == 0)
        p = policy_parse(text.data ? text.data : "", text.len, &why, status);
    if (*status == STATUS_TOO_LARGE)
        *status = STATUS_INVALID;
    if (why.len && buf_text(&why))
        buf_printf(err, "%s, %s", path, buf_text(&why));
    buf_fini(&why);
    buf_fini(&text);
    return p;
}
