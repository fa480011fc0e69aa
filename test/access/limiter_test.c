#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "access/limiter.h"
#include "base/mem.h"
#include "base/status.h"

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define SECOND INT64_C(1000000000)

/* Rates. */

static void read_rates(struct rates *r, const char *line)
{
    char copy[256], *words[8], *save = NULL;
    struct buf err = {0};
    int n = 0;

    strcpy(copy, line);
    for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
        words[n++] = w;
    rates_init(r);
    if (rates_read(r, (const char *const *)words, n, &err) < 0)
        fail_msg("%s: %s", line, buf_text(&err));
}

static int64_t burst(const struct rates *r, const char *role, int scope, int kind)
{
    const struct rate *rate = &rates_of(r, role)->rates[scope][kind];

    return rate->period_ns ? rate->depth_ns / rate->period_ns : 0;
}

static void options_set_rates(void **state)
{
    struct rates r;

    (void)state;
    read_rates(&r, "");
    assert_int_equal(burst(&r, NULL, RATE_CONNECTION, RATE_COMMANDS), 2000);
    assert_int_equal(burst(&r, NULL, RATE_CONNECTION, RATE_HTTP), 0);
    assert_int_equal(burst(&r, "any", RATE_ADDRESS, RATE_HANDSHAKES), 2000);
    rates_fini(&r);

    /* A role begins with what everybody has, wherever that stands. */
    read_rates(&r, "ad:min:queries=off Commands=5/7 ad:min:cursors@USER=3/3 http=2/11 "
                   "queries@address=1/9");
    assert_int_equal(burst(&r, NULL, RATE_CONNECTION, RATE_COMMANDS), 7);
    assert_int_equal(burst(&r, NULL, RATE_USER, RATE_COMMANDS), 7);
    assert_int_equal(burst(&r, NULL, RATE_ADDRESS, RATE_COMMANDS), 20000);
    assert_int_equal(burst(&r, NULL, RATE_USER, RATE_HTTP), 11);
    assert_int_equal(burst(&r, NULL, RATE_ADDRESS, RATE_HTTP), 11);
    assert_int_equal(burst(&r, NULL, RATE_USER, RATE_QUERIES), 1000);
    assert_int_equal(burst(&r, "ad:min", RATE_CONNECTION, RATE_COMMANDS), 7);
    assert_int_equal(burst(&r, "ad:min", RATE_CONNECTION, RATE_QUERIES), 0);
    assert_int_equal(burst(&r, "ad:min", RATE_USER, RATE_QUERIES), 0);
    assert_int_equal(burst(&r, "ad:min", RATE_ADDRESS, RATE_QUERIES), 9);
    assert_int_equal(burst(&r, "ad:min", RATE_USER, RATE_CURSORS), 3);
    assert_int_equal(burst(&r, "AD:MIN", RATE_USER, RATE_CURSORS), 400);
    rates_fini(&r);
}

static void bad_options_are_refused(void **state)
{
    static const char *const bad[] = {"", "queries", "queries=", "=5", "query=5", "queries=5@user",
        "queries@=5", "queries@all=5", "http@connection=5", "handshakes@connection=1",
        "admin:queries@address=5", ":queries=5", "admin:=5", "queries=fast", "queries=5/0"};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct rates r;
        struct buf err = {0};

        rates_init(&r);
        if (rates_read(&r, &bad[i], 1, &err) != STATUS_INVALID || !strstr(buf_text(&err), "--rate"))
            fail_msg("\"%s\": %s", bad[i], buf_text(&err));
        buf_fini(&err);
        rates_fini(&r);
    }
}

static void roles_are_bounded(void **state)
{
    char text[RATES_ROLES + 1][32];
    const char *options[RATES_ROLES + 1];
    struct buf err = {0};
    struct rates r;

    (void)state;
    for (int i = 0; i <= RATES_ROLES; i++) {
        snprintf(text[i], sizeof(text[i]), "r%d:queries=%d", i, i + 1);
        options[i] = text[i];
    }
    rates_init(&r);
    assert_int_equal(rates_read(&r, options, RATES_ROLES, &err), 0);
    assert_int_equal(rates_read(&r, options, RATES_ROLES + 1, &err), STATUS_INVALID);
    assert_string_equal(buf_text(&err), "--rate names more than 32 roles");
    buf_fini(&err);
    rates_fini(&r);
}

/* Offenders. */

