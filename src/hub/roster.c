#include "hub/roster.h"

#include "access/grant.h"
#include "base/clock.h"
#include "hub/session.h"
#include "hub/shard.h"

#include <string.h>

static void put_client(struct buf *out, const struct session *s)
{
    if (out->len)
        buf_putc(out, ',');
    buf_puts(out, "{\"id\":\"c");
    buf_put_u64(out, conn_id(s->conn));
    buf_puts(out, "\",\"userId\":");
    buf_put_json_text(out, session_user(s));
    buf_puts(out, ",\"connectedAt\":");
    buf_put_i64(out, s->since_ms);
    buf_puts(out, ",\"messageCount\":");
    buf_put_u64(out, conn_messages(s->conn));
    buf_puts(out, conn_answers(s->conn) ? ",\"isAlive\":true}" : ",\"isAlive\":false}");
}

static bool shows(const struct roster *r, const struct session *s)
{
    const char *user = identity_user(r->who), *other = session_user(s);

    return !r->own || (user && other && strcmp(user, other) == 0);
}

static void list_clients(struct roster *r, struct shard *s)
{
    for (struct list *n = s->sessions.next; n != &s->sessions && r->listed < r->limit;
         n = n->next) {
        const struct session *client = list_entry(n, struct session, node);

        if (!shows(r, client))
            continue;
        put_client(&r->clients, client);
        r->listed++;
    }
}

static void visit(struct message *m, void *receiver);

static void go_on(struct roster *r)
{
    struct shard *s = r->listed < r->limit ? hub_shard(r->hub, r->next++) : NULL;

    r->message.run = visit;
    if (!s || !hub_post(r->hub, s, &r->message))
        r->done(r);
}

static void visit(struct message *m, void *receiver)
{
    struct roster *r = list_entry(m, struct roster, message);

    list_clients(r, receiver);
    go_on(r);
}

void roster_limit_to(struct roster *r, const struct policy *policy, struct identity *who)
{
    r->own = !grant_reads_all(policy, who);
    r->who = identity_ref(who);
}

void roster_start(struct roster *r)
{
    go_on(r);
}

void roster_fini(struct roster *r)
{
    buf_fini(&r->clients);
    identity_unref(r->who);
    r->who = NULL;
}

void roster_put_json(struct buf *out, struct roster *r)
{
    struct hub_stats s;

    hub_stats(r->hub, &s);
    buf_puts(out, "{\"clientCount\":");
    buf_put_u64(out, s.connections);
    buf_puts(out, ",\"clients\":[");
    buf_put(out, r->clients.data, r->clients.len);
    buf_puts(out, "],\"uptime\":");
    buf_put_i64(out, hub_uptime(r->hub));
    buf_puts(out, ",\"timestamp\":");
    buf_put_i64(out, clock_wall_ms());
    buf_putc(out, '}');
    if (buf_error(&r->clients))
        out->err = buf_error(&r->clients);
}
