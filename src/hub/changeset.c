#include "hub/changeset.h"

#include "base/mem.h"
#include "base/status.h"
#include "hub/delivery.h"
#include "hub/session.h"
#include "hub/shard.h"

static struct changeset *begin(struct list *list, struct session *s, const struct change_message *m)
{
    struct changeset *c = mem_zalloc(sizeof(*c));

    if (!c)
        return NULL;
    c->session = s;
    c->transaction = *m->transaction;
    c->transaction.schema = NULL;
    c->transaction.receipt = m->receipt ? receipt_ref(m->receipt) : NULL;
    list_add_tail(list, &c->node);
    s->changeset = c;
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

int changeset_add(struct list *list, struct session *s, const struct change_message *m,
    const struct change_prefix *prefix, const struct body *body)
{
    struct changeset *c = s->changeset ? s->changeset : begin(list, s, m);
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
    if (c && c->items.len && session_hears(c->session))
        send_items(c, true);
}

void changeset_free(struct changeset *c)
{
    if (!c)
        return;
    list_del(&c->node);
    if (c->session->changeset == c)
        c->session->changeset = NULL;
    table_unref(c->table);
    receipt_unref(c->transaction.receipt);
    buf_fini(&c->items);
    mem_free(c);
}

struct changeset *changeset_of(struct list *l)
{
    return list_empty(l) ? NULL : list_entry(l->next, struct changeset, node);
}

void changeset_end(struct changeset *c)
{
    if (c && (c->items.len || c->owed) && session_hears(c->session))
        send_items(c, false);
    changeset_free(c);
}

void changeset_finish(struct list *list)
{
    while (!list_empty(list))
        changeset_end(changeset_of(list));
}

void changeset_drop(struct list *list)
{
    while (!list_empty(list))
        changeset_free(changeset_of(list));
}

void changeset_wait(struct list *list)
{
    for (struct list *n = list->next; n != list; n = n->next) {
        struct changeset *c = list_entry(n, struct changeset, node);

        if (c->items.cap <= CHANGESET_KEPT)
            continue;
        changeset_split(c);
        buf_fini(&c->items);
    }
}

void changeset_join(struct changeset *c, struct list *live)
{
    struct session *s = c->session;

    if (!s->changeset) {
        list_del(&c->node);
        list_add_tail(live, &c->node);
        s->changeset = c;
        return;
    }
    changeset_split(c);
    s->changeset->owed |= c->owed;
    changeset_free(c);
}
