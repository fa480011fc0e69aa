#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "access/bucket.h"

#include <cmocka.h>
#include <pthread.h>
#include <string.h>

#define MS INT64_C(1000000)
#define SECOND (1000 * MS)

static void gives_its_burst_then_its_rate(void **state)
{
    struct rate r = rate_of(10, 5);
    struct bucket b = {0};
    int64_t now = 1000 * SECOND;

    (void)state;
    for (int i = 0; i < 5; i++)
        assert_int_equal(bucket_take(&b, &r, now), 0);
    assert_int_equal(bucket_take(&b, &r, now), 100 * MS);
    assert_int_equal(bucket_take(&b, &r, now + 40 * MS), 60 * MS);
    assert_int_equal(bucket_take(&b, &r, now + 100 * MS), 0);
    assert_int_equal(bucket_take(&b, &r, now + 100 * MS), 100 * MS);
    assert_false(bucket_is_full(&b, now + 599 * MS));
    assert_true(bucket_is_full(&b, now + 600 * MS));
    /* However long it rested it holds no more than its burst. */
    now += 100000 * SECOND;
    for (int i = 0; i < 5; i++)
        assert_int_equal(bucket_take(&b, &r, now), 0);
    assert_int_equal(bucket_take(&b, &r, now), 100 * MS);
    bucket_give_back(&b, &r);
    assert_int_equal(bucket_take(&b, &r, now), 0);
    assert_int_equal(bucket_take(&b, &r, now), 100 * MS);
}

static void without_a_rate_there_is_no_bound(void **state)
{
    struct rate r = {0};
    struct bucket b = {0};

    (void)state;
    for (int i = 0; i < 100000; i++)
        assert_int_equal(bucket_take(&b, &r, 1), 0);
    assert_true(bucket_is_full(&b, 0));
}

/* Over a long time it gives neither more nor less than it should, whatever the steps. */
static void keeps_its_rate(void **state)
{
    static const int64_t per_second[] = {1, 3, 7, 999, 1000000};

    (void)state;
    for (size_t i = 0; i < sizeof(per_second) / sizeof(*per_second); i++) {
        struct rate r = rate_of(per_second[i], 1);
        struct bucket b = {0};
        int64_t now = 5 * SECOND, end = now + 10 * SECOND, taken = 0, wait;

        if (per_second[i] > 10000)
            end = now + SECOND / 10;
        while (now < end) {
            wait = bucket_take(&b, &r, now);
            taken += wait == 0;
            now += wait;
        }
        assert_in_range(taken, per_second[i] * (end - 5 * SECOND) / SECOND - 1,
            per_second[i] * (end - 5 * SECOND) / SECOND + 1);
    }
}

static void reads_rates(void **state)
{
    static const struct {
        const char *text;
        int64_t period, burst; /* -1: refused */
    } cases[] = {
        {"1", SECOND, 2},
        {"50", 20 * MS, 100},
        {"50/7", 20 * MS, 7},
        {"0.5", 2 * SECOND, 1},
        {"0.001/3", 1000 * SECOND, 3},
        {"2.25/1", 444444445, 1},
        {"1000000", 1000, 2000000},
        {"1/1000000", SECOND, 1000000},
        {"off", 0, 0},
        {"OFF", 0, 0},
        {"", -1, 0},
        {"0", -1, 0},
        {"0.000", -1, 0},
        {"0.0001", -1, 0},
        {"-1", -1, 0},
        {"+1", -1, 0},
        {" 1", -1, 0},
        {"1 ", -1, 0},
        {"1.", -1, 0},
        {".5", -1, 0},
        {"1..5", -1, 0},
        {"1.5.5", -1, 0},
        {"1/", -1, 0},
        {"1/0", -1, 0},
        {"1/-1", -1, 0},
        {"1/2/3", -1, 0},
        {"1/2.5", -1, 0},
        {"1000000.001", -1, 0},
        {"1000001", -1, 0},
        {"99999999999999999999", -1, 0},
        {"1/1000001", -1, 0},
        {"1/99999999999999999999", -1, 0},
        {"1e3", -1, 0},
        {"of", -1, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct rate r = {-1, -1};
        int rc = rate_parse(&r, cases[i].text, strlen(cases[i].text));

        if ((rc == 0) != (cases[i].period >= 0))
            fail_msg("\"%s\" gave %d", cases[i].text, rc);
        if (rc == 0 &&
            (r.period_ns != cases[i].period || r.depth_ns != cases[i].burst * cases[i].period))
            fail_msg("\"%s\" is %lld, %lld", cases[i].text, (long long)r.period_ns,
                (long long)r.depth_ns);
    }
}

#define THREADS 4
#define BURST 20000

static struct bucket shared;

static void *take_all(void *arg)
{
    struct rate r = rate_of(1, BURST);
    int64_t *taken = arg;

    for (int i = 0; i < BURST; i++)
        *taken += bucket_take(&shared, &r, SECOND) == 0;
    return NULL;
}

/* Threads that take from one bucket get its tokens together, each once. */
static void is_shared(void **state)
{
    pthread_t threads[THREADS];
    int64_t taken[THREADS] = {0}, sum = 0;

    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_all, &taken[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        sum += taken[i];
    }
    assert_int_equal(sum, BURST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_its_burst_then_its_rate),
        cmocka_unit_test(without_a_rate_there_is_no_bound),
        cmocka_unit_test(keeps_its_rate),
        cmocka_unit_test(reads_rates),
        cmocka_unit_test(is_shared),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
