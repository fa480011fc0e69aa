#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

static const char hello[] = "\xf2\x48\xcd\xc9\xc9\x07\x00";

static struct server server;

static void start(size_t min_size, int window_bits)
{
    const struct loop_options o = {.compress = true, .compress_min = min_size};

    server_start(&server, &o);
    atomic_store(&server.window_bits, window_bits);
}

static size_t deflated(uint8_t *out, size_t room, const void *data, size_t len)
{
    z_stream z = {0};

    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)data;
    z.avail_in = (uInt)len;
    z.next_out = out;
    z.avail_out = (uInt)room;
    assert_int_equal(deflate(&z, Z_SYNC_FLUSH), Z_OK);
    assert_true(z.avail_out > 0);
    len = room - z.avail_out - 4;
    deflateEnd(&z);
    return len;
}

static struct loop_stats stats(void)
{
    struct loop_stats s;

    loop_stats(server.loop, &s);
    return s;
}

static void expect_end(struct peer *p, const char *close)
{
    const char *got = peer_next(p);

    if (strncmp(got, close, strlen(close)) != 0)
        fail_msg("%s instead of %s", got, close);
    peer_expect(p, "end");
    peer_free(p);
}

static void compresses_what_is_long(void **state)
{
    char text[1001] = "", expected[1100];
    struct peer *p;

    (void)state;
    start(1000, 15);
    memset(text, 'x', 1000);
    snprintf(expected, sizeof(expected), "deflated %s", text);
    p = peer_new(&server);
    peer_send(p, 0xc1, hello, 7);
    peer_expect(p, "text Hello");
    peer_text(p, text); /* that the peer may compress does not mean that it has to */
    peer_expect(p, expected);
    text[999] = '\0';
    snprintf(expected, sizeof(expected), "text %s", text);
    peer_text(p, text);
    peer_expect(p, expected);
    assert_int_equal(stats().deflating, 1);
    assert_int_equal(stats().deflated_messages, 1);
    assert_int_equal(stats().deflated_before, 1000);
    assert_in_range(stats().deflated_after, 5, 30);
    assert_int_equal(stats().inflated_messages, 1);
    assert_int_equal(stats().inflated_before, 7);
    assert_int_equal(stats().inflated_after, 5);
    peer_free(p);
    server_stop(&server);
}

static void takes_fragments(void **state)
{
    struct peer *p;

    (void)state;
    start(1000, 9);
    p = peer_new(&server);
    peer_send(p, 0x41, hello, 3);
    peer_send(p, 0x89, "here?", 5);
    peer_expect(p, "pong here?");
    peer_send(p, 0x00, NULL, 0);
    peer_send(p, 0x00, &hello[3], 1);
    peer_send(p, 0x80, &hello[4], 3);
    peer_expect(p, "text Hello");
    peer_send(p, 0x01, "pl", 2);
    peer_send(p, 0x80, "ain", 3);
    peer_expect(p, "text plain");
    peer_free(p);
    server_stop(&server);
}

/* One compression for all, and what is private in front of it. */
static void shares_bodies(void **state)
{
    struct peer *p;
    char expected[600];

    (void)state;
    start(100, 15);
    p = peer_new(&server);
    peer_text(p, "flood 500 500");
    for (int i = 0; i < 500; i++) {
        int n = snprintf(expected, sizeof(expected), "deflated %d:", i);

        memset(expected + n, 'b', 500);
        expected[n + 500] = '\0';
        peer_expect(p, expected);
    }
    assert_int_equal(stats().deflated_messages, 500);
    assert_int_equal(stats().deflated_bodies, 1);
    assert_int_equal(stats().deflated_before, 500 * 500 + 10 * 2 + 90 * 3 + 400 * 4);
    assert_true(stats().bytes_out < 500 * 40);
    peer_free(p);
    server_stop(&server);
}

static void keeps_to_the_agreement(void **state)
{
    static const unsigned first_bytes[] = {
        0xa1, 0x91, 0xd1, 0xe1, 0xf1, 0xc0, 0xc3, 0xc8, 0xc9, 0xca};

    (void)state;
    start(100, 15);
    for (size_t i = 0; i < sizeof(first_bytes) / sizeof(*first_bytes); i++) {
        struct peer *p = peer_new(&server);

        peer_send(p, first_bytes[i], hello, 7);
        expect_end(p, "close 1002");
    }
    struct peer *p = peer_new(&server);
    peer_send(p, 0x41, hello, 3);
    peer_send(p, 0xc0, &hello[3], 4);
    expect_end(p, "close 1002");
    atomic_store(&server.window_bits, 0); /* nothing was negotiated */
    p = peer_new(&server);
    peer_text(p, "flood 1 1000");
    assert_memory_equal(peer_next(p), "text 0:bbb", 10);
    peer_send(p, 0xc1, hello, 7);
    expect_end(p, "close 1002");
    assert_int_equal(stats().deflating, 0);
    server_stop(&server);
}

static void refuses_bombs(void **state)
{
    size_t size = (1 << 20) + 1;
    uint8_t *bomb = calloc(1, size), z[5000];
    size_t len = deflated(z, sizeof(z), bomb, size);
    char why[] = "close 1009 message larger than 1048576 bytes";

    (void)state;
    start(100, 15);
    struct peer *p = peer_new(&server);
    peer_send(p, 0xc2, z, len);
    expect_end(p, why);
    p = peer_new(&server);
    peer_send(p, 0x42, z, len / 2);
    peer_send(p, 0x00, NULL, 0);
    peer_send(p, 0x80, z + len / 2, len - len / 2);
    expect_end(p, why);
    /* More compressed than it may be in the end: its header is enough. */
    p = peer_new(&server);
    peer_raw(p, "\xc2\xff\0\0\0\0\0\x20\0\0", 10);
    expect_end(p, why);
    free(bomb);
    server_stop(&server);
}

