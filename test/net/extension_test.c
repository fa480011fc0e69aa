#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/status.h"
#include "net/extension.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PD "permessage-deflate"
#define NONE ""
#define YES(more)                                                                                  \
    "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; "                   \
    "client_no_context_takeover" more "\r\n"
#define PLAIN YES("")
#define BITS(n) YES("; server_max_window_bits=" #n)
#define BAD NULL /* malformed: the handshake fails */

struct row {
    const char *value, *answer;
};

/* At the end of readable memory, so that a step too far is seen. */
static int read_at_edge(struct extension_choice *c, const char *value)
{
    static char *edge;
    size_t len = strlen(value) + 1;

    if (!edge) {
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        char *map =
            mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        assert_ptr_not_equal(map, MAP_FAILED);
        assert_int_equal(mprotect(map + page, page, PROT_NONE), 0);
        edge = map + page;
    }
    memcpy(edge - len, value, len);
    return extension_read(c, edge - len);
}

static void check(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct extension_choice c = {0};
        char answer[EXTENSION_ANSWER_MAX];
        int rc = read_at_edge(&c, rows[i].value);
        size_t len;

        if (rc != (rows[i].answer ? 0 : STATUS_INVALID))
            fail_msg("\"%s\" gives %d", rows[i].value, rc);
        if (!rows[i].answer)
            continue;
        len = extension_answer(&c, answer);
        assert_int_equal(len, strlen(answer));
        if (strcmp(answer, rows[i].answer) != 0)
            fail_msg("\"%s\" is answered with \"%s\"", rows[i].value, answer);
    }
}
#define CHECK(rows) check(rows, sizeof(rows) / sizeof(*(rows)))

static void takes_what_clients_offer(void **state)
{
    static const struct row rows[] = {
        {PD, PLAIN},
        {PD "; client_max_window_bits", PLAIN}, /* Chromium, Firefox, npm ws, websockets */
        {"permessage-deflate;client_max_window_bits", PLAIN},
        {PD "; server_no_context_takeover; client_no_context_takeover", PLAIN},
        {PD "; client_max_window_bits; server_max_window_bits=15", BITS(15)},
        {PD "; client_max_window_bits=8", PLAIN},
        {PD "; server_max_window_bits=8", BITS(8)},
        {PD "; server_max_window_bits=9", BITS(9)},
        {PD "; server_max_window_bits=10; client_max_window_bits=10", BITS(10)},
        {PD "; server_max_window_bits=\"12\"", BITS(12)},
        {PD "; server_max_window_bits=\"1\\2\"", BITS(12)},
        {PD " ;\tserver_max_window_bits = 11 ", BITS(11)},
        {"x-webkit-deflate-frame, " PD, PLAIN},
        {"foo; a; b=c; d=\"e\"," PD, PLAIN},
        {"foo; a; a; a=1," PD, PLAIN}, /* what it means is foo's business */
        {"mux; max-channels=4; flow-control, deflate-stream", NONE},
        {"permessage-deflate2", NONE},
        {"permessage", NONE},
        {"Permessage-Deflate", NONE},
    };

    (void)state;
    CHECK(rows);
}

static void declines_what_it_cannot_meet(void **state)
{
    static const struct row rows[] = {
        {PD "; foo", NONE},
        {PD "; foo=1; server_no_context_takeover", NONE},
        {PD "; Server_no_context_takeover", NONE},
        {PD "; server_no_context_takeover=1", NONE},
        {PD "; server_no_context_takeover=\"true\"", NONE},
        {PD "; client_no_context_takeover=0", NONE},
        {PD "; server_max_window_bits", NONE},
        {PD "; server_max_window_bits=7", NONE},
        {PD "; server_max_window_bits=16", NONE},
        {PD "; server_max_window_bits=0", NONE},
        {PD "; server_max_window_bits=08", NONE},
        {PD "; server_max_window_bits=+9", NONE},
        {PD "; server_max_window_bits=9.0", NONE},
        {PD "; server_max_window_bits=015", NONE},
        {PD "; server_max_window_bits=115", NONE},
        {PD "; server_max_window_bits=18446744073709551625", NONE},
        {PD "; server_max_window_bits="
            "1111111111111111111111111111111111111111111111111111111111111111111111111115",
            NONE},
        {PD "; client_max_window_bits=7", NONE},
        {PD "; client_max_window_bits=16", NONE},
        {PD "; client_max_window_bits=x", NONE},
        {PD "; server_no_context_takeover; server_no_context_takeover", NONE},
        {PD "; client_no_context_takeover; foo; client_no_context_takeover", NONE},
        {PD "; server_max_window_bits=9; server_max_window_bits=9", NONE},
        {PD "; client_max_window_bits; client_max_window_bits=9", NONE},
    };

    (void)state;
    CHECK(rows);
}

