#include "capture/spares.h"

#include "base/mem.h"

struct spare {
    struct sqlconn conn;
    struct list node;
};

void spares_init(struct spares *s, const char *path, int64_t busy_timeout_ms,
    const atomic_bool *closing, int most)
{
    *s = (struct spares){
        .path = path, .busy_timeout_ms = busy_timeout_ms, .closing = closing, .most = most};
    pthread_mutex_init(&s->lock, NULL);
    list_init(&s->free);
}

static struct spare *create(struct spares *s, int *rc)
{
    struct spare *c = mem_zalloc(sizeof(*c));
    *rc = SQLITE_NOMEM;
    if (!c)
        return NULL;
    list_init(&c->node);
    *rc = sqlconn_open(&c->conn, s->path, true, s->busy_timeout_ms, s->closing);
    if (*rc == SQLITE_OK)
        return c;
    sqlconn_close(&c->conn);
    mem_free(c);
    return NULL;
}

static void destroy(struct spare *c)
{
    sqlconn_close(&c->conn);
    mem_free(c);
}

static struct spare *pop(struct spares *s)
{
    struct spare *c = NULL;
    pthread_mutex_lock(&s->lock);
    if (!list_empty(&s->free)) {
        c = list_entry(s->free.prev, struct spare, node);
        list_del(&c->node);
        s->count--;
    }
    pthread_mutex_unlock(&s->lock);
    return c;
}

struct sqlconn *spares_take(struct spares *s, int *rc)
{
    struct spare *c = pop(s);
    if (!c)
        c = create(s, rc);
    return c ? &c->conn : NULL;
}

void spares_give(struct spares *s, struct sqlconn *conn)
{
    struct spare *c = list_entry(conn, struct spare, conn);
    /* An interrupt may have come too late for the statement, and hit the ROLLBACK behind it. */
    if (!sqlite3_get_autocommit(conn->db))
        sqlconn_run(conn, OWN_ROLLBACK);
    pthread_mutex_lock(&s->lock);
    bool keep = s->count < s->most && sqlite3_get_autocommit(conn->db);
    if (keep) {
        list_add_tail(&s->free, &c->node);
        s->count++;
    }
    pthread_mutex_unlock(&s->lock);
    if (!keep)
        destroy(c);
}

void spares_fini(struct spares *s)
{
    struct spare *c;
    while ((c = pop(s)))
        destroy(c);
    pthread_mutex_destroy(&s->lock);
}
