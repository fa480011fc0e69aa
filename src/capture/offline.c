#include "capture/offline.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/status.h"
#include "capture/wal/bytes.h"
#include "capture/wal/record.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Of a log without any frame so far. */
static const uint8_t no_salt[WAL_SALT];

/* How long to wait for somebody's checkpoint to end. */
#define HOLD_MS 3000

/* The log is not what tells here: the file is as it was left, and all in the log came later. */
static bool is_sealed(const struct journal_place *place, const char *path)
{
    struct stat st;
    if (!place->time_ms || stat(path, &st) < 0)
        return false;
    int64_t ms = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
    return ms == place->time_ms && st.st_mtim.tv_nsec % 1000000 == 0;
}

/* A restarted log's salt begins with the number after that of the one before. */
static bool follows(const uint8_t *next, const uint8_t *salt)
{
    return get_u32(next) == get_u32(salt) + 1;
}

/* The column `writes` of the journal's place, as of a view. */
static int read_writes(
    const struct wal_view *v, const struct trees *trees, uint32_t *page, uint64_t *writes)
{
    static const struct u32map none;
    const struct tree *tree = NULL;
    for (int i = 0; i < trees->count; i++)
        if (strcmp(trees->items[i].table->name, "rowtap_journal_place") == 0)
            tree = &trees->items[i];
    if (!tree)
        return STATUS_NOT_FOUND;
    struct cells cells = {
        .view = v, .tree = tree, .changed = &none, .paths = &none, .attached = &none};
    struct btree_cell cell;
    struct record r;
    struct value value = {.type = VALUE_NULL};
    int status = cells_next(&cells, &cell);
    if (status == 1)
        *page = cells.stack[cells.depth - 1].page->number;
    status = status == 1   ? record_begin(&r, cell.local, cell.local_size)
             : status == 0 ? STATUS_NOT_FOUND
                           : status;
    for (int i = 0; status == STATUS_OK && i < 4; i++)
        status = record_next(&r, &value);
    cells_end(&cells);
    *writes = value.type == VALUE_INTEGER ? (uint64_t)value.i : 0;
    return status;
}

/* Whether the commit is the one that wrote the place as the file has it now. */
static int is_last_own(
    struct tracker *t, uint32_t from, uint32_t end, const struct journal_place *place)
{
    struct wal_view view;
    struct trees *trees = NULL;
    uint32_t page = 0;
    uint64_t writes = 0;
    int status = wal_view_init(&view, &t->pages, end);
    if (status == STATUS_OK)
        status = trees_read(&view, NULL, NULL, &trees);
    if (status == STATUS_OK)
        status = read_writes(&view, trees, &page, &writes);
    trees_free(trees);
    if (status < 0)
        return status == STATUS_NOMEM ? status : 0;
    return writes == place->writes && wal_log_find(&t->log, page, end) > from;
}

/* The commit behind `from` is passed over if it is our own last one. */
static int pass_own(
    struct tracker *t, uint32_t *from, uint32_t last, const struct journal_place *place)
{
    uint32_t end;
    int status = wal_log_commit(&t->log, *from, last, &end);
    if (status < 0 || !end)
        return status;
    int own = is_last_own(t, *from, end, place);
    if (own == 1)
        *from = end;
    return own;
}

/*
 * VACUUM writes every page there is, the journal's own ones too, which nobody else writes. It
 * cannot write the journal, so a kill right after it leaves it behind the place; rows are as they
 * were, and need no decoding, which is well, for many pages may be as they were, too, and look
 * copied.
 */
static int pass_vacuum(struct tracker *t, uint32_t *from, uint32_t last, bool *vacuumed)
{
    struct wal_view view;
    uint32_t end, count = 0;
    int status = wal_log_commit(&t->log, *from, last, &end);
    if (status < 0 || !end)
        return status;
    if ((status = wal_view_init(&view, &t->pages, end)) < 0)
        return status;
    for (uint32_t n = *from + 1; n <= end; n++) {
        const struct wal_frame *f = &t->log.frames[n - 1];
        count += f->before <= *from && f->page <= view.page_count;
    }
    if (count != view.page_count - (view.page_count >= wal_view_lock_page(&view)))
        return STATUS_OK;
    *from = end;
    *vacuumed = true;
    return STATUS_OK;
}

/* Whether the file has, for some page, what the log has for it after `from`. */
static int was_copied(struct tracker *t, uint32_t from, uint32_t last, bool *copied)
{
    uint32_t size = t->log.page_size;
    int64_t bytes;
    const struct wal_source *source = &t->log.source;
    int status = wal_log_extend(&t->log, last);
    uint8_t *pages = mem_alloc(2 * (size_t)size);
    if (!pages)
        return STATUS_NOMEM;
    if (status == STATUS_OK)
        status = source->file_size(source->ctx, &bytes);
    *copied = false;
    for (uint32_t n = from + 1; status == STATUS_OK && n <= last && !*copied; n++) {
        uint32_t page = t->log.frames[n - 1].page;
        if (wal_log_find(&t->log, page, from) || (int64_t)page * size > bytes)
            continue;
        status = source->read_file(source->ctx, pages, size, (int64_t)(page - 1) * size);
        if (status == STATUS_OK)
            status = wal_log_read(&t->log, n, 0, pages + size, size);
        *copied = status == STATUS_OK && memcmp(pages, pages + size, size) == 0;
    }
    mem_free(pages);
    return status;
}

