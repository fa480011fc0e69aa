#include "fuzz.h"

#include "base/mem.h"
#include "base/status.h"
#include "cli/handshake.h"
#include <string.h>

/* What a server answers to the client of the command line; the key is that of RFC 6455. */
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

struct outcome {
    int fed, checked, status;
    bool again;
    size_t behind; /* bytes that came after the head, if it was an upgrade */
    struct buf message;
};

static void feed(struct handshake *h, const uint8_t *data, size_t size, size_t step, int *rc)
{
    for (size_t at = 0; at < size && *rc == 0; at += step) {
        size_t n = size - at < step ? size - at : step;
        uint8_t *piece = fuzz_copy(data + at, n);
        if (!handshake_done(h) || h->status == 101)
            *rc = handshake_feed(h, (const char *)piece, n);
        free(piece);
    }
}

static void run(struct outcome *o, const uint8_t *data, size_t size, size_t step)
{
    struct handshake h;
    *o = (struct outcome){0};
    handshake_init(&h);
    memcpy(h.accept, ACCEPT, sizeof(h.accept));
    feed(&h, data, size, step, &o->fed);
    if (o->fed == 0 && !handshake_done(&h))
        o->fed = handshake_end(&h);
    REQUIRE(o->fed == 0 || o->fed == STATUS_INVALID || o->fed == STATUS_CLOSED || mem_fail_hit());
    if (o->fed == 0) {
        REQUIRE(handshake_done(&h) && h.status >= 100 && h.status <= 599);
        o->checked = handshake_check(&h, "http://a", &o->again, &o->message);
        REQUIRE(o->checked == 0 ? h.status == 101 && o->message.len == 0
                                : o->message.len || buf_error(&o->message));
        o->behind = h.status == 101 ? h.rest.len : 0;
    }
    o->status = h.status;
    handshake_fini(&h);
}

/* However the answer is cut, its meaning is the same; but a body may be cut where it is too long.
 */
static void same(const struct outcome *a, const struct outcome *b, size_t size)
{
    if (mem_fail_hit() || size > 60000)
        return;
    REQUIRE(a->fed == b->fed && a->status == b->status && a->checked == b->checked);
    REQUIRE(a->again == b->again && a->behind == b->behind);
    if (a->checked == 0)
        REQUIRE(a->message.len == b->message.len);
}

void fuzz_handshake(const uint8_t *data, size_t size)
{
    static const size_t steps[] = {1, 3, 100};
    struct outcome whole, cut;
    run(&whole, data, size, size ? size : 1);
    fuzz_accepted += whole.fed == 0 && whole.checked == 0;
    for (size_t i = 0; i < sizeof(steps) / sizeof(*steps) && size < 20000; i++) {
        run(&cut, data, size, steps[i]);
        same(&whole, &cut, size);
        buf_fini(&cut.message);
    }
    buf_fini(&whole.message);
}
