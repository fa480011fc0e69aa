#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/status.h"
#include "net/inflate.h"
#include "net/ws.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAX_MESSAGE 1000
#define INPUT_MAX 4096

/*
 * Tests are written as bytes in, events out. Bytes are hex, or 'text'; a mask key of zero keeps
 * them readable. Events are "text abc", "binary abc", "ping x", "pong x", "close 1000 why", and
 * "fail 1002" for what ws_feed asked for; each ends with a semicolon.
 */
static size_t parse(uint8_t *out, const char *s)
{
    size_t n = 0;

    while (*s) {
        unsigned byte;

        if (*s == '\'') {
            for (s++; *s != '\''; s++)
                out[n++] = (uint8_t)*s;
            s++;
        } else if (isxdigit((unsigned char)*s)) {
            assert_int_equal(sscanf(s, "%2x", &byte), 1);
            out[n++] = (uint8_t)byte;
            s += 2;
        } else {
            s++;
        }
        assert_true(n < INPUT_MAX);
    }
    return n;
}

static int log_data(struct buf *log, const char *name, const char *data, size_t len)
{
    buf_puts(log, name);
    buf_putc(log, ' ');
    buf_put(log, data, len);
    buf_putc(log, ';');
    return 0;
}

static int on_message(void *ctx, enum ws_opcode opcode, const char *data, size_t len)
{
    return log_data(ctx, opcode == WS_TEXT ? "text" : "binary", data, len);
}

static int on_ping(void *ctx, const char *data, size_t len)
{
    return log_data(ctx, "ping", data, len);
}

static int on_pong(void *ctx, const char *data, size_t len)
{
    return log_data(ctx, "pong", data, len);
}

static int on_close(void *ctx, int code, const char *reason, size_t len)
{
    buf_printf(ctx, "close %d", code);
    return log_data(ctx, "", reason, len);
}

static const struct ws_events events = {on_message, on_ping, on_pong, on_close};

/* Copies p so that it ends where the readable memory ends, and feeds it. */
static int feed_at_edge(struct ws_parser *p, struct buf *log, const uint8_t *data, size_t len)
{
    static uint8_t *edge;

    if (!edge) {
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        size_t room = (INPUT_MAX + page - 1) / page * page;
        uint8_t *map =
            mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        assert_ptr_not_equal(map, MAP_FAILED);
        assert_int_equal(mprotect(map + room, page, PROT_NONE), 0);
        edge = map + room;
    }
    memcpy(edge - len, data, len);
    return ws_feed(p, &events, log, edge - len, len);
}

static struct inflater *inflater; /* of the parsers: compressed messages are allowed */

/* Feeds data cut at the ascending places in cuts. The log is NUL-terminated text. */
static void run(struct buf *log, bool client, const uint8_t *data, size_t len, const size_t *cuts,
    size_t cut_count)
{
    struct ws_parser p;
    size_t at = 0, i;

    buf_init(log, 0);
    ws_parser_init(&p, client, MAX_MESSAGE);
    p.inflater = inflater;
    for (i = 0; i <= cut_count; i++) {
        size_t end = i < cut_count ? cuts[i] : len;
        int rc = feed_at_edge(&p, log, data + at, end - at);

        if (rc)
            buf_printf(log, "fail %d;", rc);
        at = end;
    }
    ws_parser_fini(&p);
    assert_non_null(buf_text(log));
}

static void same_as(struct buf *expected, struct buf *got)
{
    assert_int_equal(got->len, expected->len);
    assert_memory_equal(got->data, expected->data, got->len);
    buf_fini(got);
}

static void check_all_cuts(bool client, const uint8_t *data, size_t len, struct buf *whole)
{
    size_t every[INPUT_MAX], i;
    struct buf log;

    for (i = 0; i + 1 < len; i++)
        every[i] = i + 1;
    run(&log, client, data, len, every, len ? len - 1 : 0);
    same_as(whole, &log);
    for (i = 0; i <= len; i++) {
        run(&log, client, data, len, &i, 1);
        same_as(whole, &log);
    }
}

