#include "capture/mirror_parts.h"

#include "base/mem.h"
#include "base/status.h"
#include "base/text.h"
#include "capture/schema_read.h"
#include <stdio.h>
#include <string.h>

#define KEPT 4 /* mirrors of one connection */

struct mirrors {
    struct list all; /* the one used last first */
    int count;
};

struct mirror_table *mirror_find(const struct mirror *m, const char *name)
{
    return name ? map_get(&m->by_name, name, strlen(name)) : NULL;
}

/* Ending. */

static void forget_rule(struct mirror_table *t)
{
    if (t->bound)
        grant_fini(&t->grant);
    t->bound = false;
    buf_reset(&t->where);
    t->params = NULL;
    t->param_count = 0;
}

static void table_fini(struct mirror_table *t)
{
    forget_rule(t);
    buf_fini(&t->where);
    mem_free(t->readable);
    mem_free(t->writable);
    mem_free(t->indexed);
    mem_free(t->columns);
}

static void mirror_free(struct mirror *m)
{
    list_del(&m->node);
    sqlconn_close(&m->conn);
    for (int i = 0; i < m->table_count; i++)
        table_fini(&m->tables[i]);
    mem_free(m->tables);
    map_fini(&m->by_name);
    buf_fini(&m->write_sql);
    schema_unref(m->schema);
    policy_unref(m->policy);
    mem_free(m->role);
    mem_free(m);
}

void mirrors_free(struct sqlconn *c)
{
    if (!c->mirrors)
        return;
    while (!list_empty(&c->mirrors->all))
        mirror_free(list_entry(c->mirrors->all.next, struct mirror, node));
    mem_free(c->mirrors);
    c->mirrors = NULL;
}

/* Making one. */

static int to_code(int status)
{
    return status == STATUS_NOMEM ? SQLITE_NOMEM : SQLITE_OK;
}

/* What the role may do with a table; its claims do not matter here. */
static int take_rights(struct mirror_table *t)
{
    const struct mirror *m = t->mirror;
    struct grant g;
    int status = grant_init(&g, m->policy, m->who, t->table);

    t->reads = status == 0;
    if (status == 0) {
        t->readable = g.columns;
        g.columns = NULL;
        grant_fini(&g);
    }
    if (status == STATUS_NOMEM || t->table->kind != TABLE_PLAIN)
        return to_code(status);
    status = grant_init_write(&g, m->policy, m->who, t->table);
    t->writes = status == 0;
    if (status == 0) {
        t->writes_all = !g.columns;
        t->writable = g.columns;
        g.columns = NULL;
        grant_fini(&g);
    }
    return to_code(status);
}

static int take_columns(struct mirror_table *t)
{
    const struct table *real = t->table;

    t->columns = mem_array((size_t)real->column_count + 1, sizeof(*t->columns));
    t->indexed = mem_array((size_t)real->column_count / 64 + 1, sizeof(*t->indexed));
    if (!t->columns || !t->indexed)
        return SQLITE_NOMEM;
    for (int i = 0; i < real->column_count; i++)
        if (real->columns[i].kind != COLUMN_HIDDEN &&
            ((t->reads && mirror_has(t->readable, i)) || (t->writes && mirror_has(t->writable, i))))
            t->columns[t->column_count++] = i;
    if (real->kind == TABLE_PLAIN)
        t->rowid = table_rowid_name(real);
    return SQLITE_OK;
}

