#include "hub/changeset.h"

#include "base/mem.h"
#include "base/status.h"
#include "hub/session.h"
#include "hub/shard.h"

static struct changeset *begin(struct changeset **chain, struct session *s)
{
    struct changeset *c = mem_zalloc(sizeof(*c));

    if (!c)
        return NULL;
    c->session = s;
    c->next = *chain;
    *chain = s->changeset = c;
    return c;
}

/* Sends what there is so far. */
static int send_items(
    struct changeset *c, const char *epoch, const struct transaction *transaction, bool more)
{
    struct session *s = c->session;
    struct buf *out = &s->shard->scratch;
    const struct batch_message m = {
        .epoch = epoch,
        .transaction = transaction,
        .seq = c->seq,
        .table = c->table ? c->table->name : NULL,
        .items = c->items.data,
        .items_len = c->items.len,
        .more = more,
    };

    buf_reset(out);
    s->dialect->put_batch(out, &m);
    buf_reset(&c->items);
    if (!buf_error(out))
        return conn_send_text(s->conn, out->data, out->len);
    session_fail(s);
    return STATUS_NOMEM;
}

/* A message stays well below what may be queued for a connection. */
static bool is_large(const struct changeset *c)
{
    size_t max = c->session->shard->options->max_queue / 4;

    return c->items.len >= (max < CHANGESET_MAX ? max : CHANGESET_MAX);
}

int changeset_add(struct changeset **chain, struct session *s, const struct change_message *m,
    const struct change_prefix *prefix, const struct body *body)
{
    struct changeset *c = s->changeset ? s->changeset : begin(chain, s);
    int rc = 0;

    if (!c) {
        session_fail(s);
        return STATUS_NOMEM;
    }
    if (is_large(c))
        rc = send_items(c, m->epoch, m->transaction, true);
    if (rc < 0)
        return rc;
    if (!c->items.len)
        c->table = m->change->table;
    else if (c->table && c->table->id != m->change->table->id)
        c->table = NULL;
    c->seq = m->change->seq;
    s->dialect->put_item(&c->items, prefix, body->data, body->len);
    if (!buf_error(&c->items))
        return 0;
    session_fail(s);
    return STATUS_NOMEM;
}

void changeset_finish(
    struct changeset **chain, const char *epoch, const struct transaction *transaction)
{
    while (*chain) {
        struct changeset *c = *chain;

        *chain = c->next;
        if (c->items.len && !conn_closing(c->session->conn))
            send_items(c, epoch, transaction, false);
        c->session->changeset = NULL;
        buf_fini(&c->items);
        mem_free(c);
    }
}
