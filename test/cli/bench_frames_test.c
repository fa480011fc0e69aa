#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/bench_frames.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int take(void *ctx, const struct bench_frame *f)
{
    struct buf *out = ctx;

    buf_printf(out, "%d %zu ", f->opcode, f->len);
    buf_put(out, f->data, f->len < 20 ? f->len : 20);
    buf_putc(out, '\n');
    return f->len == 4 && memcmp(f->data, "stop", 4) == 0;
}

static void put(struct buf *out, int first, size_t len)
{
    uint8_t head[WS_HEADER_MAX];
    size_t head_len = ws_header(head, WS_TEXT, len);

    head[0] = (uint8_t)first;
    buf_put(out, head, head_len);
    for (size_t i = 0; i < len; i++)
        buf_putc(out, (char)('a' + i % 26));
}

/* Whatever the pieces, the same frames come out; the input ends where its memory ends. */
static void pieces(void **state)
{
    static const char wanted[] = "1 3 abc\n9 0 \n1 125 abcdefghijklmnopqrst\n"
                                 "1 126 abcdefghijklmnopqrst\n-1 5 abcde\n"
                                 "1 70000 abcdefghijklmnopqrst\n8 2 ab\n";
    struct buf all = {0};

    (void)state;
    put(&all, 0x81, 3);
    put(&all, 0x89, 0);
    put(&all, 0x81, 125);
    put(&all, 0x81, 126);
    put(&all, 0x01, 5);
    put(&all, 0x81, 70000);
    put(&all, 0x88, 2);
    for (size_t cut = 0; cut <= all.len; cut += cut < 400 || cut + 400 > all.len ? 1 : 97) {
        struct buf out = {0};
        uint8_t *first = malloc(cut + 1), *second;
        ssize_t used, rest;

        memcpy(first, all.data, cut);
        first = realloc(first, cut ? cut : 1);
        used = bench_frames_read(first, cut, take, &out);
        assert_true(used >= 0);
        second = malloc(all.len - (size_t)used + 1);
        memcpy(second, all.data + used, all.len - (size_t)used);
        rest = bench_frames_read(second, all.len - (size_t)used, take, &out);
        assert_int_equal((size_t)(used + rest), all.len);
        assert_string_equal(buf_text(&out), wanted);
        buf_fini(&out);
        free(first);
        free(second);
    }
    buf_fini(&all);
}

static void stopped(void **state)
{
    uint8_t stop[] = {0x81, 4, 's', 't', 'o', 'p'}, huge[] = {0x81, 127, 0, 0, 0, 1, 0, 0, 0, 0},
            wrapped[] = {0x81, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    struct buf out = {0};

    (void)state;
    assert_int_equal(bench_frames_read(stop, sizeof(stop), take, &out), -1);
    assert_int_equal(bench_frames_read(huge, sizeof(huge), take, &out), -1);
    assert_int_equal(bench_frames_read(wrapped, sizeof(wrapped), take, &out), -1);
    buf_fini(&out);
}

static bool read_text(struct bench_places *p, const char *text, struct bench_change *c)
{
    size_t len = strlen(text);
    char *exact = malloc(len ? len : 1);
    bool good;

    memcpy(exact, text, len);
    good = bench_change_is(p, exact, len) && bench_change_read(p, exact, len, c);
    free(exact);
    return good;
}

static void changes(void **state)
{
    struct bench_places p = {0};
    struct bench_change c;
    static const char text[] =
        "{\"type\":\"database_change\",\"seq\":9,\"tx\":9,\"data\":{\"id\":1,\"k\":1099511627777,"
        "\"payload\":\"x\",\"at\":123456789012345678}}";

    (void)state;
    assert_true(read_text(&p, text, &c));
    assert_int_equal(c.seq, 9);
    assert_int_equal(c.key, 1099511627777);
    assert_int_equal(c.at, 123456789012345678);
    /* Elsewhere than in the one before, and back. */
    assert_true(read_text(&p,
        "{\"subscriptions\":[\"s1\"],\"type\":\"database_change\",\"seq\":10,\"data\":{"
        "\"k\":2,\"at\":3}}",
        &c));
    assert_int_equal(c.seq * 100 + c.key * 10 + c.at, 1023);
    assert_true(read_text(&p, text, &c));
    assert_int_equal(c.seq, 9);
    assert_false(read_text(&p, "{\"type\":\"database_change\",\"seq\":10,\"data\":{\"k\":2}}", &c));
    assert_false(read_text(&p, "{\"type\":\"subscribed\"}", &c));
    for (size_t cut = 0; cut + 1 < sizeof(text); cut++) {
        char part[sizeof(text)];

        snprintf(part, sizeof(part), "%.*s", (int)cut, text);
        read_text(&p, part, &c);
    }
}

static void masked(void **state)
{
    struct buf out = {0};
    char text[] = "hello";
    uint8_t key[4];

    (void)state;
    bench_frames_put(&out, WS_TEXT, text, 5);
    assert_int_equal(out.len, 2 + 4 + 5);
    assert_int_equal((uint8_t)out.data[0], 0x81);
    assert_int_equal((uint8_t)out.data[1], 0x85);
    memcpy(key, out.data + 2, 4);
    ws_mask((uint8_t *)out.data + 6, 5, key, 0);
    assert_memory_equal(out.data + 6, text, 5);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(pieces), cmocka_unit_test(stopped),
        cmocka_unit_test(changes), cmocka_unit_test(masked)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
