#include "net/private.h"

static struct conn_note *first_note(const struct conn *c)
{
    return list_empty(&c->notes) ? NULL : list_entry(c->notes.next, struct conn_note, node);
}

static void tell(struct conn_note *n, bool sent)
{
    list_del(&n->node);
    n->done(n, sent);
}

void conn_notes_sent(struct conn *c)
{
    uint64_t sent = c->sent - (c->tls ? tls_unsent(c->tls) : 0);
    struct conn_note *n;

    while ((n = first_note(c)) && n->at <= sent)
        tell(n, true);
}

void conn_notes_lost(struct conn *c)
{
    struct conn_note *n;

    while ((n = first_note(c)))
        tell(n, false);
}

void conn_note(struct conn *c, struct conn_note *n)
{
    list_init(&n->node);
    if (c->state == CONN_DEAD || conn_all_sent(c)) {
        tell(n, c->state != CONN_DEAD);
        return;
    }
    n->at = c->sent + c->out.bytes;
    list_add_tail(&c->notes, &n->node);
}

struct conn_note *conn_last_note(const struct conn *c)
{
    return list_empty(&c->notes) ? NULL : list_entry(c->notes.prev, struct conn_note, node);
}

void conn_move_note(struct conn *c, struct conn_note *n)
{
    n->at = c->sent + c->out.bytes;
}
