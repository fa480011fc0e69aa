#include "capture/decode.h"

#include "base/status.h"
#include "capture/schema_diff.h"

struct decoding {
    struct wal_output out;       /* what the rows are given to */
    struct wal_output *to;       /* the caller's */
    const struct schema *schema; /* to be told with the first part; NULL: unchanged, or told */
};

/* A part is full: its transaction goes on in the next batch. */
static int hand_on(struct wal_output *out)
{
    struct decoding *d = (struct decoding *)(void *)out;
    struct batch *b = out->batch;
    int status = batch_end_transaction(b, 0, d->schema);
    if (status < 0)
        return status;
    d->schema = NULL;
    b->continues = true;
    status = d->to->full(d->to);
    out->batch = d->to->batch;
    if (status == STATUS_OK)
        out->batch->continued = true;
    return status;
}

/* These are the first changes of a transaction, and too few to be told in two parts. */
static void skip_announced(struct decoding *d, uint32_t first)
{
    struct batch *b = d->out.batch;
    uint32_t count = b->change_count - first;
    if (d->out.skip == 0)
        return;
    b->change_count = first;
    d->out.skip = d->out.skip > count ? d->out.skip - count : 0;
}

static int decode_rows(
    struct tracker *t, uint32_t end, const struct trees *trees, struct decoding *d)
{
    struct schema_diff diff = {
        .batch = d->out.batch,
        .before = t->trees->schema,
        .after = trees->schema,
        .external = true,
    };
    uint32_t first = d->out.batch->change_count;
    int status = schema_diff_announce(&diff);
    if (status == STATUS_OK)
        skip_announced(d, first);
    if (status == STATUS_OK)
        status = wal_diff_begin(&t->diff, t->frame, end, t->trees, trees);
    if (status == STATUS_OK)
        status = wal_diff_rows(&t->diff, &d->out);
    diff.batch = d->out.batch;
    if (status == STATUS_OK)
        status = schema_diff_retire(&diff);
    return status == STATUS_OK ? batch_end_transaction(d->out.batch, 0, d->schema) : status;
}

int decode_commit(struct tracker *t, uint32_t end, struct wal_output *out)
{
    struct wal_view view;
    struct trees *trees = t->trees;
    int status = wal_view_init(&view, &t->pages, end);
    if (status == STATUS_OK && view.cookie != trees->schema->cookie)
        status = trees_read(&view, t->trees, NULL, &trees);
    if (status < 0)
        return status;
    struct decoding d = {
        .out = {.batch = out->batch, .max = out->max, .skip = out->skip, .full = hand_on},
        .to = out,
        .schema = trees == t->trees ? NULL : trees->schema,
    };
    status = decode_rows(t, end, trees, &d);
    if (trees != t->trees)
        wal_diff_forget(&t->diff);
    if (status == STATUS_OK && trees != t->trees) {
        trees_free(t->trees);
        t->trees = trees;
    } else if (trees != t->trees) {
        trees_free(trees);
    }
    if (status == STATUS_OK)
        tracker_pass(t, end);
    return status;
}
