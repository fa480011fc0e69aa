#include "cli/feed.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/status.h"
#include "cli/show.h"
#include "dialect/native.h"

#include <string.h>

#define FLUSH_SIZE 65536

/* Ends the message: as it is, or as a line for a person. */
static int put_line(struct feed *f, struct buf *err)
{
    char why[128] = "out of memory";
    json_t *message = NULL;

    if (!f->json && !buf_error(&f->message))
        message = json_read(f->message.data, f->message.len, why, sizeof(why));
    if (buf_error(&f->message) || (!f->json && !message)) {
        buf_printf(err, "cannot show a change: %s", why);
        return STATUS_NOMEM;
    }
    if (f->json) {
        buf_put(&f->out, f->message.data, f->message.len);
        buf_putc(&f->out, '\n');
    } else {
        show_put(&f->out, message, f->colour);
        json_decref(message);
    }
    buf_reset(&f->message);
    return buf_error(&f->out) || f->out.len > FLUSH_SIZE ? f->flush(&f->out) : 0;
}

static int put_change(
    struct feed *f, const struct transaction *t, const struct change *c, struct buf *err)
{
    const struct change_message m = {.epoch = f->epoch, .transaction = t, .change = c};
    struct change_prefix prefix = {0};
    int wanted = selection_wants(&f->selection, c, &prefix.transition, err);

    if (wanted <= 0)
        return wanted;
    native_dialect.put_prefix(&f->message, &prefix);
    native_dialect.put_body(&f->message, &m);
    return put_line(f, err);
}

static int put_gap(struct feed *f, const struct batch *b, struct buf *err)
{
    const struct reply reply = {.type = REPLY_RESYNC,
        .number = b->last_seq,
        .time_ms = clock_wall_ms(),
        .reason = b->gap,
        .seq = b->last_seq,
        .epoch = f->epoch};

    native_dialect.put_reply(&f->message, &reply);
    return put_line(f, err);
}

int feed_put(struct feed *f, const struct batch *b, struct buf *err)
{
    int status = b->gap ? put_gap(f, b, err) : 0;

    for (uint32_t i = 0; status == 0 && i < b->transaction_count; i++) {
        const struct transaction *t = &b->transactions[i];

        for (uint32_t j = 0; status == 0 && j < t->count; j++)
            status = put_change(f, t, &b->changes[t->first + j], err);
    }
    if (f->out.len) {
        int flushed = f->flush(&f->out);
        status = status < 0 ? status : flushed;
    }
    return status;
}

void feed_fini(struct feed *f)
{
    selection_fini(&f->selection);
    buf_fini(&f->out);
    buf_fini(&f->message);
}
