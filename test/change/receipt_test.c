#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "change/receipt.h"
#include <malloc.h>
#include <pthread.h>
#include <unistd.h>

/* What the author learns, now. */
static void expect(struct receipt *r, bool done, uint64_t delivered, uint64_t pending)
{
    uint64_t got_delivered = 99, got_pending = 99;
    assert_int_equal(receipt_wait(r, 0, &got_delivered, &got_pending), done);
    assert_int_equal(got_delivered, delivered);
    assert_int_equal(got_pending, pending);
}

static void nobody_listens(void **state)
{
    (void)state;
    struct receipt *r = receipt_new();
    expect(r, true, 0, 0);
    receipt_begin(r);
    receipt_begin(r);
    expect(r, false, 0, 0);
    receipt_end(r);
    expect(r, false, 0, 0);
    receipt_end(r);
    expect(r, true, 0, 0);
    receipt_close(r);
    receipt_close(NULL);
    receipt_unref(NULL);
}

static void those_who_took_it_are_counted(void **state)
{
    (void)state;
    struct receipt *r = receipt_new();
    receipt_begin(r);
    for (uint64_t c = 1; c <= 3; c++)
        receipt_expect(r, c);
    receipt_end(r);
    expect(r, false, 0, 3);
    receipt_settle(r, 1, true);
    expect(r, false, 1, 2);
    receipt_settle(r, 2, false);
    expect(r, false, 1, 1);
    receipt_settle(r, 3, true);
    expect(r, true, 2, 0);
    receipt_close(r);
}

/* Of several transactions a connection has to take all, and is one. */
static void a_connection_counts_once(void **state)
{
    (void)state;
    for (int lost = 0; lost <= 3; lost++) {
        struct receipt *r = receipt_new();
        receipt_begin(r);
        for (int i = 0; i < 3; i++)
            receipt_expect(r, UINT64_MAX);
        receipt_end(r);
        for (int i = 1; i <= 3; i++) {
            expect(r, false, 0, 1);
            receipt_settle(r, UINT64_MAX, i != lost);
        }
        expect(r, true, lost == 0, 0);
        /* One more, after it was done: a script's next commit. */
        receipt_begin(r);
        receipt_expect(r, UINT64_MAX);
        receipt_end(r);
        expect(r, false, 0, 1);
        receipt_settle(r, UINT64_MAX, true);
        expect(r, true, lost == 0, 0);
        receipt_close(r);
    }
}

static void waiting_has_an_end(void **state)
{
    (void)state;
    struct receipt *r = receipt_new();
    uint64_t delivered, pending;
    receipt_begin(r);
    receipt_expect(r, 7);
    int64_t begun = clock_mono_ms();
    assert_false(receipt_wait(r, 60, &delivered, &pending));
    assert_in_range(clock_mono_ms() - begun, 55, 5000);
    assert_int_equal(pending, 1);
    receipt_end(r);
    receipt_settle(r, 7, false);
    receipt_close(r);
}

/* The author has gone: loops and connections may still hold it. */
static void closed_before_it_is_done(void **state)
{
    (void)state;
    struct receipt *r = receipt_new();
    receipt_ref(r);
    receipt_begin(r);
    for (uint64_t c = 1; c <= 100; c++)
        receipt_expect(r, c);
    receipt_close(r);
    receipt_expect(r, 5);
    receipt_expect(r, 1000);
    receipt_end(r);
    for (uint64_t c = 1; c <= 100; c++)
        receipt_settle(r, c, true);
    receipt_settle(r, 5, true);
    receipt_settle(r, 1000, true);
    receipt_unref(r);
}

/* Bytes allocated, or always 0 where the C library does not count. */
static size_t in_use(void)
{
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
    return mallinfo2().uordblks;
#else
    return 0;
#endif
}

/* The history holds it for long: it is small then. */
static void closing_frees_the_connections(void **state)
{
    (void)state;
    enum { RECEIPTS = 100, CONNECTIONS = 1000 };
    static struct receipt *r[RECEIPTS];
    size_t before = in_use(), open = 0;
    for (int i = 0; i < RECEIPTS; i++) {
        r[i] = receipt_new();
        receipt_ref(r[i]);
        receipt_begin(r[i]);
        for (uint64_t c = 1; c <= CONNECTIONS; c++) {
            receipt_expect(r[i], c);
            receipt_settle(r[i], c, true);
        }
        receipt_end(r[i]);
        expect(r[i], true, CONNECTIONS, 0);
    }
    open = in_use() - before;
    for (int i = 0; i < RECEIPTS; i++)
        receipt_close(r[i]);
    if (open > 0)
        assert_in_range(in_use() - before, 0, RECEIPTS * 1000);
    for (int i = 0; i < RECEIPTS; i++)
        receipt_unref(r[i]);
}

struct loop {
    struct receipt *receipt;
    uint64_t first;
};

static void *run_loop(void *arg)
{
    struct loop *l = arg;
    for (uint64_t c = l->first; c < l->first + 50; c++)
        receipt_expect(l->receipt, c);
    receipt_end(l->receipt);
    for (uint64_t c = l->first; c < l->first + 50; c++) {
        receipt_settle(l->receipt, c, c % 10 != 0);
        if (c % 25 == 0)
            usleep(500);
    }
    receipt_unref(l->receipt);
    return NULL;
}

static void loops_tell_at_the_same_time(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        struct receipt *r = receipt_new();
        struct loop loops[4];
        pthread_t threads[4];
        uint64_t delivered, pending;
        for (int i = 0; i < 4; i++)
            receipt_begin(r);
        for (int i = 0; i < 4; i++) {
            loops[i] = (struct loop){receipt_ref(r), (uint64_t)i * 50 + 1};
            assert_int_equal(pthread_create(&threads[i], NULL, run_loop, &loops[i]), 0);
        }
        if (round % 4) {
            assert_true(receipt_wait(r, 20000, &delivered, &pending));
            assert_int_equal(delivered, 180);
            assert_int_equal(pending, 0);
        }
        receipt_close(r);
        for (int i = 0; i < 4; i++)
            pthread_join(threads[i], NULL);
    }
}

/* What there is no memory for was not delivered; it never looks as if more were. */
static void memory_runs_out(void **state)
{
    (void)state;
    bool hit = true;
    for (int n = 0; hit; n++) {
        uint64_t delivered = 0, pending = 0;
        mem_fail_after(n);
        struct receipt *r = receipt_new();
        if (r) {
            receipt_begin(r);
            for (uint64_t c = 1; c <= 40; c++)
                receipt_expect(r, c);
            receipt_end(r);
            for (uint64_t c = 1; c <= 40; c++)
                receipt_settle(r, c, true);
            assert_true(receipt_wait(r, 0, &delivered, &pending));
        }
        hit = mem_fail_hit();
        mem_fail_after(-1);
        assert_int_equal(pending, 0);
        assert_true(hit ? delivered <= 40 : delivered == 40);
        receipt_close(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_listens),
        cmocka_unit_test(those_who_took_it_are_counted),
        cmocka_unit_test(a_connection_counts_once),
        cmocka_unit_test(waiting_has_an_end),
        cmocka_unit_test(closed_before_it_is_done),
        cmocka_unit_test(closing_frees_the_connections),
        cmocka_unit_test(loops_tell_at_the_same_time),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
