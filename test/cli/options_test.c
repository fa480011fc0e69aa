#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/status.h"
#include "cli/options.h"
#include "cli/target.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct values {
    bool flag;
    const char *text;
    struct option_list list;
    int64_t number, duration;
    int choice;
};

static const struct option_row rows[] = {
    {"flag", NULL, "a flag", OPTION_FLAG, offsetof(struct values, flag)},
    {"text", "TEXT", "a text", OPTION_TEXT, offsetof(struct values, text)},
    {"filter", "F", "a list", OPTION_LIST, offsetof(struct values, list)},
    {"number", "N", "a number", OPTION_NUMBER, offsetof(struct values, number), 1, 10},
    {"wait", "S", "a duration", OPTION_DURATION, offsetof(struct values, duration), 0, 5000},
    {"format", "pretty|json", "a choice", OPTION_CHOICE, offsetof(struct values, choice)},
    {NULL},
};

static struct values v;
static char *words[128];
static int word_count;
static char storage[4096];
static struct buf err;

/* Parses a command line written as one text; ^ stands for a space inside a word. */
static enum options_result parse(const char *line)
{
    int argc = 0;

    memset(&v, 0, sizeof(v));
    buf_reset(&err);
    strcpy(storage, line);
    for (char *word = strtok(storage, " "); word; word = strtok(NULL, " ")) {
        for (char *p = word; *p; p++)
            *p = *p == '^' ? ' ' : *p;
        words[argc++] = word;
    }
    return options_parse(rows, &v, argc, words, &word_count, &err);
}

static void options_stand_anywhere(void **state)
{
    (void)state;
    assert_int_equal(parse("watch users --flag more --text=a^b --number 7"), OPTIONS_OK);
    assert_int_equal(word_count, 2);
    assert_string_equal(words[0], "users");
    assert_string_equal(words[1], "more");
    assert_true(v.flag);
    assert_string_equal(v.text, "a b");
    assert_int_equal(v.number, 7);
}

static void values_of_every_kind(void **state)
{
    (void)state;
    assert_int_equal(
        parse("x --filter a=1 --filter b=--c --wait 1.5s --format json --text --flag"), OPTIONS_OK);
    assert_int_equal(v.list.count, 2);
    assert_string_equal(v.list.items[0], "a=1");
    assert_string_equal(v.list.items[1], "b=--c");
    assert_int_equal(v.duration, 1500);
    assert_int_equal(v.choice, 1);
    assert_string_equal(v.text, "--flag");
    assert_false(v.flag);
}

static void arguments_may_begin_with_a_dash(void **state)
{
    (void)state;
    assert_int_equal(parse("sql -5 -.5 - --^comment -- --flag -x"), OPTIONS_OK);
    assert_int_equal(word_count, 6);
    assert_string_equal(words[0], "-5");
    assert_string_equal(words[1], "-.5");
    assert_string_equal(words[2], "-");
    assert_string_equal(words[3], "-- comment");
    assert_string_equal(words[4], "--flag");
    assert_string_equal(words[5], "-x");
}

static void refused(const char *line, const char *message)
{
    assert_int_equal(parse(line), OPTIONS_BAD);
    assert_string_equal(buf_text(&err), message);
}

static void mistakes_are_named(void **state)
{
    (void)state;
    refused("x --fromat json", "unknown option --fromat; did you mean --format?");
    refused("x --quite-another", "unknown option --quite-another");
    refused("x -f", "unknown option -f; options are written out, as in --help");
    refused("x --flag=yes", "--flag takes no value");
    refused("x --text", "--text wants a value: --text TEXT");
    refused("x --text=", "--text wants TEXT, not an empty text");
    refused("x --number 11", "--number wants a whole number between 1 and 10, not \"11\"");
    refused("x --number ten", "--number wants a whole number between 1 and 10, not \"ten\"");
    refused("x --wait 1y",
        "--wait wants a duration between 0 and 5 seconds (10, 1.5s, 250ms), not \"1y\"");
    refused("x --format xml", "--format wants one of pretty|json, not \"xml\"");
    refused("x --format j", "--format wants one of pretty|json, not \"j\"");
}

static void lists_are_bounded(void **state)
{
    char line[1024] = "x";

    (void)state;
    for (int i = 0; i <= OPTION_LIST_MAX; i++)
        strcat(line, " --filter a");
    refused(line, "--filter is given more than 32 times");
}

static void help_is_an_option_everywhere(void **state)
{
    (void)state;
    assert_int_equal(parse("x --help"), OPTIONS_HELP);
    assert_int_equal(parse("x y -h --unknown"), OPTIONS_HELP);
    assert_int_equal(parse("x -- --help"), OPTIONS_OK);
}

static void resolves(const char *url, const char *expected)
{
    struct target t = {url, NULL};
    struct buf base = {0};

    buf_reset(&err);
    if (expected) {
        assert_int_equal(target_resolve(&t, &base, &err), 0);
        assert_string_equal(buf_text(&base), expected);
    } else {
        assert_int_equal(target_resolve(&t, &base, &err), STATUS_INVALID);
        assert_true(err.len > 0);
    }
    buf_fini(&base);
}

static void addresses_take_many_forms(void **state)
{
    (void)state;
    unsetenv("ROWTAP_URL");
    unsetenv("ROWTAP_TOKEN");
    resolves(NULL, "http://127.0.0.1:8080");
    resolves("localhost:8080", "http://localhost:8080");
    resolves("HTTP://a/", "http://a");
    resolves("wss://a:1/prefix//", "https://a:1/prefix");
    resolves("ws://[::1]:8080", "http://[::1]:8080");
    resolves("ftp://a", NULL);
    resolves("http://", NULL);
    resolves("http://a b", NULL);
    resolves("http://a/?x", NULL);
    resolves("http://a\r\nX: y", NULL);
    setenv("ROWTAP_URL", "https://env", 1);
    resolves(NULL, "https://env");
    setenv("ROWTAP_URL", "", 1);
    resolves(NULL, "http://127.0.0.1:8080");
}

static void tokens_cannot_add_headers(void **state)
{
    struct target t = {"http://a", "x\r\nEvil: 1"};
    struct buf base = {0};

    (void)state;
    buf_reset(&err);
    assert_int_equal(target_resolve(&t, &base, &err), STATUS_INVALID);
    assert_null(strstr(buf_text(&err), "Evil"));
    buf_fini(&base);
}

static int free_err(void **state)
{
    (void)state;
    buf_fini(&err);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_stand_anywhere),
        cmocka_unit_test(values_of_every_kind),
        cmocka_unit_test(arguments_may_begin_with_a_dash),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(lists_are_bounded),
        cmocka_unit_test(help_is_an_option_everywhere),
        cmocka_unit_test(addresses_take_many_forms),
        cmocka_unit_test(tokens_cannot_add_headers),
    };

    return cmocka_run_group_tests(tests, NULL, free_err);
}
