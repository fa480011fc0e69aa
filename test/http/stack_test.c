#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "harness.h"
#include "http/stack.h"

#include <cmocka.h>
#include <string.h>
#include <unistd.h>

/* SQL that takes much of the stack: http/stack.h. */

static void put_times(struct buf *out, const char *text, int count)
{
    while (count-- > 0)
        buf_puts(out, text);
}

static void ask(int fd, struct buf *sql)
{
    struct buf text = {0};

    buf_printf(&text,
        "POST /api/sql HTTP/1.1\nHost: localhost\nContent-Type: application/json\n"
        "Content-Length: %zu\n\n{\"sql\":\"",
        sql->len + strlen("{\"sql\":\"\"}"));
    buf_put(&text, sql->data, sql->len);
    buf_puts(&text, "\"}");
    client_send(fd, buf_text(&text));
    buf_fini(&text);
    buf_reset(sql);
}

static void sum(struct buf *sql, int terms)
{
    buf_puts(sql, "SELECT 1");
    put_times(sql, "+1", terms - 1);
}

/* Each deep in another part of SQLite. */
static void ask_deep_ones(int fd)
{
    struct buf sql = {0};

    sum(&sql, 999);
    ask(fd, &sql);
    assert_true(like(client_read(fd, "\"durationMs\"", 20000), "HTTP/1.1 200 *[[999]]*"));
    sum(&sql, 1100);
    ask(fd, &sql);
    assert_true(like(client_read(fd, "}}", 20000), "HTTP/1.1 400 *maximum depth 1000*"));
    buf_puts(&sql, "SELECT json_valid('");
    put_times(&sql, "[", 1900);
    put_times(&sql, "]", 1900);
    buf_puts(&sql, "') AS valid");
    ask(fd, &sql);
    assert_true(like(client_read(fd, "\"durationMs\"", 20000), "HTTP/1.1 200 *[[1]]*"));
    buf_puts(&sql, "SELECT '");
    put_times(&sql, "a", 5000);
    buf_puts(&sql, "' LIKE '");
    put_times(&sql, "%a", 5000);
    buf_puts(&sql, "' AS alike");
    ask(fd, &sql);
    assert_true(like(client_read(fd, "\"durationMs\"", 20000), "HTTP/1.1 200 *[[1]]*"));
    sum(&sql, 1);
    ask(fd, &sql);
    assert_true(like(client_read(fd, "\"durationMs\"", 5000), "HTTP/1.1 200 *[[1]]*"));
    buf_fini(&sql);
}

static void runs_deep_sql(void **state)
{
    int fd = client_connect();

    (void)state;
    for (int i = 0; i < 2; i++)
        ask_deep_ones(fd);
    close(fd);
}

static int depth;

static void descend(void *arg)
{
    volatile char room[100000];

    room[0] = room[sizeof(room) - 1] = 1;
    if (++depth < 30)
        stack_run(arg, descend, arg);
    depth -= room[0] + room[sizeof(room) - 1] - 2;
}

/* More than a thread of civetweb's has, also from within, and again. */
static void has_room(void **state)
{
    struct stack *s = stack_new();

    (void)state;
    assert_non_null(s);
    for (int i = 0; i < 3; i++) {
        depth = 0;
        stack_run(s, descend, s);
        assert_int_equal(depth, 30);
    }
    stack_free(s);
    stack_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_deep_sql),
        cmocka_unit_test(has_room),
    };

    return cmocka_run_group_tests(tests, harness_start, harness_stop);
}
