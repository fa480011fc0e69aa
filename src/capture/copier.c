#include "capture/copier.h"

#include "base/status.h"
#include "base/thread.h"
#include "capture/shm_locks.h"

static void *run(void *arg)
{
    struct copier *c = arg;
    pthread_mutex_lock(&c->lock);
    while (!c->stop) {
        if (!c->asked) {
            pthread_cond_wait(&c->wake, &c->lock);
            continue;
        }
        c->asked = false;
        pthread_mutex_unlock(&c->lock);
        copier_copy(c);
        atomic_store(&c->busy, false);
        c->done(c->ctx);
        pthread_mutex_lock(&c->lock);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

int copier_start(struct copier *c, const char *path, const atomic_bool *closing,
    void (*done)(void *ctx), void *ctx)
{
    *c = (struct copier){.done = done, .ctx = ctx};
    int rc = sqlconn_open_observer(&c->conn, path, closing);
    if (rc == SQLITE_OK)
        rc = sqlconn_run(&c->conn, OWN_TOUCH);
    if (rc != SQLITE_OK)
        return (rc & 0xff) == SQLITE_NOMEM ? STATUS_NOMEM : STATUS_IO;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->wake, NULL);
    c->running = thread_start(&c->thread, NULL, run, c, "copier") == 0;
    return c->running ? STATUS_OK : STATUS_IO;
}

void copier_stop(struct copier *c)
{
    if (c->running) {
        pthread_mutex_lock(&c->lock);
        c->stop = true;
        pthread_cond_signal(&c->wake);
        pthread_mutex_unlock(&c->lock);
        pthread_join(c->thread, NULL);
        pthread_cond_destroy(&c->wake);
        pthread_mutex_destroy(&c->lock);
    }
    sqlconn_close(&c->conn);
    *c = (struct copier){0};
}

void copier_ask(struct copier *c)
{
    atomic_store(&c->busy, true);
    pthread_mutex_lock(&c->lock);
    c->asked = true;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
}

bool copier_is_busy(const struct copier *c)
{
    return atomic_load(&c->busy);
}

void copier_copy(struct copier *c)
{
    sqlite3_wal_checkpoint_v2(c->conn.db, "main", SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
}

bool copier_keep(struct copier *c, bool keep)
{
    return c->conn.locks ? shm_locks_keep(c->conn.locks, keep) : !keep;
}
