#include "capture/statement_cache.h"

#include "base/mem.h"
#include "capture/sqltext.h"
#include <string.h>

#define CACHE_SIZE 64
#define CACHE_TEXT 4096
/* Longer texts are kept if they take parameters, while they and their programs are not too large.
 */
#define LONG_TEXT (1024 * 1024)
#define LONG_BYTES (4 * 1024 * 1024)

static void prepared_free(struct prepared *p)
{
    sqlite3_finalize(p->stmt);
    statement_report_fini(&p->report);
    buf_fini(&p->columns);
    mem_free(p->text);
    mem_free(p);
}

static void forget(struct sqlconn *c, struct prepared *p)
{
    map_del(&c->cached, p->text, p->len);
    c->cached_count--;
    c->cached_long -= p->weight;
    list_del(&p->node);
    prepared_free(p);
}

void statement_cache_clear(struct sqlconn *c)
{
    while (!list_empty(&c->recent))
        forget(c, list_entry(c->recent.next, struct prepared, node));
    map_fini(&c->cached);
}

/* Its text is there twice, as its key and with SQLite. */
static size_t weigh(const struct prepared *p)
{
    return 2 * p->len + (size_t)sqlite3_stmt_status(p->stmt, SQLITE_STMTSTATUS_MEMUSED, 0);
}

static void describe(struct prepared *p, const char *sql, size_t len, const char *tail)
{
    p->used = (size_t)(tail - sql);
    bool explain = sqlite3_stmt_isexplain(p->stmt) != 0;
    p->returns_rows = sqlite3_column_count(p->stmt) > 0;
    p->read_only = explain || (sqlite3_stmt_readonly(p->stmt) && !p->report.vacuum);
    if (explain) {
        p->report.control = CONTROL_NONE;
        p->report.ddl = p->report.dml = p->report.vacuum = p->report.alone = false;
    }
    /* A text with more behind the statement is a script, and seldom seen twice. */
    bool keep = len <= LONG_TEXT && sqltext_blank(tail, len - p->used) && !explain &&
                !p->report.ddl && !p->report.vacuum && p->report.control == CONTROL_NONE;
    p->len = len;
    p->params = sqlite3_bind_parameter_count(p->stmt);
    if (keep && len > CACHE_TEXT)
        keep = p->params > 0 && (p->weight = weigh(p)) <= LONG_BYTES / 2;
    if (keep)
        p->text = mem_strndup(sql, len);
}

/* A long text is only looked for where there are some. */
static struct prepared *find(const struct sqlconn *c, const char *sql, size_t len)
{
    bool possible = len <= CACHE_TEXT || (len <= LONG_TEXT && c->cached_long > 0);
    return possible ? map_get(&c->cached, sql, len) : NULL;
}

int statement_cache_params(const struct sqlconn *c, const char *sql, size_t len)
{
    const struct prepared *p = find(c, sql, len);
    return p ? p->params : -1;
}

int statement_cache_get(struct sqlconn *c, const char *sql, size_t len, struct prepared **out)
{
    struct prepared *p = find(c, sql, len);
    c->auth.denied[0] = c->auth.missing[0] = 0;
    *out = p;
    if (p && !p->in_use) {
        p->in_use = true;
        c->auth.report = &p->report;
        return SQLITE_OK;
    }
    p = mem_zalloc(sizeof(*p));
    if (!p)
        return SQLITE_NOMEM;
    list_init(&p->node);
    p->in_use = true;
    p->report.vacuum = p->report.alone = sqltext_begins(sql, len, "VACUUM");
    c->auth.report = &p->report;
    c->auth.preparing = true;
    const char *tail = sql;
    /* With a length SQLite would copy all the text behind this statement, too. */
    int rc = sqlite3_prepare_v3(c->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &p->stmt, &tail);
    c->auth.preparing = false;
    if (rc != SQLITE_OK || !p->stmt) {
        c->auth.report = NULL;
        prepared_free(p);
        return rc;
    }
    describe(p, sql, len, tail);
    *out = p;
    return SQLITE_OK;
}

/* The last one used stays: by itself it is not too large. */
static void forget_long(struct sqlconn *c)
{
    struct list *at = c->recent.prev;
    while (c->cached_long > LONG_BYTES && at != c->recent.next) {
        struct prepared *p = list_entry(at, struct prepared, node);
        at = at->prev;
        if (p->weight > 0 && !p->in_use)
            forget(c, p);
    }
}

void statement_cache_put(struct sqlconn *c, struct prepared *p)
{
    sqlite3_reset(p->stmt);
    sqlite3_clear_bindings(p->stmt);
    c->auth.report = NULL;
    if (!p->cached) {
        if (!p->text || map_get(&c->cached, p->text, p->len) ||
            map_set(&c->cached, p->text, p->len, p) < 0) {
            prepared_free(p);
            return;
        }
        p->cached = true;
        c->cached_count++;
        c->cached_long += p->weight;
    }
    p->in_use = false;
    list_del(&p->node);
    p->node.next = c->recent.next;
    p->node.prev = &c->recent;
    c->recent.next->prev = &p->node;
    c->recent.next = &p->node;
    struct prepared *oldest = list_entry(c->recent.prev, struct prepared, node);
    if (c->cached_count > CACHE_SIZE && !oldest->in_use)
        forget(c, oldest);
    if (p->weight > 0)
        forget_long(c);
}
