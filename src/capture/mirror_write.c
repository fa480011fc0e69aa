#include "capture/mirror_parts.h"

#include "base/text.h"
#include "capture/sqltext.h"
#include <string.h>

/*
 * One row that a statement in a mirror changes: a statement on the file's connection, in the unit
 * that the executor has begun there, so that it is captured, and undone with the unit.
 */
struct change_of {
    struct mirror_table *t;
    sqlite3_vtab *v;
    sqlite3_value **argv;
    struct buf sql;
    int next;          /* number of the next parameter */
    sqlite3_value *id; /* of the row afterwards, or NULL: the rowid that the insertion gave it */
};

/* The statement's text. */

static bool is_word(const struct sqltext_token *t, const char *word)
{
    return t->kind == SQLTEXT_WORD && text_same_nocase(t->p, t->len, word, strlen(word));
}

static bool is_char(const struct sqltext_token *t, char c)
{
    return t->kind == SQLTEXT_OTHER && t->len == 1 && t->p[0] == c;
}

static struct sqltext_token next_token(const struct mirror *m, size_t *pos)
{
    return sqltext_next(m->sql, m->len, pos);
}

/* Behind the INTO of an INSERT; within a WITH there are only SELECTs, in parentheses. */
static bool find_into(const struct mirror *m, size_t *pos)
{
    struct sqltext_token t = next_token(m, pos), before = {0};
    for (int depth = 0; t.kind != SQLTEXT_END; before = t, t = next_token(m, pos)) {
        depth += is_char(&t, '(') - is_char(&t, ')');
        if (depth == 0 && is_word(&t, "INTO") && before.kind == SQLTEXT_WORD)
            return true;
    }
    return false;
}

/* Its list of columns, if it has one: *pos is then behind the parenthesis. */
static bool find_list(const struct mirror *m, size_t *pos)
{
    struct sqltext_token t;
    *pos = 0;
    if (!m->sql || !find_into(m, pos))
        return false;
    next_token(m, pos);
    t = next_token(m, pos);
    if (is_char(&t, '.')) {
        next_token(m, pos);
        t = next_token(m, pos);
    }
    if (is_word(&t, "AS")) {
        next_token(m, pos);
        t = next_token(m, pos);
    }
    return is_char(&t, '(');
}

/* A name as it may be written, with or without quotes. */
static bool names(const struct sqltext_token *t, const char *name)
{
    if (t->kind == SQLTEXT_WORD)
        return text_same_nocase(t->p, t->len, name, strlen(name));
    char quote = t->len >= 2 ? t->p[0] == '[' ? ']' : t->p[0] : 0;
    size_t k = 0, len = strlen(name);
    for (size_t i = 1; quote && i + 1 < t->len; i++, k++) {
        i += quote != ']' && t->p[i] == quote;
        if (k >= len || !text_same_nocase(t->p + i, 1, name + k, 1))
            return false;
    }
    return quote && k == len;
}

/* The INSERT gives this column a value. SQLite does not tell, and says NULL where it does not. */
static bool is_given(const struct mirror_table *t, int column)
{
    const struct mirror *m = t->mirror;
    struct sqltext_token token;
    size_t pos;
    if (!find_list(m, &pos)) {
        pos = 0;
        find_into(m, &pos);
        while ((token = next_token(m, &pos)).kind != SQLTEXT_END)
            if (is_word(&token, "DEFAULT"))
                return false;
            else if (is_word(&token, "VALUES") || is_word(&token, "SELECT") ||
                     is_word(&token, "WITH"))
                break;
        return !t->reads || mirror_has(t->readable, column);
    }
    while ((token = next_token(m, &pos)).kind != SQLTEXT_END && !is_char(&token, ')'))
        if (names(&token, t->table->columns[column].name))
            return true;
    return false;
}

/* Building. */

static const char *id_name(const struct mirror_table *t)
{
    return t->table->without_rowid ? t->table->columns[t->table->key_columns[0]].name : t->rowid;
}

static bool is_id(const struct mirror_table *t, int column)
{
    return t->table->without_rowid ? column == t->table->key_columns[0]
                                   : column == t->table->rowid_alias;
}

