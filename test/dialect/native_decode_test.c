#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/status.h"
#include "dialect/dialects.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Commands as clients write them, and what the hub is told. */

static struct command cmd;

static const struct dialect *native(void)
{
    return dialects_find("/ws");
}

static void decode(const char *text)
{
    assert_int_equal(native()->decode(&cmd, text, strlen(text)), 0);
}

static void assert_text(struct text t, const char *expected)
{
    if (!expected) {
        assert_null(t.p);
        return;
    }
    assert_non_null(t.p);
    assert_int_equal(t.len, strlen(expected));
    assert_memory_equal(t.p, expected, t.len);
}

static void test_table_of_dialects(void **state)
{
    (void)state;
    assert_string_equal(dialects_at(0)->path, "/ws");
    assert_string_equal(dialects_at(0)->dialect->name, "native");
    assert_null(dialects_at(1000));
    assert_null(dialects_at(-1));
    assert_null(dialects_find("/ws/"));
    assert_ptr_equal(dialects_find("/ws"), dialects_at(0)->dialect);
}

static void test_subscribe_in_full(void **state)
{
    (void)state;
    decode("{\"type\":\"subscribe\",\"requestId\":\"r1\",\"table\":\"users\","
           "\"events\":[\"insert\",\"UPDATE\"],\"filter\":[\"age >= 18\",\"name='x'\"],"
           "\"columns\":[\"id\",\"name\"],\"self\":false,\"batch\":false,\"snapshot\":false,"
           "\"since\":null}");
    assert_null(cmd.error.code);
    assert_int_equal(cmd.type, COMMAND_SUBSCRIBE);
    assert_text(cmd.request_id, "\"r1\"");
    assert_text(cmd.table, "users");
    assert_text(cmd.channel, NULL);
    assert_int_equal(cmd.events, 1u << CHANGE_INSERT | 1u << CHANGE_UPDATE);
    assert_int_equal(cmd.filter_count, 2);
    assert_string_equal(cmd.filters[1], "name='x'");
    assert_int_equal(cmd.filter_lens[0], 9);
    assert_int_equal(cmd.column_count, 2);
    assert_string_equal(cmd.columns[1], "name");
    assert_false(cmd.self);
    assert_false(cmd.snapshot);
    native()->command_fini(&cmd);
    decode("{\"type\":\"subscribe\",\"table\":\"users\",\"data\":{\"snapshot\":true}}");
    assert_null(cmd.error.code);
    assert_true(cmd.snapshot);
    native()->command_fini(&cmd);
}

static void test_places_of_arguments(void **state)
{
    static const char *const same[] = {
        "{\"type\":\"subscribe\",\"table\":\"users\",\"filter\":\"a=1\"}",
        "{\"type\":\"subscribe\",\"data\":{\"table\":\"users\",\"filter\":\"a=1\"}}",
        "{\"type\":\"subscribe\",\"payload\":{\"table\":\"users\",\"filter\":[\"a=1\"]}}",
        ("{\"type\":\"subscribe\",\"table\":null,\"data\":{\"table\":\"users\"},"
         "\"payload\":{\"filter\":\"a=1\"}}"),
        "{\"type\":\"subscribe\",\"table\":\"users\",\"data\":7,\"payload\":{\"filter\":\"a=1\"}}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        decode(same[i]);
        assert_null(cmd.error.code);
        assert_text(cmd.table, "users");
        assert_int_equal(cmd.filter_count, 1);
        assert_string_equal(cmd.filters[0], "a=1");
        assert_int_equal(cmd.events, EVENTS_ALL);
        assert_true(cmd.self);
        native()->command_fini(&cmd);
    }
}

