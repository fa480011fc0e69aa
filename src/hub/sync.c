#include "hub/sync.h"

#include "access/grant.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct sync_operation *sync_add(struct sync *s, enum sync_kind kind, size_t names)
{
    struct sync_operation *op;

    if ((s->count & (s->count - 1)) == 0) {
        size_t cap = s->count ? (size_t)s->count * 2 : 1;

        op = mem_realloc(s->operations, cap * sizeof(*op));
        if (!op)
            return NULL;
        s->operations = op;
    }
    op = &s->operations[s->count];
    *op = (struct sync_operation){.kind = kind};
    op->names = mem_array(names + 1, sizeof(*op->names));
    if (!op->names)
        return NULL;
    s->count++;
    return op;
}

void sync_fini(struct sync *s)
{
    for (int i = 0; i < s->count; i++)
        mem_free(s->operations[i].names);
    mem_free(s->operations);
    s->operations = NULL;
    s->count = 0;
    sql_request_fini(&s->sql);
}

static int missing(struct sync *s, int i, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static int missing(struct sync *s, int i, const char *fmt, ...)
{
    struct sql_error *e = &s->sql.error;
    va_list ap;

    *e = (struct sql_error){.code = ERROR_NOT_FOUND, .offset = -1, .statement = i};
    va_start(ap, fmt);
    vsnprintf(e->message, sizeof(e->message), fmt, ap);
    va_end(ap);
    return STATUS_NOT_FOUND;
}

static void put_name(struct buf *out, const char *p, size_t len)
{
    buf_putc(out, '"');
    for (size_t i = 0; i < len; i++) {
        if (p[i] == '"')
            buf_putc(out, '"');
        buf_putc(out, p[i]);
    }
    buf_putc(out, '"');
}

/* The column as SQL must name it, or NULL. */
static const char *find_column(const struct table *t, struct text name)
{
    int i = table_column(t, name.p, name.len);

    if (i >= 0)
        return t->columns[i].name;
    return text_same_nocase(name.p, name.len, "rowid", strlen("rowid")) ? table_rowid_name(t)
                                                                        : NULL;
}

static void put_insert(struct buf *out, const struct table *t, const struct sync_operation *op)
{
    buf_puts(out, "INSERT INTO ");
    put_name(out, t->name, strlen(t->name));
    if (!op->data_count) {
        buf_puts(out, " DEFAULT VALUES");
        return;
    }
    for (int i = 0; i < op->data_count; i++) {
        const char *column = find_column(t, op->names[i]);

        buf_puts(out, i ? "," : "(");
        put_name(out, column, strlen(column));
    }
    for (int i = 0; i < op->data_count; i++)
        buf_puts(out, i ? ",?" : ") VALUES(?");
    buf_putc(out, ')');
}

static void put_set(struct buf *out, const struct table *t, const struct sync_operation *op)
{
    buf_puts(out, "UPDATE ");
    put_name(out, t->name, strlen(t->name));
    for (int i = 0; i < op->data_count; i++) {
        const char *column = find_column(t, op->names[i]);

        buf_puts(out, i ? "," : " SET ");
        put_name(out, column, strlen(column));
        buf_puts(out, "=?");
    }
}

/*
 * With its table a quoted name is never taken for a string, should the column be gone by the time
 * that this runs.
 */
static void put_where(struct buf *out, const struct table *t, const struct sync_operation *op)
{
    for (int i = op->data_count; i < op->data_count + op->key_count; i++) {
        const char *column = find_column(t, op->names[i]);

        buf_puts(out, i > op->data_count ? " AND " : " WHERE ");
        put_name(out, t->name, strlen(t->name));
        buf_putc(out, '.');
        put_name(out, column, strlen(column));
        buf_puts(out, " IS ?");
    }
}

static void put_sql(struct buf *out, const struct table *t, const struct sync_operation *op)
{
    switch (op->kind) {
    case SYNC_SQL:
        break;
    case SYNC_INSERT:
        put_insert(out, t, op);
        break;
    case SYNC_UPDATE:
        put_set(out, t, op);
        put_where(out, t, op);
        break;
    case SYNC_DELETE:
        buf_puts(out, "DELETE FROM ");
        put_name(out, t->name, strlen(t->name));
        put_where(out, t, op);
        break;
    }
}

static int cut(struct text t)
{
    return (int)(t.len < 128 ? t.len : 128);
}

/* What the one who asks can know of. A key is what may be read, data what may be written. */
struct sight {
    const struct policy *policy;
    const struct identity *who;
    bool reads, writes;
    struct grant read, write;
};

static int look(struct sight *v, const struct table *t)
{
    int read = grant_init(&v->read, v->policy, v->who, t);
    int write = grant_init_write(&v->write, v->policy, v->who, t);

    v->reads = read == 0;
    v->writes = write == 0;
    return read == STATUS_NOMEM || write == STATUS_NOMEM ? STATUS_NOMEM : 0;
}

static void look_away(struct sight *v)
{
    if (v->reads)
        grant_fini(&v->read);
    if (v->writes)
        grant_fini(&v->write);
}

static bool sees_column(const struct sight *v, const struct table *t, struct text name)
{
    int i = table_column(t, name.p, name.len);

    if (i < 0)
        return find_column(t, name) && v->reads;
    return (v->reads && grant_column(&v->read, i)) || (v->writes && grant_column(&v->write, i));
}

static int check(struct sync *s, int i, const struct table *t, const struct sight *v)
{
    const struct sync_operation *op = &s->operations[i];

    if (!t || t->internal || (!v->reads && !v->writes))
        return missing(s, i, "operations[%d]: no such table: %.*s", i, cut(op->table), op->table.p);
    for (int k = 0; k < op->data_count + op->key_count; k++)
        if (!sees_column(v, t, op->names[k]))
            return missing(s, i, "operations[%d]: table %.128s has no column %.*s", i, t->name,
                cut(op->names[k]), op->names[k].p);
    return 0;
}

static int build_one(struct sync *s, int i, const struct table *t, struct sight *v)
{
    struct sql_statement *statement = &s->sql.statements[i];
    struct buf text = {0};
    int rc = t ? look(v, t) : 0;

    if (rc == 0)
        rc = check(s, i, t, v);
    look_away(v);
    if (rc < 0)
        return rc;
    put_sql(&text, t, &s->operations[i]);
    mem_free(statement->sql);
    statement->sql = NULL;
    if (buf_text(&text))
        statement->sql = mem_strdup(buf_text(&text));
    statement->len = statement->sql ? text.len : 0;
    buf_fini(&text);
    return statement->sql ? 0 : STATUS_NOMEM;
}

/* Of SQL there may be any; the rest is by the tables that may be written. */
static int refuse_sql(struct sync *s, int i)
{
    struct sql_error *e = &s->sql.error;

    *e = (struct sql_error){.code = ERROR_FORBIDDEN, .offset = -1, .statement = i};
    snprintf(e->message, sizeof(e->message), "operations[%d]: your role may not run SQL", i);
    return STATUS_NOT_FOUND;
}

int sync_build(struct sync *s, const struct schema *schema, const struct policy *policy,
    const struct identity *who)
{
    int rc = 0;

    s->sql.transaction = true;
    if (!s->count)
        buf_puts(&s->sql.json, "{\"results\":[]}");
    for (int i = 0; i < s->count && rc == 0; i++) {
        const struct sync_operation *op = &s->operations[i];
        struct sight v = {.policy = policy, .who = who};

        if (op->kind != SYNC_SQL)
            rc = build_one(s, i, schema_find(schema, op->table.p, op->table.len), &v);
        else if (!grant_sql(policy, who))
            rc = refuse_sql(s, i);
    }
    return rc < 0 ? rc : buf_error(&s->sql.json);
}
