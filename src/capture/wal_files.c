#include "capture/wal_files.h"

#include "capture/shm_locks.h"
#include "capture/wal/shm.h"

int wal_files_find(struct wal_files *f, struct sqlconn *c)
{
    volatile void *mapped = NULL;
    int rc = sqlite3_file_control(c->db, "main", SQLITE_FCNTL_FILE_POINTER, &f->file);
    if (rc == SQLITE_OK)
        rc = sqlite3_file_control(c->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &f->log);
    if (rc != SQLITE_OK)
        return rc;
    if (!f->file->pMethods || f->file->pMethods->iVersion < 2 || !f->log || !f->log->pMethods)
        return SQLITE_CANTOPEN;
    f->methods = c->locks ? c->locks->real : f->file->pMethods;
    rc = f->methods->xShmMap(f->file, 0, WAL_SHM_REGION, 0, &mapped);
    f->shm = mapped;
    /* A file that may only be read has memory that may only be read. */
    if (rc == SQLITE_READONLY && mapped)
        rc = SQLITE_OK;
    return rc == SQLITE_OK && !mapped ? SQLITE_CANTOPEN : rc;
}
