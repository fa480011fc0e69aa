#include "capture/copier.h"

#include "base/mem.h"
#include "base/status.h"
#include "base/thread.h"

/*
 * The lock is kept by standing between SQLite and the file: a table of methods of our own, in which
 * one is another (https://www.sqlite.org/c3ref/io_methods.html).
 */
#define CHECKPOINT_LOCK 1

static int shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    struct copier_file *f = (struct copier_file *)(uintptr_t)file->pMethods;
    bool take = flags & SQLITE_SHM_LOCK;
    if (offset != CHECKPOINT_LOCK || n != 1) {
        /* A recovery of the index takes and gives it back together with others. */
        if (!take && offset <= CHECKPOINT_LOCK && offset + n > CHECKPOINT_LOCK)
            f->held = false;
        return f->real->xShmLock(file, offset, n, flags);
    }
    if (take ? f->held : f->keep || !f->held)
        return SQLITE_OK;
    int rc = f->real->xShmLock(file, offset, n, flags);
    if (rc == SQLITE_OK)
        f->held = take;
    return rc;
}

static sqlite3_file *file_of(struct copier *c)
{
    sqlite3_file *file = NULL;
    sqlite3_file_control(c->conn.db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    return file;
}

static int stand_between(struct copier *c)
{
    sqlite3_file *file = file_of(c);
    if (!file || !file->pMethods || file->pMethods->iVersion < 2)
        return STATUS_OK;
    c->file = mem_zalloc(sizeof(*c->file));
    if (!c->file)
        return STATUS_NOMEM;
    c->file->real = file->pMethods;
    c->file->methods = *file->pMethods;
    c->file->methods.xShmLock = shm_lock;
    file->pMethods = &c->file->methods;
    return STATUS_OK;
}

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
    if (stand_between(c) < 0)
        return STATUS_NOMEM;
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
        copier_keep(c, false);
    }
    if (c->file)
        file_of(c)->pMethods = c->file->real;
    sqlconn_close(&c->conn);
    mem_free(c->file);
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
    struct copier_file *f = c->file;
    sqlite3_file *file = file_of(c);
    if (!f)
        return !keep;
    f->keep = keep;
    if (keep == f->held)
        return true;
    return shm_lock(file, CHECKPOINT_LOCK, 1,
               (keep ? SQLITE_SHM_LOCK : SQLITE_SHM_UNLOCK) | SQLITE_SHM_EXCLUSIVE) == SQLITE_OK;
}
