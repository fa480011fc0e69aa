#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/cores.h"
#include "base/json.h"
#include "base/mailbox.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/text.h"
#include "base/thread.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static void json_of(const char *s, size_t len, const char *expected)
{
    struct buf b;

    buf_init(&b, 0);
    buf_put_json(&b, s, len);
    assert_string_equal(buf_text(&b), expected);
    buf_fini(&b);
}

static void json_strings_are_escaped_and_repaired(void **state)
{
    (void)state;
    json_of("plain", 5, "\"plain\"");
    json_of("", 0, "\"\"");
    json_of("a\"b\\c\n\t\x01", 8, "\"a\\\"b\\\\c\\n\\t\\u0001\"");
    json_of("a\0b", 3, "\"a\\u0000b\"");
    json_of("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9, "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"");
    json_of("a\xff"
            "b",
        3,
        "\"a\xef\xbf\xbd"
        "b\"");
    json_of("\xc0\xaf", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\"");
    json_of("\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
    json_of("\xe2\x82", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\"");
}

static void buf_error_is_sticky_and_bounded(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 10);
    buf_puts(&b, "12345");
    buf_puts(&b, "678901");
    assert_int_equal(buf_error(&b), STATUS_TOO_LARGE);
    buf_puts(&b, "x");
    assert_int_equal(b.len, 5);
    assert_null(buf_text(&b));
    buf_reset(&b);
    buf_put_i64(&b, INT64_MIN / 1000000000000);
    assert_string_equal(buf_text(&b), "-9223372");
    buf_fini(&b);
}

static void integers_keep_every_digit(void **state)
{
    struct buf b = {0};

    (void)state;
    buf_put_i64(&b, INT64_MIN);
    buf_putc(&b, ' ');
    buf_put_i64(&b, INT64_MAX);
    buf_putc(&b, ' ');
    buf_put_u64(&b, UINT64_MAX);
    assert_string_equal(
        buf_text(&b), "-9223372036854775808 9223372036854775807 18446744073709551615");
    buf_fini(&b);
}

static void map_agrees_with_an_array(void **state)
{
    static void *oracle[500];
    struct map m = {0};
    unsigned seed = 7;
    size_t pos = 0, n = 0, expected = 0;
    int marker;

    (void)state;
    memset(oracle, 0, sizeof(oracle));
    for (int i = 0; i < 20000; i++) {
        unsigned k = (unsigned)rand_r(&seed) % 500;
        char key[16];
        size_t len = (size_t)snprintf(key, sizeof(key), "key%u", k);

        if (rand_r(&seed) % 2) {
            assert_int_equal(map_set(&m, key, len, &marker + k), 0);
            oracle[k] = &marker + k;
        } else {
            assert_ptr_equal(map_del(&m, key, len), oracle[k]);
            oracle[k] = NULL;
        }
        assert_ptr_equal(map_get(&m, key, len), oracle[k]);
    }
    while (map_next(&m, &pos, NULL, NULL, NULL))
        n++;
    for (size_t i = 0; i < 500; i++)
        expected += oracle[i] != NULL;
    assert_int_equal(n, expected);
    assert_int_equal(m.count, expected);
    map_fini(&m);
}

static void map_can_ignore_case(void **state)
{
    struct map m = {.nocase = true};
    int v;

    (void)state;
    assert_int_equal(map_set(&m, "Users_And_Orders", 16, &v), 0);
    assert_ptr_equal(map_get(&m, "uSERS_aND_oRDERS", 16), &v);
    assert_null(map_get(&m, "uSERS_aND_oRDER", 15));
    map_fini(&m);
}

static void map_survives_failing_allocations(void **state)
{
    (void)state;
    for (long n = 0;; n++) {
        struct map m = {0};
        int stored = 0, v;

        mem_fail_after(n);
        for (int i = 0; i < 20; i++)
            stored += map_set(&m, &i, sizeof(i), &v) == 0;
        assert_int_equal(stored, 20 - mem_fail_hit());
        assert_int_equal(m.count, stored);
        map_fini(&m);
        if (!mem_fail_hit())
            break;
    }
    mem_fail_after(-1);
}

