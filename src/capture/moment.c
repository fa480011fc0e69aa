#include "capture/moment.h"

#include "base/clock.h"
#include <stdlib.h>
#include <time.h>

/* One try. *exact: the moment is known. */
static int attempt(
    struct sqlconn *c, struct published *p, uint64_t *seq, struct schema **schema, bool *exact)
{
    pthread_mutex_lock(&p->lock);
    unsigned turn = atomic_load(&p->turn);
    *seq = atomic_load(&p->seq);
    if (schema)
        *schema = schema_ref(p->schema);
    pthread_mutex_unlock(&p->lock);
    int rc = sqlconn_run(c, OWN_BEGIN_READ);
    if (rc == SQLITE_OK)
        rc = sqlconn_run(c, OWN_TOUCH);
    *exact = rc == SQLITE_OK && turn % 2 == 0 && turn == atomic_load(&p->turn);
    return rc;
}

static void undo(struct sqlconn *c, struct schema **schema)
{
    if (!sqlite3_get_autocommit(c->db))
        sqlconn_run(c, OWN_ROLLBACK);
    if (schema) {
        schema_unref(*schema);
        *schema = NULL;
    }
}

int moment_begin(
    struct sqlconn *c, struct published *p, int tries, uint64_t *seq, struct schema **schema)
{
    bool exact;
    while (true) {
        int rc = attempt(c, p, seq, schema, &exact);
        if (rc == SQLITE_OK && (exact || --tries <= 0))
            return rc;
        undo(c, schema);
        if (rc != SQLITE_OK)
            return rc;
    }
}

int moment_begin_exactly(struct sqlconn *c, struct published *p, int64_t timeout_ms, uint64_t *seq,
    struct schema **schema)
{
    int64_t end = clock_mono_ms() + timeout_ms;
    unsigned seed = (unsigned)end;
    bool exact;
    while (true) {
        int rc = attempt(c, p, seq, schema, &exact);
        if (rc == SQLITE_OK && exact)
            return rc;
        undo(c, schema);
        if (rc != SQLITE_OK)
            return rc;
        if (clock_mono_ms() >= end || atomic_load(c->closing))
            return SQLITE_BUSY;
        /* Random, so as not to fall into step with the commits. */
        struct timespec pause = {.tv_nsec = rand_r(&seed) % 100000};
        nanosleep(&pause, NULL);
    }
}
