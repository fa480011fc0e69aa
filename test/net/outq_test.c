#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/status.h"
#include "net/outq.h"

#include <stdlib.h>
#include <string.h>

static struct outq_pool pool;
static struct outq q;
static struct buf expected, got;
static char scratch[3000];

static int setup(void **state)
{
    (void)state;
    outq_pool_init(&pool);
    outq_init(&q);
    buf_init(&expected, 0);
    buf_init(&got, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    outq_clear(&q, &pool);
    outq_pool_fini(&pool);
    buf_fini(&expected);
    buf_fini(&got);
    return 0;
}

static int put_frame(const char *head, const char *data, struct body *body, bool news)
{
    int rc = outq_put(&q, &pool, head, strlen(head), data, strlen(data), body, news);

    if (rc == 0) {
        buf_puts(&expected, head);
        buf_puts(&expected, data);
        if (body)
            buf_put(&expected, body->data, body->len);
    }
    return rc;
}

static int put(const char *head, const char *data, struct body *body)
{
    return put_frame(head, data, body, false);
}

/* "Sends" at most n bytes. */
static void send_bytes(size_t n)
{
    struct outq_gather g = {.scratch = scratch, .cap = sizeof(scratch)};
    size_t left, total = 0;
    int i;

    outq_gather(&q, &g);
    left = n = n < g.total ? n : g.total;
    for (i = 0; i < g.count; i++) {
        size_t k = g.iov[i].iov_len < left ? g.iov[i].iov_len : left;

        buf_put(&got, g.iov[i].iov_base, k);
        left -= k;
        total += g.iov[i].iov_len;
    }
    assert_int_equal(total, g.total);
    outq_consume(&q, &pool, n);
}

static void all_is_sent(void)
{
    assert_int_equal(q.bytes, 0);
    assert_int_equal(pool.queued, 0);
    assert_null(q.first);
    assert_int_equal(got.len, expected.len);
    assert_memory_equal(got.data, expected.data, got.len);
}

static struct body *letters(char c, size_t n)
{
    struct body *b = body_new_empty(n);

    assert_non_null(b);
    memset(b->data, c, n);
    return b;
}

static void test_small_pieces_become_one(void **state)
{
    struct body *b = letters('b', 100);
    struct outq_gather g = {.scratch = scratch, .cap = sizeof(scratch)};

    (void)state;
    assert_int_equal(put("H", "one", NULL), 0);
    assert_int_equal(put("H", "two", b), 0);
    assert_int_equal(put("H", "", b), 0);
    assert_int_equal(b->refs, 3);
    assert_int_equal(q.bytes, 209);
    outq_gather(&q, &g);
    assert_int_equal(g.count, 1);
    send_bytes(SIZE_MAX);
    all_is_sent();
    assert_int_equal(b->refs, 1);
    body_unref(b);
}

static void test_large_bodies_are_pointed_to(void **state)
{
    struct body *b = letters('b', 100000);
    struct outq_gather g = {.scratch = scratch, .cap = sizeof(scratch)};

    (void)state;
    put("H", "p", b);
    put("H", "q", b);
    outq_gather(&q, &g);
    assert_int_equal(g.count, 4);
    assert_int_equal(g.used, 4);
    assert_ptr_equal(g.iov[1].iov_base, b->data);
    while (q.bytes)
        send_bytes(777);
    all_is_sent();
    body_unref(b);
}

static void test_any_sizes_in_any_steps(void **state)
{
    static char text[5001];
    int i;

    (void)state;
    srand(1);
    memset(text, 'x', sizeof(text) - 1);
    for (i = 0; i < 20000; i++) {
        int kind = rand() % 4;
        struct body *b =
            kind < 2 ? NULL
                     : letters((char)('a' + i % 26), (size_t)rand() % (kind == 2 ? 50 : 9000));
        size_t len = (size_t)rand() % (rand() % 20 ? 60 : 5000);

        text[len] = '\0';
        assert_int_equal(put("HEAD", text, b), 0);
        text[len] = 'x';
        body_unref(b);
        if (q.bytes > 200000 || rand() % 3 == 0)
            send_bytes((size_t)rand() % 20000);
    }
    while (q.bytes)
        send_bytes(SIZE_MAX);
    all_is_sent();
}

static void test_drop_finishes_what_has_begun(void **state)
{
    static const size_t sent[] = {1, 900, 901, 902, 910}; /* of 901 + 10 */
    char prefix[901] = "";
    struct body *b = letters('b', 10);
    size_t i;
    int k;

    (void)state;
    memset(prefix, 'p', 900); /* too long for a block: the frame is two records */
    for (i = 0; i < sizeof(sent) / sizeof(*sent); i++) {
        put("H", prefix, b);
        for (k = 0; k < 100; k++)
            outq_put(&q, &pool, "H", 1, "gone", 4, b, false);
        send_bytes(sent[i]);
        outq_drop(&q, &pool);
        assert_int_equal(q.bytes, 911 - sent[i]);
        put("H", "last", NULL);
        send_bytes(SIZE_MAX);
        all_is_sent();
        assert_int_equal(b->refs, 1);
    }
    body_unref(b);
}

/* News that have not begun go; everything else comes out whole and in order. */
static void test_forgetting(void **state)
{
    (void)state;
    for (unsigned seed = 0; seed < 300; seed++) {
        struct {
            size_t end; /* of the frame, in `all` */
            bool news;
        } frames[40];
        struct buf all = {0}, kept = {0};
        struct body *b = letters('b', 20 + seed * 30);
        unsigned dice = seed;
        size_t sent, start = 0;

        for (int i = 0; i < 40; i++) {
            char text[700];
            size_t len = (size_t)rand_r(&dice) % (rand_r(&dice) % 4 ? 60 : 699);
            bool with_body = rand_r(&dice) % 2;

            memset(text, 'a' + i % 26, len);
            text[len] = 0;
            frames[i].news = rand_r(&dice) % 3 > 0;
            assert_int_equal(put_frame("H", text, with_body ? b : NULL, frames[i].news), 0);
            buf_puts(&all, "H");
            buf_put(&all, text, len);
            if (with_body)
                buf_put(&all, b->data, b->len);
            frames[i].end = all.len;
        }
        sent = seed % 3 ? (size_t)rand_r(&dice) % all.len : 0;
        send_bytes(sent);
        sent = got.len;
        buf_put(&kept, all.data, sent);
        for (int i = 0; i < 40; start = frames[i++].end) {
            size_t from = start > sent ? start : sent;

            if (frames[i].end > sent && (!frames[i].news || start < sent))
                buf_put(&kept, all.data + from, frames[i].end - from);
        }
        outq_forget(&q, &pool);
        assert_int_equal(q.bytes, kept.len - sent);
        while (q.bytes)
            send_bytes(1 + (size_t)rand_r(&dice) % 3000);
        assert_int_equal(got.len, kept.len);
        assert_memory_equal(got.data, kept.data, kept.len);
        assert_int_equal(put("H", "next", NULL), 0);
        send_bytes(SIZE_MAX);
        assert_int_equal(q.bytes, 0);
        assert_int_equal(b->refs, 1);
        body_unref(b);
        buf_fini(&all);
        buf_fini(&kept);
        buf_reset(&got);
        buf_reset(&expected);
    }
}

static void test_drop_between_frames(void **state)
{
    struct body *b = letters('b', 10);

    (void)state;
    put("H", "one", b);
    outq_put(&q, &pool, "H", 1, "gone", 4, b, false);
    send_bytes(14);
    outq_drop(&q, &pool);
    assert_int_equal(q.bytes, 0);
    assert_int_equal(b->refs, 1);
    body_unref(b);
    put("H", "last", NULL);
    send_bytes(SIZE_MAX);
    all_is_sent();
}

/* At every byte of the stream: what follows a drop starts where a frame ends. */
static void test_drop_anywhere(void **state)
{
    size_t at;

    (void)state;
    for (at = 0; at < 3 * 40 * 13; at++) {
        struct body *b = letters('b', 8);
        int i;

        buf_reset(&got);
        for (i = 0; i < 120; i++)
            assert_int_equal(outq_put(&q, &pool, "H", 1, "data", 4, b, false), 0);
        send_bytes(at);
        outq_drop(&q, &pool);
        outq_put(&q, &pool, "END", 3, "", 0, NULL, false);
        while (q.bytes)
            send_bytes(7);
        assert_int_equal(got.len % 13, 3);
        assert_in_range(got.len, at + 3, at + 3 + 12);
        assert_memory_equal(got.data + got.len - 3, "END", 3);
        assert_int_equal(b->refs, 1);
        body_unref(b);
    }
}

static void test_blocks_go_back_and_are_freed(void **state)
{
    int i;

    (void)state;
    for (i = 0; i < 1000; i++)
        put("H", "some text", NULL);
    assert_int_equal(pool.free_count, 0);
    outq_clear(&q, &pool);
    assert_in_range(pool.free_count, 10, 100);
    for (i = 0; i < 20; i++)
        outq_pool_trim(&pool);
    assert_int_equal(pool.free_count, 0);
}

static void test_memory_runs_out(void **state)
{
    struct body *b = letters('b', 10);
    char prefix[601] = "";
    long n;

    (void)state;
    memset(prefix, 'p', 600);
    for (n = 0; n < 4; n++) {
        int rc;

        mem_fail_after(n);
        rc = outq_put(&q, &pool, "H", 1, prefix, 600, b, false);
        if (!mem_fail_hit())
            break;
        mem_fail_after(-1);
        assert_int_equal(rc, STATUS_NOMEM);
        assert_int_equal(q.bytes, 0);
        assert_int_equal(b->refs, 1);
    }
    mem_fail_after(-1);
    assert_int_equal(n, 2);
    assert_int_equal(q.bytes, 611);
    outq_clear(&q, &pool);
    assert_int_equal(b->refs, 1);
    body_unref(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_small_pieces_become_one, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large_bodies_are_pointed_to, setup, teardown),
        cmocka_unit_test_setup_teardown(test_any_sizes_in_any_steps, setup, teardown),
        cmocka_unit_test_setup_teardown(test_drop_finishes_what_has_begun, setup, teardown),
        cmocka_unit_test_setup_teardown(test_forgetting, setup, teardown),
        cmocka_unit_test_setup_teardown(test_drop_between_frames, setup, teardown),
        cmocka_unit_test_setup_teardown(test_drop_anywhere, setup, teardown),
        cmocka_unit_test_setup_teardown(test_blocks_go_back_and_are_freed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory_runs_out, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
