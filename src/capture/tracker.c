#include "capture/tracker.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/status.h"
#include <sched.h>
#include <string.h>

/* Memory for pages. */
#define CACHE_BYTES (8u << 20)
/* Attempts to begin a read transaction of which it is known where it stands. */
#define TRIES 8

static int status_of(int rc)
{
    return rc == SQLITE_OK                 ? STATUS_OK
           : rc == SQLITE_IOERR_SHORT_READ ? STATUS_INVALID
           : (rc & 0xff) == SQLITE_NOMEM   ? STATUS_NOMEM
                                           : STATUS_IO;
}

static int read_log(void *ctx, void *to, size_t size, int64_t offset)
{
    sqlite3_file *f = ((struct tracker *)ctx)->files.log;
    return status_of(f->pMethods->xRead(f, to, (int)size, offset));
}

static int read_file(void *ctx, void *to, size_t size, int64_t offset)
{
    sqlite3_file *f = ((struct tracker *)ctx)->files.file;
    return status_of(f->pMethods->xRead(f, to, (int)size, offset));
}

static int file_size(void *ctx, int64_t *size)
{
    sqlite3_file *f = ((struct tracker *)ctx)->files.file;
    sqlite3_int64 bytes = 0;
    int status = status_of(f->pMethods->xFileSize(f, &bytes));
    *size = bytes;
    return status;
}

bool tracker_index(const struct tracker *t, struct wal_shm *now)
{
    for (int i = 0; i < TRIES; i++)
        if (wal_shm_read(t->files.shm, now))
            return true;
    return false;
}

/* Pins. */

static void end_pin(struct tracker_pin *p)
{
    if (p->begun)
        sqlconn_run(&p->conn, OWN_ROLLBACK);
    p->begun = false;
}

static int begin_transaction(struct tracker_pin *p)
{
    int rc = sqlconn_run(&p->conn, OWN_BEGIN_READ);
    if (rc == SQLITE_OK && (rc = sqlconn_run(&p->conn, OWN_TOUCH)) != SQLITE_OK)
        sqlconn_run(&p->conn, OWN_ROLLBACK);
    p->begun = rc == SQLITE_OK;
    return rc;
}

/*
 * SQLite reads from the file alone when, at the moment it begins, all frames are copied. Both
 * numbers only grow, so looking before and after tells; otherwise it is not known.
 */
static bool stands_clear(struct tracker_pin *p, const struct wal_shm *a, const struct wal_shm *b)
{
    if (memcmp(a->salt, b->salt, WAL_SALT) != 0)
        return false;
    p->least = a->frames;
    p->upto = b->frames;
    memcpy(p->salt, b->salt, WAL_SALT);
    p->parked = a->frames == b->frames && a->copied == a->frames;
    return p->parked || b->copied < a->frames;
}

static int begin_pin(struct tracker *t, struct tracker_pin *p)
{
    struct wal_shm before, after;
    for (int i = 0; i < TRIES; i++) {
        if (!tracker_index(t, &before))
            continue;
        int rc = begin_transaction(p);
        if (rc != SQLITE_OK)
            return rc;
        if (tracker_index(t, &after) && stands_clear(p, &before, &after))
            return SQLITE_OK;
        end_pin(p);
    }
    return SQLITE_BUSY;
}

static struct tracker_pin *pin(struct tracker *t)
{
    return &t->pins[t->held];
}

static struct tracker_pin *other(struct tracker *t)
{
    return &t->pins[1 - t->held];
}

/*
 * The second pin counts as soon as nothing before it is needed. It may have begun in the next
 * generation already, while the first one is parked in this.
 */
static void change_over(struct tracker *t)
{
    const struct tracker_pin *next = other(t);
    if (!next->begun || memcmp(next->salt, t->log.salt, WAL_SALT) != 0 || t->frame < next->upto)
        return;
    end_pin(pin(t));
    t->held = 1 - t->held;
}

void tracker_repin(struct tracker *t)
{
    if (t->holds_copying)
        return;
    if (!other(t)->begun && begin_pin(t, other(t)) != SQLITE_OK)
        return;
    change_over(t);
}

uint32_t tracker_pinned(const struct tracker *t)
{
    const struct tracker_pin *p = &t->pins[t->held];
    return p->parked ? 0 : p->least;
}

uint32_t tracker_lag(const struct tracker *t)
{
    uint32_t least = t->pins[t->held].least;
    return t->frame > least ? t->frame - least : 0;
}

