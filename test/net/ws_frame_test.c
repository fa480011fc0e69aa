#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/status.h"
#include "base/text.h"
#include "net/ws.h"

#include <stdio.h>
#include <string.h>

static void check_header(uint64_t len, const char *expected)
{
    uint8_t out[WS_HEADER_MAX];
    char hex[2 * WS_HEADER_MAX + 1] = "";
    size_t n = ws_header(out, WS_TEXT, len), i;

    for (i = 0; i < n; i++)
        sprintf(hex + 2 * i, "%02x", out[i]);
    assert_string_equal(hex, expected);
}

static void test_header(void **state)
{
    (void)state;
    check_header(0, "8100");
    check_header(125, "817d");
    check_header(126, "817e007e");
    check_header(65535, "817effff");
    check_header(65536, "817f0000000000010000");
    check_header(0x123456789a, "817f000000123456789a");
}

static void test_client_header(void **state)
{
    static const uint8_t key[4] = {1, 2, 3, 4};
    uint8_t out[WS_HEADER_MAX];

    (void)state;
    assert_int_equal(ws_header_client(out, WS_BINARY, 5, key), 6);
    assert_memory_equal(out, "\x82\x85\x01\x02\x03\x04", 6);
    assert_int_equal(ws_header_client(out, WS_BINARY, 70000, key), 14);
}

static void test_mask(void **state)
{
    static const uint8_t key[4] = {0x11, 0x22, 0x33, 0x44};
    uint8_t data[64], expected[64];
    size_t len, offset, i;

    (void)state;
    for (len = 0; len <= 40; len++) {
        for (offset = 0; offset < 9; offset++) {
            for (i = 0; i < sizeof(data); i++) {
                data[i] = (uint8_t)(i * 7);
                expected[i] = data[i];
            }
            for (i = 0; i < len; i++)
                expected[3 + i] ^= key[(offset + i) % 4];
            ws_mask(data + 3, len, key, offset);
            assert_memory_equal(data, expected, sizeof(data));
        }
    }
}

static void test_close_payload(void **state)
{
    uint8_t out[125];
    char longest[200];
    size_t n;

    (void)state;
    assert_int_equal(ws_close_payload(out, 1000, NULL), 2);
    assert_memory_equal(out, "\x03\xe8", 2);
    assert_int_equal(ws_close_payload(out, 1013, "later"), 7);
    assert_memory_equal(out, "\x03\xf5later", 7);
    assert_int_equal(ws_close_payload(out, WS_CLOSE_NO_STATUS, "x"), 0);
    for (n = 0; n + 2 < sizeof(longest); n += 2)
        memcpy(longest + n, "\u03ba", 3);
    assert_int_equal(ws_close_payload(out, 1000, longest), 124); /* 123 would cut a letter */
    assert_true(utf8_valid(out + 2, 122));
}

static void test_accept(void **state)
{
    static const char *const bad[] = {"", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZQ== ", "dGhlIHNhbXBsZSBub25jZQA=", "dGhlIHNhbXBsZSBub2 jZQ==",
        "dGhlIHNhbXBsZSBub25jZTE2MzI==", "======================", "dGhlIHNhbXBsZSBub25jZQ==dGhl"};
    char out[WS_ACCEPT_LEN + 1];
    size_t i;

    (void)state;
    /* RFC 6455 section 1.3 */
    assert_int_equal(ws_accept(out, "dGhlIHNhbXBsZSBub25jZQ=="), 0);
    assert_string_equal(out, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    for (i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_int_equal(ws_accept(out, bad[i]), STATUS_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_client_header),
        cmocka_unit_test(test_mask),
        cmocka_unit_test(test_close_payload),
        cmocka_unit_test(test_accept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