/* Copies the bytes so that they end at a page that cannot be read. */
static char *at_page_end(const char *s, size_t len)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *p = mmap(NULL, page * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_true(p != MAP_FAILED);
    assert_int_equal(mprotect(p + page, page, PROT_NONE), 0);
    memcpy(p + page - len, s, len);
    return p + page - len;
}

static void utf8_is_checked_however_it_is_cut(void **state)
{
    static const struct {
        const char *text;
        bool valid;
    } cases[] = {
        {"plain ascii, longer than eight bytes", true},
        {"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5", true},
        {"\xf4\x8f\xbf\xbf", true},
        {"\xf4\x90\x80\x80", false},
        {"\xed\x9f\xbf", true},
        {"\xed\xa0\x80", false},
        {"\xc1\xbf", false},
        {"\xe0\x9f\xbf", false},
        {"\xf0\x8f\xbf\xbf", false},
        {"\x80", false},
        {"abc\xfe", false},
        {"12345678\xf8\x88\x80\x80\x80", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        size_t len = strlen(cases[i].text);
        char *p = at_page_end(cases[i].text, len);

        assert_int_equal(utf8_valid(p, len), cases[i].valid);
        for (size_t cut = 0; cut <= len; cut++) {
            uint32_t s = 0;
            bool ok = utf8_feed(&s, p, cut) && utf8_feed(&s, p + cut, len - cut) && s == 0;

            assert_int_equal(ok, cases[i].valid);
        }
    }
    assert_false(utf8_valid("\xe2\x82", 2));
}

static void base64_round_trip(void **state)
{
    (void)state;
    for (size_t len = 0; len < 70; len++) {
        unsigned char in[70];
        struct buf text = {0}, back = {0};

        for (size_t i = 0; i < len; i++)
            in[i] = (unsigned char)(i * 37 + len);
        base64_encode(&text, in, len);
        assert_int_equal(text.len, (len + 2) / 3 * 4);
        assert_int_equal(base64_decode(&back, text.data, text.len), 0);
        assert_int_equal(back.len, len);
        if (len)
            assert_memory_equal(back.data, in, len);
        buf_fini(&text);
        buf_fini(&back);
    }
}

static void urls_are_decoded(void **state)
{
    static const char *const bad[] = {"%", "%4", "a%zz", "%4g", "100%"};
    struct buf out = {0}, back = {0};

    (void)state;
    assert_int_equal(text_url_decode(&out, "a%20b+%2B%c3%A9%00", 18, false), 0);
    assert_int_equal(out.len, 8);
    assert_memory_equal(out.data, "a b++\xc3\xa9\0", 8);
    buf_reset(&out);
    assert_int_equal(text_url_decode(&out, "a+b", 3, true), 0);
    assert_string_equal(buf_text(&out), "a b");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(text_url_decode(&out, bad[i], strlen(bad[i]), true), STATUS_INVALID);
    buf_reset(&out);
    text_url_encode(&out, "aZ09-._~ :&=%+\n\xff");
    assert_string_equal(buf_text(&out), "aZ09-._~%20%3A%26%3D%25%2B%0A%FF");
    assert_int_equal(text_url_decode(&back, out.data, out.len, true), 0);
    assert_string_equal(buf_text(&back), "aZ09-._~ :&=%+\n\xff");
    buf_fini(&out);
    buf_fini(&back);
}

static void base64_is_strict(void **state)
{
    static const char *const bad[] = {
        "a", "ab", "abc", "ab=c", "a===", "====", "ab\n=", "YR==", "YWJ=", "Y-Jj"};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct buf out = {0};

        assert_int_equal(base64_decode(&out, bad[i], strlen(bad[i])), STATUS_INVALID);
        buf_fini(&out);
    }
}