bool tracker_parked(const struct tracker *t)
{
    const struct tracker_pin *p = &t->pins[t->held];
    return p->parked && p->upto == t->frame;
}

void tracker_checkpoint(struct tracker *t)
{
    int frames = 0, copied = 0;
    if (!t->can_checkpoint || other(t)->begun || t->holds_copying)
        return;
    sqlite3_wal_checkpoint_v2(
        other(t)->conn.db, "main", SQLITE_CHECKPOINT_PASSIVE, &frames, &copied);
    tracker_note_copied(t);
}

void tracker_note_copied(struct tracker *t)
{
    struct wal_shm now;
    if (tracker_index(t, &now) && memcmp(now.salt, t->log.salt, WAL_SALT) == 0)
        t->copied = now.copied;
}

bool tracker_park(struct tracker *t)
{
    struct wal_shm now;
    if (tracker_parked(t))
        return true;
    if (!tracker_index(t, &now) || memcmp(now.salt, t->log.salt, WAL_SALT) != 0 ||
        now.frames != t->frame || now.copied != now.frames)
        return false;
    /* One that is to follow began when there was more to copy. */
    end_pin(other(t));
    tracker_repin(t);
    return tracker_parked(t);
}

/* The place. */

static void begin_generation(struct tracker *t, const uint8_t *salt, uint32_t frame)
{
    wal_log_restart(&t->log, salt);
    wal_pages_clear(&t->pages);
    t->frame = frame;
    t->own_count = 0;
    t->copied = 0;
}

int tracker_look(struct tracker *t)
{
    struct wal_shm now;
    if (!tracker_index(t, &now))
        return 1;
    if (memcmp(now.salt, t->log.salt, WAL_SALT) != 0) {
        if (!tracker_parked(t))
            return STATUS_CONFLICT;
        begin_generation(t, now.salt, 0);
        pin(t)->least = pin(t)->upto = 0;
        end_pin(other(t));
    }
    if (now.frames < t->frame)
        return STATUS_CONFLICT;
    return now.frames > t->frame;
}

int tracker_next(struct tracker *t, uint32_t *end, bool *own)
{
    struct wal_shm now;
    /* Another generation is tracker_look's to find. */
    if (!tracker_index(t, &now) || memcmp(now.salt, t->log.salt, WAL_SALT) != 0 ||
        now.frames <= t->frame)
        return 0;
    int status = wal_log_commit(&t->log, t->frame, now.frames, end);
    if (status < 0)
        return status;
    *own = t->own_count > 0 && t->own[0] == *end;
    return *end ? 1 : STATUS_INVALID;
}

int tracker_note_own(struct tracker *t, uint32_t end)
{
    if (t->own_count == t->own_cap) {
        uint32_t cap = t->own_cap ? t->own_cap * 2 : 16;
        void *grown = mem_realloc(t->own, cap * sizeof(*t->own));
        if (!grown)
            return STATUS_NOMEM;
        t->own = grown;
        t->own_cap = cap;
    }
    t->own[t->own_count++] = end;
    return STATUS_OK;
}

/*
 * Attempts, between two commits of a process that makes one after the other: all in all less than
 * the millisecond that it waits when it finds the lock taken.
 */
#define LOCK_TRIES 500

bool tracker_lock(struct tracker *t)
{
    sqlite3_file *f = t->files.file;
    int rc = SQLITE_BUSY;
    for (int i = 0; i < LOCK_TRIES && rc == SQLITE_BUSY && t->can_checkpoint; i++) {
        if (i > 0)
            sched_yield();
        rc =
            t->files.methods->xShmLock(f, WAL_SHM_WRITE, 1, SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE);
    }
    return rc == SQLITE_OK;
}

void tracker_unlock(struct tracker *t)
{
    sqlite3_file *f = t->files.file;
    t->files.methods->xShmLock(f, WAL_SHM_WRITE, 1, SQLITE_SHM_UNLOCK | SQLITE_SHM_EXCLUSIVE);
}

bool tracker_others_write(struct tracker *t)
{
    sqlite3_file *f = t->files.file;
    if (t->files.methods->xShmLock(f, WAL_SHM_WRITE, 1, SQLITE_SHM_LOCK | SQLITE_SHM_SHARED) !=
        SQLITE_OK)
        return true;
    t->files.methods->xShmLock(f, WAL_SHM_WRITE, 1, SQLITE_SHM_UNLOCK | SQLITE_SHM_SHARED);
    return false;
}

