#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "access/identity.h"
#include "base/mem.h"

static json_t *claims_of(const char *text)
{
    json_t *claims = json_loads(text, 0, NULL);
    assert_non_null(claims);
    return claims;
}

static void test_takes_the_user_and_the_role(void **state)
{
    (void)state;
    struct identity *who =
        identity_new(claims_of("{\"sub\":\"ann\",\"role\":\"user\",\"team\":7}"), 1234);
    assert_non_null(who);
    assert_string_equal(who->user_id, "ann");
    assert_string_equal(identity_user(who), "ann");
    assert_string_equal(who->role, "user");
    assert_int_equal(json_integer_value(json_object_get(who->claims, "team")), 7);
    assert_int_equal(who->expires_ms, 1234);
    struct identity *other = identity_new(claims_of("{}"), 0);
    assert_true(other->number > who->number);
    identity_unref(other);
    assert_ptr_equal(identity_ref(who), who);
    identity_unref(who);
    assert_string_equal(who->user_id, "ann");
    identity_unref(who);
}

static void test_claims_that_are_no_texts_name_nobody(void **state)
{
    (void)state;
    struct identity *who = identity_new(claims_of("{\"sub\":7,\"role\":[\"admin\"]}"), 0);
    assert_non_null(who);
    assert_null(who->user_id);
    assert_null(who->role);
    identity_unref(who);
    assert_null(identity_new(claims_of("[1]"), 0));
    assert_null(identity_new(NULL, 0));
}

static void test_nobody_is_null(void **state)
{
    (void)state;
    assert_null(identity_ref(NULL));
    assert_null(identity_user(NULL));
    identity_unref(NULL);
}

static struct identity *identity_of(const char *claims)
{
    struct identity *who = identity_new(claims_of(claims), 0);
    assert_non_null(who);
    return who;
}

static void test_same_rights(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        bool same;
    } cases[] = {
        {"{\"sub\":\"ann\",\"role\":\"user\"}", "{\"role\":\"user\",\"sub\":\"ann\"}", true},
        {"{\"sub\":\"ann\",\"exp\":1,\"jti\":\"a\"}", "{\"sub\":\"ann\",\"exp\":2,\"iat\":3}",
            true},
        {"{}", "{\"nbf\":7}", true},
        {"{\"sub\":\"ann\"}", "{\"sub\":\"bob\"}", false},
        {"{\"sub\":\"ann\"}", "{}", false},
        {"{\"sub\":\"ann\"}", "{\"sub\":\"ann\",\"role\":\"admin\"}", false},
        {"{\"team\":[1,2]}", "{\"team\":[1,2]}", true},
        {"{\"team\":[1,2]}", "{\"team\":[2,1]}", false},
        {"{\"team\":1}", "{\"team\":\"1\"}", false},
        {"{\"team\":null}", "{}", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct identity *a = identity_of(cases[i].a), *b = identity_of(cases[i].b);
        assert_int_equal(identity_same_rights(a, b), cases[i].same);
        assert_int_equal(identity_same_rights(b, a), cases[i].same);
        assert_false(identity_same_rights(a, NULL) || identity_same_rights(NULL, a));
        identity_unref(a);
        identity_unref(b);
    }
    assert_true(identity_same_rights(NULL, NULL));
}

static void test_without_memory_there_is_none(void **state)
{
    (void)state;
    for (long n = 0; n < 100; n++) {
        json_t *claims = claims_of("{\"sub\":\"ann\",\"role\":\"user\"}");
        mem_fail_after(n);
        struct identity *who = identity_new(claims, 0);
        int hit = mem_fail_hit();
        mem_fail_after(-1);
        assert_int_equal(who == NULL, hit);
        identity_unref(who);
        if (!hit) {
            assert_int_equal(n, 3);
            return;
        }
    }
    fail();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_takes_the_user_and_the_role),
        cmocka_unit_test(test_claims_that_are_no_texts_name_nobody),
        cmocka_unit_test(test_nobody_is_null),
        cmocka_unit_test(test_same_rights),
        cmocka_unit_test(test_without_memory_there_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
