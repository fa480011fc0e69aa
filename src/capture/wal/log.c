#include "capture/wal/log.h"

#include "base/mem.h"
#include "base/status.h"
#include "capture/wal/bytes.h"
#include <string.h>

/* More frames make no sense: 2^32 bytes of the list. */
#define MAX_FRAMES (UINT32_MAX / (uint32_t)sizeof(struct wal_frame))

void wal_log_init(struct wal_log *l, const struct wal_source *source, uint32_t page_size)
{
    *l = (struct wal_log){.source = *source, .page_size = page_size};
}

void wal_log_fini(struct wal_log *l)
{
    mem_free(l->frames);
    u32map_fini(&l->latest);
    *l = (struct wal_log){0};
}

void wal_log_restart(struct wal_log *l, const uint8_t *salt)
{
    memcpy(l->salt, salt, WAL_SALT);
    l->count = 0;
    u32map_clear(&l->latest);
}

static int64_t frame_offset(const struct wal_log *l, uint32_t frame)
{
    return WAL_HEADER + (int64_t)(frame - 1) * (WAL_FRAME_HEADER + (int64_t)l->page_size);
}

static int make_room(struct wal_log *l, uint32_t count)
{
    if (count <= l->cap)
        return STATUS_OK;
    if (count > MAX_FRAMES)
        return STATUS_INVALID;
    uint32_t cap = l->cap ? l->cap : 256;
    while (cap < count)
        cap = cap > MAX_FRAMES / 2 ? MAX_FRAMES : cap * 2;
    void *grown = mem_realloc(l->frames, cap * sizeof(*l->frames));
    if (!grown)
        return STATUS_NOMEM;
    l->frames = grown;
    l->cap = cap;
    return STATUS_OK;
}

/*
 * SQLite leaves out salt and checksum where it will add them at the commit, as a frame before was
 * rewritten. Rolled back to a savepoint before that frame it forgets some (seen in 3.40.1): they
 * are committed like the others.
 */
static bool is_of(const struct wal_log *l, const uint8_t *head)
{
    static const uint8_t none[WAL_FRAME_HEADER - 8];
    return memcmp(head + 8, l->salt, WAL_SALT) == 0 || memcmp(head + 8, none, sizeof(none)) == 0;
}

static int read_frame(struct wal_log *l, uint32_t number)
{
    uint8_t head[WAL_FRAME_HEADER];
    int status = l->source.read_log(l->source.ctx, head, sizeof(head), frame_offset(l, number));
    if (status < 0)
        return status;
    struct wal_frame *f = &l->frames[number - 1];
    *f = (struct wal_frame){.page = get_u32(head), .pages = get_u32(head + 4)};
    return f->page && is_of(l, head) ? STATUS_OK : STATUS_INVALID;
}

int wal_log_extend(struct wal_log *l, uint32_t last)
{
    if (last <= l->count)
        return STATUS_OK;
    int status = make_room(l, last);
    for (uint32_t n = l->count + 1; status == STATUS_OK && n <= last; n++)
        status = read_frame(l, n);
    for (uint32_t n = l->count + 1; status == STATUS_OK && n <= last; n++) {
        struct wal_frame *f = &l->frames[n - 1];
        u32map_get(&l->latest, f->page, &f->before);
        status = u32map_put(&l->latest, f->page, n);
        if (status == STATUS_OK)
            l->count = n;
    }
    return status;
}

uint32_t wal_log_find(const struct wal_log *l, uint32_t page, uint32_t upto)
{
    uint32_t frame = 0;
    u32map_get(&l->latest, page, &frame);
    while (frame > upto)
        frame = l->frames[frame - 1].before;
    return frame;
}

/*
 * Not further than needed: wal_log_find is the quicker the fewer frames there are behind the one
 * that is looked for.
 */
int wal_log_commit(struct wal_log *l, uint32_t frame, uint32_t last, uint32_t *end)
{
    *end = 0;
    while (frame < last) {
        int status = wal_log_extend(l, ++frame);
        if (status < 0)
            return status;
        if (l->frames[frame - 1].pages) {
            *end = frame;
            return STATUS_OK;
        }
    }
    return STATUS_OK;
}

int wal_log_peek(const struct wal_log *l, uint32_t frame, uint8_t *salt, uint32_t *pages)
{
    uint8_t head[WAL_FRAME_HEADER];
    int status = l->source.read_log(l->source.ctx, head, sizeof(head), frame_offset(l, frame));
    if (status < 0)
        return status;
    memcpy(salt, head + 8, WAL_SALT);
    *pages = get_u32(head + 4);
    return STATUS_OK;
}

int wal_log_read(const struct wal_log *l, uint32_t frame, uint32_t offset, void *to, size_t size)
{
    return l->source.read_log(
        l->source.ctx, to, size, frame_offset(l, frame) + WAL_FRAME_HEADER + offset);
}
