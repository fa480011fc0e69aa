#include "capture/follower.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "capture/decode.h"
#include "capture/schema_diff.h"
#include <string.h>
#include <time.h>

/* Memory of decoded changes after which they are handed on. */
#define READY_BYTES (2u << 20)
/* A run takes about so long, apart from one commit that takes longer. */
#define RUN_NS 1000000
/* Frames that are decoded while others wait for the lock. */
#define LOCKED_FRAMES 256
/* So many commits in one run are a rush, which is over after so long without another. */
#define RUSH_COMMITS 8
#define RUSH_END_MS 5
/*
 * A log of so many frames is to be restarted: well below the 1000 at which SQLite's own checkpoints
 * begin, which then would be made at every commit by those who commit.
 */
#define PARK_FRAMES 450

/* Between attempts to get over a gap; and after so long without one the next is in the log again.
 */
#define GAP_PAUSE_MS 200
#define GAP_QUIET_MS 10000

static int64_t now_ms(void)
{
    return clock_mono_ns() / 1000000;
}

static int own_committed(void *ctx, sqlite3 *db, const char *name, int frames)
{
    struct follower *f = ctx;
    (void)db;
    if (strcmp(name, "main") != 0)
        return SQLITE_OK;
    f->own_end = (uint32_t)frames;
    f->moved_ms = now_ms();
    if (tracker_look(&f->tracker) < 0)
        f->lost = true;
    else if (f->caught_up)
        tracker_pass(&f->tracker, f->own_end);
    else if (tracker_note_own(&f->tracker, f->own_end) < 0)
        f->lost = true;
    return SQLITE_OK;
}

int follower_open(struct follower *f, const char *path, bool writable, const atomic_bool *closing,
    const struct follower_ops *ops, void *ctx)
{
    *f = (struct follower){.ops = ops, .ctx = ctx, .park_frames = PARK_FRAMES, .park_pause_ms = 1};
    return tracker_open(&f->tracker, path, writable, closing);
}

void follower_close(struct follower *f)
{
    batch_unref(f->ready);
    tracker_close(&f->tracker);
    *f = (struct follower){0};
}

static void tell_passed(struct follower *f)
{
    if (!f->ready && !f->lost)
        f->ops->passed(f->ctx);
}

void follower_attach(struct follower *f, sqlite3 *own)
{
    /* In place of SQLite's, which would make checkpoints by itself. */
    sqlite3_wal_hook(own, own_committed, f);
}

void follower_start(struct follower *f)
{
    f->active = true;
    tell_passed(f);
}

/* Decoding. */

static bool is_full(const struct follower *f)
{
    return f->ready && f->ready->bytes > READY_BYTES;
}

static int need_ready(struct follower *f)
{
    if (!f->ready)
        f->ready = batch_new(0);
    return f->ready ? STATUS_OK : STATUS_NOMEM;
}

struct target {
    struct wal_output out;
    struct follower *f;
};

/* In the middle of a large transaction. */
static int hand_on_part(struct wal_output *out)
{
    struct follower *f = ((struct target *)(void *)out)->f;
    f->ready = out->batch;
    uint32_t count = f->ready->transactions[f->ready->transaction_count - 1].count;
    f->part += count;
    int status;
    do
        status = f->ops->hand_on(f->ctx);
    while (status == STATUS_IO && !atomic_load(f->tracker.pins[0].conn.closing));
    if (status < 0)
        f->part -= count;
    if (status == STATUS_OK)
        status = need_ready(f);
    out->batch = f->ready;
    return status;
}

static int decode(struct follower *f, uint32_t end)
{
    struct tracker *t = &f->tracker;
    int status = tracker_read_trees(t, f->ops->known(f->ctx));
    if (status == STATUS_OK)
        status = need_ready(f);
    if (status < 0)
        return status;
    struct target target = {
        .out = {.batch = f->ready,
            .max = f->caught_up ? 0 : READY_BYTES,
            .skip = f->skip,
            .full = hand_on_part},
        .f = f,
    };
    f->part = f->skip;
    f->ready->continued |= f->skip > 0;
    struct batch_mark mark = batch_mark(f->ready);
    const struct batch *first = f->ready;
    status = decode_commit(t, end, &target.out);
    f->part = 0;
    if (status == STATUS_OK)
        f->skip = 0;
    if (status < 0 && f->ready == first)
        batch_rewind(f->ready, &mark);
    else if (status < 0)
        f->lost = true;
    if (status == STATUS_OK && t->trees->schema != f->ops->known(f->ctx))
        f->ops->set_known(f->ctx, t->trees->schema);
    return status;
}

/* One commit: 1; there is none: 0; it cannot be decoded: negative. */
static int take_one(struct follower *f, uint32_t *frames)
{
    struct tracker *t = &f->tracker;
    uint32_t end;
    bool own;
    int status = f->lost ? STATUS_CONFLICT : tracker_look(t);
    if (status <= 0)
        return status;
    status = tracker_next(t, &end, &own);
    if (status <= 0)
        return status;
    *frames = end - t->frame;
    if (own) {
        tracker_pass(t, end);
        return 1;
    }
    f->moved_ms = now_ms();
    f->found = f->foreign = true;
    status = decode(f, end);
    return status < 0 ? status : 1;
}

/* The trees at the place, where the schema that is known is of before. */
static int read_anew(struct follower *f, struct trees *known)
{
    struct tracker *t = &f->tracker;
    struct wal_view view;
    tracker_drop_trees(t);
    int status = wal_log_extend(&t->log, t->frame);
    if (status == STATUS_OK)
        status = wal_view_init(&view, &t->pages, t->frame);
    return status == STATUS_OK ? trees_read(&view, known, NULL, &t->trees) : status;
}

