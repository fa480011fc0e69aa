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
static int begin_at_place(struct sqlconn *c, struct published *p, int (*begin)(struct sqlconn *),
    uint64_t *seq, bool *exact)
{
    struct wal_files files;
    struct wal_shm before, after;
    int rc = find_files(c, &files);
    bool looked = rc == SQLITE_OK && wal_shm_read(files.shm, &before);
    if (rc == SQLITE_OK)
        rc = begin(c);
    *exact = rc == SQLITE_OK && looked && wal_shm_read(files.shm, &after) &&
             before.frames == after.frames && memcmp(before.salt, after.salt, WAL_SALT) == 0 &&
             places_find(&p->places, after.salt, after.frames, seq);
    return rc;
}

static int begin_between_commits(struct sqlconn *c, struct published *p,
    int (*begin)(struct sqlconn *), unsigned turn, bool *exact)
{
    int rc = begin(c);
    *exact = rc == SQLITE_OK && turn % 2 == 0 && turn == atomic_load(&p->turn);
    return rc;
}

static int begin_by(struct sqlconn *c, struct published *p, int (*begin)(struct sqlconn *),
    uint64_t *seq, struct schema **schema, bool *exact)
{
    unsigned turn = atomic_load(&p->turn);
    if (schema)
        *schema = published_schema(p);
    *seq = atomic_load(&p->seq);
    return atomic_load(&p->following) ? begin_at_place(c, p, begin, seq, exact)
                                      : begin_between_commits(c, p, begin, turn, exact);
}

int moment_hold(struct sqlconn *c, struct published *p, uint64_t *seq, bool *exact)
{
    return begin_by(c, p, sqlconn_hold, seq, NULL, exact);
}

int moment_begin(
    struct sqlconn *c, struct published *p, uint64_t *seq, struct schema **schema, bool *exact)
{
    int rc = begin_by(c, p, begin_transaction, seq, schema, exact);
    if (schema && !*exact) {
        schema_unref(*schema);
        *schema = NULL;
    }
    return rc;
}
