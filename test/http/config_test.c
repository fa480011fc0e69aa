#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"
#include "config.h"
#include "spelling.h"

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 16

/* Splits at spaces, as a shell would. */
static int parse(struct config *c, const char *line, struct buf *err)
{
    char copy[512], *argv[WORDS_MAX] = {(char[]){"serve"}}, *save = NULL;
    int argc = 1;

    strcpy(copy, line);
    for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
        argv[argc++] = w;
    config_init(c);
    return config_parse(c, argc, argv, err);
}

static void refused(const char *line, const char *message)
{
    struct config c;
    struct buf err = {0};

    assert_int_equal(parse(&c, line, &err), STATUS_INVALID);
    assert_string_equal(buf_text(&err), message);
    config_fini(&c);
    buf_fini(&err);
}

static void has_defaults(void **state)
{
    struct config c;
    struct buf err = {0};

    (void)state;
    assert_int_equal(parse(&c, "shop.db", &err), 0);
    assert_string_equal(c.database, "shop.db");
    assert_int_equal(c.listen.count, 1);
    assert_string_equal(c.listen.items[0], "127.0.0.1:8080");
    assert_int_equal(c.origins.count, 0);
    assert_int_equal(c.heartbeat_ms, 30000);
    assert_int_equal(c.query_timeout_ms, 30000);
    assert_int_equal(c.max_body, 16 << 20);
    assert_int_equal(c.max_connections, 10000);
    assert_false(c.insecure || c.demo || c.log_json);
    assert_int_equal(c.log_level, LOG_INFO);
    config_fini(&c);
}

static void reads_options_anywhere(void **state)
{
    struct config c;
    struct buf err = {0};

    (void)state;
    assert_int_equal(parse(&c,
                         "--heartbeat 1.5 shop.db --listen 127.0.0.1:0 --listen=localhost:1 "
                         "--query-timeout=250ms --max-message 64k --demo --log-format JSON",
                         &err),
        0);
    assert_string_equal(c.database, "shop.db");
    assert_int_equal(c.heartbeat_ms, 1500);
    assert_int_equal(c.query_timeout_ms, 250);
    assert_int_equal(c.max_message, 65536);
    assert_int_equal(c.listen.count, 2);
    assert_string_equal(c.listen.items[1], "localhost:1");
    assert_true(c.demo && c.log_json);
    config_fini(&c);
    assert_int_equal(parse(&c, "-- --demo", &err), 0);
    assert_string_equal(c.database, "--demo");
    config_fini(&c);
}

static void reads_the_environment(void **state)
{
    struct config c;
    struct buf err = {0};

    (void)state;
    setenv("ROWTAP_LISTEN", "127.0.0.1:1,127.0.0.1:2", 1);
    setenv("ROWTAP_QUERY_TIMEOUT", "7", 1);
    setenv("ROWTAP_INSECURE", "yes", 1);
    assert_int_equal(parse(&c, "x.db", &err), 0);
    assert_int_equal(c.listen.count, 2);
    assert_string_equal(c.listen.items[1], "127.0.0.1:2");
    assert_int_equal(c.query_timeout_ms, 7000);
    assert_true(c.insecure);
    config_fini(&c);
    assert_int_equal(parse(&c, "x.db --listen 127.0.0.1:3 --query-timeout 8", &err), 0);
    assert_int_equal(c.listen.count, 1);
    assert_string_equal(c.listen.items[0], "127.0.0.1:3");
    assert_int_equal(c.query_timeout_ms, 8000);
    config_fini(&c);
    setenv("ROWTAP_INSECURE", "maybe", 1);
    refused("x.db", "ROWTAP_INSECURE is \"maybe\" but must be 1 or 0");
    assert_int_equal(parse(&c, "--help", &err), CONFIG_HELP);
    config_fini(&c);
    unsetenv("ROWTAP_LISTEN");
    unsetenv("ROWTAP_QUERY_TIMEOUT");
    unsetenv("ROWTAP_INSECURE");
    buf_fini(&err);
}