/* What lies between the place and the end is not known, but for the schema that came of it. */
static int skip_to_end(struct follower *f)
{
    struct tracker *t = &f->tracker;
    struct trees known = {.schema = f->ops->known(f->ctx)};
    int rc = tracker_jump(t);
    if (rc != SQLITE_OK)
        return STATUS_IO;
    int status = read_anew(f, &known);
    if (status == STATUS_OK)
        status = need_ready(f);
    if (status < 0)
        return status;
    struct schema_diff diff = {
        .batch = f->ready, .before = known.schema, .after = t->trees->schema, .external = true};
    status = schema_diff_announce(&diff);
    if (status == STATUS_OK)
        status = schema_diff_retire(&diff);
    if (status == STATUS_OK)
        status = batch_end_transaction(f->ready, 0,
            t->trees->schema->cookie == known.schema->cookie ? NULL : t->trees->schema);
    if (status == STATUS_OK)
        f->ops->set_known(f->ctx, t->trees->schema);
    return status;
}

static const char *reason(int status)
{
    return status == STATUS_INVALID     ? "the log or the database is damaged"
           : status == STATUS_TOO_LARGE ? "a row is larger than 256 MiB"
           : status == STATUS_CONFLICT  ? "the log was restarted before it was read"
                                        : "it cannot be read";
}

/* Outside a transaction. */
static void announce_gap(struct follower *f, int status)
{
    int64_t now = now_ms();
    if (f->next_gap_ms > now)
        return;
    if (f->next_gap_ms < now - GAP_QUIET_MS)
        log_error("a commit of another process cannot be decoded (%s): subscribers are told to "
                  "resynchronize",
            reason(status));
    f->next_gap_ms = now + GAP_PAUSE_MS;
    f->lost = true;
    if (f->ready && f->ready->change_count > 0 && f->ops->hand_on(f->ctx) < 0)
        return;
    if (skip_to_end(f) < 0)
        return;
    if (f->ops->hand_on(f->ctx) == STATUS_OK && f->ops->gap(f->ctx, "capture_gap") == STATUS_OK)
        f->lost = false;
}

bool follower_run(struct follower *f)
{
    int64_t until_ns = clock_mono_ns() + RUN_NS;
    uint32_t frames;
    int status = 1, commits = 0;
    f->found = false;
    if (!f->active)
        return false;
    while (status == 1 && clock_mono_ns() < until_ns) {
        f->foreign = false;
        status = take_one(f, &frames);
        commits += f->foreign;
        if (is_full(f) && f->ops->hand_on(f->ctx) < 0)
            return false;
    }
    if (status < 0 && status != STATUS_NOMEM)
        announce_gap(f, status);
    if (commits >= RUSH_COMMITS)
        f->rush_ms = now_ms();
    f->ops->hand_on(f->ctx);
    tell_passed(f);
    return status == 1;
}

bool follower_in_rush(const struct follower *f)
{
    return f->rush_ms > 0 && now_ms() - f->rush_ms < RUSH_END_MS;
}

/* Who has written all of a commit to the log has the lock until it is in the index. */
bool follower_has_all(struct follower *f)
{
    return !f->lost && !f->ready && !tracker_others_write(&f->tracker) && !follower_is_behind(f);
}

int follower_soon(const struct follower *f)
{
    if (!f->active)
        return -1;
    if (!f->ready && !f->lost && tracker_lag(&f->tracker) == 0)
        return -1;
    int64_t left_ms = f->moved_ms + FOLLOWER_IDLE_MS - now_ms();
    return left_ms > 0 ? (int)left_ms : FOLLOWER_IDLE_MS;
}

int follower_catch_up(struct follower *f, bool all)
{
    struct wal_shm now;
    uint32_t frames;
    int status = 1;
    if (!f->active || f->lost)
        return 0;
    f->caught_up = true; /* nobody else can commit now */
    if (!all && tracker_index(&f->tracker, &now) && now.frames > f->tracker.frame + LOCKED_FRAMES)
        status = STATUS_TOO_LARGE;
    while (status == 1)
        status = take_one(f, &frames);
    f->caught_up = status == 0;
    if (status == STATUS_NOMEM)
        return status;
    /* A gap is announced when the lock is gone. */
    if (status < 0 && status != STATUS_TOO_LARGE)
        f->lost = true;
    return status == STATUS_TOO_LARGE;
}

bool follower_is_behind(const struct follower *f)
{
    struct wal_shm now;
    const struct tracker *t = &f->tracker;
    if (!f->active)
        return false;
    return !tracker_index(t, &now) || now.frames != t->frame ||
           memcmp(now.salt, t->log.salt, WAL_SALT) != 0;
}

void follower_let_go(struct follower *f)
{
    f->caught_up = false;
}

static void reach_own(struct follower *f)
{
    uint32_t frames;
    int status = 1;
    f->caught_up = false;
    while (f->active && f->own_end && f->tracker.frame < f->own_end && status == 1)
        status = take_one(f, &frames);
    if (status < 0)
        f->lost = true;
    f->own_end = 0;
}

void follower_committed(struct follower *f, const struct schema *schema)
{
    reach_own(f);
    if (f->tracker.trees && f->tracker.trees->schema != schema)
        tracker_drop_trees(&f->tracker);
}

void follower_vacuumed(struct follower *f)
{
    if (!f->active || !f->own_end)
        return;
    reach_own(f);
    struct trees known = {.schema = f->ops->known(f->ctx)};
    if (f->lost || read_anew(f, &known) < 0)
        f->lost = true;
    else
        f->ops->set_known(f->ctx, f->tracker.trees->schema);
}

void follower_taken(struct follower *f)
{
    batch_unref(f->ready);
    f->ready = NULL;
}
