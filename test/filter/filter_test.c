#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "../change/fixture.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/text.h"
#include "filter/filter.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct table *users;
static char message[256];

static int set_up(void **state)
{
    (void)state;
    users = TABLE("users", "id:INTEGER:k", "name:TEXT:", "nick:TEXT:n", "code:TEXT:r",
        "score:REAL:", "any::", "full name:TEXT:", "dou\"ble:TEXT:", "\xc3\xa9t\xc3\xa9:TEXT:",
        "v:INTEGER:v", "s:INTEGER:s");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    table_unref(users);
    return 0;
}

static struct filter *parse_len(const char *text, size_t len, int *status)
{
    memset(message, '#', sizeof(message));
    return filter_new(users, &text, &len, 1, message, sizeof(message), status);
}

/* "id=7 matches when row[column] is v" */
static bool matches(const char *text, int column, struct value v)
{
    int status;
    struct filter *f = parse_len(text, strlen(text), &status);
    if (!f)
        fail_msg("%s: %s", text, message);
    struct value row[11];
    for (int i = 0; i < 11; i++)
        row[i] = NULL_VALUE;
    row[column] = v;
    bool result = filter_match(f, row, 42);
    filter_free(f);
    return result;
}

static void assert_refused_len(const char *text, size_t len, int status, const char *part)
{
    int got;
    struct filter *f = parse_len(text, len, &got);
    if (f)
        fail_msg("%.*s was accepted", (int)len, text);
    assert_int_equal(got, status);
    assert_true(memchr(message, 0, sizeof(message)) != NULL);
    assert_true(utf8_valid(message, strlen(message)));
    if (!strstr(message, part))
        fail_msg("%.*s: \"%s\" does not say \"%s\"", (int)len, text, message, part);
}

static void assert_refused(const char *text, const char *part)
{
    assert_refused_len(text, strlen(text), STATUS_INVALID, part);
}

enum { ID, NAME, NICK, CODE, SCORE, ANY, FULL_NAME, DOUBLE, ETE };

static void operators(void **state)
{
    (void)state;
    static const struct {
        const char *op;
        bool less, equal, greater;
    } cases[] = {{"=", 0, 1, 0}, {"==", 0, 1, 0}, {"!=", 1, 0, 1}, {"<>", 1, 0, 1}, {"<", 1, 0, 0},
        {"<=", 1, 1, 0}, {">", 0, 0, 1}, {">=", 0, 1, 1}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[32];
        snprintf(text, sizeof(text), "id %s 5", cases[i].op);
        assert_int_equal(matches(text, ID, INTEGER(4)), cases[i].less);
        assert_int_equal(matches(text, ID, INTEGER(5)), cases[i].equal);
        assert_int_equal(matches(text, ID, INTEGER(6)), cases[i].greater);
        assert_false(matches(text, ID, NULL_VALUE));
        snprintf(text, sizeof(text), "id%s5", cases[i].op);
        assert_int_equal(matches(text, ID, INTEGER(6)), cases[i].greater);
    }
}

static void null_tests(void **state)
{
    (void)state;
    assert_true(matches("name is null", NAME, NULL_VALUE));
    assert_false(matches("name IS NULL", NAME, TEXT("")));
    assert_true(matches(" Name  Is\tNot\nNull ", NAME, TEXT("")));
    assert_false(matches("name is not null", NAME, NULL_VALUE));
    assert_true(matches("\"name\"is null", NAME, NULL_VALUE));
}

static void lists(void **state)
{
    (void)state;
    assert_true(matches("id in (1,2,3)", ID, INTEGER(2)));
    assert_true(matches("id in (3,1,2,3,1)", ID, REAL(3.0)));
    assert_false(matches("id in (1,2,3)", ID, INTEGER(4)));
    assert_false(matches("id in (1,2,3)", ID, NULL_VALUE));
    assert_true(matches("ID IN(7)", ID, INTEGER(7)));
    assert_true(matches("name in ( a b , 'c,d)' , x'00' )", NAME, TEXT("a b")));
    assert_true(matches("name in ( a b , 'c,d)' , x'00' )", NAME, TEXT("c,d)")));
    assert_true(matches("name in ( a b , 'c,d)' , x'00' )", NAME, BLOB("\0")));
    assert_true(matches("name in ('')", NAME, TEXT("")));
    assert_true(matches("nick in (ann,BOB)", NICK, TEXT("bob")));
    assert_true(matches("name in ('null')", NAME, TEXT("null")));
}