static void check_as(bool client, const char *input, const char *expected)
{
    uint8_t data[INPUT_MAX];
    size_t len = parse(data, input);
    struct buf whole;

    run(&whole, client, data, len, NULL, 0);
    assert_string_equal(buf_text(&whole), expected);
    check_all_cuts(client, data, len, &whole);
    buf_fini(&whole);
}

static void check(const char *input, const char *expected)
{
    check_as(false, input, expected);
}

static void test_messages(void **state)
{
    (void)state;
    check("81 85 37fa213d 7f9f4d5158", "text Hello;"); /* RFC 6455 section 5.7 */
    check("81 80 00000000", "text ;");
    check("82 80 00000000", "binary ;");
    check("82 83 00000000 01 ff 80", "binary \x01\xff\x80;");
    check("81 83 00000000 'abc' 82 83 00000000 'def'", "text abc;binary def;");
    check_as(true, "81 03 'abc' 89 00", "text abc;ping ;");
}

static void test_fragments(void **state)
{
    (void)state;
    check("01 81 00000000 'a' 80 81 00000000 'b'", "text ab;");
    check("01 80 00000000 00 80 00000000 80 80 00000000", "text ;");
    check("02 81 00000000 'a' 89 81 00000000 'p' 00 81 00000000 'b' 80 80 00000000",
        "ping p;binary ab;");
    check("01 81 00000000 'a' 88 82 00000000 03e8 80 81 00000000 'b'", "close 1000 ;");
    check("80 81 00000000 'a'", "fail 1002;");
    check("00 81 00000000 'a'", "fail 1002;");
    check("01 81 00000000 'a' 81 81 00000000 'b'", "fail 1002;");
    check("01 81 00000000 'a' 02 81 00000000 'b'", "fail 1002;");
    check("81 81 00000000 'a' 80 81 00000000 'b'", "text a;fail 1002;");
}

static void test_headers(void **state)
{
    static const char *const reserved[] = {
        "83", "84", "85", "86", "87", "8b", "8c", "8d", "8e", "8f"};
    char input[64];
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(reserved) / sizeof(*reserved); i++) {
        snprintf(input, sizeof(input), "%s 80 00000000", reserved[i]);
        check(input, "fail 1002;");
    }
    check("c1", "fail 1002;");
    check("a1", "fail 1002;");
    check("91", "fail 1002;");
    check("c9", "fail 1002;");
    check("81 03", "fail 1002;");          /* a client has to mask */
    check_as(true, "81 83", "fail 1002;"); /* and a server must not */
    check("81 ff 8000000000000000", "fail 1002;");
    check("81 ff ffffffffffffffff", "fail 1002;");
    check("81 ff 7fffffffffffffff", "fail 1009;");
    check("81 fe 0000", "fail 1002;"); /* a length in more bytes than it needs */
    check("81 fe 007d", "fail 1002;");
    check("82 ff 000000000000007e", "fail 1002;");
    check("81 ff 000000000000ffff", "fail 1002;");
    check_as(true, "81 7e 007d", "fail 1002;");
}

static void test_control(void **state)
{
    (void)state;
    check("89 80 00000000 8a 83 00000000 'abc'", "ping ;pong abc;");
    check("89 84 01020304 60606060", "ping abcd;");
    check("89 fe", "fail 1002;"); /* 126 bytes or more */
    check("8a ff", "fail 1002;");
    check("09 80", "fail 1002;"); /* fragmented */
    check("08 80", "fail 1002;");
    check("88 fe", "fail 1002;");
}

static void test_control_of_125_bytes(void **state)
{
    char input[300] = "89 fd 00000000 '", expected[200] = "ping ";

    (void)state;
    memset(input + strlen(input), 'x', 125);
    strcat(input, "'");
    memset(expected + strlen(expected), 'x', 125);
    strcat(expected, ";");
    check(input, expected);
}

