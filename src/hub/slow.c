#include "hub/slow.h"

#include "hub/changeset.h"
#include "hub/query.h"
#include "hub/replay.h"
#include "hub/session.h"
#include "hub/session_log.h"
#include "hub/shard.h"
#include "hub/snapshot.h"

void slow_begin(void *session)
{
    struct session *s = session;

    session_log_slow(s, "what waited for it is forgotten");
    s->slow = true;
}

void slow_drained(struct session *s)
{
    list_add_tail(&s->shard->drained, &s->drained);
    shard_wake(s->shard);
}

/* What it was on its way to is lost with the rest. */
static void recover(struct session *s)
{
    struct reply r = {.type = REPLY_RESYNC, .reason = "slow_consumer", .seq = s->shard->seq};

    s->slow = false;
    changeset_free(s->changeset);
    replay_drop(s, UINT64_MAX);
    snapshot_drop(s);
    for (uint32_t i = 0; i < s->membership_count; i++)
        s->memberships[i]->from = s->shard->seq;
    s->shard->room.behind = true;
    session_reply(s, &r);
    query_drained(s);
}

void slow_run(struct shard *shard)
{
    while (!list_empty(&shard->drained)) {
        struct session *s = list_entry(shard->drained.next, struct session, drained);

        list_del(&s->drained);
        if (!conn_closing(s->conn))
            recover(s);
    }
}