static bool hold(struct tracker *t)
{
    const struct timespec pause = {.tv_nsec = 10000000};
    int64_t end_ns = clock_mono_ns() + HOLD_MS * INT64_C(1000000);
    while (!tracker_hold(t)) {
        if (clock_mono_ns() > end_ns)
            return false;
        nanosleep(&pause, NULL);
    }
    return true;
}

/* What lies behind `from` is decodable, if no checkpoint has come past it. */
static int go_back(struct tracker *t, uint32_t from, uint32_t last)
{
    struct wal_shm now;
    bool copied = false;
    if (!hold(t))
        return STATUS_CONFLICT;
    int status = tracker_index(t, &now) ? STATUS_OK : STATUS_CONFLICT;
    if (status == STATUS_OK && now.copied_most > from)
        status = was_copied(t, from, last, &copied);
    if (copied)
        log_debug("copied past the place: perhaps %u of %u frames", now.copied_most, last);
    if (status == STATUS_OK && copied)
        status = STATUS_CONFLICT;
    if (status == STATUS_OK)
        tracker_go_back(t, from);
    else
        tracker_release(t);
    return status;
}

/*
 * The log was restarted after the commit that wrote the place, and what is left of its last
 * generation shows that no other commit followed that one.
 */
static bool ended_with_own(struct tracker *t, const struct journal_place *place)
{
    uint8_t salt[WAL_SALT];
    uint32_t n, pages, commits = 0;
    for (n = 1; n <= place->frame + 1; n++)
        if (wal_log_peek(&t->log, n, salt, &pages) < 0 || memcmp(salt, t->log.salt, WAL_SALT) != 0)
            break;
    if (n > place->frame + 1)
        return false;
    /* Frames may have been left without a salt (log.c). */
    for (n = place->frame + 1; wal_log_peek(&t->log, n, salt, &pages) == STATUS_OK; n++) {
        if (memcmp(salt, place->salt, WAL_SALT) != 0 && memcmp(salt, no_salt, WAL_SALT) != 0)
            break;
        commits += pages != 0;
    }
    return commits == 1;
}

/* Where the journal stands, in the log as it is now. */
static int find_place(
    struct tracker *t, const struct journal_place *place, const char *path, uint32_t *from)
{
    uint32_t last = t->frame;
    int status;
    *from = 0;
    if (memcmp(place->salt, t->log.salt, WAL_SALT) == 0) {
        *from = place->frame;
        if (*from > last)
            return STATUS_CONFLICT;
        status = place->done ? 0 : pass_own(t, from, last, place);
        return status < 0 ? status : STATUS_OK;
    }
    if (is_sealed(place, path))
        return STATUS_OK;
    /* Our own commit began this log, and it was the last that we know of. */
    bool began = memcmp(place->salt, no_salt, WAL_SALT) == 0 && place->frame == 0;
    if (!began && !follows(t->log.salt, place->salt))
        return STATUS_CONFLICT;
    status = pass_own(t, from, last, place);
    if (status == 0 && !began && ended_with_own(t, place))
        return STATUS_OK;
    return status < 0 ? status : *from > 0 ? STATUS_OK : STATUS_CONFLICT;
}

int offline_find(
    struct tracker *t, const struct journal_place *place, const char *path, struct offline *found)
{
    uint32_t last = t->frame, from;
    *found = (struct offline){.vacuumed = false};
    if (!place->there || place->frame == JOURNAL_NO_PLACE)
        return STATUS_CONFLICT;
    int status = find_place(t, place, path, &from);
    log_debug("place: frame %u of %02x%02x%02x%02x, log: %u frames of %02x%02x%02x%02x; from %u, "
              "status %d",
        place->frame, place->salt[0], place->salt[1], place->salt[2], place->salt[3], last,
        t->log.salt[0], t->log.salt[1], t->log.salt[2], t->log.salt[3], from, status);
    if (status < 0)
        return status == STATUS_INVALID ? STATUS_CONFLICT : status;
    if (from == place->frame && memcmp(place->salt, t->log.salt, WAL_SALT) == 0)
        found->skip = place->done;
    if (found->skip == 0 && from < last)
        status = pass_vacuum(t, &from, last, &found->vacuumed);
    if (status < 0)
        return status == STATUS_INVALID ? STATUS_CONFLICT : status;
    if (from == last)
        return STATUS_OK;
    log_info(
        "the file was changed while it was not served: %u pages of its log are read", last - from);
    return go_back(t, from, last);
}

void offline_seal(const char *path, int64_t time_ms)
{
    char log[4096];
    int n = snprintf(log, sizeof(log), "%s-wal", path);
    /* Another process has the file open, and the log goes on. */
    if (n < 0 || (size_t)n >= sizeof(log) || access(log, F_OK) == 0)
        return;
    const struct timespec time = {.tv_sec = time_ms / 1000, .tv_nsec = time_ms % 1000 * 1000000};
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, time};
    utimensat(AT_FDCWD, path, times, 0);
}
