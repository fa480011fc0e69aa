#include "capture/moment.h"

static struct schema *published_schema(struct published *p)
{
    pthread_mutex_lock(&p->lock);
    struct schema *s = schema_ref(p->schema);
    pthread_mutex_unlock(&p->lock);
    return s;
}

int moment_begin(
    struct sqlconn *c, struct published *p, uint64_t *seq, struct schema **schema, bool *exact)
{
    unsigned turn = atomic_load(&p->turn);
    struct schema *now = schema ? published_schema(p) : NULL;
    *seq = atomic_load(&p->seq);
    int rc = sqlconn_run(c, OWN_BEGIN_READ);
    if (rc == SQLITE_OK && (rc = sqlconn_run(c, OWN_TOUCH)) != SQLITE_OK)
        sqlconn_run(c, OWN_ROLLBACK);
    *exact = rc == SQLITE_OK && turn % 2 == 0 && turn == atomic_load(&p->turn);
    if (!*exact) {
        schema_unref(now);
        now = NULL;
    }
    if (schema)
        *schema = now;
    return rc;
}
