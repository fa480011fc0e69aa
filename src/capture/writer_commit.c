#include "capture/writer_parts.h"

#include "base/clock.h"
#include <string.h>

/* `turn` odd: a commit is under way. */
void writer_set_turn(struct writer *w, bool odd)
{
    if ((atomic_load(&w->published->turn) & 1) != odd)
        atomic_fetch_add(&w->published->turn, 1);
}

static void set_published_schema(struct writer *w, struct schema *schema)
{
    struct published *p = w->published;
    if (p->schema == schema)
        return;
    struct schema *old = p->schema;
    pthread_mutex_lock(&p->lock);
    p->schema = schema_ref(schema);
    pthread_mutex_unlock(&p->lock);
    schema_unref(old);
}

void writer_set_known(struct writer *w, struct schema *schema)
{
    struct schema *old = w->known;
    w->known = schema_ref(schema);
    schema_unref(old);
}

/* Takes over the reference. */
void writer_publish_batch(struct writer *w, struct batch *b, struct schema *schema)
{
    struct published *p = w->published;
    uint64_t seq = atomic_load(&p->seq);
    batch_seal(b, &seq, &w->tx);
    set_published_schema(w, schema);
    atomic_store(&p->seq, seq);
    w->batch_bytes = b->bytes;
    atomic_fetch_add(&p->commits, b->transaction_count - b->continued);
    atomic_fetch_add(&p->changes, b->change_count);
    writer_set_turn(w, false);
    if ((b->transaction_count > 0 || b->gap) && w->options->publish)
        w->options->publish(w->options->publish_ctx, b);
    if (!w->answers_first)
        writer_published(w);
    batch_unref(b);
}

void writer_published(struct writer *w)
{
    if (w->options->published)
        w->options->published(w->options->publish_ctx);
}

/* What came before our own commit. */
void writer_publish_ready(struct writer *w)
{
    struct batch *b = w->follower.ready;
    struct schema *schema = NULL;
    if (!b)
        return;
    for (uint32_t i = 0; i < b->transaction_count; i++)
        if (b->transactions[i].schema) {
            schema_unref(schema);
            schema = schema_ref(b->transactions[i].schema);
        }
    b = batch_ref(b);
    atomic_fetch_add(&w->published->external, b->transaction_count - b->continued);
    follower_taken(&w->follower);
    writer_publish_batch(w, b, schema ? schema : w->published->schema);
    schema_unref(schema);
}

/* Tells other threads what seq the state at the follower's place is. */
void writer_note_place(struct writer *w)
{
    const struct follower *f = &w->follower;
    if (f->active && !f->ready && !f->lost)
        places_note(&w->published->places, f->tracker.log.salt, f->tracker.frame,
            atomic_load(&w->published->seq));
}

void writer_publish(struct writer *w)
{
    struct batch *b = w->batch;
    w->batch = w->recorder.batch = NULL;
    w->wrote = true;
    follower_committed(&w->follower, w->recorder.schema);
    writer_publish_ready(w);
    w->base = atomic_load(&w->published->seq);
    writer_set_known(w, w->recorder.schema);
    atomic_fetch_add(&w->published->own, b->transaction_count - b->continued);
    writer_publish_batch(w, b, w->recorder.schema);
    writer_note_place(w);
}

struct journal_place writer_place(const struct writer *w)
{
    const struct tracker *t = &w->follower.tracker;
    struct journal_place place = {.frame = JOURNAL_NO_PLACE};
    if (!w->follower.ops)
        return place;
    memcpy(place.salt, t->log.salt, sizeof(place.salt));
    place.frame = t->frame;
    place.done = w->follower.part ? w->follower.part : w->follower.skip;
    return place;
}

int writer_write_place(struct writer *w, int64_t time_ms)
{
    struct journal_place place = writer_place(w);
    place.writes = w->journal.place.writes;
    place.time_ms = time_ms;
    w->journal.place = place;
    return journal_write_place(&w->journal);
}

/* Numbers go on from the published ones, first those of what is ready. */
int writer_write_journal(struct writer *w)
{
    uint64_t seq = atomic_load(&w->published->seq), tx = w->tx;
    struct batch *ready = w->follower.ready;
    int rc = SQLITE_OK;
    if (ready) {
        batch_stamp(ready);
        rc = journal_write(&w->journal, ready, seq, tx);
        seq += ready->change_count;
        tx += ready->transaction_count - ready->continued;
    }
    if (rc == SQLITE_OK && w->batch) {
        batch_stamp(w->batch);
        rc = journal_write(&w->journal, w->batch, seq, tx);
    }
    if (rc == SQLITE_OK && w->journal.options.enabled && w->follower.ops)
        rc = writer_write_place(w, 0);
    return rc;
}

void writer_note_past(struct writer *w)
{
    const struct journal_span *s = &w->journal.committed;
    atomic_store(&w->published->past, s->after);
    atomic_store(&w->published->journal_bytes, s->oldest_seq ? s->total - s->oldest_total : 0);
}

int writer_commit_parts(struct writer *w)
{
    int64_t began_ns = clock_mono_ns();
    int rc = writer_write_journal(w);
    if (rc == SQLITE_OK) {
        writer_set_turn(w, true);
        rc = sqlconn_run(&w->conn, OWN_COMMIT);
    }
    if (rc == SQLITE_OK) {
        journal_committed(&w->journal);
        tally_add(&w->published->commit_times, &tally_durations, clock_mono_ns() - began_ns);
        writer_note_past(w);
        return rc;
    }
    writer_set_turn(w, false);
    journal_rolled_back(&w->journal);
    return rc;
}

int writer_commit(struct writer *w)
{
    int rc = writer_commit_parts(w);
    if (rc == SQLITE_OK)
        writer_publish(w);
    return rc;
}
