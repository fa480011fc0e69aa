#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "access/address.h"

#include <cmocka.h>
#include <string.h>

static struct address parsed(const char *s)
{
    struct address a;

    if (address_parse(&a, s, strlen(s)) < 0)
        fail_msg("%s is no address", s);
    return a;
}

static void reads_addresses(void **state)
{
    static const struct {
        const char *in, *out; /* NULL: refused */
        bool v4, loopback;
    } cases[] = {
        {"1.2.3.4", "1.2.3.4", true, false},
        {"127.0.0.1", "127.0.0.1", true, true},
        {"127.255.3.9", "127.255.3.9", true, true},
        {"128.0.0.1", "128.0.0.1", true, false},
        {"::1", "::1", false, true},
        {"::2", "::2", false, false},
        {"::", "::", false, false},
        {"::ffff:127.0.0.1", "127.0.0.1", true, true},
        {"::ffff:1.2.3.4", "1.2.3.4", true, false},
        {"::127.0.0.1", "::127.0.0.1", false, false},
        {"2001:DB8:0::1", "2001:db8::1", false, false},
        {"", NULL, false, false},
        {"1.2.3", NULL, false, false},
        {"1.2.3.4.5", NULL, false, false},
        {"1.2.3.256", NULL, false, false},
        {"01.2.3.4", NULL, false, false},
        {"0x7f.0.0.1", NULL, false, false},
        {"2130706433", NULL, false, false},
        {" 1.2.3.4", NULL, false, false},
        {"1.2.3.4 ", NULL, false, false},
        {"[::1]", NULL, false, false},
        {"fe80::1%eth0", NULL, false, false},
        {"1:2:3:4:5:6:7:8:9", NULL, false, false},
        {":::", NULL, false, false},
        {"localhost", NULL, false, false},
        {"1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111", NULL, false, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct address a;
        char text[ADDRESS_TEXT_MAX];
        int rc = address_parse(&a, cases[i].in, strlen(cases[i].in));

        if ((rc == 0) != (cases[i].out != NULL))
            fail_msg("\"%s\" gave %d", cases[i].in, rc);
        if (rc < 0)
            continue;
        address_format(text, &a);
        assert_string_equal(text, cases[i].out);
        assert_int_equal(address_is_v4(&a), cases[i].v4);
        assert_int_equal(address_is_loopback(&a), cases[i].loopback);
    }
}

static void knows_networks(void **state)
{
    static const struct {
        const char *network, *in, *out; /* NULL in: refused */
    } cases[] = {
        {"10.0.0.0/8", "10.255.255.255", "11.0.0.0"},
        {"10.1.2.3", "10.1.2.3", "10.1.2.2"},
        {"10.1.2.3/32", "10.1.2.3", "10.1.2.4"},
        {"192.168.4.0/22", "192.168.7.255", "192.168.8.0"},
        {"192.168.4.128/25", "192.168.4.129", "192.168.4.127"},
        {"0.0.0.0/0", "255.1.2.3", "::1"},
        {"::/0", "1.2.3.4", NULL},
        {"fd00::/8", "fdff::1", "fe00::"},
        {"2001:db8::/33", "2001:db8:7fff::", "2001:db8:8000::"},
        {"::1", "::1", "::2"},
        {"::1", "::1", "127.0.0.1"},
        {"::ffff:10.0.0.0/104", "10.9.9.9", "11.9.9.9"},
        {"::ffff:10.0.0.1", "10.0.0.1", "10.0.0.2"},
        {"", NULL, NULL},
        {"/8", NULL, NULL},
        {"10.0.0.0/", NULL, NULL},
        {"10.0.0.0/33", NULL, NULL},
        {"10.0.0.0/-1", NULL, NULL},
        {"10.0.0.0/+8", NULL, NULL},
        {"10.0.0.0/8 ", NULL, NULL},
        {"10.0.0.0/8/8", NULL, NULL},
        {"10.0.0.0/255.0.0.0", NULL, NULL},
        {"10.0.0.1/8", NULL, NULL}, /* which of the two was meant? */
        {"10.0.0.0/0008", NULL, NULL},
        {"::1/129", NULL, NULL},
        {"::1/64", NULL, NULL},
        {"example.com", NULL, NULL},
        {"*", NULL, NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct network n;
        struct address a;
        int rc = network_parse(&n, cases[i].network);

        if ((rc == 0) != (cases[i].in != NULL))
            fail_msg("\"%s\" gave %d", cases[i].network, rc);
        if (rc < 0)
            continue;
        a = parsed(cases[i].in);
        if (!network_has(&n, &a))
            fail_msg("%s is not in %s", cases[i].in, cases[i].network);
        if (!cases[i].out)
            continue;
        a = parsed(cases[i].out);
        if (network_has(&n, &a))
            fail_msg("%s is in %s", cases[i].out, cases[i].network);
    }
}

/* The last of the list first; a full stop where it ends for good. */
static void walks_through_forwarded_addresses(void **state)
{
    static const struct {
        const char *list, *steps;
    } cases[] = {
        {"1.2.3.4", "1.2.3.4 ."},
        {"1.2.3.4, 5.6.7.8", "5.6.7.8 1.2.3.4 ."},
        {"1.2.3.4,5.6.7.8,::1", "::1 5.6.7.8 1.2.3.4 ."},
        {" 1.2.3.4 ,\t5.6.7.8 \t", "5.6.7.8 1.2.3.4 ."},
        {"1.2.3.4:80, [2001:db8::1]:443", "2001:db8::1 1.2.3.4 ."},
        {"[::1], ::2", "::2 ::1 ."},
        {"", "."},
        {",", "."},
        {"1.2.3.4,", "."},
        {"1.2.3.4,,5.6.7.8", "5.6.7.8 ."},
        {"unknown, 5.6.7.8", "5.6.7.8 ."},
        {"1.2.3.4, _hidden", "."},
        {"1.2.3.4 5.6.7.8", "."},
        {"[1.2.3.4]", "."},
        {"[::1", "."},
        {"[::1]x", "."},
        {"1.2.3.4:5:6", "."},
        {"example.com", "."},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        size_t len = strlen(cases[i].list);
        char got[256] = "", text[ADDRESS_TEXT_MAX];
        struct address a;

        while (address_last_forwarded(&a, cases[i].list, &len)) {
            address_format(text, &a);
            strcat(strcat(got, text), " ");
        }
        strcat(got, ".");
        if (strcmp(got, cases[i].steps) != 0)
            fail_msg("\"%s\" gave %s", cases[i].list, got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_addresses),
        cmocka_unit_test(knows_networks),
        cmocka_unit_test(walks_through_forwarded_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
