#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/log_limit.h"
#include "base/log_sink.h"
#include "base/mem.h"
#include "base/tally.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Standard error is a pipe or a file for the time of a test. */
static int saved = -1, reader = -1;

static void capture_pipe(void)
{
    int ends[2];

    assert_int_equal(pipe(ends), 0);
    saved = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    reader = ends[0];
    fcntl(reader, F_SETFL, O_NONBLOCK);
}

static void release(void)
{
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(reader);
    log_set_json(false);
    log_set_level(LOG_INFO);
}

/* What has been written, waited for until it ends in a newline. */
static const char *heard(void)
{
    static char text[1 << 20];
    size_t len = 0;

    for (int tries = 0; tries < 500; tries++) {
        ssize_t n = read(reader, text + len, sizeof(text) - 1 - len);

        if (n > 0)
            len += (size_t)n;
        else if (len && text[len - 1] == '\n')
            break;
        else
            usleep(2000);
    }
    text[len] = 0;
    return text;
}

/* Without the time, which is checked for its form. */
static const char *after_time(const char *line)
{
    static const char form[] = "dddd-dd-ddTdd:dd:dd.dddZ";

    for (size_t i = 0; i < sizeof(form) - 1; i++) {
        if (form[i] == 'd')
            assert_true(line[i] >= '0' && line[i] <= '9');
        else
            assert_int_equal(line[i], form[i]);
    }
    return line + sizeof(form);
}

static void fields_are_key_and_value_in_text(void **state)
{
    (void)state;
    capture_pipe();
    log_event(LOG_INFO, "connection opened", log_uint("connection", UINT64_MAX),
        log_text("address", "[::1]:80"), log_int("code", -5), log_seconds("duration", 1500000),
        log_text("left_out", NULL), log_text("empty", ""));
    assert_string_equal(after_time(heard()),
        "info  connection opened connection=18446744073709551615 address=[::1]:80 code=-5 "
        "duration=0.001500 empty=\"\"\n");
    release();
}

static void values_cannot_forge_a_field_or_a_line(void **state)
{
    (void)state;
    capture_pipe();
    log_event(LOG_WARN, "refused",
        log_text("a", "x y=1 \"q\" \\ \n2026 error forged\r\x1b[31m\x7f\xc2\x9b\xff\xc3\xa9"));
    assert_string_equal(after_time(heard()),
        "warn  refused a=\"x y=1 \\\"q\\\" \\\\ \\n2026 error forged\\r\\u001b[31m\\u007f\\u009b"
        "\xef\xbf\xbd\xc3\xa9\"\n");
    log_warn("said: %s", "one\ntwo\x1b[0m\xc2\x9bthree");
    assert_string_equal(after_time(heard()), "warn  said: one two [0m three\n");
    release();
}

static void lines_are_objects_in_json(void **state)
{
    const char *text;
    json_t *line;
    char err[100];

    (void)state;
    capture_pipe();
    log_set_json(true);
    log_event(LOG_ERROR, "went wrong", log_text("why", "a \"b\"\n\x01\xff"), log_uint("n", 7),
        log_seconds("seconds", 2500000000));
    text = heard();
    line = json_read(text, strlen(text), err, sizeof(err));
    assert_non_null(line);
    after_time(json_string_value(json_object_get(line, "time")));
    assert_string_equal(json_string_value(json_object_get(line, "level")), "error");
    assert_string_equal(json_string_value(json_object_get(line, "message")), "went wrong");
    assert_string_equal(
        json_string_value(json_object_get(line, "why")), "a \"b\"\n\x01\xef\xbf\xbd");
    assert_int_equal(json_integer_value(json_object_get(line, "n")), 7);
    assert_true(json_get_real(json_object_get(line, "seconds")) == 2.5);
    assert_int_equal(json_object_size(line), 6);
    json_decref(line);
    release();
}

