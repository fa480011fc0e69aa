#include "capture/settle.h"

#include "base/clock.h"
#include "base/status.h"
#include <string.h>
#include <time.h>

/* Frames past the pin after which it is moved, so that checkpoints may copy them. */
#define LAG_FRAMES 64
/* Frames of which the last are copied, or decoded, while others wait for the lock. */
#define LITTLE_FRAMES 256
/* So much larger than wanted: now the copier is waited for, and those who write wait with us. */
#define FAR_TIMES 8
#define PAUSE_MS 1
#define PAUSE_MAX_MS 1000
#define LOCK_PAUSE_MAX_MS 8
#define RESTART_WAIT_MS 100
#define COPY_TRIES 20
#define COPY_PAUSE_NS 50000

/*
 * While commits rush in the log may grow larger, for nobody makes checkpoints but the copier, and
 * each restart costs a writer a millisecond at least, which is SQLite's shortest wait for a lock.
 */
#define RUSH_BYTES (48u << 20)
#define RUSH_FRAMES_MAX 12288
#define RUSH_FRAMES_MIN 128
/* So often it is copied with the hope that little is left, and so much larger it may get. */
#define RUSH_COPIES 6
#define RUSH_OVERRUN 3
#define KEEP_FRAMES 32

static int64_t now_ms(void)
{
    return clock_mono_ns() / 1000000;
}

static void copy_now(struct follower *f)
{
    struct tracker *t = &f->tracker;
    if (f->copier && !t->holds_copying) {
        copier_copy(f->copier);
        tracker_note_copied(t);
    } else {
        tracker_checkpoint(t);
    }
}

/* The copier is at work while we go on; settle_run is called when it is done. */
static void ask_to_copy(struct follower *f, const struct wal_shm *now)
{
    f->asked = true;
    f->copied_before = now->copied;
    copier_ask(f->copier);
}

/* Another process may be making a checkpoint itself, which was to end before ours can begin. */
static bool copy_rest(struct follower *f)
{
    const struct timespec pause = {.tv_nsec = COPY_PAUSE_NS};
    for (int i = 0; i < COPY_TRIES; i++) {
        if (i > 0)
            nanosleep(&pause, NULL);
        copy_now(f);
        if (tracker_park(&f->tracker))
            return true;
    }
    return false;
}

/* With the lock held nothing can come between the last checkpoint and the new pin. */
static bool park_locked(struct follower *f, bool all, int64_t *pause_max_ms)
{
    bool parked = false;
    *pause_max_ms = LOCK_PAUSE_MAX_MS;
    if (!tracker_lock(&f->tracker))
        return false;
    if (follower_catch_up(f, all) == 0 && f->caught_up) {
        tracker_repin(&f->tracker);
        parked = copy_rest(f);
        /* Somebody reads an older state, perhaps for long. */
        *pause_max_ms = PAUSE_MAX_MS;
    }
    follower_let_go(f);
    tracker_unlock(&f->tracker);
    f->ops->hand_on(f->ctx);
    return parked;
}

/*
 * Others who copied all, and hold the lock to wait for us, are not kept waiting for long: should we
 * be killed just now, the next start says that something may be missing.
 */
static bool may_restart(struct follower *f, bool done)
{
    if (!f->ops->may_restart || f->ops->may_restart(f->ctx)) {
        f->refused_ms = 0;
        return true;
    }
    if (!done || f->refused_ms == 0)
        f->refused_ms = done ? now_ms() : 0;
    return done && now_ms() - f->refused_ms >= RESTART_WAIT_MS;
}

static void pause_parking(struct follower *f, bool parked, int64_t max_ms)
{
    if (parked && f->ops->parked)
        f->ops->parked(f->ctx);
    f->park_pause_ms = parked ? PAUSE_MS : f->park_pause_ms * 2;
    if (f->park_pause_ms > max_ms)
        f->park_pause_ms = max_ms;
    f->next_park_ms = now_ms() + f->park_pause_ms;
}

/*
 * A checkpoint without the lock copies most. A writer that commits all the time is kept waiting
 * only for the little that is left then; and until all is decoded when it is faster than we are,
 * for the log must end somewhere.
 */
static bool settle_calm(struct follower *f, const struct wal_shm *now, bool idle)
{
    struct tracker *t = &f->tracker;
    bool large = now->frames >= f->park_frames;
    bool others = now->copied > t->copied;
    /* One of those who copied all may be waiting for us, with the lock held. */
    bool done = now->frames == t->frame && now->copied == now->frames;
    int64_t pause_max_ms = PAUSE_MAX_MS;
    if (tracker_parked(t) || !(done || large || (others && idle)) ||
        (!done && now_ms() < f->next_park_ms))
        return false;
    if (!may_restart(f, done)) {
        f->refused = true;
        return false;
    }
    bool lockable = large && t->can_checkpoint && now->frames - now->copied < LITTLE_FRAMES;
    bool overrun = now->frames >= f->park_frames * 2;
    bool parked;
    if (done) {
        parked = tracker_park(t);
    } else if (lockable && (overrun || now->frames - t->frame < LITTLE_FRAMES)) {
        parked = park_locked(f, overrun, &pause_max_ms);
    } else {
        if (tracker_lag(t) >= LAG_FRAMES || large || idle)
            tracker_repin(t);
        if (f->copier && now->frames - now->copied > LITTLE_FRAMES &&
            now->frames < f->park_frames * FAR_TIMES) {
            ask_to_copy(f, now);
            return false;
        }
        copy_now(f);
        parked = tracker_park(t);
        /* Unless somebody reads an older state: then nothing more can be copied. */
        if (!parked && t->can_checkpoint && now->frames - t->frame < LITTLE_FRAMES &&
            t->copied > now->copied) {
            f->park_pause_ms = PAUSE_MS;
            return large;
        }
    }
    pause_parking(f, parked, pause_max_ms);
    return false;
}