static void test_request_ids(void **state)
{
    static const struct {
        const char *message, *id;
    } cases[] = {
        {"{\"type\":\"ping\"}", NULL},
        {"{\"type\":\"ping\",\"id\":12}", "12"},
        {"{\"type\":\"ping\",\"id\":12,\"requestId\":\"a\\\"\\u0000\\u00e9\"}",
            "\"a\\\"\\u0000\xc3\xa9\""},
        {"{\"type\":\"ping\",\"requestId\":true}", "true"},
        {"{\"type\":\"ping\",\"requestId\":null}", "null"},
        {"{\"type\":\"ping\",\"requestId\":-9223372036854775808}", "-9223372036854775808"},
        {"{\"type\":\"ping\",\"requestId\":1.5}", "1.5"},
        {"{\"type\":\"ping\",\"payload\":{\"requestId\":\"p\"}}", "\"p\""},
        {"{\"type\":\"ping\",\"data\":{\"id\":3}}", NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        decode(cases[i].message);
        assert_null(cmd.error.code);
        assert_text(cmd.request_id, cases[i].id);
        native()->command_fini(&cmd);
    }
}

static void test_events(void **state)
{
    static const struct {
        const char *events;
        uint32_t bits;
    } cases[] = {
        {"null", EVENTS_ALL},
        {"\"*\"", EVENTS_ALL},
        {"[\"*\"]", EVENTS_ALL},
        {"\"insert\"", 1u << CHANGE_INSERT},
        {"\"Insert , DELETE\"", 1u << CHANGE_INSERT | 1u << CHANGE_DELETE},
        {"[\"update\",\"update\"]", 1u << CHANGE_UPDATE},
        {"\"\"", 0},
        {"\"insert,\"", 0},
        {"[]", 0},
        {"[\"insert,update\"]", 0},
        {"[\"TRUNCATE\"]", 0},
        {"[1]", 0},
        {"{}", 0},
        {"true", 0},
    };
    char text[200];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        snprintf(text, sizeof(text), "{\"type\":\"subscribe\",\"table\":\"t\",\"events\":%s}",
            cases[i].events);
        decode(text);
        if (cases[i].bits) {
            assert_null(cmd.error.code);
            assert_int_equal(cmd.events, cases[i].bits);
        } else {
            assert_string_equal(cmd.error.code, "INVALID_FORMAT");
        }
        native()->command_fini(&cmd);
    }
}

#define LONG "0123456789012345678901234567890123456789012345678901234567890123456789"