static void sizes_and_durations(void **state)
{
    uint64_t n;
    int64_t ms;

    (void)state;
    assert_int_equal(text_parse_size("64MiB", &n), 0);
    assert_int_equal(n, 64 << 20);
    assert_int_equal(text_parse_size("512", &n), 0);
    assert_int_equal(n, 512);
    assert_int_equal(text_parse_size("1.5k", &n), 0);
    assert_int_equal(n, 1536);
    assert_int_equal(text_parse_size("-1", &n), STATUS_INVALID);
    assert_int_equal(text_parse_size("12 parsecs", &n), STATUS_INVALID);
    assert_int_equal(text_parse_size("", &n), STATUS_INVALID);
    assert_int_equal(text_parse_duration("0.25", &ms), 0);
    assert_int_equal(ms, 250);
    assert_int_equal(text_parse_duration("1h", &ms), 0);
    assert_int_equal(ms, 3600000);
    assert_int_equal(text_parse_duration("1e400", &ms), STATUS_INVALID);
}

static void integers_are_parsed_whole_or_not(void **state)
{
    int64_t v;

    (void)state;
    assert_int_equal(text_parse_i64("9223372036854775807", 19, &v), 0);
    assert_true(v == INT64_MAX);
    assert_int_equal(text_parse_i64("-9223372036854775808", 20, &v), 0);
    assert_true(v == INT64_MIN);
    assert_int_equal(text_parse_i64("9223372036854775808", 19, &v), STATUS_INVALID);
    assert_int_equal(text_parse_i64("-", 1, &v), STATUS_INVALID);
    assert_int_equal(text_parse_i64("1 ", 2, &v), STATUS_INVALID);
}

static json_t *read_json(const char *text)
{
    char err[160] = "";
    json_t *j = json_read(text, strlen(text), err, sizeof(err));

    if (!j)
        fail_msg("%s: %s", text, err);
    return j;
}

static void json_numbers_are_read_as_sqlite_would(void **state)
{
    json_t *j = read_json(
        "[9223372036854775807, 9223372036854775808, 9e999, -9e999, 1.0, "
        "1.7976931348623157e308, \"9e999\", \"\\\"9e999\", {\"a\":-9223372036854775808}]");

    (void)state;
    assert_true(json_integer_value(json_array_get(j, 0)) == INT64_MAX);
    assert_true(json_get_real(json_array_get(j, 1)) == 9223372036854775808.0);
    assert_true(json_get_real(json_array_get(j, 2)) == INFINITY);
    assert_true(json_get_real(json_array_get(j, 3)) == -INFINITY);
    assert_true(json_is_real(json_array_get(j, 4)));
    assert_true(json_get_real(json_array_get(j, 5)) == 1.7976931348623157e308);
    assert_string_equal(json_string_value(json_array_get(j, 6)), "9e999");
    assert_string_equal(json_string_value(json_array_get(j, 7)), "\"9e999");
    assert_true(json_integer_value(json_object_get(json_array_get(j, 8), "a")) == INT64_MIN);
    json_decref(j);
}

static void a_number_of_a_thousand_digits_is_an_infinity(void **state)
{
    char text[1001];
    json_t *j;

    (void)state;
    memset(text, '7', 1000);
    text[1000] = '\0';
    j = read_json(text);
    assert_true(json_get_real(j) == INFINITY);
    json_decref(j);
}

static void bad_json_has_a_message(void **state)
{
    static const char *const bad[] = {"", "{", "[1,]", "{\"a\":1,\"a\":2}", "\"\\ud800\"", "nul",
        "[1e]", "12345678901234567890123x", "\"abc", "\"abc\\", "[\"\xff\"]", "1 2",
        "--12345678901234567890"};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        char err[160] = "", *p = at_page_end(bad[i], strlen(bad[i]));

        assert_null(json_read(p, strlen(bad[i]), err, sizeof(err)));
        assert_true(err[0] != '\0');
    }
}

