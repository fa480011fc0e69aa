#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/status.h"
#include "change/value.h"
#include "fixture.h"
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void order_is_null_numbers_text_blobs(void **state)
{
    (void)state;
    struct value ascending[] = {NULL_VALUE, REAL(-INFINITY), REAL(-1e300), INTEGER(INT64_MIN),
        INTEGER(-1), REAL(-0.5), INTEGER(0), REAL(DBL_MIN), REAL(0.5), INTEGER(1), REAL(1.5),
        INTEGER(9007199254740992), INTEGER(9007199254740993), INTEGER(INT64_MAX - 1),
        INTEGER(INT64_MAX), REAL(9223372036854775808.0), REAL(INFINITY), TEXT(""), TEXT("A"),
        TEXT("AB"), TEXT("B"), TEXT("a"), TEXT("a\0b"), TEXT("\xc3\xa9"), BLOB(""), BLOB("\0"),
        BLOB("A"), BLOB("\xff")};
    int n = sizeof(ascending) / sizeof(ascending[0]);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < n; k++) {
            int c = value_compare(&ascending[i], &ascending[k], COLLATION_BINARY);
            assert_int_equal((c > 0) - (c < 0), (i > k) - (i < k));
        }
}

static void assert_order(struct value a, struct value b, enum collation collation, int expected)
{
    int c = value_compare(&a, &b, collation), d = value_compare(&b, &a, collation);
    assert_int_equal((c > 0) - (c < 0), expected);
    assert_int_equal((d > 0) - (d < 0), -expected);
    if (expected == 0)
        assert_true(value_hash(&a, collation) == value_hash(&b, collation));
}

static void integers_and_reals_compare_exactly(void **state)
{
    (void)state;
    assert_order(INTEGER(5), REAL(5.0), COLLATION_BINARY, 0);
    assert_order(REAL(0.0), REAL(-0.0), COLLATION_BINARY, 0);
    assert_order(INTEGER(0), REAL(-0.0), COLLATION_BINARY, 0);
    assert_order(INTEGER(9007199254740993), REAL(9007199254740992.0), COLLATION_BINARY, 1);
    assert_order(INTEGER(INT64_MAX), REAL(9223372036854775808.0), COLLATION_BINARY, -1);
    assert_order(INTEGER(INT64_MIN), REAL(-9223372036854775808.0), COLLATION_BINARY, 0);
    assert_order(INTEGER(-5), REAL(-5.5), COLLATION_BINARY, 1);
    assert_order(INTEGER(INT64_MAX), REAL(INFINITY), COLLATION_BINARY, -1);
    assert_order(REAL(1e300), REAL(1e300), COLLATION_BINARY, 0);
    assert_order(NULL_VALUE, ABSENT, COLLATION_BINARY, 0);
}

static void text_compares_by_collation(void **state)
{
    (void)state;
    assert_order(TEXT("Abc"), TEXT("aBC"), COLLATION_NOCASE, 0);
    assert_order(TEXT("Abc"), TEXT("aBC"), COLLATION_BINARY, -1);
    assert_order(TEXT("_"), TEXT("A"), COLLATION_NOCASE, -1);
    assert_order(TEXT("\xc3\x89"), TEXT("\xc3\xa9"), COLLATION_NOCASE, -1);
    assert_order(TEXT("a\0b"), TEXT("A\0C"), COLLATION_NOCASE, 0);
    assert_order(TEXT("a\0b"), TEXT("a\0"), COLLATION_NOCASE, 1);
    assert_order(TEXT("a  "), TEXT("a"), COLLATION_RTRIM, 0);
    assert_order(TEXT("   "), TEXT(""), COLLATION_RTRIM, 0);
    assert_order(TEXT("a\t"), TEXT("a"), COLLATION_RTRIM, 1);
    assert_order(TEXT(" a"), TEXT("a"), COLLATION_RTRIM, -1);
    assert_order(TEXT("a "), TEXT("a"), COLLATION_OTHER, 1);
    assert_order(BLOB("a "), BLOB("a"), COLLATION_RTRIM, 1);
    assert_order(BLOB("A"), BLOB("a"), COLLATION_NOCASE, -1);
}

static void different_values_have_different_hashes(void **state)
{
    (void)state;
    struct value v[] = {INTEGER(1), INTEGER(2), INTEGER(-1), REAL(1.5), REAL(1e300), TEXT("1"),
        TEXT("a"), TEXT("b"), BLOB("a"), BLOB(""), TEXT(""), TEXT("a\0b"), TEXT("a\0bc")};
    for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++)
        for (size_t k = 0; k < i; k++)
            for (int c = COLLATION_BINARY; c <= COLLATION_OTHER; c++)
                assert_true(value_hash(&v[i], c) != value_hash(&v[k], c));
}