static void delays_grow_and_are_forgotten(void **state)
{
    struct offender o = {0};
    int64_t now = 100 * SECOND, wait, before = 0;

    (void)state;
    assert_int_equal(offender_waits(&o, 1, now), 0);
    assert_int_equal(offender_refuse(&o, 1, 30, now), 30); /* the first time, no more than needed */
    assert_int_equal(offender_waits(&o, 1, now + 10), 20);
    assert_int_equal(offender_waits(&o, 2, now + 10), 0); /* another kind is another matter */
    now += 30;
    assert_int_equal(offender_waits(&o, 1, now), 0);
    for (int i = 0; i < 15; i++) {
        wait = offender_refuse(&o, 1, 30, now);
        assert_true(i == 0 || wait == 2 * before || wait == before);
        before = wait;
        now += wait;
    }
    assert_in_range(before, 50 * SECOND, 60 * SECOND);
    assert_false(offender_is_forgotten(&o, now + 9 * SECOND));
    now += 10 * SECOND;
    assert_true(offender_is_forgotten(&o, now));
    assert_int_equal(offender_refuse(&o, 1, 30, now), 30);
    assert_int_equal(o.refusals, 1);
}

static void stubborn_is_who_goes_on_for_long(void **state)
{
    struct offender o = {0};
    int64_t now = 100 * SECOND;

    (void)state;
    /* What was sent before the answer could be read is not held against anybody. */
    offender_refuse(&o, 0, SECOND, now);
    for (int i = 0; i < 100000; i++)
        offender_waits(&o, 0, now + SECOND / 2);
    assert_false(offender_is_stubborn(&o, now + 4 * SECOND));
    /* Few refusals over a long time are not stubborn either. */
    o = (struct offender){0};
    offender_refuse(&o, 0, SECOND, now);
    for (int i = 1; i < OFFENDER_REFUSALS - 1; i++) {
        now = o.until_ns;
        offender_refuse(&o, 0, SECOND, now);
    }
    assert_false(offender_is_stubborn(&o, now));
    offender_waits(&o, 0, now + 1);
    assert_true(offender_is_stubborn(&o, now));
}

/* Accounts. */

static void nobody_can_crowd_a_debt_out(void **state)
{
    struct accounts *t = accounts_new(64);
    struct rate r = rate_of(1, 3);
    struct account *mine = accounts_get(t, "mine", 4, SECOND), *a;
    struct accounts_stats stats;
    char key[16];
    int crowded = 0;

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(bucket_take(&mine->buckets[0], &r, SECOND), 0);
    accounts_put(mine, SECOND);
    for (int i = 0; i < 10000; i++) {
        int len = snprintf(key, sizeof(key), "other%d", i);

        a = accounts_get(t, key, (size_t)len, SECOND);
        crowded += account_is_crowd(a);
        bucket_take(&a->buckets[0], &r, SECOND);
        accounts_put(a, SECOND);
    }
    accounts_stats(t, &stats);
    assert_true(stats.count <= 64 + 16);
    assert_true(crowded >= 10000 - 64 - 16);
    a = accounts_get(t, "mine", 4, SECOND);
    assert_false(account_is_crowd(a));
    assert_int_equal(bucket_take(&a->buckets[0], &r, SECOND), SECOND);
    accounts_put(a, SECOND);
    /* The crowd had one bucket for a part of the table, not one for each. */
    a = accounts_get(t, "late", 4, SECOND);
    assert_true(account_is_crowd(a));
    assert_int_not_equal(bucket_take(&a->buckets[0], &r, SECOND), 0);
    accounts_put(a, SECOND);
    /* When all is repaid there is room again. */
    for (int i = 0; i < 1000; i++) {
        int len = snprintf(key, sizeof(key), "new%d", i);

        a = accounts_get(t, key, (size_t)len, 100 * SECOND);
        assert_false(account_is_crowd(a));
        accounts_put(a, 100 * SECOND);
    }
    accounts_stats(t, &stats);
    assert_true(stats.count <= 64 + 16 && stats.idle == stats.count);
    accounts_free(t);
}

static void what_is_like_new_is_given_up_at_once(void **state)
{
    struct accounts *t = accounts_new(64);
    struct rate r = rate_of(1000, 10);
    struct accounts_stats stats;
    struct account *a = accounts_get(t, "a", 1, SECOND), *same = accounts_get(t, "a", 1, SECOND);

    (void)state;
    assert_ptr_equal(a, same);
    bucket_take(&a->buckets[2], &r, SECOND);
    accounts_put(a, 2 * SECOND);
    accounts_stats(t, &stats);
    assert_int_equal(stats.count, 1); /* the other one has it */
    accounts_put(same, 2 * SECOND);
    accounts_stats(t, &stats);
    assert_int_equal(stats.count, 0);
    accounts_free(t);
}