static void test_errors(void **state)
{
    static const struct {
        const char *message, *code, *part;
    } cases[] = {
        {"", "INVALID_FORMAT", "not JSON"},
        {"{\"type\":\"ping\"", "INVALID_FORMAT", "not JSON: line 1 column"},
        {"{\"type\":\"ping\"} x", "INVALID_FORMAT", "not JSON"},
        {"{\"type\":\"ping\",\"type\":\"ping\"}", "INVALID_FORMAT", "duplicate"},
        {"[]", "INVALID_FORMAT", "JSON object"},
        {"\"ping\"", "INVALID_FORMAT", "JSON object"},
        {"{}", "INVALID_FORMAT", "type is missing"},
        {"{\"type\":1}", "INVALID_FORMAT", "type must be a string"},
        {"{\"type\":\"Ping\"}", "UNKNOWN_TYPE", "\"Ping\""},
        {"{\"type\":\"broadcasts\"}", "UNKNOWN_TYPE", "broadcasts"},
        {"{\"type\":\"ping\\u0000\"}", "UNKNOWN_TYPE", "ping"},
        {"{\"type\":\"ping\",\"requestId\":[]}", "INVALID_FORMAT", "requestId"},
        {"{\"type\":\"ping\",\"id\":{}}", "INVALID_FORMAT", "id must not"},
        {"{\"type\":\"ping\",\"requestId\":\"" LONG LONG LONG LONG "\"}", "INVALID_FORMAT",
            "longer than 256 bytes"},
        {"{\"type\":\"ping\",\"sentAt\":[1]}", "INVALID_FORMAT", "sentAt"},
        {"{\"type\":\"subscribe\"}", "INVALID_FORMAT", "needs a table or a channel"},
        {"{\"type\":\"subscribe\",\"table\":\"t\",\"channel\":\"c\"}", "INVALID_FORMAT",
            "not both"},
        {"{\"type\":\"subscribe\",\"table\":[\"t\"]}", "INVALID_FORMAT", "table must be a string"},
        {"{\"type\":\"subscribe\",\"channel\":1}", "INVALID_FORMAT", "channel must be a string"},
        {"{\"type\":\"subscribe\",\"table\":\"t\",\"filter\":{}}", "INVALID_FORMAT",
            "filter must be"},
        {"{\"type\":\"subscribe\",\"table\":\"t\",\"filter\":7}", "INVALID_FORMAT",
            "filter must be"},
        {"{\"type\":\"subscribe\",\"table\":\"t\",\"filter\":[7]}", "INVALID_FORMAT",
            "list of strings"},
        {"{\"type\":\"subscribe\",\"table\":\"t\",\"columns\":[]}", "INVALID_FORMAT", "is empty"},
        {"{\"type\":\"subscribe\",\"table\":\"t\",\"columns\":[null]}", "INVALID_FORMAT",
            "list of strings"},
        {"{\"type\":\"subscribe\",\"table\":\"t\",\"self\":0}", "INVALID_FORMAT", "true or false"},
        {"{\"type\":\"subscribe\",\"table\":\"t\",\"batch\":\"yes\"}", "INVALID_FORMAT",
            "batch must be true or false"},
        {"{\"type\":\"subscribe\",\"channel\":\"c\",\"batch\":true}", "INVALID_FORMAT",
            "need a table"},
        {"{\"type\":\"subscribe\",\"table\":\"t\",\"since\":-1}", "INVALID_FORMAT",
            "since must be a seq"},
        {"{\"type\":\"subscribe\",\"table\":\"t\",\"since\":1.0}", "INVALID_FORMAT",
            "since must be a seq"},
        {"{\"type\":\"subscribe\",\"table\":\"t\",\"since\":true}", "INVALID_FORMAT",
            "since must be a seq"},
        {"{\"type\":\"subscribe\",\"table\":\"t\",\"since\":\"12\"}", "INVALID_FORMAT",
            "since must be a seq"},
        {"{\"type\":\"subscribe\",\"table\":\"t\",\"since\":\":1\"}", "INVALID_FORMAT",
            "since must be a seq"},
        {"{\"type\":\"subscribe\",\"table\":\"t\",\"since\":\"e:\"}", "INVALID_FORMAT",
            "since must be a seq"},
        {"{\"type\":\"subscribe\",\"table\":\"t\",\"since\":\"e:-1\"}", "INVALID_FORMAT",
            "since must be a seq"},
        {"{\"type\":\"subscribe\",\"table\":\"t\",\"since\":\"e:99999999999999999999\"}",
            "INVALID_FORMAT", "since must be a seq"},
        {"{\"type\":\"subscribe\",\"table\":\"t\",\"since\":\"e:1\",\"epoch\":\"f\"}",
            "INVALID_FORMAT", "different epochs"},
        {"{\"type\":\"subscribe\",\"table\":\"t\",\"since\":1,\"epoch\":2}", "INVALID_FORMAT",
            "epoch must be a string"},
        {"{\"type\":\"subscribe\",\"table\":\"t\",\"epoch\":\"e\"}", "INVALID_FORMAT",
            "epoch goes with since"},
        {"{\"type\":\"subscribe\",\"table\":\"t\",\"snapshot\":1}", "INVALID_FORMAT",
            "snapshot must be true or false"},
        {"{\"type\":\"subscribe\",\"table\":\"*\",\"snapshot\":true}", "INVALID_FORMAT",
            "a snapshot is of one table: name it instead of *"},
        {"{\"type\":\"subscribe\",\"channel\":\"tables\",\"snapshot\":true}", "INVALID_FORMAT",
            "a snapshot is of one table: a channel has none"},
        {"{\"type\":\"subscribe\",\"channel\":\"c\",\"filter\":\"a=1\"}", "INVALID_FORMAT",
            "need a table"},
        {"{\"type\":\"unsubscribe\",\"subscription\":1}", "INVALID_FORMAT", "subscription must be"},
        {"{\"type\":\"unsubscribe\",\"subscription\":\"s1\",\"table\":\"t\"}", "INVALID_FORMAT",
            "one of"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        decode(cases[i].message);
        if (!cmd.error.code)
            fail_msg("accepted: %s", cases[i].message);
        assert_string_equal(cmd.error.code, cases[i].code);
        if (!strstr(cmd.error.message, cases[i].part))
            fail_msg("%s\nin %s\nfor %s", cases[i].part, cmd.error.message, cases[i].message);
        native()->command_fini(&cmd);
    }
}

static void test_errors_keep_the_request_id(void **state)
{
    (void)state;
    decode("{\"type\":\"nope\",\"requestId\":5}");
    assert_string_equal(cmd.error.code, "UNKNOWN_TYPE");
    assert_text(cmd.request_id, "5");
    native()->command_fini(&cmd);
}

static void test_deep_nesting(void **state)
{
    size_t deep = 200000;
    char *text = malloc(2 * deep + 64);
    size_t at = (size_t)sprintf(text, "{\"type\":\"ping\",\"x\":");

    (void)state;
    memset(text + at, '[', deep);
    memset(text + at + deep, ']', deep);
    strcpy(text + at + 2 * deep, "}");
    decode(text);
    assert_string_equal(cmd.error.code, "INVALID_FORMAT");
    assert_non_null(strstr(cmd.error.message, "levels deep"));
    native()->command_fini(&cmd);
    free(text);
}

#define FULL                                                                                       \
    "{\"type\":\"subscribe\",\"requestId\":\"r\\u00e9\",\"data\":{\"table\":\"users\","            \
    "\"filter\":[\"a=1\",\"b in (1,2)\"],\"columns\":\"a\",\"events\":\"insert,delete\"}}"

/* Cut anywhere, and ending where the next byte may not be read. */
static void test_cut_anywhere(void **state)
{
    long page = sysconf(_SC_PAGESIZE);
    char *map =
        mmap(NULL, (size_t)page * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t len = strlen(FULL);

    (void)state;
    assert_true(map != MAP_FAILED);
    assert_int_equal(mprotect(map + page, (size_t)page, PROT_NONE), 0);
    for (size_t n = 0; n <= len; n++) {
        char *at = map + page - n;

        memcpy(at, FULL, n);
        assert_int_equal(native()->decode(&cmd, at, n), 0);
        if (n < len)
            assert_string_equal(cmd.error.code, "INVALID_FORMAT");
        else
            assert_null(cmd.error.code);
        native()->command_fini(&cmd);
    }
    munmap(map, (size_t)page * 2);
}

static void test_memory_runs_out(void **state)
{
    bool hit = true;

    (void)state;
    for (long n = 0; hit; n++) {
        int rc;

        mem_fail_after(n);
        rc = native()->decode(&cmd, FULL, strlen(FULL));
        hit = mem_fail_hit();
        mem_fail_after(-1);
        assert_int_equal(rc, hit ? STATUS_NOMEM : 0);
        native()->command_fini(&cmd);
    }
}

static void test_since(void **state)
{
    static const struct {
        const char *text, *epoch;
        enum since since;
        uint64_t seq;
    } cases[] = {
        {"{\"type\":\"subscribe\",\"table\":\"t\"}", NULL, SINCE_NOW, 0},
        {"{\"type\":\"subscribe\",\"table\":\"t\",\"since\":0}", NULL, SINCE_SEQ, 0},
        {"{\"type\":\"subscribe\",\"table\":\"t\",\"since\":7,\"epoch\":\"e\"}", "e", SINCE_SEQ, 7},
        {"{\"type\":\"subscribe\",\"channel\":\"tables\",\"data\":{\"since\":\"a:b:8\"}}", "a:b",
            SINCE_SEQ, 8},
        {"{\"type\":\"subscribe\",\"table\":\"t\",\"since\":\"earliest\"}", NULL, SINCE_EARLIEST,
            0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        decode(cases[i].text);
        assert_null(cmd.error.code);
        assert_int_equal(cmd.since, cases[i].since);
        assert_int_equal(cmd.since_seq, cases[i].seq);
        assert_int_equal(cmd.epoch.p != NULL, cases[i].epoch != NULL);
        if (cases[i].epoch) {
            assert_int_equal(cmd.epoch.len, strlen(cases[i].epoch));
            assert_memory_equal(cmd.epoch.p, cases[i].epoch, cmd.epoch.len);
        }
        native()->command_fini(&cmd);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_of_dialects),
        cmocka_unit_test(test_subscribe_in_full),
        cmocka_unit_test(test_places_of_arguments),
        cmocka_unit_test(test_request_ids),
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_errors_keep_the_request_id),
        cmocka_unit_test(test_deep_nesting),
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_since),
        cmocka_unit_test(test_memory_runs_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