static void same_means_same_type_and_bytes(void **state)
{
    (void)state;
    struct value one = INTEGER(1), real_one = REAL(1.0), text = TEXT("a"), blob = BLOB("a");
    struct value copy = {.p = (char[]){'a'}, .len = 1, .type = VALUE_TEXT};
    struct value zero = REAL(0.0), minus_zero = REAL(-0.0), null = NULL_VALUE, absent = ABSENT;
    assert_true(value_same(&one, &one));
    assert_true(value_same(&text, &copy));
    assert_true(value_same(&null, &null));
    assert_false(value_same(&one, &real_one));
    assert_false(value_same(&text, &blob));
    assert_false(value_same(&zero, &minus_zero));
    assert_false(value_same(&null, &absent));
}

static void affinity_follows_the_declared_type(void **state)
{
    (void)state;
    static const struct {
        const char *type;
        enum affinity affinity;
    } cases[] = {
        {"INT", AFFINITY_INTEGER},
        {"unsigned big int", AFFINITY_INTEGER},
        {"CHARINT", AFFINITY_INTEGER},
        {"FLOATING POINT", AFFINITY_INTEGER},
        {"VARCHAR(255)", AFFINITY_TEXT},
        {"nclob", AFFINITY_TEXT},
        {"TEXTBLOB", AFFINITY_TEXT},
        {"BLOB", AFFINITY_BLOB},
        {"BLOBREAL", AFFINITY_BLOB},
        {"", AFFINITY_BLOB},
        {"REAL", AFFINITY_REAL},
        {"DOUBLE PRECISION", AFFINITY_REAL},
        {"FLOAT", AFFINITY_REAL},
        {"NUMERIC", AFFINITY_NUMERIC},
        {"DECIMAL(10,5)", AFFINITY_NUMERIC},
        {"STRING", AFFINITY_NUMERIC},
        {"DATE", AFFINITY_NUMERIC},
        {"IN", AFFINITY_NUMERIC},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(affinity_of_type(cases[i].type), cases[i].affinity);
    assert_int_equal(affinity_of_type(NULL), AFFINITY_BLOB);
}

static void assert_becomes(struct value v, enum affinity affinity, struct value expected)
{
    char *text;
    assert_int_equal(value_apply_affinity(&v, affinity, &text), STATUS_OK);
    if (!value_same(&v, &expected))
        fail_msg("type %d, expected %d", v.type, expected.type);
    assert_true(!text || text == v.p);
    mem_free(text);
}

static void numeric_affinity_reads_numbers(void **state)
{
    (void)state;
    assert_becomes(TEXT("5"), AFFINITY_INTEGER, INTEGER(5));
    assert_becomes(TEXT(" \t-5\n "), AFFINITY_REAL, INTEGER(-5));
    assert_becomes(TEXT("+5"), AFFINITY_NUMERIC, INTEGER(5));
    assert_becomes(TEXT("007"), AFFINITY_NUMERIC, INTEGER(7));
    assert_becomes(TEXT("1e3"), AFFINITY_INTEGER, REAL(1000.0));
    assert_becomes(TEXT(".5"), AFFINITY_INTEGER, REAL(0.5));
    assert_becomes(TEXT("5."), AFFINITY_INTEGER, REAL(5.0));
    assert_becomes(TEXT("9223372036854775807"), AFFINITY_INTEGER, INTEGER(INT64_MAX));
    assert_becomes(TEXT("9223372036854775808"), AFFINITY_INTEGER, REAL(9223372036854775808.0));
    assert_becomes(TEXT("-9223372036854775808"), AFFINITY_INTEGER, INTEGER(INT64_MIN));
    assert_becomes(TEXT("-9223372036854775809"), AFFINITY_INTEGER, REAL(-9223372036854775808.0));
    assert_becomes(TEXT("1e999"), AFFINITY_INTEGER, REAL(INFINITY));
    assert_becomes(TEXT("0000000000000000000000000000000000000000000000000000000000000000000001"),
        AFFINITY_INTEGER, INTEGER(1));
    assert_becomes(TEXT("0.000000000000000000000000000000000000000000000000000000000000000001"),
        AFFINITY_INTEGER, REAL(1e-66));
}

static void what_is_no_number_stays_text(void **state)
{
    (void)state;
    static const char *const cases[] = {"", " ", "-", "+", ".", "-.", "e5", "1e", "1e+", "1.e",
        "0x10", "1 2", "1,5", "--5", "1.2.3", "5a", "inf", "nan", "Infinity", "1_000",
        "\xc2\xa0\x35"};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct value v = {.p = cases[i], .len = (uint32_t)strlen(cases[i]), .type = VALUE_TEXT};
        assert_becomes(v, AFFINITY_NUMERIC, v);
    }
    assert_becomes(TEXT("5\0"), AFFINITY_INTEGER, TEXT("5\0"));
    assert_becomes(TEXT("5"), AFFINITY_BLOB, TEXT("5"));
    assert_becomes(TEXT("5"), AFFINITY_TEXT, TEXT("5"));
    assert_becomes(BLOB("5"), AFFINITY_INTEGER, BLOB("5"));
    assert_becomes(NULL_VALUE, AFFINITY_TEXT, NULL_VALUE);
}

