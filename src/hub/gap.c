#include "hub/gap.h"

#include "hub/replay.h"
#include "hub/session.h"
#include "hub/shard.h"
#include "hub/snapshot.h"

static bool behind(const struct follower *f, uint64_t seq)
{
    return !f || f->replay->seq < seq;
}

/* Whether it heard what came before. A snapshot that has yet to begin will show what comes after,
 * or the replay that follows it finds that it does not. */
static bool concerns(const struct session *s, uint64_t seq)
{
    for (uint32_t i = 0; i < s->sub_count; i++) {
        const struct subscription *sub = s->subs[i];

        if (sub->snapshot ? snapshot_shows_before(sub->snapshot, seq) : behind(sub->follower, seq))
            return true;
    }
    for (uint32_t i = 0; i < s->membership_count; i++)
        if (channel_is_tables(s->memberships[i]->channel) &&
            behind(s->memberships[i]->follower, seq))
            return true;
    return false;
}

static void tell(struct session *s, const char *reason, uint64_t seq)
{
    struct reply r = {.type = REPLY_RESYNC, .reason = reason, .seq = seq, .position = seq};

    replay_drop(s, seq);
    r.resumable = !snapshot_lose(s, seq);
    for (uint32_t i = 0; i < s->membership_count; i++)
        if (s->memberships[i]->from < seq)
            s->memberships[i]->from = seq;
    session_reply(s, &r);
    /* The client of a stream takes its rows anew by coming back. */
    if (!r.resumable && session_is_stream(s))
        conn_close(s->conn, WS_CLOSE_NORMAL, NULL);
}

void gap_pass(struct shard *shard, const struct batch *b)
{
    changelog_forget(&shard->history, b->last_seq);
    shard->gap = b->last_seq;
    for (struct list *n = shard->sessions.next; n != &shard->sessions; n = n->next) {
        struct session *s = list_entry(n, struct session, node);

        /* One that is slow is told that all is lost when it has read the rest. */
        if (session_hears(s) && concerns(s, b->last_seq))
            tell(s, b->gap, b->last_seq);
    }
}