static void long_values_are_cut_between_characters(void **state)
{
    char value[4000] = "x";

    (void)state;
    for (size_t i = 1; i + 2 < sizeof(value); i += 2)
        memcpy(value + i, "\xc3\xa9", 3);
    capture_pipe();
    log_event(LOG_INFO, "long", log_text("v", value));
    {
        const char *text = after_time(heard());

        assert_int_equal(strncmp(text, "info  long v=\"x\xc3\xa9", 17), 0);
        assert_string_equal(text + strlen(text) - 7, "\xc3\xa9…\"\n");
        assert_in_range(strlen(text), 1000, 1100);
    }
    release();
}

static void levels_are_left_out(void **state)
{
    enum log_level level;

    (void)state;
    capture_pipe();
    log_set_level(LOG_WARN);
    log_info("not %d", 1);
    log_event(LOG_DEBUG, "not", log_uint("n", 2));
    log_warn("this");
    assert_string_equal(after_time(heard()), "warn  this\n");
    for (int i = LOG_ERROR; i <= LOG_DEBUG; i++) {
        assert_int_equal(log_level_parse(log_level_name((enum log_level)i), &level), 0);
        assert_int_equal(level, i);
    }
    release();
}

static void one_event_cannot_flood_the_log(void **state)
{
    static const char event[] = "the same";
    uint64_t suppressed = 0;
    int level = -1, passed = 0;

    (void)state;
    for (int i = 0; i < 1000; i++)
        passed += log_limit_pass(event, false, LOG_INFO, 5000 + i / 2, &suppressed);
    assert_int_equal(passed, LOG_LIMIT);
    assert_int_equal(suppressed, 0);
    assert_null(log_limit_over(5999, &level, &suppressed));
    assert_ptr_equal(log_limit_over(6000, &level, &suppressed), event);
    assert_int_equal(suppressed, 1000 - LOG_LIMIT);
    assert_int_equal(level, LOG_INFO);
    assert_null(log_limit_over(6000, &level, &suppressed));
    for (int i = 0; i < LOG_LIMIT + 5; i++)
        log_limit_pass(event, false, LOG_INFO, 7000, &suppressed);
    suppressed = 0;
    assert_true(log_limit_pass(event, false, LOG_INFO, 8000, &suppressed));
    assert_int_equal(suppressed, 5);
    suppressed = 0;
    assert_true(log_limit_pass(event, false, LOG_INFO, 8001, &suppressed));
    assert_int_equal(suppressed, 0);
}

/* The clock of a test may lie in the middle of the event's second: lines and sums must add up. */
static void what_is_suppressed_is_summed_up(void **state)
{
    const char *text, *p;
    int lines = 0, sum = 0;

    (void)state;
    capture_pipe();
    assert_int_equal(log_start(), 0);
    for (int i = 0; i < 500; i++)
        log_event(LOG_INFO, "flood", log_int("i", i));
    sleep(2);
    log_stop();
    text = heard();
    for (p = text; (p = strstr(p, "info  flood i=")); p++)
        lines++;
    for (p = text; (p = strstr(p, "suppressed=")); p++) {
        assert_non_null(strstr(text, "event=flood"));
        sum += atoi(p + strlen("suppressed="));
    }
    assert_int_equal(lines + sum, 500);
    assert_true(sum > 0);
    release();
}

static int count_all(const char *text, const char *what)
{
    int n = 0;

    for (; (text = strstr(text, what)); text++)
        n++;
    return n;
}

static int sum_all(const char *text, const char *what)
{
    int n = 0;

    for (; (text = strstr(text, what)); text++)
        n += atoi(text + strlen(what));
    return n;
}

