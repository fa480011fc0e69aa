#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"
#include "capture/watch.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <unistd.h>

#define MS 1000000

static char path[] = "/tmp/rowtap-watch-XXXXXX";
static int file;

static int set_up(void **state)
{
    (void)state;
    strcpy(strrchr(path, '-'), "-XXXXXX");
    file = mkstemp(path);
    return file < 0;
}

static int tear_down(void **state)
{
    (void)state;
    close(file);
    unlink(path);
    return 0;
}

static bool news(struct watch *w, int timeout_ms)
{
    struct pollfd p = {.fd = watch_fd(w), .events = POLLIN};
    return poll(&p, 1, timeout_ms) > 0;
}

/* Looks until all is quiet; how often. */
static int looks(struct watch *w)
{
    int count = 0;
    int64_t last = 0;
    while (watch_timeout(w, -1) < 200 * MS && count < 100) {
        int64_t wait = watch_timeout(w, -1);
        assert_true(wait >= last);
        last = wait;
        watch_woke(w, false);
        count++;
    }
    return count;
}

static void tells_of_writes(void **state)
{
    struct watch w;
    (void)state;
    assert_int_equal(watch_init(&w, path), STATUS_OK);
    assert_true(watch_fd(&w) >= 0);
    assert_int_equal(watch_timeout(&w, -1), 250 * MS);
    assert_false(news(&w, 0));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(write(file, "x", 1), 1);
        assert_true(news(&w, 1000));
        watch_woke(&w, true);
        assert_false(news(&w, 0));
        assert_true(watch_timeout(&w, -1) < MS);
        assert_in_range(looks(&w), 8, 16);
        assert_int_equal(watch_timeout(&w, -1), 250 * MS);
    }
    watch_fini(&w);
}

/* Our own commit is no news; but those of others are, when they come after it. */
static void own_commits_are_no_news(void **state)
{
    struct watch w;
    (void)state;
    assert_int_equal(watch_init(&w, path), STATUS_OK);
    assert_int_equal(write(file, "x", 1), 1);
    assert_false(watch_wrote(&w));
    assert_true(watch_fd(&w) >= 0);
    assert_false(news(&w, 0));
    assert_int_equal(watch_timeout(&w, -1), 250 * MS);
    watch_missed(&w);
    assert_true(watch_timeout(&w, -1) < MS);
    assert_in_range(looks(&w), 8, 16);
    w.wrote_ns = 0; /* long ago, so that this is no rush */
    assert_int_equal(write(file, "x", 1), 1);
    assert_false(watch_wrote(&w));
    assert_int_equal(write(file, "x", 1), 1);
    assert_true(news(&w, 1000));
    watch_woke(&w, true);
    assert_true(watch_timeout(&w, -1) < MS);
    assert_in_range(looks(&w), 8, 16);
    watch_fini(&w);
}

static void deaf_and_hearing_again(void **state)
{
    struct watch w;
    (void)state;
    assert_int_equal(watch_init(&w, path), STATUS_OK);
    for (int i = 0; i < 3; i++) {
        watch_deafen(&w);
        watch_deafen(&w);
        assert_int_equal(write(file, "x", 1), 1);
        assert_false(news(&w, 10));
        assert_int_equal(watch_timeout(&w, -1), 10 * MS);
        watch_hear(&w);
        watch_hear(&w);
        assert_int_equal(watch_timeout(&w, -1), 250 * MS);
        assert_true(news(&w, 0));
        watch_woke(&w, true);
        looks(&w);
        watch_deafen(&w);
        assert_int_equal(write(file, "x", 1), 1);
        w.wrote_ns = 0;
        watch_wrote(&w);
        watch_hear(&w);
        assert_false(news(&w, 10));
    }
    /* What is deaf when a rush begins hears again after it. */
    watch_deafen(&w);
    w.wrote_ns = INT64_MAX; /* just now */
    assert_true(watch_wrote(&w));
    watch_hear(&w);
    assert_int_equal(watch_fd(&w), -1);
    w.wrote_ns = 0;
    watch_woke(&w, false);
    looks(&w);
    assert_int_equal(write(file, "x", 1), 1);
    assert_true(news(&w, 1000));
    watch_fini(&w);
}

/* More events than are read at once, which are different so that the kernel keeps them all. */
static void hears_all_at_once(void **state)
{
    struct watch w;
    struct inotify_event e;
    int other;
    (void)state;
    assert_int_equal(watch_init(&w, path), STATUS_OK);
    other = inotify_add_watch(w.fd, "/tmp", IN_OPEN);
    assert_true(other >= 0);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(pwrite(file, "x", 1, i), 1);
        close(open("/tmp", O_RDONLY | O_DIRECTORY));
    }
    assert_int_equal(inotify_rm_watch(w.fd, other), 0);
    watch_wrote(&w);
    assert_int_equal(read(w.fd, &e, sizeof(e)), -1);
    assert_int_equal(errno, EAGAIN);
    watch_fini(&w);
}

static void others_have_their_causes(void **state)
{
    struct watch w;
    (void)state;
    assert_int_equal(watch_init(&w, path), STATUS_OK);
    assert_int_equal(watch_timeout(&w, 20), 20 * MS);
    assert_int_equal(watch_timeout(&w, 0), 0);
    assert_int_equal(watch_timeout(&w, 1000), 250 * MS);
    watch_woke(&w, true);
    assert_true(watch_timeout(&w, 20) < MS);
    watch_fini(&w);
}