/* Rows of others may go by it, or their values be overwritten. */
static bool may_replace(const struct mirror_table *t)
{
    return t->writes_all && t->reads && !t->readable && !t->grant.rows;
}

static int put_conflict(struct change_of *c)
{
    int mode = sqlite3_vtab_on_conflict(c->t->mirror->conn.db);
    if (mode == SQLITE_REPLACE && !may_replace(c->t))
        return mirror_refuse(c->t->mirror,
            "OR REPLACE is refused for your role on %.128s: it could delete rows that you may not "
            "see",
            c->t->table->name);
    buf_puts(&c->sql, mode == SQLITE_REPLACE ? " OR REPLACE"
                      : may_replace(c->t)    ? ""
                                             : " OR ABORT");
    return SQLITE_OK;
}

static int check_column(struct change_of *c, int column)
{
    const struct column *real = &c->t->table->columns[column];
    if (real->kind == COLUMN_VIRTUAL || real->kind == COLUMN_STORED)
        return mirror_refuse(c->t->mirror,
            "the generated column %.128s of %.128s cannot be set: name the others", real->name,
            c->t->table->name);
    if (mirror_has(c->t->writable, column))
        return SQLITE_OK;
    return mirror_refuse(c->t->mirror, "your role may not write the column %.128s of %.128s",
        real->name, c->t->table->name);
}

static void put_where(struct change_of *c)
{
    buf_puts(&c->sql, " WHERE ");
    mirror_put_name(&c->sql, id_name(c->t));
    buf_printf(&c->sql, "=?%d AND ", c->next++);
    buf_put(&c->sql, c->t->where.data, c->t->where.len);
}

/* Running. */

static int prepare(struct change_of *c)
{
    struct mirror *m = c->t->mirror;
    const char *text = buf_text(&c->sql);
    if (!text)
        return SQLITE_NOMEM;
    if (m->write && m->write_sql.len == c->sql.len &&
        memcmp(m->write_sql.data, text, c->sql.len) == 0)
        return SQLITE_OK;
    sqlite3_finalize(m->write);
    m->write = NULL;
    buf_reset(&m->write_sql);
    buf_put(&m->write_sql, text, c->sql.len);
    return buf_error(&m->write_sql) ? SQLITE_NOMEM
                                    : sqlconn_prepare(m->file, &m->write, "%s", text);
}

