#include "capture/readers.h"

#include "base/mem.h"

#define CACHE_KIB "16384" /* of each connection, at most */

/* SQLite's own bound, 2 MB, has a table of some size read from the system again and again. */
static int open_reader(
    struct sqlconn *c, const char *path, int64_t busy_timeout_ms, const atomic_bool *closing)
{
    int rc = sqlconn_open(c, path, true, busy_timeout_ms, closing);
    return rc == SQLITE_OK ? sqlite3_exec(c->db, "PRAGMA cache_size=-" CACHE_KIB, NULL, NULL, NULL)
                           : rc;
}

int readers_open(struct readers *r, int count, const char *path, int64_t busy_timeout_ms,
    const atomic_bool *closing)
{
    *r = (struct readers){0};
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->returned, NULL);
    r->conns = mem_array((size_t)count, sizeof(*r->conns));
    r->taken = mem_array((size_t)count, sizeof(*r->taken));
    if (!r->conns || !r->taken)
        return SQLITE_NOMEM;
    int rc = SQLITE_OK;
    while (r->count < count && rc == SQLITE_OK)
        rc = open_reader(&r->conns[r->count++], path, busy_timeout_ms, closing);
    return rc;
}

void readers_close(struct readers *r)
{
    for (int i = 0; i < r->count; i++)
        sqlconn_close(&r->conns[i]);
    mem_free(r->conns);
    mem_free(r->taken);
    pthread_cond_destroy(&r->returned);
    pthread_mutex_destroy(&r->lock);
}

static struct sqlconn *find_free(struct readers *r)
{
    for (int i = 0; i < r->count; i++) {
        if (r->taken[i])
            continue;
        r->taken[i] = true;
        return &r->conns[i];
    }
    return NULL;
}

struct sqlconn *readers_take(struct readers *r)
{
    struct sqlconn *c;
    pthread_mutex_lock(&r->lock);
    while (!(c = find_free(r)))
        pthread_cond_wait(&r->returned, &r->lock);
    pthread_mutex_unlock(&r->lock);
    return c;
}

struct sqlconn *readers_try(struct readers *r)
{
    struct sqlconn *c;
    pthread_mutex_lock(&r->lock);
    c = find_free(r);
    pthread_mutex_unlock(&r->lock);
    return c;
}

void readers_give(struct readers *r, struct sqlconn *c)
{
    pthread_mutex_lock(&r->lock);
    r->taken[c - r->conns] = false;
    pthread_cond_signal(&r->returned);
    pthread_mutex_unlock(&r->lock);
}