static void quoted_values(void **state)
{
    (void)state;
    assert_true(matches("name='Ann'", NAME, TEXT("Ann")));
    assert_true(matches("name = 'O''Brien' ", NAME, TEXT("O'Brien")));
    assert_true(matches("name=''", NAME, TEXT("")));
    assert_true(matches("name=''''", NAME, TEXT("'")));
    assert_true(matches("name='  x '", NAME, TEXT("  x ")));
    assert_true(matches("id='7'", ID, INTEGER(7)));
    assert_true(matches("id=' 7.0 '", ID, INTEGER(7)));
    assert_false(matches("any='7'", ANY, INTEGER(7)));
    assert_true(matches("any='7'", ANY, TEXT("7")));
}

static void bare_values(void **state)
{
    (void)state;
    assert_true(matches("name=Ann", NAME, TEXT("Ann")));
    assert_true(matches("name =  Ann Lee \t", NAME, TEXT("Ann Lee")));
    assert_true(matches("name=O'Brien", NAME, TEXT("O'Brien")));
    assert_true(matches("name=", NAME, TEXT("")));
    assert_true(matches("name==", NAME, TEXT("")));
    assert_true(matches("name=a=b", NAME, TEXT("a=b")));
    assert_true(matches("name=true", NAME, TEXT("true")));
    assert_true(matches("any=true", ANY, TEXT("true")));
    assert_true(matches("name=x", NAME, TEXT("x")));
    assert_true(matches("name=nullable", NAME, TEXT("nullable")));
    assert_true(matches("name=\xe2\x82\xac", NAME, TEXT("\xe2\x82\xac")));
}

static void bare_numbers(void **state)
{
    (void)state;
    assert_true(matches("id=7", ID, INTEGER(7)));
    assert_true(matches("id=7.0", ID, INTEGER(7)));
    assert_true(matches("id=-7", ID, INTEGER(-7)));
    assert_true(matches("id=0x1F", ID, INTEGER(31)));
    assert_true(matches("id=0xffffffffffffffff", ID, INTEGER(-1)));
    assert_false(matches("id=0x10000000000000000", ID, INTEGER(0)));
    assert_true(matches("score>=1e3", SCORE, REAL(1000)));
    assert_true(matches("score=9e999", SCORE, REAL(INFINITY)));
    assert_true(matches("any=7", ANY, INTEGER(7)));
    assert_true(matches("any=7", ANY, REAL(7.0)));
    assert_false(matches("any=7", ANY, TEXT("7")));
    assert_true(matches("any=7th", ANY, TEXT("7th")));
}

static void bare_numbers_are_text_for_a_text_column(void **state)
{
    (void)state;
    assert_true(matches("name=5", NAME, TEXT("5")));
    assert_true(matches("name=1.0", NAME, TEXT("1.0")));
    assert_true(matches("name=01234", NAME, TEXT("01234")));
    assert_true(matches("name=+44", NAME, TEXT("+44")));
    assert_true(matches("name in (01234)", NAME, TEXT("01234")));
    assert_false(matches("name=01234", NAME, TEXT("1234")));
}

static void blobs(void **state)
{
    (void)state;
    assert_true(matches("any=x'00Ff'", ANY, BLOB("\0\xff")));
    assert_true(matches("any = X''", ANY, BLOB("")));
    assert_false(matches("any=x'41'", ANY, TEXT("A")));
    assert_true(matches("name<x'00'", NAME, TEXT("\xff")));
}

static void a_filter_is_never_sql(void **state)
{
    (void)state;
    assert_false(matches("id=1 or 1=1", ID, INTEGER(1)));
    assert_true(matches("name=1 or 1=1", NAME, TEXT("1 or 1=1")));
    assert_true(matches("name=a; drop table users --", NAME, TEXT("a; drop table users --")));
}

static void columns(void **state)
{
    (void)state;
    assert_true(matches("NAME=x", NAME, TEXT("x")));
    assert_true(matches(" \"Full Name\" = x", FULL_NAME, TEXT("x")));
    assert_true(matches("\"dou\"\"ble\"=x", DOUBLE, TEXT("x")));
    assert_true(matches("\xc3\xa9t\xc3\xa9=x", ETE, TEXT("x")));
    assert_true(matches("s=1", 10, INTEGER(1)));
}