static void bars_grow(void **state)
{
    struct accounts *t = accounts_new(16);
    struct account *a = accounts_get(t, "a", 1, SECOND);
    struct accounts_stats stats;
    int64_t now = 1000 * SECOND;

    (void)state;
    for (int i = 0; i < 7; i++) {
        account_bar(a, now);
        assert_int_equal(atomic_load(&a->barred_until_ns) - now, SECOND << (i < 6 ? i : 5));
        now = atomic_load(&a->barred_until_ns);
    }
    accounts_put(a, now);
    accounts_stats(t, &stats);
    assert_int_equal(stats.count, 1); /* it is remembered */
    a = accounts_get(t, "a", 1, now);
    account_bar(a, now + 61 * SECOND);
    assert_int_equal(atomic_load(&a->barred_until_ns), now + 62 * SECOND);
    accounts_put(a, now + 123 * SECOND);
    accounts_stats(t, &stats);
    assert_int_equal(stats.count, 0);
    accounts_free(t);
}

/* The whole. */

struct setup {
    struct rates rates;
    struct limiter *limiter;
};

static void begin(struct setup *s, const char *rates, bool loopback, uint32_t per_address)
{
    read_rates(&s->rates, rates);
    s->limiter = limiter_new(&(struct limiter_options){.rates = &s->rates,
        .max_per_address = per_address,
        .max_accounts = 1000,
        .loopback = loopback});
    assert_non_null(s->limiter);
}

static void end(struct setup *s)
{
    limiter_free(s->limiter);
    rates_fini(&s->rates);
}

static void come(struct setup *s, struct limiter_client *c, const char *address, bool connection)
{
    struct address a;

    assert_int_equal(address_parse(&a, address, strlen(address)), 0);
    limiter_begin(c, s->limiter, &a, false);
    if (connection)
        assert_int_equal(limiter_connect(c), 0);
}

/* How many of `kind` it may, at most 1000. */
static int may(struct limiter_client *c, enum rate_kind kind)
{
    int n = 0;

    while (n < 1000 && !limiter_take(c, kind).wait_ms)
        n++;
    return n;
}

static void connections_share_their_user_and_address(void **state)
{
    struct limiter_client ann1, ann2, bob, nobody;
    struct setup s;

    (void)state;
    begin(
        &s, "queries@connection=0.001/10 queries@user=0.001/15 queries@address=0.001/32", false, 0);
    come(&s, &ann1, "10.0.0.1", true);
    come(&s, &ann2, "10.0.0.2", true);
    come(&s, &bob, "10.0.0.1", true);
    come(&s, &nobody, "10.0.0.1", true);
    limiter_identify(&ann1, "ann", NULL);
    limiter_identify(&ann2, "ann", NULL);
    limiter_identify(&bob, "bob", NULL);
    assert_int_equal(may(&ann1, RATE_QUERIES), 10); /* the connection's */
    assert_int_equal(may(&ann2, RATE_QUERIES), 5);  /* the user's */
    assert_int_equal(may(&bob, RATE_QUERIES), 10);
    assert_int_equal(may(&nobody, RATE_QUERIES), 10); /* the address has given 30 */
    limiter_end(&nobody);
    come(&s, &nobody, "10.0.0.1", true);
    assert_int_equal(may(&nobody, RATE_QUERIES), 2); /* coming back gives no more */
    assert_int_equal(may(&ann1, RATE_COMMANDS), 1000);
    limiter_end(&ann1);
    limiter_end(&ann2);
    come(&s, &ann1, "10.0.0.9", true);
    limiter_identify(&ann1, "ann", NULL);
    assert_int_equal(may(&ann1, RATE_QUERIES), 0);
    assert_int_equal(limiter_refusals(s.limiter, RATE_QUERIES), 6);
    limiter_end(&ann1);
    limiter_end(&bob);
    limiter_end(&nobody);
    end(&s);
}

static void what_is_refused_takes_nothing(void **state)
{
    struct limiter_client a, b;
    struct setup s;

    (void)state;
    begin(&s, "broadcasts@connection=0.001/10 broadcasts@address=0.001/12", false, 0);
    come(&s, &a, "10.0.0.1", true);
    come(&s, &b, "10.0.0.1", true);
    assert_int_equal(may(&a, RATE_BROADCASTS), 10);
    for (int i = 0; i < 100; i++)
        assert_true(limiter_take(&a, RATE_BROADCASTS).wait_ms > 0);
    assert_int_equal(may(&b, RATE_BROADCASTS), 2);
    limiter_end(&a);
    limiter_end(&b);
    end(&s);
}

