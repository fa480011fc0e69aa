#include "hub/changeset.h"

#include "base/mem.h"
#include "base/status.h"
#include "hub/delivery.h"
#include "hub/session.h"
#include "hub/shard.h"

static struct changeset *begin(
    struct changeset **chain, struct session *s, const struct change_message *m)
{
    struct changeset *c = mem_zalloc(sizeof(*c));

    if (!c)
        return NULL;
    c->session = s;
    c->transaction = *m->transaction;
    c->transaction.schema = NULL;
    c->transaction.receipt = m->receipt;
    c->next = *chain;
    *chain = s->changeset = c;
    return c;
}

/* Sends what there is so far. */
static int send_items(struct changeset *c, bool more)
{
    struct session *s = c->session;
    struct buf *out = &s->shard->scratch;
    const struct batch_message m = {
        .epoch = s->shard->options->epoch,
        .transaction = &c->transaction,
        .seq = c->seq,
        .table = c->table ? c->table->name : NULL,
        .items = c->items.data,
        .items_len = c->items.len,
        .more = more,
    };

    buf_reset(out);
    s->dialect->put_batch(out, &m);
    buf_reset(&c->items);
    c->owed = more;
    if (buf_error(out)) {
        session_fail(s);
        return STATUS_NOMEM;
    }
    int rc = conn_send(s->conn, out->data, out->len, NULL);
    if (rc == 0 && c->transaction.receipt)
        delivery_note(c->transaction.receipt, s->conn);
    return rc;
}

/* A message stays well below what may be queued for a connection. */
static bool is_large(const struct changeset *c)
{
    size_t max = c->session->shard->options->max_queue / 4;

    return c->items.len >= (max < CHANGESET_MAX ? max : CHANGESET_MAX);
}

static void set_table(struct changeset *c, const struct table *table)
{
    if (table == c->table)
        return;
    table_unref(c->table);
    c->table = table ? table_ref(table) : NULL;
}

int changeset_add(struct changeset **chain, struct session *s, const struct change_message *m,
    const struct change_prefix *prefix, const struct body *body)
{
    struct changeset *c = s->changeset ? s->changeset : begin(chain, s, m);
    int rc = 0;

    if (!c) {
        session_fail(s);
        return STATUS_NOMEM;
    }
    if (is_large(c))
        rc = send_items(c, true);
    if (rc < 0)
        return rc;
    if (!c->items.len)
        set_table(c, m->change->table);
    else if (c->table && c->table->id != m->change->table->id)
        set_table(c, NULL);
    c->seq = m->change->seq;
    s->dialect->put_item(&c->items, prefix, body->data, body->len);
    if (!buf_error(&c->items))
        return 0;
    session_fail(s);
    return STATUS_NOMEM;
}

void changeset_split(struct changeset *c)
{
    if (c->items.len && session_hears(c->session))
        send_items(c, true);
}

static void take_first(struct changeset **chain)
{
    struct changeset *c = *chain;

    *chain = c->next;
    c->session->changeset = NULL;
    table_unref(c->table);
    buf_fini(&c->items);
    mem_free(c);
}

void changeset_finish(struct changeset **chain)
{
    while (*chain) {
        struct changeset *c = *chain;

        if ((c->items.len || c->owed) && session_hears(c->session))
            send_items(c, false);
        take_first(chain);
    }
}

void changeset_drop(struct changeset **chain)
{
    while (*chain)
        take_first(chain);
}
