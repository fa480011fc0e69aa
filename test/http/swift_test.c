#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "harness.h"

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What is read swiftly, by threads for many connections: http/swift.h. */

#define LENT 24 /* requests after which a connection surely is */
/* Takes some tenths of a second. */
#define LONG                                                                                       \
    "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<3000000) "               \
    "SELECT count(*) FROM c"

static void ask_as(int fd, const char *sql, const char *header)
{
    struct buf text = {0};

    buf_printf(&text,
        "POST /api/sql HTTP/1.1\nHost: localhost\nContent-Type: application/json\n%s"
        "Content-Length: %zu\n\n{\"sql\":\"%s\"}",
        header, strlen(sql) + strlen("{\"sql\":\"\"}"), sql);
    client_send(fd, buf_text(&text));
    buf_fini(&text);
}

static void ask(int fd, const char *sql)
{
    ask_as(fd, sql, "");
}

static void answered(int fd, const char *pattern)
{
    const char *text = client_read(fd, "}", 20000);

    if (!like(text, pattern))
        fail_msg("not like %s:\n%.2000s", pattern, text);
}

static long metric(const char *name)
{
    int fd = client_connect();
    const char *text, *at;
    char line[64];

    client_send(fd, "GET /metrics HTTP/1.1\nHost: localhost\nConnection: close\n\n");
    text = client_read(fd, NULL, 5000);
    snprintf(line, sizeof(line), "\n%s ", name);
    at = strstr(text, line);
    if (!at)
        fail_msg("no %s in:\n%.4000s", name, text);
    close(fd);
    return at ? strtol(at + strlen(line), NULL, 10) : -1;
}

static long swift(void)
{
    return metric("rowtap_http_swift_total");
}

static void warm_up(int fd)
{
    for (int i = 0; i < LENT; i++) {
        ask(fd, "SELECT 1");
        answered(fd, "HTTP/1.1 200 *[[1]]*");
    }
}

static int warm(void)
{
    int fd = client_connect();
    long before = swift();

    warm_up(fd);
    assert_true(swift() >= before + 5);
    return fd;
}

#define CLIENTS 20
#define ROUNDS 300

static void gives_each_its_answer(void **state)
{
    int fds[CLIENTS];
    char sql[64], pattern[64];
    long before;

    (void)state;
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = warm();
    before = swift();
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < CLIENTS; i++) {
            snprintf(sql, sizeof(sql), "SELECT %d,%d", round, i);
            ask(fds[i], sql);
        }
        for (int i = 0; i < CLIENTS; i++) {
            snprintf(pattern, sizeof(pattern), "HTTP/1.1 200 *[[%d,%d]]*", round, i);
            answered(fds[i], pattern);
        }
    }
    assert_true(swift() - before > CLIENTS * ROUNDS * 9 / 10);
    for (int i = 0; i < CLIENTS; i++)
        close(fds[i]);
}

static void keeps_nobody_waiting_for_a_long_one(void **state)
{
    const char *const words[] = {"--readers", "1", NULL};
    int slow, fd;

    (void)state;
    harness_restart(words); /* one thread */
    slow = warm();
    fd = warm();
    ask(slow, LONG);
    usleep(20000);
    /* The long one has the read connection, so what is done meanwhile needs none of them. */
    ask(fd, "CREATE TABLE IF NOT EXISTS w(a)");
    answered(fd, "HTTP/1.1 200 *");
    for (int i = 0; i < 20; i++) {
        ask(fd, "INSERT INTO w VALUES (1)");
        answered(fd, "HTTP/1.1 200 *");
    }
    assert_false(client_readable(slow));
    answered(slow, "HTTP/1.1 200 *[[3000000]]*");
    ask(slow, "SELECT count(*) FROM w");
    answered(slow, "HTTP/1.1 200 *[[20]]*");
    warm_up(slow);
    close(slow);
    close(fd);
    harness_restart(NULL);
}

static void reads_beside_a_long_one(void **state)
{
    const char *const words[] = {"--readers", "2", NULL};
    int slow, fds[8];

    (void)state;
    harness_restart(words);
    slow = warm();
    for (int i = 0; i < 8; i++)
        fds[i] = warm();
    ask(slow, LONG);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 8; i++)
            ask(fds[i], "SELECT 2");
        for (int i = 0; i < 8; i++)
            answered(fds[i], "HTTP/1.1 200 *[[2]]*");
    }
    assert_false(client_readable(slow));
    answered(slow, "HTTP/1.1 200 *[[3000000]]*");
    close(slow);
    for (int i = 0; i < 8; i++)
        close(fds[i]);
    harness_restart(NULL);
}

static void writes_once(void **state)
{
    int fd = client_connect();

    (void)state;
    ask(fd, "CREATE TABLE o(a)");
    answered(fd, "HTTP/1.1 200 *");
    for (int i = 1; i <= 5; i++) {
        char pattern[64];

        warm_up(fd);
        ask(fd, "INSERT INTO o VALUES (1)");
        answered(fd, "HTTP/1.1 200 *\"changes\":1,*");
        ask(fd, "SELECT count(*) FROM o");
        snprintf(pattern, sizeof(pattern), "HTTP/1.1 200 *[[%d]]*", i);
        answered(fd, pattern);
        warm_up(fd);
        ask(fd, "WITH x(b) AS (SELECT 1) UPDATE o SET a=a+1");
        snprintf(pattern, sizeof(pattern), "HTTP/1.1 200 *\"changes\":%d,*", i);
        answered(fd, pattern);
    }
    ask(fd, "SELECT max(a),min(a) FROM o");
    answered(fd, "HTTP/1.1 200 *[[6,2]]*");
    ask(fd, "DROP TABLE o");
    answered(fd, "HTTP/1.1 200 *");
    close(fd);
}

