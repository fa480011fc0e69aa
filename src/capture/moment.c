#include "capture/moment.h"

#include "capture/wal/shm.h"
#include "capture/wal_files.h"
#include <string.h>

static struct schema *published_schema(struct published *p)
{
    pthread_mutex_lock(&p->lock);
    struct schema *s = schema_ref(p->schema);
    pthread_mutex_unlock(&p->lock);
    return s;
}

static int begin_transaction(struct sqlconn *c)
{
    int rc = sqlconn_run(c, OWN_BEGIN_READ);
    if (rc == SQLITE_OK && (rc = sqlconn_run(c, OWN_TOUCH)) != SQLITE_OK)
        sqlconn_run(c, OWN_ROLLBACK);
    return rc;
}

static int find_files(struct sqlconn *c, struct wal_files *files)
{
    int rc = c->log_is_open ? SQLITE_OK : sqlconn_run(c, OWN_TOUCH);
    c->log_is_open = rc == SQLITE_OK;
    return rc == SQLITE_OK ? wal_files_find(files, c) : rc;
}

/* Where others commit as well, the place in the log tells what the transaction sees. */
static int begin_at_place(
    struct sqlconn *c, struct published *p, int (*begin)(struct sqlconn *), struct moment *m)
{
    struct wal_files files;
    struct wal_shm before, after;
    int rc = find_files(c, &files);
    bool looked = rc == SQLITE_OK && wal_shm_read(files.shm, &before);
    if (rc == SQLITE_OK)
        rc = begin(c);
    m->exact = rc == SQLITE_OK && looked && wal_shm_read(files.shm, &after) &&
               before.frames == after.frames && memcmp(before.salt, after.salt, WAL_SALT) == 0 &&
               places_find(&p->places, after.salt, after.frames, &m->seq);
    m->placed = m->exact;
    if (m->placed) {
        m->shm = files.shm;
        m->frames = after.frames;
        memcpy(m->salt, after.salt, WAL_SALT);
    }
    return rc;
}

static int begin_between_commits(struct sqlconn *c, struct published *p,
    int (*begin)(struct sqlconn *), unsigned turn, struct moment *m)
{
    int rc = begin(c);
    m->exact = rc == SQLITE_OK && turn % 2 == 0 && turn == atomic_load(&p->turn);
    m->placed = false;
    return rc;
}

static int begin_by(struct sqlconn *c, struct published *p, int (*begin)(struct sqlconn *),
    struct moment *m, struct schema **schema)
{
    unsigned turn = atomic_load(&p->turn);
    if (schema)
        *schema = published_schema(p);
    m->seq = atomic_load(&p->seq);
    return atomic_load(&p->following) ? begin_at_place(c, p, begin, m)
                                      : begin_between_commits(c, p, begin, turn, m);
}

int moment_hold(struct sqlconn *c, struct published *p, struct moment *m)
{
    return begin_by(c, p, sqlconn_hold, m, NULL);
}

bool moment_is_now(const struct moment *m)
{
    struct wal_shm now;
    return m->placed && wal_shm_read(m->shm, &now) && now.frames == m->frames &&
           memcmp(now.salt, m->salt, WAL_SALT) == 0;
}

int moment_begin(
    struct sqlconn *c, struct published *p, uint64_t *seq, struct schema **schema, bool *exact)
{
    struct moment m;
    int rc = begin_by(c, p, begin_transaction, &m, schema);
    *seq = m.seq;
    *exact = m.exact;
    if (schema && !*exact) {
        schema_unref(*schema);
        *schema = NULL;
    }
    return rc;
}