bool tracker_hold(struct tracker *t)
{
    sqlite3_file *f = t->files.file;
    t->holds_copying = t->files.methods->xShmLock(f, WAL_SHM_CHECKPOINT, 1,
                           SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE) == SQLITE_OK;
    return t->holds_copying;
}

void tracker_release(struct tracker *t)
{
    sqlite3_file *f = t->files.file;
    if (t->holds_copying)
        t->files.methods->xShmLock(
            f, WAL_SHM_CHECKPOINT, 1, SQLITE_SHM_UNLOCK | SQLITE_SHM_EXCLUSIVE);
    t->holds_copying = false;
}

void tracker_go_back(struct tracker *t, uint32_t frame)
{
    tracker_drop_trees(t);
    t->frame = frame;
}

void tracker_pass(struct tracker *t, uint32_t end)
{
    uint32_t passed = 0;
    t->frame = end;
    if (t->holds_copying && t->frame >= pin(t)->upto)
        tracker_release(t);
    while (passed < t->own_count && t->own[passed] <= end)
        passed++;
    t->own_count -= passed;
    if (passed > 0)
        memmove(t->own, t->own + passed, t->own_count * sizeof(*t->own));
    change_over(t);
}

/* Trees. */

int tracker_read_trees(struct tracker *t, struct schema *schema)
{
    struct wal_view view;
    if (t->trees)
        return STATUS_OK;
    int status = wal_log_extend(&t->log, t->frame);
    if (status == STATUS_OK)
        status = wal_view_init(&view, &t->pages, t->frame);
    if (status == STATUS_OK && schema && schema->cookie != view.cookie)
        status = STATUS_CONFLICT;
    return status == STATUS_OK ? trees_read(&view, NULL, schema, &t->trees) : status;
}

void tracker_drop_trees(struct tracker *t)
{
    wal_diff_forget(&t->diff);
    trees_free(t->trees);
    t->trees = NULL;
}

/* Opening. */

static int page_size(struct sqlconn *c, uint32_t *size)
{
    sqlite3_stmt *s;
    int rc = sqlconn_prepare(c, &s, "PRAGMA main.page_size");
    if (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        *size = (uint32_t)sqlite3_column_int(s, 0);
        rc = SQLITE_OK;
    }
    sqlite3_finalize(s);
    return rc;
}

static int begin_at_end(struct tracker *t)
{
    end_pin(&t->pins[0]);
    end_pin(&t->pins[1]);
    int rc = begin_pin(t, pin(t));
    if (rc == SQLITE_OK)
        begin_generation(t, pin(t)->salt, pin(t)->upto);
    return rc;
}

int tracker_jump(struct tracker *t)
{
    tracker_release(t);
    tracker_drop_trees(t);
    return begin_at_end(t);
}

static int open_connections(
    struct tracker *t, const char *path, bool writable, const atomic_bool *closing)
{
    int rc = SQLITE_OK;
    for (int i = 0; i < 2 && rc == SQLITE_OK; i++) {
        rc = writable ? sqlconn_open_observer(&t->pins[i].conn, path, closing)
                      : sqlconn_open(&t->pins[i].conn, path, true, 0, closing);
        if (rc == SQLITE_OK)
            rc = sqlconn_run(&t->pins[i].conn, OWN_TOUCH);
    }
    return rc;
}

int tracker_open(struct tracker *t, const char *path, bool writable, const atomic_bool *closing)
{
    uint32_t size = 0;
    *t = (struct tracker){.can_checkpoint = writable};
    const struct wal_source source = {
        .read_log = read_log, .read_file = read_file, .file_size = file_size, .ctx = t};
    int rc = open_connections(t, path, writable, closing);
    if (rc == SQLITE_OK)
        rc = wal_files_find(&t->files, &t->pins[0].conn);
    if (rc == SQLITE_OK)
        rc = page_size(&t->pins[0].conn, &size);
    if (rc != SQLITE_OK)
        return rc;
    wal_log_init(&t->log, &source, size);
    wal_pages_init(&t->pages, &t->log, CACHE_BYTES);
    wal_diff_init(&t->diff, &t->pages);
    t->has_log = true;
    return begin_at_end(t);
}

void tracker_close(struct tracker *t)
{
    tracker_release(t);
    tracker_drop_trees(t);
    if (t->has_log) {
        wal_diff_fini(&t->diff);
        wal_pages_fini(&t->pages);
        wal_log_fini(&t->log);
    }
    mem_free(t->own);
    for (int i = 0; i < 2; i++) {
        end_pin(&t->pins[i]);
        sqlconn_close(&t->pins[i].conn);
    }
    *t = (struct tracker){0};
}
