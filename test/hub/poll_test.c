#include "hub_fixture.h"

#include "base/mem.h"
#include "dialect/poll.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Long polls: a query string in, one HTTP response out. */

static struct feed f;
static struct table *users;
static char text[4 << 20];

static int setup(void **state)
{
    (void)state;
    feed_options.max_queue = 8 << 20;
    users = TABLE("users", "id:INTEGER:k", "name:TEXT:");
    feed_start(&f, schema_of(users, NULL));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    feed_stop(&f);
    feed_options.max_queue = 1 << 20;
    feed_options.history = 1 << 26;
    return 0;
}

static int ask(const char *query)
{
    const struct hub_client who = {.address = "test", .request = query, .headers = "Date: D\r\n"};
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_true(hub_reserve(f.hub));
    hub_adopt(f.hub, pair[1], &poll_dialect, &who, NULL, 0);
    return pair[0];
}

static bool readable(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, ms) == 1;
}

/* The whole response, which the end of the connection follows. */
static const char *answer(int fd)
{
    size_t len = 0;

    for (;;) {
        ssize_t n;

        if (!readable(fd, 5000))
            fail_msg("no end after: %.*s", (int)len, text);
        n = recv(fd, text + len, sizeof(text) - 1 - len, 0);
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    text[len] = '\0';
    close(fd);
    return text;
}

#define HEAD(status, length)                                                                       \
    "HTTP/1.1 " status "\r\nContent-Type: application/json\r\nContent-Length: " length             \
    "\r\nDate: D\r\nConnection: close\r\n"
#define EMPTY(position) HEAD("200 OK", "2") "Rowtap-Position: e1:" position "\r\n\r\n[]"

static void expect(int fd, const char *whole)
{
    assert_string_equal(answer(fd), whole);
}

static int count(const char *in, const char *what)
{
    int n = 0;

    for (; (in = strstr(in, what)); in += strlen(what))
        n++;
    return n;
}

/* So many changes, the position after them, and a body as long as it says. */
static void expect_changes(int fd, int changes, const char *position)
{
    const char *body, *length;

    answer(fd);
    assert_non_null(strstr(text, position));
    body = strstr(text, "\r\n\r\n") + 4;
    length = strstr(text, "Content-Length: ");
    assert_int_equal(strtoul(length + 16, NULL, 10), strlen(body));
    assert_int_equal(count(body, "\"type\":\"database_change\""), changes);
    assert_int_equal(body[0], '[');
    assert_int_equal(body[strlen(body) - 1], ']');
}

static void insert(int from, int to, const char *name)
{
    const struct value v = {.p = name, .len = (uint32_t)strlen(name), .type = VALUE_TEXT};

    for (int i = from; i <= to; i++) {
        feed_insert(&f, users, ROW(INTEGER(i), v));
        feed_commit(&f, 0, NULL);
        feed_publish(&f);
    }
}

static void test_waiting(void **state)
{
    int fd = ask("table=users&timeout=10");

    (void)state;
    assert_false(readable(fd, 200));
    insert(1, 1, "Ada");
    answer(fd);
    assert_non_null(strstr(text, "\r\nRowtap-Position: e1:1\r\n\r\n[{\"subscriptions\":[\"s1\"],"
                                 "\"id\":\"e1:1\",\"timestamp\":"));
    assert_non_null(strstr(text, "\"event\":\"INSERT\",\"key\":{\"id\":1},\"data\":{\"id\":1,"
                                 "\"name\":\"Ada\"}}]"));
}

/* A transaction is told as a whole, and only what matches. */
static void test_transaction(void **state)
{
    int fd = ask("table=users&filter=id%3E%3D2&timeout=10");

    (void)state;
    for (int i = 1; i <= 3; i++)
        feed_insert(&f, users, ROW(INTEGER(i), TEXT("x")));
    feed_commit(&f, 0, NULL);
    feed_publish(&f);
    expect_changes(fd, 2, "Rowtap-Position: e1:3\r\n");
}

static void test_time(void **state)
{
    int soon = ask("table=users&timeout=0.3"), late = ask("table=users&timeout=0.9");

    (void)state;
    assert_false(readable(soon, 200));
    assert_true(readable(soon, 2000));
    assert_false(readable(late, 200));
    expect(soon, EMPTY("0"));
    expect(late, EMPTY("0"));
    expect(ask("table=users&timeout=0"), EMPTY("0"));
}

static void test_past(void **state)
{
    (void)state;
    insert(1, 25, "x");
    expect_changes(ask("table=users&since=e1:0&limit=10&timeout=10"), 10, ": e1:10\r\n");
    expect_changes(ask("table=users&since=e1:10&limit=10&timeout=10"), 10, ": e1:20\r\n");
    expect_changes(ask("table=users&since=e1:20&limit=10&timeout=10"), 5, ": e1:25\r\n");
    expect_changes(ask("table=users&since=earliest&timeout=10"), 25, ": e1:25\r\n");
    expect_changes(ask("filter=name%3Dx&table=users&since=24&timeout=0"), 1, ": e1:25\r\n");
    /* What does not match is passed over, too. */
    expect(ask("table=users&filter=name%3Dy&since=e1:3&timeout=0"), EMPTY("25"));
}

/* An answer has about a megabyte, whatever the limit. */
static void test_large(void **state)
{
    static char name[200001];

    (void)state;
    memset(name, 'x', sizeof(name) - 1);
    insert(1, 12, name);
    expect_changes(ask("table=users&since=e1:0&limit=1000"), 6, ": e1:6\r\n");
    expect_changes(ask("table=users&since=e1:6&limit=1000"), 6, ": e1:12\r\n");
}

static void test_resync(void **state)
{
    static const char *const cases[][2] = {
        {"table=users&since=other:1", "\"reason\":\"epoch_changed\""},
        {"table=users&since=e1:99", "\"reason\":\"future\""},
    };

    (void)state;
    insert(1, 3, "x");
    for (size_t i = 0; i < 2; i++) {
        answer(ask(cases[i][0]));
        assert_non_null(strstr(text, "HTTP/1.1 200 OK\r\n"));
        assert_non_null(strstr(text, "Rowtap-Position: e1:3\r\n"));
        assert_non_null(strstr(text, "\"type\":\"resync\""));
        assert_non_null(strstr(text, cases[i][1]));
        assert_int_equal(count(text, "\"type\":"), 1);
    }
}

static void test_gap(void **state)
{
    int fd = ask("table=users&timeout=10");

    (void)state;
    assert_false(readable(fd, 100));
    f.batch->gap = "capture_gap";
    feed_publish(&f);
    answer(fd);
    assert_non_null(strstr(text, "\"reason\":\"capture_gap\""));
    assert_non_null(strstr(text, "Rowtap-Position: e1:1\r\n"));
}

static void test_errors(void **state)
{
    (void)state;
    expect(ask("table=nobody"),
        HEAD("404 Not Found",
            "64") "\r\n"
                  "{\"error\":{\"code\":\"NOT_FOUND\",\"message\":\"no such table: nobody\"}}");
    answer(ask("table=users&filter=x%3D1"));
    assert_non_null(strstr(text, "HTTP/1.1 400 Bad Request\r\n"));
    assert_non_null(strstr(text, "{\"error\":{\"code\":\"INVALID_FILTER\","));
    answer(ask("timeout=61"));
    assert_non_null(strstr(text, "HTTP/1.1 400 Bad Request\r\n"));
    answer(ask("limit=0"));
    assert_non_null(strstr(text, "limit is the number of changes in an answer, 1 to 10000"));
}

/* A column that the filter needs is gone. */
static void test_ended(void **state)
{
    struct table *other = TABLE("users", "id:INTEGER:k", "nick:TEXT:");
    int fd = ask("table=users&filter=name%3Dx&timeout=10");

    (void)state;
    assert_false(readable(fd, 100));
    other->id = users->id;
    feed_ddl(&f, CHANGE_TABLE_ALTERED, other, users);
    feed_commit(&f, 0, schema_of(other, NULL));
    feed_publish(&f);
    answer(fd);
    assert_non_null(strstr(text, "HTTP/1.1 400 Bad Request\r\n"));
    assert_non_null(strstr(text, "subscription s1 has ended because table users was changed"));
}

static void test_ddl(void **state)
{
    struct table *made = TABLE("made", "a:INTEGER:k");
    int fd = ask("channel=tables&timeout=10");

    (void)state;
    assert_false(readable(fd, 100));
    made->id = 77;
    feed_ddl(&f, CHANGE_TABLE_CREATED, made, NULL);
    feed_commit(&f, 0, schema_of(table_ref(users), made, NULL));
    feed_publish(&f);
    answer(fd);
    assert_int_equal(count(text, "\"type\":\"table:created\""), 1);
}

static void test_end(void **state)
{
    int fd = ask("table=users&timeout=60");

    (void)state;
    assert_false(readable(fd, 100));
    hub_stop(f.hub, 500);
    expect(fd,
        HEAD("503 Service Unavailable", "75") "Retry-After: 1\r\n\r\n"
                                              "{\"error\":{\"code\":\"LIMIT_EXCEEDED\",\"message\":"
                                              "\"the server is shutting down\"}}");
}

/* Who goes is forgotten, and its place is free. */
static void test_gone(void **state)
{
    struct hub_stats stats;

    (void)state;
    for (int i = 0; i < 20; i++) {
        int fd = ask("table=users&timeout=60");

        assert_false(readable(fd, 5));
        close(fd);
    }
    for (int i = 0; i < 500; i++, usleep(10000)) {
        hub_stats(f.hub, &stats);
        if (!stats.connections && !stats.subscriptions)
            break;
    }
    assert_int_equal(stats.connections, 0);
    assert_int_equal(stats.subscriptions, 0);
}

/* Each allocation fails in turn: a whole answer, or the connection just ends. */
static void test_memory(void **state)
{
    bool hit = true;

    (void)state;
    insert(1, 5, "x");
    expect_changes(ask("table=users&since=e1:0&timeout=0"), 5, ": e1:5\r\n");
    for (long n = 0; hit && n < 1000; n++) {
        int fd;

        mem_fail_after(n);
        fd = ask("table=users&filter=name%3Dx&since=e1:0&timeout=10");
        answer(fd);
        hit = mem_fail_hit();
        mem_fail_after(-1);
        if (*text && strstr(text, "HTTP/1.1 200 OK"))
            assert_int_equal(count(text, "\"type\":\"database_change\""), 5);
        else
            assert_true(hit);
    }
    assert_false(hit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_waiting, setup, teardown),
        cmocka_unit_test_setup_teardown(test_transaction, setup, teardown),
        cmocka_unit_test_setup_teardown(test_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_past, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large, setup, teardown),
        cmocka_unit_test_setup_teardown(test_resync, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gap, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ended, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ddl, setup, teardown),
        cmocka_unit_test_setup_teardown(test_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory, setup, teardown),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