static void roles_have_tiers(void **state)
{
    struct limiter_client c;
    struct setup s;

    (void)state;
    begin(&s, "queries=0.001/3 admin:queries=0.001/7 root:queries=off", false, 0);
    come(&s, &c, "10.0.0.1", true);
    limiter_identify(&c, "ann", "user");
    assert_int_equal(may(&c, RATE_QUERIES), 3);
    limiter_end(&c);
    come(&s, &c, "10.0.0.1", true);
    limiter_identify(&c, "bob", "admin");
    assert_int_equal(may(&c, RATE_QUERIES), 7);
    limiter_end(&c);
    come(&s, &c, "10.0.0.1", true);
    limiter_identify(&c, "eve", "root");
    assert_int_equal(may(&c, RATE_QUERIES), 1000);
    limiter_end(&c);
    end(&s);
}

static void this_machine_is_exempt_unless_told(void **state)
{
    struct limiter_client c;
    struct address here;
    struct setup s;

    (void)state;
    begin(&s, "http=0.001/3", false, 1);
    for (int i = 0; i < 3; i++) {
        come(&s, &c, i ? "::1" : "127.0.0.1", true);
        assert_int_equal(may(&c, RATE_HTTP), 1000);
        limiter_end(&c);
    }
    /* What a proxy says is never this machine. */
    address_parse(&here, "127.0.0.1", 9);
    limiter_begin(&c, s.limiter, &here, true);
    assert_int_equal(may(&c, RATE_HTTP), 3);
    limiter_end(&c);
    end(&s);
    begin(&s, "http=0.001/3", true, 0);
    come(&s, &c, "127.0.0.1", false);
    assert_int_equal(may(&c, RATE_HTTP), 3);
    limiter_end(&c);
    end(&s);
}

static void addresses_of_one_customer_are_one(void **state)
{
    struct limiter_client c;
    struct setup s;

    (void)state;
    begin(&s, "http@address=0.001/5", false, 0);
    come(&s, &c, "2001:db8:1:2::1", false);
    assert_int_equal(may(&c, RATE_HTTP), 5);
    limiter_end(&c);
    come(&s, &c, "2001:db8:1:2:ffff:ffff:ffff:ffff", false);
    assert_int_equal(may(&c, RATE_HTTP), 0);
    limiter_end(&c);
    come(&s, &c, "2001:db8:1:3::1", false);
    assert_int_equal(may(&c, RATE_HTTP), 5);
    limiter_end(&c);
    come(&s, &c, "::ffff:1.2.3.4", false);
    assert_int_equal(may(&c, RATE_HTTP), 5);
    limiter_end(&c);
    come(&s, &c, "1.2.3.4", false);
    assert_int_equal(may(&c, RATE_HTTP), 0);
    limiter_end(&c);
    end(&s);
}

static void connections_of_an_address_are_bounded(void **state)
{
    struct limiter_client c[4];
    struct address a;
    struct setup s;

    (void)state;
    begin(&s, "", false, 2);
    come(&s, &c[0], "10.0.0.1", true);
    come(&s, &c[1], "10.0.0.1", true);
    come(&s, &c[2], "10.0.0.2", true);
    address_parse(&a, "10.0.0.1", 8);
    limiter_begin(&c[3], s.limiter, &a, false);
    assert_int_equal(limiter_connect(&c[3]), STATUS_TOO_LARGE);
    limiter_end(&c[0]);
    assert_int_equal(limiter_connect(&c[3]), 0);
    for (int i = 1; i < 4; i++)
        limiter_end(&c[i]);
    end(&s);
}

static void the_barred_wait(void **state)
{
    struct limiter_client c;
    struct setup s;

    (void)state;
    begin(&s, "", false, 0);
    come(&s, &c, "10.0.0.1", true);
    limiter_bar(&c);
    assert_in_range(limiter_barred(&c), 500, 1000);
    limiter_end(&c);
    come(&s, &c, "10.0.0.1", true);
    assert_in_range(limiter_barred(&c), 100, 1000);
    limiter_identify(&c, "ann", NULL);
    limiter_end(&c);
    come(&s, &c, "10.0.0.2", true);
    assert_int_equal(limiter_barred(&c), 0);
    limiter_identify(&c, "ann", NULL); /* a known user is barred, its address is not */
    limiter_bar(&c);
    limiter_end(&c);
    come(&s, &c, "10.0.0.2", true);
    assert_int_equal(limiter_barred(&c), 0);
    limiter_identify(&c, "ann", NULL);
    assert_in_range(limiter_barred(&c), 100, 1000);
    limiter_end(&c);
    end(&s);
}

