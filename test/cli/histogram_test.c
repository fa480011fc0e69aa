#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "cli/histogram.h"

#include <stdlib.h>

static void an_empty_histogram_is_all_zero(void **state)
{
    static struct histogram h;

    (void)state;
    assert_int_equal(histogram_at(&h, 0.5), 0);
    assert_int_equal(histogram_at(&h, 1), 0);
}

static void every_duration_is_within_two_percent(void **state)
{
    (void)state;
    for (int64_t ns = 1; ns > 0 && ns < INT64_MAX / 3; ns = ns * 2 + ns / 3) {
        struct histogram *h = calloc(1, sizeof(*h));
        int64_t at;

        assert_non_null(h);
        histogram_add(h, ns);
        histogram_add(h, INT64_MAX);
        at = histogram_at(h, 0.5);
        assert_true(at >= ns && at - ns <= ns / 50);
        assert_true(histogram_at(h, 1) == INT64_MAX);
        free(h);
    }
}

static void percentiles_count_from_below(void **state)
{
    static struct histogram h;

    (void)state;
    for (int i = 1; i <= 50; i++)
        histogram_add(&h, i);
    histogram_add(&h, -3);
    assert_int_equal(h.count, 51);
    assert_int_equal(histogram_at(&h, 0), 0);
    assert_int_equal(histogram_at(&h, 0.5), 25);
    assert_int_equal(histogram_at(&h, 1), 50);
    assert_int_equal(h.max, 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_histogram_is_all_zero),
        cmocka_unit_test(every_duration_is_within_two_percent),
        cmocka_unit_test(percentiles_count_from_below),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