/* Binds to a fixture table's filter; the term's column, or -2 with `message` set. */
static int bound_column(struct table *t, const char *text)
{
    size_t len = strlen(text);
    int status, column = -2;
    struct filter *f = filter_new(t, &text, &len, 1, message, sizeof(message), &status);
    if (f)
        column = f->terms[0].column;
    filter_free(f);
    return column;
}

static void rowid_is_what_names_the_row(void **state)
{
    (void)state;
    struct table *plain = TABLE("plain", "a:TEXT:"), *keyed = TABLE("keyed", "a:TEXT:k");
    struct table *alias = TABLE("alias", "a:TEXT:", "id:INTEGER:k");
    alias->rowid_alias = 1;
    assert_int_equal(bound_column(plain, "rowid=42"), FILTER_ROWID);
    assert_int_equal(bound_column(plain, "_ROWID_ in (41,42)"), FILTER_ROWID);
    assert_int_equal(bound_column(plain, "\"oid\">'41'"), FILTER_ROWID);
    assert_int_equal(bound_column(alias, "oid is not null"), 1);
    assert_int_equal(bound_column(keyed, "rowid=42"), -2);
    assert_string_equal(message,
        "at character 1: the rows of \"keyed\" are named by its primary key, not the rowid, which "
        "is not reported: filter on the key's columns");
    table_unref(plain);
    table_unref(keyed);
    table_unref(alias);
}

static void a_column_may_be_called_rowid(void **state)
{
    (void)state;
    const char *text = "rowid=a";
    size_t len = 7;
    int status;
    struct table *t = TABLE("t", "rowid:TEXT:");
    struct filter *f = filter_new(t, &text, &len, 1, message, sizeof(message), &status);
    assert_non_null(f);
    assert_int_equal(f->terms[0].column, 0);
    filter_free(f);
    table_unref(t);

    t = TABLE("t", "a:TEXT:k");
    t->without_rowid = true;
    assert_null(filter_new(t, &text, &len, 1, message, sizeof(message), &status));
    assert_int_equal(status, STATUS_INVALID);
    assert_string_equal(
        message, "at character 1: table \"t\" has no column \"rowid\"; its columns are a");
    table_unref(t);
}

static void collations(void **state)
{
    (void)state;
    assert_true(matches("nick=ANN", NICK, TEXT("ann")));
    assert_false(matches("name=ANN", NAME, TEXT("ann")));
    assert_true(matches("code=a", CODE, TEXT("a  ")));
    assert_false(matches("nick<ANN", NICK, TEXT("ann")));
}

static void errors_say_what_is_wrong(void **state)
{
    (void)state;
    assert_refused("", "empty");
    assert_refused("   ", "empty");
    assert_refused("=5", "column name is expected");
    assert_refused("id", "at character 3: an operator is expected");
    assert_refused("id 5", "at character 4: an operator is expected");
    assert_refused("id like 5", "operator is expected");
    assert_refused("id ! 5", "operator is expected");
    assert_refused("users.id=5", "no column \"users\"");
    assert_refused(
        "nix=5", "table \"users\" has no column \"nix\"; its columns are id, name, nick");
    assert_refused("v=5", "cannot be filtered on");
    assert_refused("\"name=5", "closing \" is missing");
    assert_refused("name='x", "at character 6: the closing ' is missing");
    assert_refused("name='x' or 1=1", "at character 10: nothing may follow the value");
    assert_refused("name='x'y", "nothing may follow the value");
    assert_refused("any=x'0'", "hexadecimal");
    assert_refused("any=x'0g'", "hexadecimal");
    assert_refused("any=x'00", "hexadecimal");
    assert_refused("any=x'00' 1", "nothing may follow the value");
    assert_refused("id is 5", "is not null");
    assert_refused("id is", "is not null");
    assert_refused("id is not", "is not null");
    assert_refused("id is nullx", "is not null");
    assert_refused("id is null x", "nothing may follow");
    assert_refused("id in 5", "( is expected");
    assert_refused("id in", "( is expected");
    assert_refused("id in (", "a comma or ) is expected");
    assert_refused("id in (1", "a comma or ) is expected");
    assert_refused("id in (1,", "a comma or ) is expected");
    assert_refused("id in ()", "value is missing");
    assert_refused("id in (1,,2)", "value is missing");
    assert_refused("id in (1,)", "value is missing");
    assert_refused("id in ('1' 2)", "a comma or ) is expected");
    assert_refused("id in (1) x", "nothing may follow the list");
    assert_refused("id in (1,null)", "'null'");
    assert_refused("id=null", "\"is null\"");
    assert_refused("id != NULL ", "\"is not null\"");
    assert_refused("id<null", "'null'");
    assert_refused("\xc3\xa9t\xc3\xa9='", "at character 5:");
    assert_refused("id=\xff", "UTF-8");
    assert_refused("id=\xed\xa0\x80", "UTF-8");
    assert_refused_len(
        "id=1\0", 5, STATUS_INVALID, "at character 5: a filter cannot contain a NUL");
}