/* Nobody reads: callers go on, and so does the end. What is left out is counted, exactly. */
static void a_reader_that_stands_still_holds_nobody_up(void **state)
{
    char value[900];
    int64_t begun = clock_mono_ms();
    int kept = 0, missing = 0;

    (void)state;
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = 0;
    capture_pipe();
    log_set_level(LOG_DEBUG);
    assert_int_equal(log_start(), 0);
    for (int i = 0; i < 1500; i++)
        log_event(LOG_DEBUG, "unread", log_text("value", value), log_int("i", i));
    assert_true(clock_mono_ms() - begun < 10000);
    while (kept + missing < 1500 && clock_mono_ms() < begun + 30000) {
        const char *text = heard();

        kept += count_all(text, "debug unread value=");
        missing += sum_all(text, "lines of the log are missing lines=");
    }
    assert_int_equal(kept + missing, 1500);
    assert_true(kept >= 60 && missing > 0);
    for (int i = 0; i < 400; i++)
        log_event(LOG_DEBUG, "unread at the end", log_text("value", value));
    begun = clock_mono_ms();
    log_stop();
    assert_true(clock_mono_ms() - begun < 5000);
    release();
}

static void *writer(void *arg)
{
    for (int i = 0; i < 50; i++)
        log_event(LOG_DEBUG, "together", log_text("who", arg), log_int("i", i));
    return NULL;
}

static void lines_of_threads_are_whole(void **state)
{
    pthread_t threads[4];
    char names[4][2] = {"a", "b", "c", "d"};
    int next[4] = {0}, total = 0;
    char *line, *rest = NULL;

    (void)state;
    capture_pipe();
    log_set_level(LOG_DEBUG);
    assert_int_equal(log_start(), 0);
    assert_int_equal(log_start(), 0); /* nested */
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, writer, names[i]);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    log_stop();
    log_stop();
    for (line = strtok_r((char *)(uintptr_t)heard(), "\n", &rest); line;
         line = strtok_r(NULL, "\n", &rest)) {
        char who;
        int i;

        assert_int_equal(sscanf(after_time(line), "debug together who=%c i=%d", &who, &i), 2);
        assert_int_equal(i, next[who - 'a']++);
        total++;
    }
    assert_int_equal(total, 200);
    release();
}

static void without_memory_nothing_starts(void **state)
{
    (void)state;
    mem_fail_after(0);
    assert_true(log_start() < 0);
    mem_fail_after(-1);
    assert_int_equal(log_start(), 0);
    log_stop();
}

static void a_tally_counts_each_value_once(void **state)
{
    static struct tally t;
    struct tally_copy c = {0};

    (void)state;
    tally_add(&t, &tally_durations, -1);
    tally_add(&t, &tally_durations, 10000);
    tally_add_own(&t, &tally_durations, 10001);
    tally_add_own(&t, &tally_durations, INT64_C(10000000000));
    tally_add(&t, &tally_durations, INT64_C(10000000001));
    tally_read(&t, &c);
    assert_int_equal(c.count, 5);
    assert_int_equal(c.buckets[0], 2);
    assert_int_equal(c.buckets[1], 1);
    assert_int_equal(c.buckets[tally_durations.count - 1], 1);
    assert_int_equal(c.buckets[TALLY_BUCKETS - 1], 1);
    assert_int_equal(c.sum, INT64_C(20000020002));
    tally_read(&t, &c);
    assert_int_equal(c.count, 10);
    for (int i = 1; i < tally_bytes.count; i++)
        assert_true(tally_bytes.bounds[i] > tally_bytes.bounds[i - 1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_key_and_value_in_text),
        cmocka_unit_test(values_cannot_forge_a_field_or_a_line),
        cmocka_unit_test(lines_are_objects_in_json),
        cmocka_unit_test(long_values_are_cut_between_characters),
        cmocka_unit_test(levels_are_left_out),
        cmocka_unit_test(one_event_cannot_flood_the_log),
        cmocka_unit_test(what_is_suppressed_is_summed_up),
        cmocka_unit_test(a_reader_that_stands_still_holds_nobody_up),
        cmocka_unit_test(lines_of_threads_are_whole),
        cmocka_unit_test(without_memory_nothing_starts),
        cmocka_unit_test(a_tally_counts_each_value_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
