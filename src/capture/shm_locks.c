#include "capture/shm_locks.h"

#include "base/mem.h"
#include "capture/wal/shm.h"
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define LOOKS 20
#define LOOK_PAUSE_NS 50000

/* Who writes the head is through with it at once, unless he lost the processor in the middle. */
static bool head_is_whole(const struct shm_locks *l)
{
    const struct timespec pause = {.tv_nsec = LOOK_PAUSE_NS};
    volatile void *mapped = NULL;
    struct wal_shm now;
    l->real->xShmMap(l->file, 0, WAL_SHM_REGION, 0, &mapped);
    if (!mapped)
        return false;
    for (int i = 1; !wal_shm_read(mapped, &now); i++) {
        if (i == LOOKS)
            return false;
        nanosleep(&pause, NULL);
    }
    return true;
}

static int for_checkpoints(struct shm_locks *l, bool take, int flags)
{
    if (take ? l->held : l->keep || !l->held)
        return SQLITE_OK;
    int rc = l->real->xShmLock(l->file, WAL_SHM_CHECKPOINT, 1, flags);
    if (rc == SQLITE_OK)
        l->held = take;
    return rc;
}

static int shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    struct shm_locks *l = (struct shm_locks *)(uintptr_t)file->pMethods;
    bool take = flags & SQLITE_SHM_LOCK;
    if (offset == WAL_SHM_CHECKPOINT && n == 1)
        return for_checkpoints(l, take, flags);
    if (offset == WAL_SHM_WRITE && n == 1 && take && head_is_whole(l))
        return SQLITE_BUSY;
    /* A recovery of the index takes and gives it back together with others. */
    if (!take && offset <= WAL_SHM_CHECKPOINT && offset + n > WAL_SHM_CHECKPOINT)
        l->held = false;
    return l->real->xShmLock(file, offset, n, flags);
}

int shm_locks_new(struct shm_locks **locks, sqlite3 *db)
{
    sqlite3_file *file = NULL;
    *locks = NULL;
    sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    if (!file || !file->pMethods || file->pMethods->iVersion < 2)
        return SQLITE_OK;
    struct shm_locks *l = mem_zalloc(sizeof(*l));
    if (!l)
        return SQLITE_NOMEM;
    l->file = file;
    l->real = file->pMethods;
    l->methods = *file->pMethods;
    l->methods.xShmLock = shm_lock;
    file->pMethods = &l->methods;
    *locks = l;
    return SQLITE_OK;
}

void shm_locks_free(struct shm_locks *l)
{
    if (!l)
        return;
    shm_locks_keep(l, false);
    l->file->pMethods = l->real;
    mem_free(l);
}

bool shm_locks_keep(struct shm_locks *l, bool keep)
{
    l->keep = keep;
    if (keep == l->held)
        return true;
    return for_checkpoints(l, keep,
               (keep ? SQLITE_SHM_LOCK : SQLITE_SHM_UNLOCK) | SQLITE_SHM_EXCLUSIVE) == SQLITE_OK;
}