static void bounds_are_kept(void **state)
{
    (void)state;
    char *text = malloc(FILTER_MAX_LENGTH + 2);
    memset(text, 'x', FILTER_MAX_LENGTH + 2);
    memcpy(text, "name=", 5);
    int status;
    struct filter *f = parse_len(text, FILTER_MAX_LENGTH, &status);
    assert_non_null(f);
    filter_free(f);
    assert_refused_len(text, FILTER_MAX_LENGTH + 1, STATUS_TOO_LARGE, "65536");
    assert_refused_len(text + 1, FILTER_MAX_LENGTH - 1, STATUS_INVALID, "no column \"ame\"");
    assert_refused_len(text + 5, FILTER_MAX_LENGTH - 5, STATUS_INVALID, "no column \"xxx");

    int used = sprintf(text, "id in (0");
    for (int i = 1; i < FILTER_MAX_VALUES; i++)
        used += sprintf(text + used, ",%d", i);
    strcpy(text + used, ")");
    assert_true(matches(text, ID, INTEGER(999)));
    assert_false(matches(text, ID, INTEGER(1000)));
    strcpy(text + used, ",1)");
    assert_refused_len(text, strlen(text), STATUS_TOO_LARGE, "more than 1000 values");
    free(text);

    const char *texts[FILTER_MAX_TERMS + 1];
    size_t lens[FILTER_MAX_TERMS + 1];
    for (int i = 0; i <= FILTER_MAX_TERMS; i++) {
        texts[i] = "id=1";
        lens[i] = 4;
    }
    assert_null(
        filter_new(users, texts, lens, FILTER_MAX_TERMS + 1, message, sizeof(message), &status));
    assert_int_equal(status, STATUS_TOO_LARGE);
    f = filter_new(users, texts, lens, FILTER_MAX_TERMS, message, sizeof(message), &status);
    assert_non_null(f);
    filter_free(f);
}

static void messages_are_never_cut_within_a_character(void **state)
{
    (void)state;
    char name[400];
    for (size_t shift = 0; shift < 4; shift++) {
        memset(name, 'a', shift);
        for (size_t i = shift; i + 4 <= sizeof(name); i += 4)
            memcpy(name + i, "\xf0\x9f\x98\x80", 4);
        assert_refused_len(
            name, 396 + shift - shift % 4, shift ? STATUS_INVALID : STATUS_INVALID, "");
    }
    char wide[300] = "", *columns_of[] = {wide, wide, NULL};
    for (size_t i = 0; i < 60; i++)
        strcat(wide, "\xe2\x82\xac");
    strcat(wide, "::");
    struct table *t = fixture_table("t", (const char *const *)columns_of);
    const char *text = "nix=1";
    size_t len = 5;
    int status;
    for (size_t size = 1; size <= sizeof(message); size++) {
        assert_null(filter_new(t, &text, &len, 1, message, size, &status));
        assert_true(strlen(message) < size && utf8_valid(message, strlen(message)));
    }
    table_unref(t);
}

static void several_filters_are_all_required(void **state)
{
    (void)state;
    const char *texts[] = {"id>=10", "id<20", "name is not null"};
    size_t lens[] = {6, 5, 16};
    int status;
    struct filter *f = filter_new(users, texts, lens, 3, message, sizeof(message), &status);
    struct value row[11] = {INTEGER(15), TEXT("x")};
    assert_non_null(f);
    assert_int_equal(f->term_count, 3);
    assert_true(filter_match(f, row, 0));
    row[0].i = 20;
    assert_false(filter_match(f, row, 0));
    row[0].i = 10;
    row[1] = NULL_VALUE;
    assert_false(filter_match(f, row, 0));
    assert_false(filter_match(f, NULL, 0));
    filter_free(f);

    texts[1] = "id<";
    lens[1] = 3;
    f = filter_new(users, texts, lens, 3, message, sizeof(message), &status);
    filter_free(f);
    assert_non_null(f);
    texts[2] = "nix=1";
    lens[2] = 5;
    assert_null(filter_new(users, texts, lens, 3, message, sizeof(message), &status));
    assert_non_null(strstr(message, "filter 3 of 3, at character 1: "));
}