/* Read as one number by strtod, or read over by jansson. */
static void what_is_no_json_stays_none(void **state)
{
    static const struct {
        const char *text;
        size_t len;
    } bad[] = {{"[1e999--1e999]", 14}, {"[1e999e5]", 9}, {"[1e999,2\0]", 10}, {"[true\0]", 7},
        {"1\0", 2}, {"[1e999.5]", 9}};
    char err[160], digits[1001];
    json_t *j;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_null(json_read(bad[i].text, bad[i].len, err, sizeof(err)));
    memset(digits, '7', 1000);
    digits[0] = '0';
    assert_null(json_read(digits, 1000, err, sizeof(err)));
    digits[0] = '7';
    digits[500] = '-';
    assert_null(json_read(digits, 1000, err, sizeof(err)));
    digits[500] = '.';
    digits[1000] = '\0';
    j = read_json(digits);
    assert_true(json_get_real(j) == INFINITY);
    json_decref(j);
}

static void deep_nesting_is_refused(void **state)
{
    char text[2000], err[160];

    (void)state;
    memset(text, '[', 1000);
    memset(text + 1000, ']', 1000);
    assert_null(json_read(text, 2000, err, sizeof(err)));
    assert_string_equal(err, "nested more than 100 levels deep");
}

struct numbered {
    struct message message;
    int sender, number;
};

static struct mailbox box;

static void *post_many(void *arg)
{
    for (int i = 0; i < 5000; i++) {
        struct numbered *n = mem_alloc(sizeof(*n));

        *n = (struct numbered){.sender = *(int *)arg, .number = i};
        mailbox_post(&box, &n->message);
    }
    return NULL;
}

static void mailbox_keeps_each_senders_order(void **state)
{
    pthread_t threads[4];
    int ids[4], next[4] = {0}, total = 0;

    (void)state;
    assert_int_equal(mailbox_init(&box), 0);
    for (int i = 0; i < 4; i++) {
        ids[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, post_many, &ids[i]), 0);
    }
    while (total < 20000) {
        struct message *m;

        mailbox_wait(&box, 10000);
        for (m = mailbox_take(&box); m; total++) {
            struct numbered *n = (struct numbered *)m;

            m = m->next;
            assert_int_equal(n->number, next[n->sender]++);
            mem_free(n);
        }
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    mailbox_fini(&box);
}

/* The receiver has to be asleep for a moment: long enough for the sender to be through. */
static void *put_then_wake(void *arg)
{
    struct numbered *n = arg;

    mailbox_put(&box, &n[0].message);
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    mailbox_wake(&box);
    return NULL;
}

static void what_was_put_is_found_awake_or_when_woken(void **state)
{
    struct numbered n[2] = {{.number = 1}, {.number = 2}};
    struct message *m = NULL;
    pthread_t sender;

    (void)state;
    assert_int_equal(mailbox_init(&box), 0);
    assert_true(mailbox_sleep(&box));
    assert_false(mailbox_waits(&box));
    mailbox_put(&box, &n[0].message);
    assert_true(mailbox_waits(&box));
    assert_false(mailbox_wait_or(&box, -1, 0));
    assert_ptr_equal(mailbox_take(&box), &n[0].message);
    assert_null(mailbox_take(&box));
    assert_int_equal(pthread_create(&sender, NULL, put_then_wake, n), 0);
    for (int i = 0; i < 100 && !m; i++) {
        mailbox_wait(&box, 10000);
        m = mailbox_take(&box);
    }
    assert_ptr_equal(m, &n[0].message);
    pthread_join(sender, NULL);
    mailbox_wake(&box); /* nobody sleeps and nothing waits */
    assert_false(mailbox_wait_or(&box, -1, 1));
    mailbox_post(&box, &n[1].message);
    assert_false(mailbox_sleep(&box));
    assert_ptr_equal(mailbox_take(&box), &n[1].message);
    mailbox_fini(&box);
}

static void *say_who_it_is(void *arg)
{
    sigset_t *blocked = arg;

    pthread_sigmask(SIG_SETMASK, NULL, blocked);
    return NULL;
}

