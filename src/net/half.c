#include "base/mem.h"
#include "net/private.h"

/*
 * Messages of which a part has come are held in memory. There may be as many as connections, each
 * nearly as large as a message may be, so their sum has a bound. Who is given up is the one whose
 * message began first: an honest peer's is soon complete.
 */

void half_forget(struct conn *c)
{
    if (!c->half_in)
        return;
    c->loop->half_bytes -= c->half_in->bytes;
    list_del(&c->half_in->node);
    mem_free(c->half_in);
    c->half_in = NULL;
}

static void give_up(struct conn *c, int code, const char *reason)
{
    ws_parser_fini(&c->parser);
    half_forget(c);
    conn_fail(c, code, reason);
}

static struct half *half_new(struct conn *c)
{
    struct half *h = mem_zalloc(sizeof(*h));

    if (!h)
        return NULL;
    h->conn = c;
    list_add_tail(&c->loop->halves, &h->node);
    return h;
}

void half_note(struct conn *c)
{
    struct loop *l = c->loop;
    size_t bytes = ws_held(&c->parser);

    if (bytes == 0) {
        half_forget(c);
        return;
    }
    if (!c->half_in)
        c->half_in = half_new(c);
    if (!c->half_in) {
        give_up(c, WS_CLOSE_INTERNAL, "out of memory");
        return;
    }
    l->half_bytes += bytes - c->half_in->bytes;
    c->half_in->bytes = bytes;
    while (l->options.max_halves && l->half_bytes > l->options.max_halves)
        give_up(list_entry(l->halves.next, struct half, node)->conn, WS_CLOSE_TRY_LATER,
            "too many messages are half received: send it again later");
}
