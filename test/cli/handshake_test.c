#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/status.h"
#include "cli/handshake.h"

#include <stdio.h>
#include <string.h>

static void the_request_is_what_rfc_6455_wants(void **state)
{
    struct handshake h;
    struct buf out = {0};
    char key[64] = "";
    char expected[WS_ACCEPT_LEN + 1];
    const char *line;

    (void)state;
    handshake_init(&h);
    assert_int_equal(handshake_put_request(&h, "http://[::1]:80/prefix", "/ws", "secret", &out), 0);
    assert_non_null(buf_text(&out));
    assert_ptr_equal(strstr(out.data, "GET /prefix/ws HTTP/1.1\r\nHost: [::1]:80\r\n"), out.data);
    assert_non_null(strstr(out.data, "\r\nAuthorization: Bearer secret\r\n"));
    assert_non_null(strstr(out.data, "\r\nSec-WebSocket-Version: 13\r\n"));
    assert_string_equal(out.data + out.len - 4, "\r\n\r\n");
    line = strstr(out.data, "Sec-WebSocket-Key: ");
    assert_non_null(line);
    assert_int_equal(sscanf(line, "Sec-WebSocket-Key: %63s", key), 1);
    assert_int_equal(ws_accept(expected, key), 0);
    assert_string_equal(expected, h.accept);
    buf_fini(&out);
    handshake_fini(&h);
}

/* Feeds an answer with %s for the accept key, cut at every place; the outcome must not depend on
 * it. */
static void answers(const char *form, int expected, bool again_expected, const char *message)
{
    struct buf out = {0};
    struct handshake probe;
    char text[2048];
    int len;

    handshake_init(&probe);
    assert_int_equal(handshake_put_request(&probe, "http://a", "/ws", NULL, &out), 0);
    len = snprintf(text, sizeof(text), form, probe.accept);
    for (int cut = 0; cut <= len; cut++) {
        struct handshake h = probe;
        struct buf err = {0};
        bool again = true;

        buf_init(&h.head, 65536);
        assert_int_equal(handshake_feed(&h, text, (size_t)cut), 0);
        if (!handshake_done(&h))
            assert_int_equal(handshake_feed(&h, text + cut, (size_t)(len - cut)), 0);
        if (!handshake_done(&h))
            assert_int_equal(handshake_end(&h), 0);
        assert_true(handshake_done(&h));
        assert_int_equal(handshake_check(&h, "http://a", &again, &err), expected);
        if (expected < 0) {
            assert_int_equal(again, again_expected);
            assert_non_null(strstr(buf_text(&err), message));
        }
        buf_fini(&err);
        handshake_fini(&h);
    }
    handshake_fini(&probe);
    buf_fini(&out);
}

static void a_server_that_agrees(void **state)
{
    (void)state;
    answers("HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Accept:  %s \r\n\r\n",
        0, false, "");
}

static void frames_behind_the_answer_are_kept(void **state)
{
    static const char text[] = "HTTP/1.1 101 S\r\n\r\n\x81\x02hi";
    struct handshake h;

    (void)state;
    handshake_init(&h);
    assert_int_equal(handshake_feed(&h, text, sizeof(text) - 1), 0);
    assert_true(handshake_done(&h));
    assert_int_equal(h.rest.len, 4);
    assert_memory_equal(h.rest.data, "\x81\x02hi", 4);
    handshake_fini(&h);
}

static void servers_that_refuse(void **state)
{
    (void)state;
    answers("HTTP/1.1 101 S\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: no%.0s\r\n\r\n",
        STATUS_FORBIDDEN, false, "did not prove");
    answers("HTTP/1.1 403 F\r\nContent-Length: 50\r\n\r\n"
            "{\"error\":{\"code\":\"F\",\"message\":\"not from there\"}}  %.0s",
        STATUS_FORBIDDEN, false, "refused the connection: not from there");
    answers("HTTP/1.1 503 Full%.0s\r\nContent-Length: 0\r\n\r\n", STATUS_FORBIDDEN, true, "503");
    answers("HTTP/1.1 429 Slow\r\n\r\nuntil the end%.0s", STATUS_FORBIDDEN, true, "429");
    answers("HTTP/1.1 401 U%.0s\r\nContent-Length: 0\r\n\r\n", STATUS_FORBIDDEN, false, "--token");
}

static void what_is_not_http(void **state)
{
    static const char *const texts[] = {
        "SSH-2.0-OpenSSH_9.2\r\n\r\n", "HTTP/1.1\r\n\r\n", "HTTP/1.1 abc def\r\n\r\n", "\r\n\r\n"};
    struct handshake h;
    char noise[4096];

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        handshake_init(&h);
        assert_int_equal(handshake_feed(&h, texts[i], strlen(texts[i])), STATUS_INVALID);
        handshake_fini(&h);
    }
    handshake_init(&h);
    memset(noise, 'x', sizeof(noise));
    for (int i = 0; i < 16; i++)
        assert_int_equal(handshake_feed(&h, noise, sizeof(noise)), 0);
    assert_int_equal(handshake_feed(&h, noise, 1), STATUS_INVALID);
    assert_int_equal(handshake_end(&h), STATUS_CLOSED);
    handshake_fini(&h);
}

static void missing_memory_is_reported(void **state)
{
    static const char text[] = "HTTP/1.1 101 S\r\n\r\nabc";
    int hit = 1;

    (void)state;
    for (long n = 0; hit; n++) {
        struct handshake h;
        struct buf out = {0};
        int status;

        mem_fail_after(n);
        handshake_init(&h);
        status = handshake_put_request(&h, "http://a", "/ws", NULL, &out);
        if (status == 0)
            status = handshake_feed(&h, text, sizeof(text) - 1);
        hit = mem_fail_hit();
        mem_fail_after(-1);
        assert_int_equal(status, hit ? STATUS_NOMEM : 0);
        buf_fini(&out);
        handshake_fini(&h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_request_is_what_rfc_6455_wants),
        cmocka_unit_test(a_server_that_agrees),
        cmocka_unit_test(frames_behind_the_answer_are_kept),
        cmocka_unit_test(servers_that_refuse),
        cmocka_unit_test(what_is_not_http),
        cmocka_unit_test(missing_memory_is_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