static void says_what_is_wrong(void **state)
{
    (void)state;
    refused("", "which database? Say rowtap serve FILE (it is created if absent)");
    refused("x.db --lisen 1", "unknown option --lisen; did you mean --listen?");
    refused("x.db --frobnicate", "unknown option --frobnicate; see rowtap serve --help");
    refused("x.db -l", "unknown option -l; see rowtap serve --help");
    refused("x.db --listen", "--listen needs a value: --listen ADDR:PORT");
    refused("x.db --demo=1", "--demo takes no value");
    refused("x.db y.db", "unexpected argument \"y.db\": the database is already \"x.db\"");
    refused("x.db --max-message 1", "--max-message is \"1\" but must be a number of bytes, such as "
                                    "64KiB or 1MiB, from 1KiB to 1GiB");
    refused(
        "x.db --readers none", "--readers is \"none\" but must be a whole number from 1 to 256");
    refused("x.db --heartbeat 0",
        "--heartbeat is \"0\" but must be a number of seconds, such as 30 "
        "or 0.5, from 0.1 to 86400");
    refused(
        "x.db --log-level loud", "--log-level is \"loud\" but must be error, warn, info or debug");
    refused("x.db --listen here",
        "cannot listen on \"here\": give an address and a port, such as 127.0.0.1:8080, "
        "[::1]:8080 or 0.0.0.0:80");
    refused("x.db --listen 0.0.0.0:80",
        "refusing to listen on 0.0.0.0:80: it is reachable from other machines, and anybody could "
        "read and write; ask for tokens (--jwt-secret-file FILE), or add --insecure if that is "
        "what you want");
    refused("x.db --jwt-secret-file=",
        "--jwt-secret-file is \"\" but must be a text that is not empty");
    refused("x.db --jwt-audience shop",
        "--jwt-audience goes with a key: --jwt-secret-file, --jwt-public-key-file or "
        "--jwt-jwks-file");
    refused("x.db --trusted-proxy 10.0.0.1/8",
        "--trusted-proxy \"10.0.0.1/8\" is not a network: give an address such as 127.0.0.1 or "
        "::1, or "
        "one with a prefix such as 10.0.0.0/8, without bits behind it");
    refused("x.db --rate sql=5",
        "--rate is \"sql=5\" but must be [ROLE:]KIND[@SCOPE]=RATE[/BURST], such as queries=50/100, "
        "admin:queries=off or http@address=200; KIND is commands, queries, broadcasts, cursors, "
        "http "
        "or handshakes; SCOPE is connection (not of the last two), user or address (not of a "
        "role); "
        "RATE is per second");
    refused("x.db --origin example.com",
        "--origin \"example.com\" is not an origin: give scheme, name and port only, such as "
        "https://app.example.com or http://localhost:3000");
}

static void keys_open_other_addresses(void **state)
{
    static const char *const options[] = {"secret", "public-key", "jwks"};
    struct config c;
    struct buf err = {0};
    char line[128];

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        snprintf(line, sizeof(line), "x.db --listen 0.0.0.0:80 --jwt-%s-file a --jwt-%s-file b",
            options[i], options[i]);
        assert_int_equal(parse(&c, line, &err), 0);
        assert_true(config_has_keys(&c));
        assert_int_equal(c.jwt_leeway_ms, 0);
        config_fini(&c);
    }
    buf_fini(&err);
}

static void help_names_every_option(void **state)
{
    struct buf help = {0};

    (void)state;
    config_put_help(&help);
    assert_non_null(strstr(buf_text(&help), "--listen ADDR:PORT"));
    assert_non_null(strstr(buf_text(&help), "--max-transaction BYTES"));
    assert_non_null(strstr(buf_text(&help), "(127.0.0.1:8080)"));
    buf_fini(&help);
}

static void measures_distance(void **state)
{
    (void)state;
    assert_int_equal(spelling_distance("health", "health", 3), 0);
    assert_int_equal(spelling_distance("healt", "HEALTH", 3), 1);
    assert_int_equal(spelling_distance("wacth", "watch", 3), 2);
    assert_int_equal(spelling_distance("", "abc", 3), 3);
    assert_int_equal(spelling_distance("abcdef", "uvwxyz", 3), 4);
}

static void survives_lack_of_memory(void **state)
{
    bool done = false;

    (void)state;
    for (long n = 0; !done; n++) {
        struct config c;
        struct buf err = {0};
        int rc;

        mem_fail_after(n);
        rc = parse(&c,
            "x.db --listen 127.0.0.1:1 --listen 127.0.0.1:2 --origin http://a --rate "
            "admin:queries=5 --trusted-proxy ::1",
            &err);
        done = !mem_fail_hit();
        mem_fail_after(-1);
        assert_true(done ? rc == 0 : rc == STATUS_NOMEM);
        config_fini(&c);
        buf_fini(&err);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(has_defaults),
        cmocka_unit_test(reads_options_anywhere),
        cmocka_unit_test(reads_the_environment),
        cmocka_unit_test(says_what_is_wrong),
        cmocka_unit_test(keys_open_other_addresses),
        cmocka_unit_test(help_names_every_option),
        cmocka_unit_test(measures_distance),
        cmocka_unit_test(survives_lack_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
