#include "hub/shard.h"

#include "access/policy.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"
#include "hub/delivery.h"
#include "hub/fanout.h"
#include "hub/gap.h"
#include "hub/moves.h"
#include "hub/poll.h"
#include "hub/presence.h"
#include "hub/query.h"
#include "hub/replay.h"
#include "hub/session.h"
#include "hub/slow.h"
#include "hub/snapshot.h"

#include <assert.h>
#include <errno.h>

/* For replays and snapshots, in one turn; the less where new changes wait to be sent. */
#define SLICE_NS 1000000
#define SHORT_SLICE_NS 250000

/* Something is to be done at the end of the turn. */
static bool work_waits(const struct shard *s)
{
    return !list_empty(&s->replays) || !list_empty(&s->snapshots) || !list_empty(&s->queries);
}

static void remember(struct shard *s, struct batch *b)
{
    if (b->gap)
        gap_pass(s, b);
    else
        changelog_add(&s->history, b);
    atomic_store_explicit(&s->history_bytes, s->history.bytes, memory_order_relaxed);
    atomic_store_explicit(&s->history_after, s->history.after, memory_order_relaxed);
}

/*
 * Others follow at once, and until then nobody can come to hear what is kept back, or speak to
 * somebody who is to hear it.
 */
static bool more_at_once(const struct shard *s, const struct message *m)
{
    return m->next && m->next->run == m->run && list_empty(&s->replays) && list_empty(&s->ahead) &&
           list_empty(&s->waiting) && list_empty(&s->parked) && s->snapshot_count == 0;
}

static void run_publication(struct message *m, void *receiver)
{
    struct publication *p = list_entry(m, struct publication, message);
    struct shard *s = receiver;
    struct batch *b = p->batch;
    int64_t began, ended;

    began = clock_mono_ns();
    if (!s->busy_ns && work_waits(s))
        s->busy_ns = began;
    fanout_batch(s, b);
    if (b->gap || !more_at_once(s, m))
        crowd_tell(s);
    ended = clock_mono_ns();
    tally_add_own(&s->fanout_times, &tally_durations, ended - began);
    if (p->published_ns)
        tally_add_own(&s->delays, &tally_durations, ended - p->published_ns);
    remember(s, b);
    replay_follow(s);
    p->batch = NULL;
    atomic_fetch_sub(&s->backlog, b->bytes);
    atomic_fetch_sub(&s->pending, 1);
    batch_unref(b);
    gate_signal(s->gate);
}

bool shard_full(const struct shard *s)
{
    size_t max = s->options->max_backlog;

    return atomic_load(&s->pending) >= SHARD_PUBLICATIONS ||
           (max && atomic_load(&s->backlog) > max);
}

/* What is not waited for may lie for a second, until the loop's next tick, but not pile up. */
#define LEFT_BYTES (1u << 20)
/* So many are told of a commit in a tenth of a millisecond. */
#define FEW_CONNECTIONS 32

/*
 * A loop without connections keeps batches for later only. Whoever comes is posted to the loop
 * after them, and not while they are put or the loops woken (hub_adopt).
 */
static bool must_wake(const struct shard *s)
{
    size_t max = s->options->max_backlog, left = atomic_load(&s->backlog);

    return s->urgent || atomic_load(&s->connections) > 0 || left > LEFT_BYTES ||
           (max && left > max / 2) || atomic_load(&s->pending) >= SHARD_PUBLICATIONS / 2;
}

void shard_publish(struct shard *s, struct batch *b)
{
    struct publication *p = &s->ring[s->next++ % SHARD_PUBLICATIONS];

    assert(atomic_load(&s->pending) < SHARD_PUBLICATIONS);
    p->message.run = run_publication;
    p->batch = batch_ref(b);
    atomic_fetch_add(&s->backlog, b->bytes);
    atomic_fetch_add(&s->pending, 1);
    s->urgent |= b->gap || delivery_wanted(b);
    p->published_ns = must_wake(s) ? clock_mono_ns() : 0;
    loop_put(s->loop, &p->message);
}

bool shard_wake_loop(struct shard *s)
{
    if (!must_wake(s))
        return false;
    s->urgent = false;
    return loop_wake(s->loop) && atomic_load(&s->connections) <= FEW_CONNECTIONS;
}

int shard_reserve_matches(struct shard *s, size_t count)
{
    size_t cap = s->match_cap ? s->match_cap : 16;
    struct subscription **matches;
    uint32_t *numbers;

    if (count <= s->match_cap)
        return 0;
    while (cap < count)
        cap *= 2;
    matches = mem_realloc(s->matches, cap * sizeof(*matches));
    if (!matches)
        return STATUS_NOMEM;
    s->matches = matches;
    numbers = mem_realloc(s->numbers, cap * sizeof(*numbers));
    if (!numbers)
        return STATUS_NOMEM;
    s->numbers = numbers;
    s->match_cap = cap;
    return 0;
}