/* While commits rush in. */

static uint32_t rush_frames(const struct follower *f)
{
    uint32_t frames = RUSH_BYTES / f->tracker.log.page_size;
    return frames > RUSH_FRAMES_MAX   ? RUSH_FRAMES_MAX
           : frames < RUSH_FRAMES_MIN ? RUSH_FRAMES_MIN
                                      : frames;
}

/*
 * The copier works while we go on decoding. Each time less is left, so that the writers are kept
 * waiting at last for what was written during the shortest copy only; or for all, when they are
 * faster than we are, for the log must end somewhere.
 */
static void settle_rush(struct follower *f, const struct wal_shm *now)
{
    struct tracker *t = &f->tracker;
    uint32_t most = rush_frames(f), left = now->frames - now->copied;
    int64_t pause_max_ms;
    if (tracker_parked(t) || now->frames < most / 2 || now_ms() < f->next_park_ms)
        return;
    bool overrun = now->frames >= most * RUSH_OVERRUN;
    bool last = left <= most / 8 || f->copies >= RUSH_COPIES || overrun;
    if (now->frames >= most && last) {
        if (!may_restart(f, false)) {
            f->refused = true;
            return;
        }
        bool parked = park_locked(f, true, &pause_max_ms);
        f->copies = 0;
        pause_parking(f, parked, pause_max_ms);
    } else if (left > most / 8) {
        tracker_repin(t);
        if (tracker_pinned(t) > now->copied) {
            f->copies++;
            ask_to_copy(f, now);
        }
    }
}

/*
 * Others make checkpoints as they like, but not while commits rush in, when all they could do is to
 * be in the way. Whether they do.
 */
static bool keep_others_off(struct follower *f, bool rush)
{
    struct wal_shm now;
    if (!rush)
        copier_keep(f->copier, false);
    return rush && tracker_index(&f->tracker, &now) && now.frames >= KEEP_FRAMES &&
           copier_keep(f->copier, true);
}

bool settle_is_due(const struct follower *f)
{
    return tracker_lag(&f->tracker) >= LAG_FRAMES;
}

static bool settle(struct follower *f, bool hurry)
{
    struct tracker *t = &f->tracker;
    struct wal_shm now;
    bool rush = follower_in_rush(f), off = false;
    if (f->copier && copier_is_busy(f->copier))
        return false;
    if (f->copier && !t->holds_copying)
        off = keep_others_off(f, rush && f->active && !f->lost);
    if (!f->active || f->lost)
        return false;
    bool idle = !hurry && now_ms() - f->moved_ms >= FOLLOWER_IDLE_MS;
    uint32_t lag = tracker_lag(t);
    if (!off && (lag >= LAG_FRAMES || (lag > 0 && idle)))
        tracker_repin(t);
    if (!tracker_index(t, &now) || memcmp(now.salt, t->log.salt, WAL_SALT) != 0)
        return false;
    if (f->asked) {
        f->asked = false;
        tracker_note_copied(t);
        /* Somebody reads an older state, perhaps for long. */
        if (now.copied == f->copied_before)
            pause_parking(f, false, PAUSE_MAX_MS);
    }
    if (!off)
        return settle_calm(f, &now, idle);
    settle_rush(f, &now);
    return false;
}

void settle_before_checkpoint(struct follower *f)
{
    if (!f->active || f->lost || (f->copier && copier_is_busy(f->copier)))
        return;
    if (f->copier)
        copier_keep(f->copier, false);
    tracker_repin(&f->tracker);
    copy_now(f);
    tracker_park(&f->tracker);
}

void settle_after_checkpoint(struct follower *f)
{
    if (f->active && !f->lost && tracker_parked(&f->tracker))
        pause_parking(f, true, PAUSE_MAX_MS);
}

/* Who was refused may restart the log by now, in most cases, but not after another large commit. */
bool settle_run(struct follower *f, bool hurry)
{
    f->refused = false;
    bool more = settle(f, hurry);
    if (!f->refused)
        return more;
    bool found = f->found; /* by the run before this call */
    f->refused = false;
    more = follower_run(f);
    f->found |= found;
    more |= settle(f, hurry);
    if (f->refused)
        f->next_park_ms = now_ms() + PAUSE_MS;
    return more;
}
