#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "http/listen.h"

#include <cmocka.h>

static void reads_addresses(void **state)
{
    static const struct {
        const char *in, *out; /* NULL: refused */
        bool loopback, any;
    } cases[] = {
        {"127.0.0.1:8080", "127.0.0.1:8080", true, false},
        {"127.9.9.9:1", "127.9.9.9:1", true, false},
        {"localhost:0", "127.0.0.1:0", true, false},
        {"LocalHost:80", "127.0.0.1:80", true, false},
        {"8080", "127.0.0.1:8080", true, false},
        {"[::1]:8080", "[::1]:8080", true, false},
        {"[::]:65535", "[::]:65535", false, true},
        {"0.0.0.0:80", "0.0.0.0:80", false, true},
        {"*:80", "0.0.0.0:80", false, true},
        {"192.168.1.5:80", "192.168.1.5:80", false, false},
        {"", NULL, false, false},
        {":8080", NULL, false, false},
        {"127.0.0.1", NULL, false, false},
        {"127.0.0.1:", NULL, false, false},
        {"127.0.0.1:65536", NULL, false, false},
        {"127.0.0.1:-1", NULL, false, false},
        {"127.0.0.1:80 ", NULL, false, false},
        {"127.0.0.1:8x", NULL, false, false},
        {"127.0.0.256:80", NULL, false, false},
        {"1.2.3:80", NULL, false, false},
        {"::1:80", NULL, false, false},
        {"[::1]", NULL, false, false},
        {"[::1]80", NULL, false, false},
        {"[::1:80", NULL, false, false},
        {"[]:80", NULL, false, false},
        {"[localhost]:80", NULL, false, false},
        {"example.com:80", NULL, false, false},
        {"99999999999999999999", NULL, false, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct listen_address a;
        char text[LISTEN_TEXT_MAX];
        int rc = listen_parse(&a, cases[i].in);

        if ((rc == 0) != (cases[i].out != NULL))
            fail_msg("%s gave %d", cases[i].in, rc);
        if (rc < 0)
            continue;
        listen_format(text, &a);
        assert_string_equal(text, cases[i].out);
        assert_int_equal(listen_is_loopback(&a), cases[i].loopback);
        assert_int_equal(listen_is_any(&a), cases[i].any);
    }
}

static void knows_origins(void **state)
{
    static const struct {
        const char *origin;
        bool valid;
    } cases[] = {
        {"http://localhost:3000", true},
        {"https://app.example.com", true},
        {"HTTPS://app.example.com:8443", true},
        {"http://[::1]:3000", true},
        {"http://", false},
        {"localhost:3000", false},
        {"ftp://x", false},
        {"http://x/", false},
        {"http://x:", false},
        {"http://x:0", false},
        {"http://x:y", false},
        {"http://a@b", false},
        {"http://a b", false},
        {"http://a,b", false},
        {"*", false},
        {"null", false},
        {"", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        if (listen_origin_valid(cases[i].origin) != cases[i].valid)
            fail_msg("%s", cases[i].origin);
}

static void answers_to_its_names(void **state)
{
    struct listen_address addresses[2];
    const char *const origins[] = {"https://app.example.com:8443"};
    struct listen_names local = {.addresses = addresses, .address_count = 1};
    struct listen_names lan = {addresses, 2, origins, 1};
    static const struct {
        const char *host;
        bool local, lan;
    } cases[] = {
        {"localhost", true, true},
        {"LOCALHOST:8080", true, true},
        {"127.0.0.1:8080", true, true},
        {"127.0.0.1:1", true, true}, /* a forwarded port */
        {"[::1]:8080", true, true},
        {"192.168.1.5:80", false, true},
        {"192.168.1.6:80", false, false},
        {"app.example.com", false, true},
        {"APP.example.com:9", false, true},
        {"example.com", false, false},
        {"evil.app.example.com", false, false},
        {"localhost.evil.com", false, false},
        {"127.0.0.1.evil.com", false, false},
        {"[localhost]", false, false},
        {"localhost:", true, true},
        {"localhost:x", false, false},
        {"localhost:80:80", false, false},
        {"[::1", false, false},
        {"[::1]x", false, false},
        {"", false, false},
        {":80", false, false},
    };

    (void)state;
    assert_int_equal(listen_parse(&addresses[0], "127.0.0.1:8080"), 0);
    assert_int_equal(listen_parse(&addresses[1], "192.168.1.5:80"), 0);
    assert_false(listen_host_allowed(&local, NULL));
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        if (listen_host_allowed(&local, cases[i].host) != cases[i].local)
            fail_msg("local: %s", cases[i].host);
        if (listen_host_allowed(&lan, cases[i].host) != cases[i].lan)
            fail_msg("lan: %s", cases[i].host);
    }
    assert_int_equal(listen_parse(&addresses[0], "0.0.0.0:80"), 0);
    assert_true(listen_host_allowed(&local, "10.1.2.3"));
    assert_false(listen_host_allowed(&local, "[fe80::1]"));
    assert_false(listen_host_allowed(&local, "box.lan"));
}

static void compares_origins(void **state)
{
    const char *const origins[] = {"https://app.example.com", "http://localhost:3000"};
    struct listen_names names = {.origins = origins, .origin_count = 2};

    (void)state;
    assert_true(listen_origin_same("http://localhost:8080", "localhost:8080"));
    assert_true(listen_origin_same("http://LOCALHOST", "localhost:80"));
    assert_true(listen_origin_same("https://x", "x:443"));
    assert_true(listen_origin_same("http://[::1]:8080", "[::1]:8080"));
    assert_false(listen_origin_same("http://localhost:8081", "localhost:8080"));
    assert_false(listen_origin_same("http://localhost", "127.0.0.1"));
    assert_false(listen_origin_same("null", "localhost"));
    assert_false(listen_origin_same("", ""));
    assert_false(listen_origin_same("http://x", NULL));
    assert_true(listen_origin_listed(&names, "https://app.example.com"));
    assert_true(listen_origin_listed(&names, "https://APP.example.com:443"));
    assert_true(listen_origin_listed(&names, "http://localhost:3000"));
    assert_false(listen_origin_listed(&names, "http://app.example.com"));
    assert_false(listen_origin_listed(&names, "https://app.example.com.evil.com"));
    assert_false(listen_origin_listed(&names, "https://localhost:3000"));
    assert_false(listen_origin_listed(&names, "null"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_addresses),
        cmocka_unit_test(knows_origins),
        cmocka_unit_test(answers_to_its_names),
        cmocka_unit_test(compares_origins),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