static void no_filter_matches_every_row(void **state)
{
    (void)state;
    int status;
    struct filter *f = filter_new(users, NULL, NULL, 0, message, sizeof(message), &status);
    struct value row[11] = {NULL_VALUE};
    assert_non_null(f);
    assert_int_equal(status, STATUS_OK);
    assert_true(filter_match(f, row, 0));
    assert_false(filter_match(f, NULL, 0));
    filter_free(f);
}

static const char *const samples[] = {"\"dou\"\"ble\" != 'it''s' ",
    "id in ('1', x'ABCD', 3.5e1 , z)", "any = x'00ff'", "name is not null",
    "\xc3\xa9t\xc3\xa9<=\xf0\x9f\x98\x80", "id=0x7f",
    "score = 12345678901234567890123456789012345678901234567890123456789012345678901.5"};

/* Every prefix, ending where the next byte cannot be read. */
static void input_cut_at_every_byte(void **state)
{
    (void)state;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(map != MAP_FAILED);
    assert_int_equal(mprotect(map + page, page, PROT_NONE), 0);
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        for (size_t len = 0; len <= strlen(samples[i]); len++) {
            char *text = map + page - len;
            int status;
            memcpy(text, samples[i], len);
            struct filter *f = parse_len(text, len, &status);
            assert_int_equal(f ? STATUS_OK : STATUS_INVALID, status);
            assert_true(len < strlen(samples[i]) || f);
            filter_free(f);
        }
    }
    munmap(map, 2 * page);
}

/* Whatever the bytes: a filter or a message. */
static void random_input(void **state)
{
    (void)state;
    static const char alphabet[] = "id name'\"x=<>!(),0159.eE-\t\xc3\xa9innotulsf$%";
    srand(5);
    for (int i = 0; i < 50000; i++) {
        char text[24];
        size_t len = (size_t)rand() % sizeof(text);
        for (size_t k = 0; k < len; k++)
            text[k] = alphabet[(size_t)rand() % (sizeof(alphabet) - 1)];
        if (i % 2 && len > 3)
            memcpy(text, "id ", 3);
        char *copy = malloc(len ? len : 1);
        memcpy(copy, text, len);
        int status;
        struct filter *f = parse_len(copy, len, &status);
        free(copy);
        struct value row[11] = {INTEGER(5), TEXT("n")};
        assert_int_equal(f ? STATUS_OK : STATUS_INVALID, status);
        if (f)
            filter_match(f, row, 0);
        filter_free(f);
    }
}

static void failing_allocations(void **state)
{
    (void)state;
    size_t lens[sizeof(samples) / sizeof(samples[0])];
    int count = sizeof(samples) / sizeof(samples[0]);
    for (int i = 0; i < count; i++)
        lens[i] = strlen(samples[i]);
    for (long n = 0;; n++) {
        int status;
        mem_fail_after(n);
        struct filter *f =
            filter_new(users, samples, lens, count, message, sizeof(message), &status);
        int hit = mem_fail_hit();
        mem_fail_after(-1);
        assert_int_equal(status, hit ? STATUS_NOMEM : STATUS_OK);
        assert_int_equal(f == NULL, hit);
        if (hit)
            assert_non_null(strstr(message, "out of memory"));
        filter_free(f);
        if (!hit)
            break;
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(operators),
        TEST(null_tests),
        TEST(lists),
        TEST(quoted_values),
        TEST(bare_values),
        TEST(bare_numbers),
        TEST(bare_numbers_are_text_for_a_text_column),
        TEST(blobs),
        TEST(a_filter_is_never_sql),
        TEST(columns),
        TEST(rowid_is_what_names_the_row),
        TEST(a_column_may_be_called_rowid),
        TEST(collations),
        TEST(errors_say_what_is_wrong),
        TEST(bounds_are_kept),
        TEST(messages_are_never_cut_within_a_character),
        TEST(several_filters_are_all_required),
        TEST(no_filter_matches_every_row),
        TEST(input_cut_at_every_byte),
        TEST(random_input),
        TEST(failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