static void threads_leave_signals_to_others(void **state)
{
    sigset_t before, blocked, after;
    pthread_attr_t attr;
    pthread_t thread;

    (void)state;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    assert_false(sigismember(&before, SIGTERM));
    assert_int_equal(
        thread_start(&thread, NULL, say_who_it_is, &blocked, "long-name-%d", 1234567), 0);
    pthread_join(thread, NULL);
    assert_true(sigismember(&blocked, SIGTERM) && sigismember(&blocked, SIGINT));
    assert_false(sigismember(&blocked, SIGSEGV)); /* or a sanitizer could not tell of it */
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    assert_false(sigismember(&after, SIGTERM));
    /* Nor after one that could not be started. */
    pthread_attr_init(&attr);
    assert_int_equal(pthread_attr_setstacksize(&attr, (size_t)1 << 46), 0);
    assert_int_equal(thread_start(&thread, &attr, say_who_it_is, &blocked, "none"), EAGAIN);
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    assert_false(sigismember(&after, SIGTERM));
}

static void *wait_until_told(void *arg)
{
    sem_wait(arg);
    return NULL;
}

static void threads_have_names(void **state)
{
    char name[32] = "";
    pthread_t thread;
    sem_t told;

    (void)state;
    sem_init(&told, 0, 0);
    assert_int_equal(
        thread_start(&thread, NULL, wait_until_told, &told, "part-%d-of-many-others", 7), 0);
    pthread_getname_np(thread, name, sizeof(name));
    sem_post(&told);
    pthread_join(thread, NULL);
    sem_destroy(&told);
    assert_string_equal(name, "part-7-of-many-");
}

static void *count_on_one(void *arg)
{
    cpu_set_t all, one;
    int cpu = 0;

    assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
    while (!CPU_ISSET(cpu, &all))
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    *(int *)arg = cores_available();
    return NULL;
}

static void cores_are_those_that_the_thread_may_run_on(void **state)
{
    pthread_t thread;
    int found = 0;

    (void)state;
    assert_in_range(cores_available(), 1, 100000);
    assert_int_equal(pthread_create(&thread, NULL, count_on_one, &found), 0);
    pthread_join(thread, NULL);
    assert_int_equal(found, 1);
}

/* A sender that is late with its wake-up ends a later wait early, and no more than that. */
static void a_stale_signal_is_taken_once(void **state)
{
    struct numbered n = {.number = 1};
    struct pollfd p = {.events = POLLIN};

    (void)state;
    assert_int_equal(mailbox_init(&box), 0);
    p.fd = box.fd;
    assert_true(mailbox_sleep(&box));
    mailbox_post(&box, &n.message);
    mailbox_awake(&box);
    assert_ptr_equal(mailbox_take(&box), &n.message);
    assert_int_equal(poll(&p, 1, 0), 1);
    mailbox_wait(&box, 10000);
    assert_int_equal(poll(&p, 1, 0), 0);
    mailbox_fini(&box);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_strings_are_escaped_and_repaired),
        cmocka_unit_test(buf_error_is_sticky_and_bounded),
        cmocka_unit_test(integers_keep_every_digit),
        cmocka_unit_test(map_agrees_with_an_array),
        cmocka_unit_test(map_can_ignore_case),
        cmocka_unit_test(map_survives_failing_allocations),
        cmocka_unit_test(utf8_is_checked_however_it_is_cut),
        cmocka_unit_test(base64_round_trip),
        cmocka_unit_test(base64_is_strict),
        cmocka_unit_test(urls_are_decoded),
        cmocka_unit_test(sizes_and_durations),
        cmocka_unit_test(integers_are_parsed_whole_or_not),
        cmocka_unit_test(json_numbers_are_read_as_sqlite_would),
        cmocka_unit_test(a_number_of_a_thousand_digits_is_an_infinity),
        cmocka_unit_test(what_is_no_json_stays_none),
        cmocka_unit_test(bad_json_has_a_message),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(cores_are_those_that_the_thread_may_run_on),
        cmocka_unit_test(mailbox_keeps_each_senders_order),
        cmocka_unit_test(what_was_put_is_found_awake_or_when_woken),
        cmocka_unit_test(threads_leave_signals_to_others),
        cmocka_unit_test(threads_have_names),
        cmocka_unit_test(a_stale_signal_is_taken_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