static void text_affinity_writes_numbers(void **state)
{
    (void)state;
    assert_becomes(INTEGER(5), AFFINITY_TEXT, TEXT("5"));
    assert_becomes(INTEGER(INT64_MIN), AFFINITY_TEXT, TEXT("-9223372036854775808"));
    assert_becomes(REAL(1.0), AFFINITY_TEXT, TEXT("1.0"));
    assert_becomes(REAL(-0.0), AFFINITY_TEXT, TEXT("0.0"));
    assert_becomes(REAL(0.1), AFFINITY_TEXT, TEXT("0.1"));
    assert_becomes(REAL(1e20), AFFINITY_TEXT, TEXT("1.0e+20"));
    assert_becomes(REAL(1.5e-7), AFFINITY_TEXT, TEXT("1.5e-07"));
    assert_becomes(REAL(-INFINITY), AFFINITY_TEXT, TEXT("-Inf"));
    assert_becomes(INTEGER(5), AFFINITY_BLOB, INTEGER(5));
    assert_becomes(REAL(5.5), AFFINITY_INTEGER, REAL(5.5));
}

static void affinity_survives_failing_allocations(void **state)
{
    (void)state;
    char digits[200], *text;
    memset(digits, '1', sizeof(digits));
    struct value v = {.p = digits, .len = sizeof(digits), .type = VALUE_TEXT}, before = v;
    mem_fail_after(0);
    assert_int_equal(value_apply_affinity(&v, AFFINITY_INTEGER, &text), STATUS_NOMEM);
    assert_true(value_same(&v, &before) && !text);
    v = before = INTEGER(7);
    mem_fail_after(0);
    assert_int_equal(value_apply_affinity(&v, AFFINITY_TEXT, &text), STATUS_NOMEM);
    assert_true(value_same(&v, &before) && !text);
    mem_fail_after(-1);
}

static void assert_json(struct value v, const char *expected)
{
    struct buf b = {0};
    value_put_json(&b, &v);
    assert_string_equal(buf_text(&b), expected);
    buf_fini(&b);
}

static void values_as_json(void **state)
{
    (void)state;
    assert_json(NULL_VALUE, "null");
    assert_json(ABSENT, "null");
    assert_json(INTEGER(INT64_MIN), "-9223372036854775808");
    assert_json(INTEGER(9007199254740993), "9007199254740993");
    assert_json(TEXT("a\"b\0\xff"), "\"a\\\"b\\u0000\xef\xbf\xbd\"");
    assert_json(BLOB("\0\xff"), "{\"$base64\":\"AP8=\"}");
    assert_json(BLOB(""), "{\"$base64\":\"\"}");
    assert_json(REAL(1), "1.0");
    assert_json(REAL(-3), "-3.0");
    assert_json(REAL(-0.0), "-0.0");
    assert_json(REAL(0.1), "0.1");
    assert_json(REAL(0.1 + 0.2), "0.30000000000000004");
    assert_json(REAL(1e15), "1e+15");
    assert_json(REAL(123456789012345680), "1.2345678901234568e+17");
    assert_json(REAL(1e300), "1e+300");
    assert_json(REAL(999999999999999), "999999999999999.0");
    assert_json(REAL(5e-324), "4.94065645841247e-324");
    assert_json(REAL(INFINITY), "9e999");
    assert_json(REAL(-INFINITY), "-9e999");
}

static void reals_read_back_exactly(void **state)
{
    (void)state;
    srand(1);
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = ((uint64_t)rand() << 42) ^ ((uint64_t)rand() << 21) ^ (uint64_t)rand();
        double r;
        memcpy(&r, &bits, sizeof(r));
        if (!isfinite(r))
            continue;
        struct buf b = {0};
        struct value v = REAL(r);
        value_put_json(&b, &v);
        assert_true(strtod(buf_text(&b), NULL) == r);
        assert_non_null(strpbrk(buf_text(&b), ".e"));
        buf_fini(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_is_null_numbers_text_blobs),
        cmocka_unit_test(integers_and_reals_compare_exactly),
        cmocka_unit_test(text_compares_by_collation),
        cmocka_unit_test(different_values_have_different_hashes),
        cmocka_unit_test(same_means_same_type_and_bytes),
        cmocka_unit_test(affinity_follows_the_declared_type),
        cmocka_unit_test(numeric_affinity_reads_numbers),
        cmocka_unit_test(what_is_no_number_stays_text),
        cmocka_unit_test(text_affinity_writes_numbers),
        cmocka_unit_test(affinity_survives_failing_allocations),
        cmocka_unit_test(values_as_json),
        cmocka_unit_test(reals_read_back_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