void shard_leave(struct shard *s)
{
    atomic_fetch_sub(&s->connections, 1);
    hub_unreserve(s->hub);
}

static void run_again(struct message *m, void *receiver)
{
    struct shard *s = receiver;

    (void)m;
    s->waking = false;
    moves_measure(s);
}

void shard_wake(struct shard *s)
{
    if (s->waking)
        return;
    s->waking = true;
    loop_post(s->loop, &s->again);
}

static void run_slice(struct shard *s)
{
    if (!list_empty(&s->replays))
        replay_run(s);
    if (!list_empty(&s->snapshots))
        snapshot_run(s);
    if (!list_empty(&s->queries))
        query_write(s);
}

/*
 * Replays and snapshots get as long as the turn's new batches took, so that replays come nearer
 * however fast those come, and at least the slice.
 */
static void run_slices(struct shard *s)
{
    int64_t now = clock_mono_ns(), slice = s->busy_ns ? SHORT_SLICE_NS : SLICE_NS;

    if (s->busy_ns && now - s->busy_ns > slice)
        slice = now - s->busy_ns;
    do
        run_slice(s);
    while (work_waits(s) && clock_mono_ns() < now + slice);
    s->busy_ns = 0;
    if (work_waits(s))
        shard_wake(s);
}

static void on_turn_end(void *ctx)
{
    struct shard *s = ctx;

    slow_run(s);
    moves_run(s);
    if (work_waits(s))
        run_slices(s);
    poll_run(s);
}

static void on_tick(void *ctx, int64_t mono_ms)
{
    poll_tick(ctx, mono_ms);
    login_tick(ctx, mono_ms);
}

/* A loop's part of what all may have, and at least room for a message or two. */
static size_t part_of(const struct shard *s, size_t all)
{
    size_t part = all / (size_t)hub_loops(s->hub), least = 4 * s->options->max_message;

    return part < least && all ? least : part;
}

static struct loop *start_loop(struct shard *s, int id)
{
    const struct loop_options options = {
        .id = id,
        .max_message = s->options->max_message,
        .max_queue = s->options->max_queue,
        .max_queues = part_of(s, s->options->max_queues),
        .max_halves = part_of(s, s->options->max_halves),
        .slow_queue = s->options->slow_queue,
        .slow_ms = s->options->slow_ms,
        .forget = s->options->resync_slow,
        .compress = s->options->compress,
        .compress_min = s->options->compress_min,
        .heartbeat_ms = s->options->heartbeat_ms,
        .idle_ms = s->options->idle_ms,
        .ctx = s,
        .turn_end = on_turn_end,
        .tick = on_tick,
        .slow = session_slow,
    };

    return loop_new(&options);
}

struct shard *shard_new(
    struct hub *hub, int id, const struct hub_options *options, struct gate *gate)
{
    struct shard *s = mem_zalloc(sizeof(*s));

    errno = ENOMEM;
    if (!s)
        return NULL;
    s->hub = hub;
    s->options = options;
    s->gate = gate;
    s->seq = options->seq;
    s->again.run = run_again;
    list_init(&s->changesets);
    list_init(&s->sessions);
    list_init(&s->replays);
    list_init(&s->ahead);
    list_init(&s->waiting);
    list_init(&s->parked);
    list_init(&s->snapshots);
    list_init(&s->queries);
    list_init(&s->drained);
    list_init(&s->polls);
    list_init(&s->polls_ready);
    s->policy = options->policy ? policy_ref(options->policy) : NULL;
    presence_init(&s->room);
    changelog_init(&s->history, options->history, options->seq);
    atomic_init(&s->history_after, options->seq);
    topics_init(&s->topics, options->schema);
    s->ring = mem_array(SHARD_PUBLICATIONS, sizeof(*s->ring));
    if (s->ring)
        s->loop = start_loop(s, id);
    if (s->loop)
        return s;
    shard_free(s);
    return NULL;
}

void shard_free(struct shard *s)
{
    int err = errno;

    if (!s)
        return;
    loop_free(s->loop);
    for (int i = 0; s->ring && i < SHARD_PUBLICATIONS; i++)
        if (s->ring[i].batch)
            batch_unref(s->ring[i].batch);
    assert(list_empty(&s->replays) && list_empty(&s->ahead) && list_empty(&s->waiting));
    assert(list_empty(&s->changesets) && list_empty(&s->sessions));
    assert(list_empty(&s->parked) && list_empty(&s->snapshots) && s->replay_columns.count == 0);
    map_fini(&s->replay_columns);
    changelog_fini(&s->history);
    topics_fini(&s->topics);
    presence_fini(&s->room);
    assert(s->channels.count == 0);
    map_fini(&s->channels);
    frames_fini(&s->frames);
    buf_fini(&s->scratch);
    buf_fini(&s->rows);
    logins_fini(&s->logins);
    policy_unref(s->policy);
    mem_free(s->matches);
    mem_free(s->numbers);
    mem_free(s->ring);
    mem_free(s);
    errno = err;
}