static int take_indexes(struct mirror_table *t)
{
    sqlite3_stmt *s;
    int rc = sqlconn_prepare(t->mirror->file, &s,
        "SELECT i.cid FROM pragma_index_list(%Q,'main') l, pragma_index_info(l.name,'main') i "
        "WHERE i.seqno=0 AND NOT l.partial AND i.cid>=0",
        t->table->name);
    while (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        int column = sqlite3_column_int(s, 0);
        rc = SQLITE_OK;
        if (column < t->table->column_count)
            t->indexed[column / 64] |= UINT64_C(1) << (column % 64);
    }
    sqlite3_finalize(s);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int create(struct mirror_table *t, int index)
{
    struct mirror *m = t->mirror;
    sqlite3_stmt *s;
    /* Of others SQLite itself says that they may not be modified. */
    bool writes = t->table->kind == TABLE_PLAIN &&
                  (t->table->without_rowid ? t->table->key_count == 1 : t->rowid != NULL);
    int rc = sqlconn_prepare(&m->conn, &s, "CREATE VIRTUAL TABLE \"%w\" USING rowtap_mirror%s(%d)",
        t->table->name, writes ? "_write" : "", index);
    if (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_DONE)
        rc = SQLITE_OK;
    sqlite3_finalize(s);
    return rc;
}

/* A table without rowids is known by its key: who only writes has to be able to give it. */
static bool has_key(const struct mirror_table *t)
{
    const struct table *real = t->table;
    for (int i = 0; real->without_rowid && !t->reads && i < real->key_count; i++)
        if (!mirror_has(t->writable, real->key_columns[i]))
            return false;
    return true;
}

static int add_table(struct mirror *m, const struct table *real)
{
    struct mirror_table *t = &m->tables[m->table_count];
    *t = (struct mirror_table){.mirror = m, .table = real};
    int rc = take_rights(t);
    if (rc != SQLITE_OK || (!t->reads && !t->writes) || !has_key(t)) {
        table_fini(t);
        return rc;
    }
    m->table_count++;
    rc = take_columns(t);
    if (rc == SQLITE_OK && real->kind == TABLE_PLAIN)
        rc = take_indexes(t);
    if (rc == SQLITE_OK && t->column_count)
        rc = create(t, m->table_count - 1);
    /* What cannot be mirrored is not there; the other tables are. */
    if ((rc & 0xff) == SQLITE_ERROR || t->column_count == 0)
        return rc == SQLITE_NOMEM ? rc : SQLITE_OK;
    if (rc == SQLITE_OK && map_set(&m->by_name, real->name, strlen(real->name), t) < 0)
        rc = SQLITE_NOMEM;
    return rc;
}

static int same_encoding(struct mirror *m)
{
    sqlite3_stmt *s;
    char *text = NULL;
    int rc = sqlconn_prepare(m->file, &s, "PRAGMA main.encoding");
    if (rc == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW)
        text = sqlite3_mprintf("PRAGMA encoding=%Q", sqlite3_column_text(s, 0));
    sqlite3_finalize(s);
    if (text)
        rc = sqlite3_exec(m->conn.db, text, NULL, NULL, NULL);
    sqlite3_free(text);
    return rc;
}

static int fill(struct mirror *m)
{
    static const char *const names[] = {"rowtap_mirror", "rowtap_mirror_write"};
    static const sqlite3_module *const modules[] = {&mirror_module, &mirror_write_module};
    int rc = sqlconn_open_empty(&m->conn, m->file);
    for (int i = 0; i < 2 && rc == SQLITE_OK; i++)
        rc = sqlite3_create_module_v2(m->conn.db, names[i], modules[i], m, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_set_authorizer(m->conn.db, mirror_authorize, m);
    if (rc == SQLITE_OK)
        rc = sqlite3_db_config(m->conn.db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, (int *)NULL);
    if (rc == SQLITE_OK)
        rc = same_encoding(m);
    if (rc == SQLITE_OK) /* what changes() tells is set back with it */
        rc = sqlite3_exec(m->conn.db,
            "CREATE TABLE rowtap_none(x);"
            "SELECT 1 FROM json_each('[]'), json_tree('[]')", /* which makes them */
            NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        sqlite3_limit(m->conn.db, SQLITE_LIMIT_ATTACHED, 0);
    for (int i = 0; i < m->schema->table_count && rc == SQLITE_OK; i++)
        if (!m->schema->tables[i]->internal)
            rc = add_table(m, m->schema->tables[i]);
    return rc;
}

static struct mirror *mirror_new(
    struct sqlconn *c, const struct schema *schema, const struct sql_request *r, int *rc)
{
    struct mirror *m = mem_zalloc(sizeof(*m));
    *rc = SQLITE_NOMEM;
    if (!m)
        return NULL;
    list_init(&m->node);
    m->file = c;
    m->who = r->who;
    m->policy = policy_ref(r->policy);
    m->schema = schema_ref(schema);
    m->role = mem_strdup(r->who && r->who->role ? r->who->role : "");
    m->tables = mem_array((size_t)schema->table_count + 1, sizeof(*m->tables));
    if (m->role && m->tables)
        *rc = fill(m);
    if (*rc == SQLITE_OK)
        return m;
    mirror_free(m);
    return NULL;
}

/* Those that are kept. */

static bool fits(const struct mirror *m, const struct schema *schema, int64_t cookie,
    const struct sql_request *r)
{
    return !m->in_use && m->policy == r->policy && r->who && r->who->role &&
           strcmp(m->role, r->who->role) == 0 &&
           (schema ? m->schema == schema : m->schema->cookie == (uint32_t)cookie);
}

static void keep(struct sqlconn *c, struct mirror *m)
{
    struct list *all = &c->mirrors->all;
    m->node.next = all->next;
    m->node.prev = all;
    all->next->prev = &m->node;
    all->next = &m->node;
    if (++c->mirrors->count <= KEPT)
        return;
    struct mirror *oldest = list_entry(all->prev, struct mirror, node);
    if (!oldest->in_use) {
        mirror_free(oldest);
        c->mirrors->count--;
    }
}

static struct mirror *take_kept(
    struct sqlconn *c, const struct schema *schema, int64_t cookie, const struct sql_request *r)
{
    struct list *all = &c->mirrors->all;
    for (struct list *n = all->next; n != all; n = n->next) {
        struct mirror *m = list_entry(n, struct mirror, node);
        if (!fits(m, schema, cookie, r))
            continue;
        list_del(&m->node);
        c->mirrors->count--;
        return m;
    }
    return NULL;
}

static int prepare_kept(struct sqlconn *c)
{
    if (c->mirrors)
        return SQLITE_OK;
    c->mirrors = mem_zalloc(sizeof(*c->mirrors));
    if (!c->mirrors)
        return SQLITE_NOMEM;
    list_init(&c->mirrors->all);
    return SQLITE_OK;
}

static struct mirror *find_or_make(
    struct sqlconn *c, const struct schema *schema, const struct sql_request *r, int *rc)
{
    int64_t cookie = 0;
    struct schema *read = NULL;
    struct mirror *m = NULL;
    *rc = prepare_kept(c);
    if (*rc == SQLITE_OK && !schema)
        *rc = sqlconn_integer(c, OWN_SCHEMA_VERSION, &cookie);
    if (*rc == SQLITE_OK)
        m = take_kept(c, schema, cookie, r);
    if (m || *rc != SQLITE_OK)
        return m;
    if (!schema)
        *rc = schema_read(c, NULL, &read);
    if (*rc == SQLITE_OK)
        m = mirror_new(c, schema ? schema : read, r, rc);
    schema_unref(read);
    return m;
}

/* Nothing that others did through it shows. */
static int forget_counts(struct mirror *m)
{
    sqlite3_set_last_insert_rowid(m->conn.db, 0);
    return sqlite3_changes(m->conn.db) == 0
               ? SQLITE_OK
               : sqlite3_exec(m->conn.db, "DELETE FROM rowtap_none", NULL, NULL, NULL);
}

struct sqlconn *mirror_enter(
    struct sqlconn *c, const struct schema *schema, const struct sql_request *r, int *rc)
{
    struct mirror *m = find_or_make(c, schema, r, rc);
    if (!m)
        return NULL;
    m->in_use = true;
    m->who = r->who;
    m->conn.auth.report = NULL;
    *rc = forget_counts(m);
    keep(c, m);
    if (*rc == SQLITE_OK)
        return &m->conn;
    mirror_leave(&m->conn);
    return NULL;
}

void mirror_leave(struct sqlconn *conn)
{
    struct mirror *m = conn ? list_entry(conn, struct mirror, conn) : NULL;
    if (!m)
        return;
    sqlite3_finalize(m->write);
    m->write = NULL;
    buf_fini(&m->write_sql);
    for (int i = 0; i < m->table_count; i++)
        forget_rule(&m->tables[i]);
    conn->auth.report = NULL;
    conn->auth.denied[0] = conn->auth.missing[0] = 0;
    m->who = NULL;
    m->sql = NULL;
    m->in_use = false;
}

bool mirror_statement(struct sqlconn *conn, const struct prepared *p, const char *sql, size_t len)
{
    struct mirror *m = list_entry(conn, struct mirror, conn);
    int explain = sqlite3_stmt_isexplain(p->stmt);
    const char *why = NULL;
    m->sql = sql;
    m->len = len;
    if (p->report.vacuum)
        why = "VACUUM is refused: your role may not do it";
    else if (explain == 1)
        why = "EXPLAIN is refused for your role; EXPLAIN QUERY PLAN is not";
    else if (!explain && p->report.dml && p->returns_rows)
        why = "RETURNING is refused for your role: read the row with SELECT, and its rowid from "
              "lastInsertRowid";
    if (why)
        snprintf(conn->auth.denied, sizeof(conn->auth.denied), "%s", why);
    return !why;
}