static void refuses_what_is_broken(void **state)
{
    static const struct {
        const char *data;
        size_t len;
    } broken[] = {
        {"\x07", 1}, {hello, 5},                     /* cut short */
        {"\x00\x01\x00\xfe\xff\xc3\x00", 7},         /* not UTF-8 */
        {"\x00\x03\x00\xfc\xff\xed\xa0\x80\x00", 9}, /* a surrogate */
    };

    (void)state;
    start(100, 15);
    for (size_t i = 0; i < sizeof(broken) / sizeof(*broken); i++) {
        struct peer *p = peer_new(&server);

        peer_send(p, 0xc1, broken[i].data, broken[i].len);
        expect_end(p, "close 1007");
    }
    server_stop(&server);
}

/* Messages that grow from 1 KB to 1 MB do not keep the others waiting, and none gets lost. */
static void pauses_after_large_ones(void **state)
{
    size_t size = 1 << 20, at = 0, len;
    char *text = malloc(size);
    uint8_t z[2000], *many = malloc(80000);
    static const uint8_t key[4] = {0};
    struct peer *a, *b;

    (void)state;
    assert_non_null(text);
    assert_non_null(many);
    memset(text, ' ', size);
    memcpy(text, "expect 0", 8);
    len = deflated(z, sizeof(z), text, size);
    for (int i = 0; i < 50; i++) {
        size_t n = ws_header_client(many + at, WS_TEXT, len, key);

        many[at] = 0xc1;
        memcpy(many + at + n, z, len);
        at += n + len;
    }
    start(100, 15);
    a = peer_new(&server);
    b = peer_new(&server);
    peer_raw(a, many, at); /* the loop reads it at once */
    peer_text(a, "last");
    server_wait(&server.messages, 1);
    peer_text(b, "hello");
    peer_expect(b, "text hello");
    assert_true(atomic_load(&server.messages) < 40);
    peer_expect(a, "text last");
    assert_int_equal(atomic_load(&server.messages), 52);
    peer_send(a, 0x88, "\x03\xe8", 2);
    peer_raw(b, many, at);
    peer_free(b); /* goes in the middle */
    expect_end(a, "close 1000");
    free(text);
    free(many);
    server_stop(&server);
}

/* Half messages of many connections, in turn, through the one inflater. */
static void keeps_connections_apart(void **state)
{
    struct peer *p[20];
    uint8_t z[20][400];
    size_t len[20];
    char text[600], expected[620];

    (void)state;
    start(1, 15);
    for (int i = 0; i < 20; i++) {
        snprintf(text, sizeof(text), "connection %d says %0400d", i, i);
        len[i] = deflated(z[i], sizeof(z[i]), text, strlen(text));
        p[i] = peer_new(&server);
        peer_send(p[i], 0x41, z[i], (size_t)i);
    }
    for (int i = 19; i >= 0; i--)
        peer_send(p[i], 0x80, z[i] + i, len[i] - (size_t)i);
    for (int i = 0; i < 20; i++) {
        snprintf(expected, sizeof(expected), "deflated connection %d says %0400d", i, i);
        peer_expect(p[i], expected);
        peer_free(p[i]);
    }
    server_stop(&server);
}

/* What waits for a slow reader is what it will be sent, so a bound is not reached the sooner. */
static void counts_what_is_on_the_wire(void **state)
{
    const struct loop_options o = {.compress = true, .compress_min = 1, .max_queue = 20000};
    struct peer *p;

    (void)state;
    server_start(&server, &o);
    atomic_store(&server.window_bits, 15);
    p = peer_new(&server);
    peer_text(p, "flood 10 40000");
    for (int i = 0; i < 10; i++)
        assert_memory_equal(peer_next(p), "deflated ", 9);
    peer_text(p, "hello");
    peer_expect(p, "text hello");
    assert_int_equal(stats().slow_closed, 0);
    peer_free(p);
    server_stop(&server);
}

/* Whatever fails, the client gets its messages, compressed or not, or a close. */
static void survives_failing_allocations(void **state)
{
    int hit = 1, n;
    char text[2000];
    uint8_t z[2000];
    size_t len;

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    len = deflated(z, sizeof(z), text, sizeof(text) - 1);
    for (n = 0; n < 90 && hit; n++) {
        const char *got;
        struct peer *p;

        start(100, 15);
        mem_fail_after(n);
        p = peer_new(&server);
        peer_send(p, 0xc1, z, len);
        got = peer_next(p);
        if (strncmp(got, "text ", 5) == 0 || strncmp(got, "deflated ", 9) == 0) {
            assert_string_equal(strchr(got, ' ') + 1, text);
            peer_text(p, "flood 2 5000");
            got = peer_next(p);
            if (strchr(got, ':'))
                got = peer_next(p);
        }
        hit = mem_fail_hit();
        mem_fail_after(-1);
        if (!hit)
            assert_memory_equal(got, "deflated 1:bb", 13);
        peer_free(p);
        server_stop(&server);
    }
    assert_in_range(n, 8, 89);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compresses_what_is_long),
        cmocka_unit_test(takes_fragments),
        cmocka_unit_test(shares_bodies),
        cmocka_unit_test(keeps_to_the_agreement),
        cmocka_unit_test(refuses_bombs),
        cmocka_unit_test(refuses_what_is_broken),
        cmocka_unit_test(pauses_after_large_ones),
        cmocka_unit_test(keeps_connections_apart),
        cmocka_unit_test(counts_what_is_on_the_wire),
        cmocka_unit_test(survives_failing_allocations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