static int step(struct change_of *c)
{
    sqlite3_stmt *s = c->t->mirror->write;
    int rc = sqlite3_step(s);
    if (rc != SQLITE_DONE)
        rc = mirror_failed(c->t, c->v, rc);
    sqlite3_reset(s);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/*
 * OR IGNORE passes over a row that breaks a constraint, as SQLite is told by the result; but not
 * over a foreign key or what a trigger raises.
 */
static int result_of(struct change_of *c, int rc)
{
    bool final = rc == SQLITE_CONSTRAINT_FOREIGNKEY || rc == SQLITE_CONSTRAINT_TRIGGER;
    return final && sqlite3_vtab_on_conflict(c->t->mirror->conn.db) == SQLITE_IGNORE ? SQLITE_ERROR
                                                                                     : rc;
}

/* The row as it is now has to be one that may be written; where it is gone, a trigger did that. */
static int check_row(struct change_of *c)
{
    struct mirror_table *t = c->t;
    struct mirror *m = t->mirror;
    sqlite3_stmt *s = NULL;
    struct buf sql = {0};
    if (!t->grant.rows && strcmp(buf_text(&t->where), "(0)") != 0)
        return SQLITE_OK;
    buf_puts(&sql, "SELECT 1 FROM ");
    mirror_put_table(&sql, t->table);
    buf_puts(&sql, " WHERE ");
    mirror_put_name(&sql, id_name(t));
    buf_printf(&sql, "=?%d AND ", t->param_count + 1);
    buf_put(&sql, t->where.data, t->where.len);
    buf_puts(&sql, " IS NOT TRUE");
    int rc = buf_text(&sql) ? sqlconn_prepare(m->file, &s, "%s", buf_text(&sql)) : SQLITE_NOMEM;
    if (rc == SQLITE_OK)
        rc = mirror_bind_values(t, s);
    if (rc == SQLITE_OK)
        rc = c->id ? sqlite3_bind_value(s, t->param_count + 1, c->id)
                   : sqlite3_bind_int64(
                         s, t->param_count + 1, sqlite3_last_insert_rowid(m->file->db));
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    if (rc == SQLITE_ROW)
        rc = mirror_refuse(m, "your role may not write such a row of %.128s", t->table->name);
    else if (rc != SQLITE_DONE)
        rc = mirror_failed(t, c->v, rc);
    sqlite3_finalize(s);
    buf_fini(&sql);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* The three kinds. */

static int run_delete(struct change_of *c)
{
    sqlite3_stmt *s;
    int rc, id = c->next;
    buf_puts(&c->sql, "DELETE FROM ");
    mirror_put_table(&c->sql, c->t->table);
    put_where(c);
    rc = prepare(c);
    s = c->t->mirror->write;
    if (rc == SQLITE_OK)
        rc = mirror_bind_values(c->t, s);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_value(s, id, c->argv[0]);
    return rc == SQLITE_OK ? step(c) : mirror_failed(c->t, c->v, rc);
}

static bool is_set(const struct change_of *c, int i)
{
    return !sqlite3_value_nochange(c->argv[2 + i]);
}

/* By its name rowid, where that is not one of the columns that are set. */
static bool moves_rowid(const struct change_of *c)
{
    return !c->t->table->without_rowid &&
           sqlite3_value_int64(c->argv[0]) != sqlite3_value_int64(c->argv[1]);
}

static int put_update(struct change_of *c)
{
    const struct mirror_table *t = c->t;
    const char *separator = " SET ";
    buf_puts(&c->sql, "UPDATE");
    int rc = put_conflict(c);
    buf_putc(&c->sql, ' ');
    mirror_put_table(&c->sql, t->table);
    for (int i = 0; i < t->column_count && rc == SQLITE_OK; i++) {
        if (!is_set(c, i))
            continue;
        rc = check_column(c, t->columns[i]);
        buf_puts(&c->sql, separator);
        mirror_put_name(&c->sql, t->table->columns[t->columns[i]].name);
        buf_printf(&c->sql, "=?%d", c->next++);
        separator = ",";
    }
    if (rc == SQLITE_OK && moves_rowid(c)) {
        buf_puts(&c->sql, separator);
        mirror_put_name(&c->sql, t->rowid);
        buf_printf(&c->sql, "=?%d", c->next++);
        separator = ",";
    }
    if (*separator == ' ') /* nothing is changed */
        buf_reset(&c->sql);
    else
        put_where(c);
    return rc;
}

static int bind_update(struct change_of *c)
{
    struct mirror_table *t = c->t;
    sqlite3_stmt *s = t->mirror->write;
    int place = t->param_count + 1;
    int rc = mirror_bind_values(t, s);
    c->id = c->argv[0];
    for (int i = 0; i < t->column_count && rc == SQLITE_OK; i++) {
        if (!is_set(c, i))
            continue;
        rc = sqlite3_bind_value(s, place++, c->argv[2 + i]);
        if (is_id(t, t->columns[i]))
            c->id = c->argv[2 + i];
    }
    if (rc == SQLITE_OK && moves_rowid(c)) {
        rc = sqlite3_bind_value(s, place++, c->argv[1]);
        c->id = c->argv[1];
    }
    return rc == SQLITE_OK ? sqlite3_bind_value(s, place, c->argv[0]) : rc;
}

static int run_update(struct change_of *c)
{
    int rc = put_update(c);
    if (rc != SQLITE_OK || c->sql.len == 0)
        return rc;
    rc = prepare(c);
    if (rc == SQLITE_OK)
        rc = bind_update(c);
    if (rc != SQLITE_OK)
        return mirror_failed(c->t, c->v, rc);
    rc = step(c);
    return rc == SQLITE_OK ? check_row(c) : rc;
}

static bool gives_rowid(const struct change_of *c)
{
    return !c->t->table->without_rowid && sqlite3_value_type(c->argv[1]) != SQLITE_NULL;
}

static int check_rowid(struct change_of *c)
{
    int alias = c->t->table->rowid_alias;
    if (alias >= 0)
        return check_column(c, alias);
    return c->t->writes_all ? SQLITE_OK
                            : mirror_refuse(c->t->mirror,
                                  "your role may not write the rowid of %.128s", c->t->table->name);
}

static int put_insert(struct change_of *c, const bool *given)
{
    const struct mirror_table *t = c->t;
    const char *separator = "(";
    buf_puts(&c->sql, "INSERT");
    int rc = put_conflict(c);
    buf_puts(&c->sql, " INTO ");
    mirror_put_table(&c->sql, t->table);
    if (rc == SQLITE_OK && gives_rowid(c)) {
        rc = check_rowid(c);
        buf_putc(&c->sql, '(');
        mirror_put_name(&c->sql, t->rowid);
        separator = ",";
        c->next++;
    }
    for (int i = 0; i < t->column_count && rc == SQLITE_OK; i++) {
        if (!given[i])
            continue;
        rc = check_column(c, t->columns[i]);
        buf_puts(&c->sql, separator);
        mirror_put_name(&c->sql, t->table->columns[t->columns[i]].name);
        separator = ",";
        c->next++;
    }
    if (*separator == '(')
        buf_puts(&c->sql, " DEFAULT VALUES");
    for (int i = 1; i < c->next; i++)
        buf_printf(&c->sql, i == 1 ? ") VALUES(?%d" : ",?%d", i);
    buf_puts(&c->sql, c->next > 1 ? ")" : "");
    return rc;
}

static int bind_insert(struct change_of *c, const bool *given)
{
    const struct mirror_table *t = c->t;
    sqlite3_stmt *s = t->mirror->write;
    int place = 1, rc = SQLITE_OK;
    if (gives_rowid(c))
        rc = sqlite3_bind_value(s, place++, c->argv[1]);
    for (int i = 0; i < t->column_count && rc == SQLITE_OK; i++) {
        if (!given[i])
            continue;
        rc = sqlite3_bind_value(s, place++, c->argv[2 + i]);
        if (t->table->without_rowid && is_id(t, t->columns[i]))
            c->id = c->argv[2 + i];
    }
    return rc;
}

static int run_insert(struct change_of *c, const bool *given, sqlite3_int64 *rowid)
{
    struct mirror_table *t = c->t;
    c->next = 1; /* the rule has no place in an INSERT */
    int rc = put_insert(c, given);
    if (rc != SQLITE_OK)
        return rc;
    rc = prepare(c);
    if (rc == SQLITE_OK)
        rc = bind_insert(c, given);
    if (rc != SQLITE_OK)
        return mirror_failed(t, c->v, rc);
    if (t->table->without_rowid && !c->id)
        return mirror_refuse(t->mirror, "give the primary key of %.128s a value", t->table->name);
    rc = step(c);
    if (rc != SQLITE_OK || sqlite3_changes(t->mirror->file->db) == 0)
        return rc; /* a trigger may have said RAISE(IGNORE) */
    *rowid = sqlite3_last_insert_rowid(t->mirror->file->db);
    return check_row(c);
}

static int insert(struct change_of *c, sqlite3_int64 *rowid)
{
    const struct mirror_table *t = c->t;
    bool *given = sqlite3_malloc64(sizeof(*given) * ((size_t)t->column_count + 1));
    if (!given)
        return SQLITE_NOMEM;
    for (int i = 0; i < t->column_count; i++)
        given[i] = is_given(t, t->columns[i]);
    int rc = run_insert(c, given, rowid);
    sqlite3_free(given);
    return rc;
}

int mirror_update(sqlite3_vtab *v, int argc, sqlite3_value **argv, sqlite3_int64 *rowid)
{
    struct mirror_table *t = mirror_table_of(v);
    struct change_of c = {.t = t, .v = v, .argv = argv};
    int rc = mirror_bind_rule(t);
    c.next = t->param_count + 1;
    if (rc == SQLITE_OK && argc == 1)
        rc = run_delete(&c);
    else if (rc == SQLITE_OK && sqlite3_value_type(argv[0]) == SQLITE_NULL)
        rc = insert(&c, rowid);
    else if (rc == SQLITE_OK)
        rc = run_update(&c);
    buf_fini(&c.sql);
    return result_of(&c, rc);
}