static void long_names_are_told_apart(void **state)
{
    struct limiter_client c;
    struct setup s;
    char name[5000];

    (void)state;
    begin(&s, "queries@user=0.001/5", false, 0);
    memset(name, 'x', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    come(&s, &c, "10.0.0.1", false);
    limiter_identify(&c, name, NULL);
    assert_int_equal(may(&c, RATE_QUERIES), 5);
    limiter_end(&c);
    come(&s, &c, "10.0.0.2", false);
    limiter_identify(&c, name, NULL);
    assert_int_equal(may(&c, RATE_QUERIES), 0);
    name[4000] = 'y';
    limiter_identify(&c, name, NULL);
    assert_int_equal(limiter_take(&c, RATE_COMMANDS).wait_ms, 0);
    assert_int_equal(may(&c, RATE_QUERIES), 5);
    limiter_end(&c);
    end(&s);
}

#define THREADS 4

static void *come_and_go(void *arg)
{
    struct setup *s = arg;
    int64_t taken = 0;

    for (int i = 0; i < 3000; i++) {
        struct limiter_client c;
        char address[32];

        snprintf(address, sizeof(address), "10.0.%d.1", i % 7);
        come(s, &c, address, i & 1);
        limiter_identify(&c, i % 3 ? "ann" : NULL, NULL);
        taken += !limiter_take(&c, RATE_QUERIES).wait_ms && i % 3;
        limiter_take(&c, RATE_HTTP);
        limiter_end(&c);
    }
    return (void *)(intptr_t)taken;
}

static void threads_share_accounts(void **state)
{
    pthread_t threads[THREADS];
    struct setup s;
    intptr_t sum = 0;
    void *taken;

    (void)state;
    begin(&s, "queries@user=0.001/500 queries@address=off queries@connection=off", false, 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, &s), 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], &taken);
        sum += (intptr_t)taken;
    }
    assert_in_range(sum, 1, 500);
    end(&s);
}

/* Without memory an account is the crowd's, and a connection is not let in. */
static void survives_lack_of_memory(void **state)
{
    bool done = false;

    (void)state;
    for (long n = 0; !done; n++) {
        struct rates rates;
        struct buf err = {0};
        const char *option = "admin:queries=5";
        struct limiter *l = NULL;
        struct limiter_client c = {0};
        struct address a;

        address_parse(&a, "10.0.0.1", 8);
        mem_fail_after(n);
        rates_init(&rates);
        if (rates_read(&rates, &option, 1, &err) == 0)
            l = limiter_new(&(struct limiter_options){.rates = &rates, .max_accounts = 100});
        if (l) {
            limiter_begin(&c, l, &a, false);
            limiter_identify(&c, "ann", "admin");
            if (limiter_connect(&c) == 0)
                assert_int_equal(limiter_take(&c, RATE_QUERIES).wait_ms, 0);
            limiter_end(&c);
        }
        done = !mem_fail_hit();
        mem_fail_after(-1);
        limiter_free(l);
        rates_fini(&rates);
        buf_fini(&err);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_set_rates),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(roles_are_bounded),
        cmocka_unit_test(delays_grow_and_are_forgotten),
        cmocka_unit_test(stubborn_is_who_goes_on_for_long),
        cmocka_unit_test(nobody_can_crowd_a_debt_out),
        cmocka_unit_test(what_is_like_new_is_given_up_at_once),
        cmocka_unit_test(bars_grow),
        cmocka_unit_test(connections_share_their_user_and_address),
        cmocka_unit_test(what_is_refused_takes_nothing),
        cmocka_unit_test(roles_have_tiers),
        cmocka_unit_test(this_machine_is_exempt_unless_told),
        cmocka_unit_test(addresses_of_one_customer_are_one),
        cmocka_unit_test(connections_of_an_address_are_bounded),
        cmocka_unit_test(the_barred_wait),
        cmocka_unit_test(long_names_are_told_apart),
        cmocka_unit_test(threads_share_accounts),
        cmocka_unit_test(survives_lack_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
