#include "hub/delivery.h"

#include "base/mem.h"
#include "change/batch.h"
#include "net/conn.h"

struct delivery {
    struct conn_note note;
    struct receipt *receipt; /* a reference */
    uint64_t connection;
};

void delivery_begin(const struct batch *b)
{
    for (uint32_t i = 0; i < b->transaction_count; i++)
        if (b->transactions[i].receipt)
            receipt_begin(b->transactions[i].receipt);
}

bool delivery_wanted(const struct batch *b)
{
    for (uint32_t i = 0; i < b->transaction_count; i++)
        if (b->transactions[i].receipt)
            return true;
    return false;
}

void delivery_end(const struct batch *b)
{
    for (uint32_t i = 0; i < b->transaction_count; i++)
        if (b->transactions[i].receipt)
            receipt_end(b->transactions[i].receipt);
}

static void on_done(struct conn_note *n, bool sent)
{
    struct delivery *d = list_entry(n, struct delivery, note);

    receipt_settle(d->receipt, d->connection, sent);
    receipt_unref(d->receipt);
    mem_free(d);
}

void delivery_note(struct receipt *r, struct conn *c)
{
    struct conn_note *last = conn_last_note(c);
    struct delivery *d = last ? list_entry(last, struct delivery, note) : NULL;

    if (d && d->receipt == r) {
        conn_move_note(c, last);
        return;
    }
    receipt_expect(r, conn_id(c));
    d = mem_zalloc(sizeof(*d));
    if (!d) {
        receipt_settle(r, conn_id(c), false);
        return;
    }
    d->note.done = on_done;
    d->receipt = receipt_ref(r);
    d->connection = conn_id(c);
    conn_note(c, &d->note);
}