/* Many writes at once are one piece of news, however many events there are. */
static void many_writes(void **state)
{
    struct watch w;
    (void)state;
    assert_int_equal(watch_init(&w, path), STATUS_OK);
    for (int i = 0; i < 5000; i++) {
        assert_int_equal(pwrite(file, "x", 1, i), 1);
        assert_int_equal(ftruncate(file, i % 3 * 100), 0);
    }
    assert_true(news(&w, 1000));
    watch_woke(&w, true);
    assert_false(news(&w, 0));
    watch_fini(&w);
}

/*
 * Commits that follow one another are not waited for one by one, until none comes for a while. The
 * last one was found just now, or long ago, as the test says.
 */
static void a_rush(void **state)
{
    struct watch w;
    (void)state;
    assert_int_equal(watch_init(&w, path), STATUS_OK);
    for (int round = 0; round < 3; round++) {
        w.found_ns = clock_mono_ns() - 1000 * (int64_t)MS;
        watch_found(&w);
        assert_true(watch_fd(&w) >= 0);
        w.found_ns = clock_mono_ns() + 1000 * (int64_t)MS;
        watch_found(&w);
        assert_int_equal(watch_fd(&w), -1);
        assert_true(watch_timeout(&w, -1) < MS);
        w.found_ns = clock_mono_ns() + 1000 * (int64_t)MS;
        watch_woke(&w, false);
        assert_int_equal(watch_fd(&w), -1);
        assert_int_equal(write(file, "x", 1), 1);
        w.found_ns = clock_mono_ns() - 1000 * (int64_t)MS;
        watch_woke(&w, false);
        assert_true(watch_fd(&w) >= 0);
        assert_true(watch_timeout(&w, -1) < MS); /* looked at again at once */
        assert_in_range(looks(&w), 8, 16);
        while (news(&w, 0))
            watch_woke(&w, true);
        looks(&w);
        assert_int_equal(write(file, "x", 1), 1);
        assert_true(news(&w, 1000));
        watch_woke(&w, true);
    }
    watch_fini(&w);
}

/* Our own commits are a rush, too, when they follow one another; the last one tells when it ends.
 */
static void a_rush_of_our_own(void **state)
{
    const int64_t long_ns = 1000 * (int64_t)MS;
    struct watch w;
    (void)state;
    assert_int_equal(watch_init(&w, path), STATUS_OK);
    watch_wrote(&w);
    assert_true(watch_fd(&w) >= 0);
    w.wrote_ns = clock_mono_ns() - 3 * MS;
    watch_wrote(&w);
    assert_true(watch_fd(&w) >= 0);
    w.wrote_ns = clock_mono_ns() + long_ns;
    watch_wrote(&w);
    assert_int_equal(watch_fd(&w), -1);
    assert_int_equal(watch_timeout(&w, -1), MS);
    w.found_ns = w.wrote_ns - MS; /* of others among them */
    assert_true(watch_timeout(&w, -1) < MS);
    w.wrote_ns = clock_mono_ns() + long_ns;
    watch_woke(&w, false);
    assert_int_equal(watch_fd(&w), -1);
    w.wrote_ns = clock_mono_ns() - long_ns;
    w.found_ns = clock_mono_ns() + long_ns;
    watch_woke(&w, false);
    assert_int_equal(watch_fd(&w), -1);
    w.found_ns = clock_mono_ns() - long_ns;
    watch_woke(&w, false);
    assert_true(watch_fd(&w) >= 0);
    assert_true(watch_timeout(&w, -1) < MS);
    watch_fini(&w);
}

/* The last connection removes the log, and the next one makes another. */
static void a_file_that_is_replaced(void **state)
{
    struct watch w;
    (void)state;
    assert_int_equal(watch_init(&w, path), STATUS_OK);
    close(file);
    assert_int_equal(unlink(path), 0);
    file = open(path, O_RDWR | O_CREAT, 0600);
    assert_true(news(&w, 1000)); /* it is gone */
    watch_woke(&w, true);
    assert_int_equal(write(file, "x", 1), 1);
    assert_true(news(&w, 1000));
    watch_woke(&w, true);
    assert_false(news(&w, 0));
    watch_fini(&w);
}

static void looks_often_where_it_hears_nothing(struct watch *w)
{
    assert_int_equal(watch_fd(w), -1);
    assert_int_equal(watch_timeout(w, -1), 10 * MS);
    assert_int_equal(watch_timeout(w, 5), 5 * MS);
    watch_woke(w, false);
    assert_int_equal(watch_timeout(w, -1), 10 * MS);
}

static void a_file_that_cannot_be_watched(void **state)
{
    struct watch w;
    (void)state;
    assert_int_equal(watch_init(&w, "/nowhere/at/all"), STATUS_OK);
    looks_often_where_it_hears_nothing(&w);
    watch_fini(&w);
}

static void no_more_descriptors(void **state)
{
    struct watch w;
    struct rlimit old, none;
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = old;
    none.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int status = watch_init(&w, path);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(status, STATUS_OK);
    looks_often_where_it_hears_nothing(&w);
    watch_fini(&w);
}

static void no_memory(void **state)
{
    struct watch w;
    (void)state;
    mem_fail_after(0);
    int status = watch_init(&w, path);
    mem_fail_after(-1);
    assert_int_equal(status, STATUS_NOMEM);
    watch_fini(&w);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(tells_of_writes),
        TEST(own_commits_are_no_news),
        TEST(deaf_and_hearing_again),
        TEST(hears_all_at_once),
        TEST(others_have_their_causes),
        TEST(many_writes),
        TEST(a_rush),
        TEST(a_rush_of_our_own),
        TEST(a_file_that_is_replaced),
        TEST(a_file_that_cannot_be_watched),
        TEST(no_more_descriptors),
        TEST(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
