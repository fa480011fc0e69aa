#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/status.h"
#include "cli/bench_spread.h"

#include <string.h>

static struct bench_spread settled(
    enum bench_filter filter, int64_t subscribers, int64_t subscriptions, int64_t matching)
{
    struct bench_spread s = {filter, subscribers, subscriptions, matching};
    struct buf err = {0};

    assert_int_equal(bench_spread_settle(&s, &err), 0);
    assert_int_equal(err.len, 0);
    return s;
}

static void expect_subscribe(const struct bench_spread *s, int64_t number, const char *wanted)
{
    struct buf out = {0};

    bench_spread_put_subscribe(s, "t", number, &out);
    assert_string_equal(buf_text(&out), wanted);
    buf_fini(&out);
}

/* The rows that a subscriber's subscriptions match, counted one by one, are its share. */
static void compare(const struct bench_spread *s, uint64_t rows)
{
    for (int64_t i = 0; i < s->subscribers; i++) {
        struct bench_share share = bench_spread_share(s, i);
        uint64_t count = 0, last = 0;

        for (uint64_t row = 1; row <= rows; row++) {
            int64_t subscription = bench_spread_value(s, row) / 10;

            if (subscription >= s->subscriptions || subscription % s->subscribers != i)
                continue;
            assert_int_equal(row, count ? last + share.stride : share.first);
            last = row;
            count++;
            assert_int_equal(bench_share_count(share, row), count);
            assert_int_equal(bench_share_last(share, row), row);
        }
        assert_int_equal(bench_share_count(share, rows), count);
        assert_int_equal(bench_share_last(share, rows), last);
    }
}

static void shares(void **state)
{
    static const int64_t sizes[][3] = {{1, 1, 1}, {5, 5, 5}, {5, 5, 1}, {10, 10, 5}, {5, 20, 20},
        {5, 20, 10}, {5, 20, 5}, {5, 20, 4}, {4, 8, 2}, {6, 6, 3}};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct bench_spread s = settled(BENCH_EQUAL, sizes[i][0], sizes[i][1], sizes[i][2]);

        for (uint64_t rows = 0; rows < 70; rows++)
            compare(&s, rows);
    }
}

static void everybody(void **state)
{
    struct bench_spread s = settled(BENCH_ALL, 3, 0, 0);
    struct bench_share share = bench_spread_share(&s, 2);

    (void)state;
    assert_int_equal(bench_share_count(share, 7), 7);
    assert_int_equal(bench_share_last(share, 7), 7);
    expect_subscribe(&s, 2, "{\"type\":\"subscribe\",\"table\":\"t\"}");
}

static void filters(void **state)
{
    struct bench_spread s = settled(BENCH_EQUAL, 3, 0, 0);

    (void)state;
    assert_int_equal(s.subscriptions, 3);
    assert_int_equal(s.matching, 3);
    assert_int_equal(bench_spread_value(&s, 3), 23);
    expect_subscribe(&s, 2, "{\"type\":\"subscribe\",\"table\":\"t\",\"filter\":\"v=23\"}");
    s.filter = BENCH_RANGE;
    expect_subscribe(
        &s, 2, "{\"type\":\"subscribe\",\"table\":\"t\",\"filter\":[\"v>=20\",\"v<30\"]}");
    s.filter = BENCH_IN;
    expect_subscribe(
        &s, 2, "{\"type\":\"subscribe\",\"table\":\"t\",\"filter\":\"v in (21,23,27)\"}");
}

static void refused(void **state)
{
    static const int64_t bad[][3] = {{5, 7, 0}, {5, 5, 6}, {5, 5, 2}, {5, 3, 0}, {4, 24, 6}};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct bench_spread s = {BENCH_EQUAL, bad[i][0], bad[i][1], bad[i][2]};
        struct buf err = {0};

        assert_int_equal(bench_spread_settle(&s, &err), STATUS_INVALID);
        assert_true(err.len > 0);
        buf_fini(&err);
    }
}

static void nobody(void **state)
{
    struct bench_spread s = settled(BENCH_EQUAL, 0, 10, 10);

    (void)state;
    assert_int_equal(s.filter, BENCH_ALL);
}

static void without_a_filter(void **state)
{
    struct bench_spread s = {BENCH_ALL, 5, 10, 0};
    struct buf err = {0};

    (void)state;
    assert_int_equal(bench_spread_settle(&s, &err), STATUS_INVALID);
    assert_string_equal(buf_text(&err), "--subscriptions and --matching need a --filter");
    buf_fini(&err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(shares), cmocka_unit_test(everybody),
        cmocka_unit_test(filters), cmocka_unit_test(refused), cmocka_unit_test(nobody),
        cmocka_unit_test(without_a_filter)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