static void tells_of_errors(void **state)
{
    static const char *const wrong[][2] = {
        {"SELECT nope", "HTTP/1.1 400 *no such column: nope*"},
        {"SELECT abs(-9223372036854775808)", "HTTP/1.1 400 *integer overflow*"},
        {"SELECT 1; SELECT", "HTTP/1.1 400 *incomplete input*"},
        {"", "HTTP/1.1 400 *"},
        {"ATTACH 'x' AS y", "HTTP/1.1 403 *"},
    };
    int fd = warm();

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        const char *text;

        ask(fd, wrong[i][0]);
        text = client_read(fd, "}}", 5000);
        if (!like(text, wrong[i][1]))
            fail_msg("not like %s:\n%.2000s", wrong[i][1], text);
        warm_up(fd);
    }
    close(fd);
}

static void answers_at_length(void **state)
{
    static const int sizes[] = {30000, 32700, 32800, 65000, 65500, 65600, 140000};
    int fd = warm();
    char sql[64];

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        size_t len;

        snprintf(sql, sizeof(sql), "SELECT hex(zeroblob(%d))", sizes[i] / 2);
        ask(fd, sql);
        len = strspn(strstr(client_read(fd, "}", 10000), "[[\"") + 3, "0");
        assert_int_equal(len, sizes[i]);
        warm_up(fd);
    }
    close(fd);
}

#define UNREAD 600
#define UNREAD_BYTES 30000

/* Their socket takes no more, and others are served all the same. */
static void waits_for_nobody_who_does_not_read(void **state)
{
    const char *const words[] = {"--readers", "1", NULL};
    int mute, fd;
    size_t total = 0, bodies = 0;

    (void)state;
    harness_restart(words);
    mute = warm();
    fd = warm();
    for (int i = 0; i < UNREAD; i++)
        ask(mute, "SELECT hex(zeroblob(15000))");
    for (int i = 0; i < 200; i++) {
        ask(fd, "SELECT 3");
        answered(fd, "HTTP/1.1 200 *[[3]]*");
    }
    client_finish(mute);
    for (;;) {
        char scrap[65536];
        ssize_t n = recv(mute, scrap, sizeof(scrap), 0);

        assert_true(n >= 0);
        if (n == 0)
            break;
        total += (size_t)n;
        for (ssize_t k = 0; k < n; k++)
            bodies += scrap[k] == '0' ? 1 : 0;
    }
    assert_true(bodies >= (size_t)UNREAD * UNREAD_BYTES);
    assert_true(total > (size_t)UNREAD * UNREAD_BYTES);
    close(mute);
    close(fd);
    harness_restart(NULL);
}

/* A request that was put off counts once. */
static void counts_once(void **state)
{
    const char *const words[] = {"--rate", "queries@address=1/100", "--limit-loopback", NULL};
    int fd, done = 0;

    (void)state;
    harness_restart(words);
    fd = client_connect();
    for (;;) {
        const char *text;

        /* each tenth is put off */
        ask(fd, done % 10 == 9 ? "CREATE TABLE IF NOT EXISTS c(a)" : "SELECT 1");
        text = client_read(fd, "}", 5000);
        if (like(text, "HTTP/1.1 429 *"))
            break;
        assert_true(like(text, "HTTP/1.1 200 *"));
        done++;
    }
    assert_in_range(done, 100, 110);
    usleep(1500000); /* the connection is kept all the same */
    ask(fd, "SELECT 1");
    answered(fd, "HTTP/1.1 200 *");
    close(fd);
    harness_restart(NULL);
}

static atomic_bool ending;

static void *connect_and_go(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    struct buf text = {0};

    for (int i = 0; i < 24; i++)
        buf_puts(&text, "POST /api/sql HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                        "application/json\r\nContent-Length: 18\r\n\r\n{\"sql\":\"SELECT 1\"}");
    while (!atomic_load(&ending)) {
        int fd = client_connect();
        char scrap[4096];
        size_t len = text.len - (size_t)rand_r(&seed) % 400;

        if (send(fd, text.data, len, MSG_NOSIGNAL) > 0)
            recv(fd, scrap, sizeof(scrap), 0);
        if (rand_r(&seed) % 2)
            usleep((useconds_t)rand_r(&seed) % 3000);
        close(fd);
    }
    buf_fini(&text);
    return NULL;
}

/* Who goes in the middle takes nothing along. */
static void survives_those_who_go(void **state)
{
    pthread_t threads[4];
    int fd = warm();

    (void)state;
    atomic_store(&ending, false);
    for (uintptr_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, connect_and_go, (void *)(i + 1)), 0);
    for (int i = 0; i < 2000; i++) {
        ask(fd, "SELECT 4");
        answered(fd, "HTTP/1.1 200 *[[4]]*");
    }
    atomic_store(&ending, true);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    warm_up(fd);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_each_its_answer),
        cmocka_unit_test(keeps_nobody_waiting_for_a_long_one),
        cmocka_unit_test(reads_beside_a_long_one),
        cmocka_unit_test(writes_once),
        cmocka_unit_test(tells_of_errors),
        cmocka_unit_test(answers_at_length),
        cmocka_unit_test(waits_for_nobody_who_does_not_read),
        cmocka_unit_test(counts_once),
        cmocka_unit_test(survives_those_who_go),
    };

    return cmocka_run_group_tests(tests, harness_start, harness_stop);
}
