#include "capture/wal/view_file.h"

#include "base/status.h"
#include <stdio.h>
#include <string.h>

struct handle {
    sqlite3_file base;
    const struct wal_view *view;
};

static const struct wal_view *view_of(sqlite3_file *f)
{
    return ((struct handle *)(void *)f)->view;
}

/* Bytes 18 and 19 say that the file has a log: it has none, all of it is in the view. */
static void hide_log(uint8_t *to, int size, sqlite3_int64 offset)
{
    for (int i = 18; i <= 19; i++)
        if (offset <= i && i < offset + size)
            to[i - offset] = 1;
}

static int read_bytes(sqlite3_file *f, void *to, int size, sqlite3_int64 offset)
{
    const struct wal_view *v = view_of(f);
    uint32_t page_size = v->pages->log->page_size;
    uint8_t *at = to;
    int left = size;
    for (sqlite3_int64 from = offset; left > 0;) {
        uint32_t skip = (uint32_t)(from % page_size);
        int part = left < (int)(page_size - skip) ? left : (int)(page_size - skip);
        struct wal_page *page;
        if (from / page_size >= v->page_count) {
            memset(at, 0, (size_t)left);
            return SQLITE_IOERR_SHORT_READ;
        }
        int status = wal_view_page(v, (uint32_t)(from / page_size) + 1, &page);
        if (status < 0)
            return status == STATUS_NOMEM ? SQLITE_NOMEM : SQLITE_IOERR_READ;
        memcpy(at, page->data + skip, (size_t)part);
        wal_page_done(page);
        at += part;
        from += part;
        left -= part;
    }
    hide_log(to, size, offset);
    return SQLITE_OK;
}

static int file_size(sqlite3_file *f, sqlite3_int64 *size)
{
    const struct wal_view *v = view_of(f);
    *size = (sqlite3_int64)v->page_count * v->pages->log->page_size;
    return SQLITE_OK;
}

static int close_file(sqlite3_file *f)
{
    (void)f;
    return SQLITE_OK;
}

static int refuse_write(sqlite3_file *f, const void *from, int size, sqlite3_int64 offset)
{
    (void)f, (void)from, (void)size, (void)offset;
    return SQLITE_READONLY;
}

static int refuse_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    (void)f, (void)size;
    return SQLITE_READONLY;
}

static int with_flags(sqlite3_file *f, int flags)
{
    (void)f, (void)flags;
    return SQLITE_OK;
}

static int no_reserved_lock(sqlite3_file *f, int *locked)
{
    (void)f;
    *locked = 0;
    return SQLITE_OK;
}

static int no_control(sqlite3_file *f, int op, void *arg)
{
    (void)f, (void)op, (void)arg;
    return SQLITE_NOTFOUND;
}

static int sector_size(sqlite3_file *f)
{
    (void)f;
    return 4096;
}

static int characteristics(sqlite3_file *f)
{
    (void)f;
    return SQLITE_IOCAP_IMMUTABLE;
}

static const sqlite3_io_methods methods = {
    .iVersion = 1,
    .xClose = close_file,
    .xRead = read_bytes,
    .xWrite = refuse_write,
    .xTruncate = refuse_truncate,
    .xSync = with_flags,
    .xFileSize = file_size,
    .xLock = with_flags,
    .xUnlock = with_flags,
    .xCheckReservedLock = no_reserved_lock,
    .xFileControl = no_control,
    .xSectorSize = sector_size,
    .xDeviceCharacteristics = characteristics,
};

static int open_file(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out_flags)
{
    struct handle *h = (struct handle *)(void *)f;
    const struct view_file *owner = vfs->pAppData;
    (void)name;
    h->base.pMethods = NULL;
    if (!(flags & SQLITE_OPEN_MAIN_DB))
        return SQLITE_CANTOPEN;
    h->base.pMethods = &methods;
    h->view = owner->view;
    if (out_flags)
        *out_flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_MAIN_DB;
    return SQLITE_OK;
}

static int refuse_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
    (void)vfs, (void)name, (void)sync;
    return SQLITE_READONLY;
}

static int no_file(sqlite3_vfs *vfs, const char *name, int flags, int *there)
{
    (void)vfs, (void)name, (void)flags;
    *there = 0;
    return SQLITE_OK;
}

static int full_path(sqlite3_vfs *vfs, const char *name, int size, char *out)
{
    (void)vfs;
    snprintf(out, (size_t)size, "%s", name);
    return SQLITE_OK;
}

int view_file_open(struct view_file *f, const struct wal_view *view)
{
    const sqlite3_vfs *usual = sqlite3_vfs_find(NULL);
    *f = (struct view_file){.view = view};
    snprintf(f->name, sizeof(f->name), "rowtap-view-%p", (void *)f);
    f->vfs = (sqlite3_vfs){
        .iVersion = 1,
        .szOsFile = sizeof(struct handle),
        .mxPathname = 64,
        .zName = f->name,
        .pAppData = f,
        .xOpen = open_file,
        .xDelete = refuse_delete,
        .xAccess = no_file,
        .xFullPathname = full_path,
        .xRandomness = usual->xRandomness,
        .xSleep = usual->xSleep,
        .xCurrentTime = usual->xCurrentTime,
    };
    int rc = sqlite3_vfs_register(&f->vfs, 0);
    f->registered = rc == SQLITE_OK;
    if (f->registered)
        rc = sqlconn_open_in(&f->conn, "view", f->name);
    return rc == SQLITE_OK ? STATUS_OK : rc == SQLITE_NOMEM ? STATUS_NOMEM : STATUS_INVALID;
}

void view_file_close(struct view_file *f)
{
    sqlconn_close(&f->conn);
    if (f->registered)
        sqlite3_vfs_unregister(&f->vfs);
    f->registered = false;
}