static void test_close(void **state)
{
    char input[64], expected[64];
    int code;

    (void)state;
    check("88 80 00000000", "close 1005 ;");
    check("88 82 00000000 03e8", "close 1000 ;");
    check("88 85 00000000 03e9 'bye'", "close 1001 bye;");
    check("88 81", "fail 1002;");
    check("88 84 00000000 03e8 c328", "fail 1007;");
    check("88 84 00000000 03e8 e282", "fail 1007;");                  /* a character cut short */
    check("88 80 00000000 81 81 00000000 'a' ff ff", "close 1005 ;"); /* nothing counts after it */
    for (code = 0; code < 65536; code += code < 1020 || (code > 2990 && code < 5010) ? 1 : 97) {
        bool ok = (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
                  (code >= 3000 && code <= 4999);

        snprintf(input, sizeof(input), "88 82 00000000 %04x", (unsigned)code);
        snprintf(expected, sizeof(expected), ok ? "close %d ;" : "fail 1002;", code);
        check(input, expected);
    }
}

static void test_utf8(void **state)
{
    (void)state;
    check("81 8b 00000000 cebae1bdb9cf83cebcceb5", "text \u03ba\u1f79\u03c3\u03bc\u03b5;");
    check("81 84 00000000 f48fbfbf", "text \xf4\x8f\xbf\xbf;");
    /* cut inside a character, by a frame's end and by a ping */
    check("01 81 00000000 ce 89 80 00000000 80 81 00000000 ba", "ping ;text \u03ba;");
    check("01 81 00000000 ce 80 80 00000000", "fail 1007;");
    check("81 81 00000000 ce", "fail 1007;");
    check("81 83 00000000 eda080", "fail 1007;");   /* a surrogate */
    check("81 82 00000000 c080", "fail 1007;");     /* overlong */
    check("81 84 00000000 f4908080", "fail 1007;"); /* past U+10FFFF */
    check("01 82 00000000 'ok' 00 81 00000000 ff", "fail 1007;");
    /* as soon as it cannot become valid: the frame is far from complete */
    check("81 fe 0300 00000000 'abc' f490", "fail 1007;");
    check("82 82 00000000 c080 81 81 00000000 'a'", "binary \xc0\x80;text a;");
}

/* RFC 7692 section 7.2.3: "Hello" is f248cdc9c90700. */
static void test_compressed(void **state)
{
    (void)state;
    inflater = inflater_new();
    check("c1 87 00000000 f248cdc9c90700", "text Hello;");
    check("c2 87 00000000 f248cdc9c90700", "binary Hello;");
    check("81 81 00000000 'a' c1 87 00000000 f248cdc9c90700 81 81 00000000 'b'",
        "text a;text Hello;text b;");
    check("c1 87 00000000 f248cdc9c90700 c1 87 00000000 f248cdc9c90700", "text Hello;text Hello;");
    check("41 83 00000000 f248cd 80 84 00000000 c9c90700", "text Hello;");
    check("41 80 00000000 00 83 00000000 f248cd 00 84 00000000 c9c90700 80 80 00000000",
        "text Hello;");
    check("41 83 00000000 f248cd 89 81 00000000 'p' 80 84 00000000 c9c90700", "ping p;text Hello;");
    check("01 81 00000000 'a' 80 81 00000000 'b' 41 83 00000000 f248cd 80 84 00000000 c9c90700",
        "text ab;text Hello;");
    check("c1 81 00000000 00", "text ;");
    check("c1 80 00000000", "text ;");
    check("41 80 00000000 80 80 00000000", "text ;");
    /* RSV1 is for the first frame of a message, and the other two for nobody */
    check("41 83 00000000 f248cd c0", "fail 1002;");
    check("01 81 00000000 'a' c0", "fail 1002;");
    check("41 83 00000000 f248cd c9", "fail 1002;");
    check("c8", "fail 1002;");
    check("c9", "fail 1002;");
    check("ca", "fail 1002;");
    check("c3", "fail 1002;");
    check("c0", "fail 1002;");
    check("e1", "fail 1002;");
    check("d1", "fail 1002;");
    check("a1", "fail 1002;");
    /* broken, cut short, text that is not UTF-8: stored blocks of c3 and c3 a4 */
    check("c1 81 00000000 07", "fail 1007;");
    check("c1 84 00000000 f248cdc9", "fail 1007;");
    check("c1 87 00000000 000100feff c3 00", "fail 1007;");
    check("c2 87 00000000 000100feff c3 00", "binary \xc3;");
    check("c1 88 00000000 000200fdff c3a4 00", "text \u00e4;");
    check("41 86 00000000 000200fdff c3 80 82 00000000 a4 00", "text \u00e4;"); /* cut inside it */
    inflater_free(inflater);
    inflater = NULL;
}

/* 1,000 and 1,001 times "a". */
static void test_compressed_max_message(void **state)
{
    char expected[1100] = "text ";

    (void)state;
    memset(expected + 5, 'a', 1000);
    expected[1005] = ';';
    inflater = inflater_new();
    check("c1 8b 00000000 4a4c1c05a360140c770000", expected);
    check("c1 8b 00000000 4a4c1c05a360140c7b0000", "fail 1009;");
    check("41 85 00000000 4a4c1c05a3 80 86 00000000 60140c7b0000", "fail 1009;");
    /* What compressed is far more than could come out is refused by its header. */
    check("c2 fe 0800", "fail 1009;");
    check("42 81 00000000 00 00 fe 0800", "fail 1009;");
    check("c2 fe 0420 00000000 'abc'", "");
    inflater_free(inflater);
    inflater = NULL;
}

/* 300,000 zeros in 308 bytes, and again, and then text. */
static size_t parse_zeros(uint8_t data[INPUT_MAX])
{
    size_t n = 0;

    memset(data, 0, INPUT_MAX);
    for (int i = 0; i < 2; i++, n += 8 + 308) {
        parse(data + n, "c2 fe 0134 00000000 ecc1010d000000c2a0f74f6d0f0714");
        parse(data + n + 8 + 305, "fc1800");
    }
    return n + parse(data + n, "81 81 00000000 'a'");
}

static void test_pauses_after_much_inflated(void **state)
{
    uint8_t data[INPUT_MAX];
    size_t len = parse_zeros(data), at = 0;
    struct ws_parser p;
    struct buf log = {0};

    (void)state;
    inflater = inflater_new();
    ws_parser_init(&p, false, 1 << 20);
    p.inflater = inflater;
    for (int i = 1; i <= 2; i++) {
        p.inflated = 0;
        assert_int_equal(ws_feed(&p, &events, &log, data + at, len - at), 0);
        assert_int_equal(log.len, i * strlen("binary ;") + i * 300000);
        at = len - p.left;
        assert_int_equal(at, i * (8 + 308));
    }
    p.inflated = 0;
    assert_int_equal(ws_feed(&p, &events, &log, data + at, len - at), 0);
    assert_int_equal(p.left, 0);
    assert_memory_equal(log.data + log.len - 8, ";text a;", 8);
    ws_parser_fini(&p);
    buf_fini(&log);
    inflater_free(inflater);
    inflater = NULL;
}

static void test_max_message(void **state)
{
    (void)state;
    check("81 fe 03e9", "fail 1009;"); /* 1,001, before the mask */
    check("82 ff 0000000000010000", "fail 1009;");
    check("01 82 00000000 'ab' 00 fe 03e7", "fail 1009;"); /* 2 + 999 */
    check("01 82 00000000 'ab' 80 fe 03e7", "fail 1009;");
    check("01 82 00000000 'ab' 00 fe 03e6 00000000 'abc'", "");
}

/* No memory is taken for what is only announced, nor for a message that lies whole in the input. */
static void test_no_memory_for_promises(void **state)
{
    static const char *const inputs[] = {"81 ff 0000000040000000", "81 fe 03e8 00000000",
        "81 83 00000000 'abc' 89 81 00000000 'p' 88 82 00000000 03e8"};
    struct ws_parser p;
    uint8_t data[INPUT_MAX];
    struct buf log;
    size_t i;

    (void)state;
    for (i = 0; i < 3; i++) {
        buf_init(&log, 0);
        assert_non_null(buf_reserve(&log, 100));
        ws_parser_init(&p, false, MAX_MESSAGE);
        mem_fail_after(0);
        feed_at_edge(&p, &log, data, parse(data, inputs[i]));
        assert_false(mem_fail_hit());
        mem_fail_after(-1);
        ws_parser_fini(&p);
        buf_fini(&log);
    }
}

static void test_many_small_fragments(void **state)
{
    uint8_t first[] = {0x02, 0x80, 0, 0, 0, 0}, empty[] = {0x00, 0x80, 0, 0, 0, 0};
    uint8_t one[] = {0x00, 0x81, 0, 0, 0, 0, 'x'};
    struct ws_parser p;
    struct buf log;
    int i;

    (void)state;
    buf_init(&log, 0);
    ws_parser_init(&p, false, 1000000);
    assert_int_equal(ws_feed(&p, &events, &log, first, sizeof(first)), 0);
    for (i = 0; i < 1000000; i++)
        assert_int_equal(ws_feed(&p, &events, &log, empty, sizeof(empty)), 0);
    assert_int_equal(ws_held(&p), 0);
    for (i = 0; i < 100000; i++)
        assert_int_equal(ws_feed(&p, &events, &log, one, sizeof(one)), 0);
    assert_int_equal(p.message->len, 100000);
    assert_true(ws_held(&p) <= 200000);
    ws_parser_fini(&p);
    buf_fini(&log);
}

/* Where it is bounded, so many frames that bring nothing are taken, and the rest when told to. */
static void test_bounded(void **state)
{
    enum { FRAME = 6, PAIR = 1 + WS_IDLE_CONTROL, PAIRS = 2 * WS_IDLE_MAX / PAIR + 10 };
    static uint8_t data[PAIRS * 2 * FRAME + 7];
    struct ws_parser p;
    struct buf log;
    size_t left = sizeof(data);
    int rounds = 0;

    (void)state;
    buf_init(&log, 0);
    for (int i = 0; i < 2 * PAIRS; i++) { /* a message begins, pings and empty pieces of it */
        data[i * FRAME] = i == 0 ? 0x01 : i % 2 ? 0x89 : 0x00;
        data[i * FRAME + 1] = 0x80;
    }
    memcpy(data + sizeof(data) - 7, "\x80\x81\0\0\0\0x", 7);
    ws_parser_init(&p, false, 1000);
    p.bounded = true;
    for (; left; rounds++) {
        p.idle = 0;
        assert_int_equal(ws_feed(&p, &events, &log, data + sizeof(data) - left, left), 0);
        assert_true(p.left < left);
        if (p.left)
            assert_in_range(p.idle, WS_IDLE_MAX, WS_IDLE_MAX + WS_IDLE_CONTROL);
        left = p.left;
    }
    assert_int_equal(rounds, 3);
    assert_false(p.in_message);
    ws_parser_fini(&p);
    buf_fini(&log);
}

static int stop(void *ctx, enum ws_opcode opcode, const char *data, size_t len)
{
    on_message(ctx, opcode, data, len);
    return 1;
}

static void test_a_callback_may_stop(void **state)
{
    static const struct ws_events stopping = {stop, on_ping, on_pong, on_close};
    uint8_t data[INPUT_MAX];
    struct ws_parser p;
    struct buf log;
    size_t len = parse(data, "81 81 00000000 'a' 81 81 00000000 'b'");

    (void)state;
    buf_init(&log, 0);
    ws_parser_init(&p, false, MAX_MESSAGE);
    assert_int_equal(ws_feed(&p, &stopping, &log, data, len), -1);
    assert_int_equal(ws_feed(&p, &stopping, &log, data, len), 0);
    assert_string_equal(buf_text(&log), "text a;");
    ws_parser_fini(&p);
    buf_fini(&log);
}

/* Whatever fails, the events are those of the full run up to some point, and then 1011. */
static void test_memory_runs_out(void **state)
{
    static const char input[] = "01 82 00000000 'ab' 89 82 00000000 'pq' 80 83 00000000 'cde'"
                                "82 83 00000000 'xyz' 88 84 00000000 03e8 'ok'";
    static const char expected[] = "ping pq;text abcde;binary xyz;close 1000 ok;";
    uint8_t data[INPUT_MAX], byte;
    size_t len, i;
    long n;

    (void)state;
    for (n = 0; n < 100; n++) {
        struct ws_parser p;
        struct buf log;
        int rc = 0;

        buf_init(&log, 0);
        buf_reserve(&log, 1000);
        ws_parser_init(&p, false, MAX_MESSAGE);
        len = parse(data, input);
        mem_fail_after(n);
        for (i = 0; i < len && rc == 0; i++) {
            byte = data[i];
            rc = ws_feed(&p, &events, &log, &byte, 1);
        }
        ws_parser_fini(&p);
        if (!mem_fail_hit()) {
            mem_fail_after(-1);
            assert_string_equal(buf_text(&log), expected);
            buf_fini(&log);
            break;
        }
        mem_fail_after(-1);
        assert_int_equal(rc, WS_CLOSE_INTERNAL);
        assert_memory_equal(log.data, expected, log.len);
        buf_fini(&log);
    }
    assert_in_range(n, 2, 50);
}

static size_t put_frame(uint8_t *out, unsigned first, const uint8_t *payload, size_t len)
{
    uint8_t key[4] = {(uint8_t)rand(), (uint8_t)rand(), (uint8_t)rand(), (uint8_t)rand()};
    size_t n = ws_header_client(out, WS_TEXT, len, key);

    out[0] = (uint8_t)first;
    memcpy(out + n, payload, len);
    ws_mask(out + n, len, key, 0);
    return n + len;
}

/* Mostly well-formed frames, with text that is mostly UTF-8. */
static size_t random_stream(uint8_t *out)
{
    static const uint8_t firsts[] = {0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x80, 0x89, 0x8a, 0x88};
    static const char *const texts[] = {"", "a", "\u03ba\u1f79", "0123456789abcdef0123456789",
        "\U0001f600", "\xc3", "\xff", "\x03\xe8", "\x03\xe8why"};
    size_t n = 0, frames = 1 + (size_t)rand() % 6;

    while (frames--) {
        const char *t = texts[(size_t)rand() % (sizeof(texts) / sizeof(*texts))];
        unsigned first = firsts[(size_t)rand() % sizeof(firsts)];

        n += put_frame(out + n, first, (const uint8_t *)t, strlen(t));
    }
    if (rand() % 3 == 0)
        out[(size_t)rand() % n] ^= (uint8_t)(1 << rand() % 8);
    return n;
}

static void test_cuts_do_not_matter(void **state)
{
    uint8_t data[INPUT_MAX];
    size_t cuts[5], i;
    int round;

    (void)state;
    srand(6455);
    for (round = 0; round < 3000; round++) {
        size_t len = random_stream(data);
        struct buf whole, log;

        run(&whole, false, data, len, NULL, 0);
        for (i = 0; i < 5; i++)
            cuts[i] =
                (i ? cuts[i - 1] : 0) + (size_t)rand() % (1 + (len - (i ? cuts[i - 1] : 0)) / 2);
        run(&log, false, data, len, cuts, 5);
        same_as(&whole, &log);
        if (round % 10 == 0)
            check_all_cuts(false, data, len, &whole);
        buf_fini(&whole);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_fragments),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_control),
        cmocka_unit_test(test_control_of_125_bytes),
        cmocka_unit_test(test_close),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_compressed),
        cmocka_unit_test(test_compressed_max_message),
        cmocka_unit_test(test_pauses_after_much_inflated),
        cmocka_unit_test(test_max_message),
        cmocka_unit_test(test_no_memory_for_promises),
        cmocka_unit_test(test_many_small_fragments),
        cmocka_unit_test(test_bounded),
        cmocka_unit_test(test_a_callback_may_stop),
        cmocka_unit_test(test_memory_runs_out),
        cmocka_unit_test(test_cuts_do_not_matter),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
