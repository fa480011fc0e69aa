#include "capture/mirror_parts.h"

#include "base/status.h"
#include "capture/values.h"
#include "filter/filter_sql.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void mirror_put_name(struct buf *sql, const char *name)
{
    buf_putc(sql, '"');
    for (; *name; name++) {
        if (*name == '"')
            buf_putc(sql, '"');
        buf_putc(sql, *name);
    }
    buf_putc(sql, '"');
}

void mirror_put_table(struct buf *sql, const struct table *t)
{
    buf_puts(sql, "main.");
    mirror_put_name(sql, t->name);
}

/* The filter's conditions, each of which a NUL ends, as one. */
static int put_rule(struct mirror_table *t)
{
    struct buf terms = {0};
    int status = filter_put_sql(t->grant.rows, t->table, &terms, &t->params, &t->param_count);
    buf_putc(&t->where, '(');
    for (size_t at = 0; status == 0 && at < terms.len; at += strlen(terms.data + at) + 1) {
        buf_puts(&t->where, at ? " AND " : "");
        buf_puts(&t->where, terms.data + at);
    }
    buf_puts(&t->where, terms.len ? ")" : "1)");
    buf_fini(&terms);
    return status < 0 ? status : buf_error(&t->where);
}

int mirror_bind_rule(struct mirror_table *t)
{
    const struct mirror *m = t->mirror;
    if (t->bound)
        return SQLITE_OK;
    int status = (t->reads ? grant_init : grant_init_write)(&t->grant, m->policy, m->who, t->table);
    if (status == STATUS_NOT_FOUND) {
        /* Not with these claims: there are no rows. */
        t->grant = (struct grant){0};
        buf_puts(&t->where, "(0)");
        status = buf_error(&t->where);
    } else if (status == 0 && t->grant.rows) {
        status = put_rule(t);
    } else if (status == 0) {
        buf_puts(&t->where, "(1)");
        status = buf_error(&t->where);
    } else {
        return SQLITE_NOMEM;
    }
    t->bound = true;
    return status < 0 || !buf_text(&t->where) ? SQLITE_NOMEM : SQLITE_OK;
}

int mirror_bind_values(struct mirror_table *t, sqlite3_stmt *s)
{
    int rc = SQLITE_OK;
    for (int i = 0; i < t->param_count && rc == SQLITE_OK; i++)
        rc = values_bind(s, i + 1, &t->params[i]);
    return rc;
}

/* Nothing of the table is kept from the role, so a message can tell it nothing new. */
static bool knows_all(const struct mirror_table *t)
{
    return t->reads && !t->readable;
}

/*
 * What a constraint's message names is of this table, and not of one that a trigger writes: its
 * columns, or the text of a CHECK.
 */
static bool is_ours(const struct mirror_table *t, const char *named)
{
    size_t len = strlen(t->table->name);
    if (strncmp(named, t->table->name, len) == 0 && named[len] == '.')
        return true;
    return t->table->sql && strstr(t->table->sql, named);
}

static const char *constraint(const struct mirror_table *t, int rc, char *text, size_t size)
{
    static const char column[] = " column ";
    const char *message = sqlite3_errmsg(t->mirror->file->db);
    const char *colon = strstr(message, ": "), *named = colon ? colon + 2 : NULL;
    if (rc == SQLITE_CONSTRAINT_DATATYPE && (named = strstr(message, column)))
        named += strlen(column);
    bool whole = rc == SQLITE_CONSTRAINT_TRIGGER || rc == SQLITE_CONSTRAINT_FOREIGNKEY ||
                 (knows_all(t) && named && is_ours(t, named));
    if (!whole && !colon)
        return sqlite3_errstr(rc);
    snprintf(text, size, "%.*s", whole ? (int)size - 1 : (int)(colon - message), message);
    return text;
}

/*
 * SQLite's own words are kept where they say what went wrong with the data; others are about the
 * file's schema.
 */
static const char *message_of(const struct mirror_table *t, int rc, char *text, size_t size)
{
    if ((rc & 0xff) == SQLITE_CONSTRAINT)
        return constraint(t, rc, text, size);
    return (rc & 0xff) == SQLITE_ERROR ? "the table cannot be used in this way"
                                       : sqlite3_errstr(rc);
}

int mirror_failed(struct mirror_table *t, sqlite3_vtab *v, int rc)
{
    char text[512];
    sqlite3_free(v->zErrMsg);
    v->zErrMsg = sqlite3_mprintf("%s", message_of(t, rc, text, sizeof(text)));
    return rc;
}

int mirror_refuse(struct mirror *m, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(m->conn.auth.denied, sizeof(m->conn.auth.denied), fmt, ap);
    va_end(ap);
    return SQLITE_AUTH;
}