static void takes_the_first_it_can_meet(void **state)
{
    static const struct row rows[] = {
        {PD "; server_max_window_bits=9, " PD, BITS(9)},
        {PD ", " PD "; server_max_window_bits=9", PLAIN},
        {PD "; server_max_window_bits=16, " PD "; server_max_window_bits=10, " PD, BITS(10)},
        {PD "; foo, " PD "; bar, " PD "; client_max_window_bits", PLAIN},
        {PD "; foo, " PD "; server_max_window_bits=7", NONE},
        {PD "; server_max_window_bits=9; foo, " PD, PLAIN}, /* nothing of the first one stays */
        {", ," PD ",,", PLAIN},                             /* RFC 2616 section 2.1 */
    };
    struct extension_choice c = {0};
    char answer[EXTENSION_ANSWER_MAX];

    (void)state;
    CHECK(rows);
    assert_int_equal(extension_read(&c, "foo"), 0);
    assert_int_equal(extension_read(&c, PD "; server_max_window_bits=1"), 0);
    assert_int_equal(c.window_bits, 0);
    assert_int_equal(extension_read(&c, PD "; server_max_window_bits=13"), 0);
    assert_int_equal(extension_read(&c, PD), 0);
    extension_answer(&c, answer);
    assert_string_equal(answer, BITS(13));
    assert_int_equal(extension_read(&c, ";"), STATUS_INVALID); /* even so */
}

static void refuses_what_is_malformed(void **state)
{
    static const struct row rows[] = {
        {"", BAD},
        {" ", BAD},
        {",", BAD},
        {" , \t,", BAD},
        {";", BAD},
        {PD ";", BAD},
        {PD "; ;client_max_window_bits", BAD},
        {";" PD, BAD},
        {PD " client_max_window_bits", BAD},
        {PD "; server_max_window_bits=", BAD},
        {PD "; server_max_window_bits=,", BAD},
        {PD "; =9", BAD},
        {PD "=9", BAD},
        {PD "; server_max_window_bits==9", BAD},
        {PD "; server_max_window_bits=9=9", BAD},
        {PD "; server_max_window_bits=9 9", BAD},
        {PD "; server_max_window_bits=\"9", BAD},
        {PD "; server_max_window_bits=\"9\\", BAD},
        {PD "; server_max_window_bits=\"9\\\"", BAD},
        {PD "; server_max_window_bits=\"\"", BAD}, /* not a token inside */
        {PD "; server_max_window_bits=\"9 \"", BAD},
        {PD "; server_max_window_bits=\"9,9\"", BAD},
        {PD "; server_max_window_bits=\"9\"9", BAD},
        {PD "; server_max_window_bits=9\"", BAD},
        {PD "; foo=\"a;b\"", BAD},
        {PD "/1", BAD},
        {"\"" PD "\"", BAD},
        {PD "; f\xc3\xb6\xc3\xb6", BAD},
        {PD "; a\x7f", BAD},
        {PD "\n", BAD},
        {PD ", (comment)", BAD},
        {"foo bar, " PD, BAD},
        {PD ", foo bar", BAD},
    };

    (void)state;
    CHECK(rows);
}

/* Whatever is cut off, nothing is read that is not there, and no offer grows by it. */
static void reads_every_beginning(void **state)
{
    static const char whole[] =
        "foo; a=\"b\\c\", " PD "; server_max_window_bits=\"1\\5\"; client_max_window_bits = 9";
    char *part = strdup(whole);

    (void)state;
    assert_non_null(part);
    for (size_t n = sizeof(whole) - 1; n > 0; n--) {
        struct extension_choice c = {0};
        int rc;

        part[n] = '\0';
        rc = read_at_edge(&c, part);
        assert_true(rc == 0 || rc == STATUS_INVALID);
        assert_true(c.window_bits == 0 || c.window_bits == 15);
    }
    free(part);
}

static void reads_a_very_long_one(void **state)
{
    static char value[16000];
    struct extension_choice c = {0};
    size_t n = 0;

    (void)state;
    while (n < sizeof(value) - 100)
        n += (size_t)snprintf(value + n, 100, "%s" PD "; x%zu", n ? ", " : "", n);
    assert_int_equal(extension_read(&c, value), 0);
    assert_int_equal(c.window_bits, 0);
    snprintf(value + n, 100, "," PD);
    assert_int_equal(extension_read(&c, value), 0);
    assert_int_equal(c.window_bits, 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_what_clients_offer),
        cmocka_unit_test(declines_what_it_cannot_meet),
        cmocka_unit_test(takes_the_first_it_can_meet),
        cmocka_unit_test(refuses_what_is_malformed),
        cmocka_unit_test(reads_every_beginning),
        cmocka_unit_test(reads_a_very_long_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
