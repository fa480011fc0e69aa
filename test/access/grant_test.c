#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "../change/fixture.h"
#include "access/grant.h"
#include "base/mem.h"
#include "base/status.h"
#include <stdio.h>
#include <string.h>

static struct table *notes;

static int set_up(void **state)
{
    (void)state;
    notes = TABLE(
        "notes", "id:INTEGER:k", "user_id:TEXT:", "team:INTEGER:", "title:TEXT:", "secret:TEXT:");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    table_unref(notes);
    return 0;
}

static struct policy *policy_of(const char *table)
{
    struct buf text = {0}, err = {0};
    int status;
    buf_printf(&text, "{\"roles\":{\"user\":{\"tables\":{\"notes\":%s}}}}", table);
    struct policy *p = policy_parse(text.data, text.len, &err, &status);
    if (!p)
        fail_msg("%s", buf_text(&err));
    buf_fini(&text);
    return p;
}

static struct policy *policy_with(const char *rule)
{
    struct buf text = {0};
    buf_puts(&text, "{\"read\":true,\"rows\":");
    buf_put_json_text(&text, rule);
    buf_putc(&text, '}');
    struct policy *p = policy_of(buf_text(&text));
    buf_fini(&text);
    return p;
}

static struct identity *who_is(const char *claims)
{
    json_t *j = json_loads(claims, JSON_ALLOW_NUL, NULL);
    assert_non_null(j);
    struct identity *who = identity_new(j, 0);
    assert_non_null(who);
    return who;
}

/* Whether the row {1, user, team, "t", "s"} is seen through the rule by somebody with the claims.
 */
static bool sees(const char *rule, const char *claims, const char *user, int64_t team)
{
    struct policy *p = policy_with(rule);
    struct identity *who = who_is(claims);
    struct grant g;
    struct value row[5];
    assert_int_equal(grant_init(&g, p, who, notes), 0);
    row[0] = (struct value){.type = VALUE_INTEGER, .i = 1};
    row[1] = (struct value){.type = VALUE_TEXT, .p = user, .len = (uint32_t)strlen(user)};
    row[2] = (struct value){.type = VALUE_INTEGER, .i = team};
    row[3] = row[4] = (struct value){.type = VALUE_TEXT, .p = "t", .len = 1};
    bool result = filter_match(g.rows, row, 1);
    grant_fini(&g);
    identity_unref(who);
    policy_unref(p);
    return result;
}

static void test_a_rule_with_claims(void **state)
{
    (void)state;
#define ANN "{\"role\":\"user\",\"sub\":\"ann\",\"team\":7,\"on\":true,\"f\":7.0}"
    assert_true(sees("user_id={sub}", ANN, "ann", 1));
    assert_false(sees("user_id={sub}", ANN, "bob", 1));
    assert_false(sees("user_id={sub}", ANN, "Ann", 1));
    assert_true(sees("team = {team}", ANN, "bob", 7));
    assert_false(sees("team = {team}", ANN, "bob", 8));
    assert_true(sees("team={f}", ANN, "bob", 7));
    assert_true(sees("team={on}", ANN, "bob", 1));
    assert_true(sees("user_id in ({sub},'all')", ANN, "all", 1));
    assert_true(sees("user_id in ('all', {sub} )", ANN, "ann", 1));
    assert_false(sees("user_id in ({sub},'all')", ANN, "bob", 1));
    assert_true(sees("user_id!={sub}", ANN, "bob", 1));
    assert_true(sees("user_id='{sub}'", ANN, "{sub}", 1));
    assert_true(sees("user_id in ('it''s {sub}', {sub})", ANN, "it's {sub}", 1));
    assert_true(sees("user_id in (it's, {sub}, bob's)", ANN, "ann", 1));
    assert_true(sees("user_id in (it's, {sub}, bob's)", ANN, "bob's", 1));
    assert_true(sees("user_id in (\"b, {sub})", ANN, "\"b", 1));
    assert_true(sees("\"user_id\"=={sub}", ANN, "ann", 1));
    assert_false(sees("user_id='{sub}'", ANN, "ann", 1));
    assert_true(sees("user_id={team}", ANN, "7", 1));
}

static void test_a_missing_claim_matches_nothing(void **state)
{
    (void)state;
    assert_false(sees("user_id={sub}", "{\"role\":\"user\"}", "", 1));
    assert_false(sees("user_id!={sub}", "{\"role\":\"user\"}", "ann", 1));
    assert_false(sees("user_id in ({sub},'all')", "{\"role\":\"user\"}", "all", 1));
    assert_false(sees("user_id!={sub}", "{\"role\":\"user\",\"sub\":null}", "ann", 1));
    assert_false(sees("user_id!={sub}", "{\"role\":\"user\",\"sub\":[\"x\"]}", "ann", 1));
    assert_false(sees("user_id!={sub}", "{\"role\":\"user\",\"sub\":{}}", "ann", 1));
    assert_false(sees("user_id={SUB}", ANN, "ann", 1));
}

/* Whatever a claim holds, it is compared with as it stands. */
static void test_a_claim_is_never_more_than_a_value(void **state)
{
    (void)state;
    static const char *const texts[] = {"' or '1'='1", "ann'", "''", "a') , ('b", "x'41'", "null",
        "{sub}", "\\\"", "1 or 1=1", "*", "", " ann "};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct buf claims = {0};
        buf_puts(&claims, "{\"role\":\"user\",\"sub\":");
        buf_put_json_text(&claims, texts[i]);
        buf_putc(&claims, '}');
        const char *c = buf_text(&claims);
        assert_true(sees("user_id={sub}", c, texts[i], 1));
        assert_true(sees("user_id in ({sub},'z')", c, texts[i], 1));
        assert_false(sees("user_id={sub}", c, "ann", 1));
        assert_false(sees("user_id in ({sub},'z')", c, "b", 1));
        buf_fini(&claims);
    }
    assert_false(sees("user_id={sub}", "{\"role\":\"user\",\"sub\":\"ann\\u0000x\"}", "ann", 1));
}

static void test_rules_that_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *rule, *message;
    } bad[] = {
        {"user_id={}", "at character 9: the name of a claim"},
        {"user_id={sub", "the name of a claim"},
        {"user_id=sub}", "there is no { before this }"},
        {"user_id=a{sub}", "a claim is a whole value"},
        {"user_id={sub}b", "a claim is a whole value"},
        {"user_id={a}{b}", "a claim is a whole value"},
        {"{sub}=user_id", "a claim is a whole value"},
        {"{sub}", "a claim is a whole value"},
        {"user_id {sub}", "a claim is a whole value"},
        {"user_id='it", "at character 9: the closing quote is missing"},
        {"user_id={'sub'}", "the name of a claim"},
        /* What stands before these is the beginning of a value without quotes. */
        {"user_id in (({sub},'all')", "at character 14: a claim is a whole value"},
        {"user_id in (a={sub},'all')", "a claim is a whole value"},
        {"user_id in (all ,, ({sub})", "a claim is a whole value"},
        {"user_id=({sub}", "a claim is a whole value"},
        {"user_id=={sub},{sub}", "a claim is a whole value"},
        {"user_id in ('a' {sub})", "a claim is a whole value"},
        {"user_id in ('a'){sub},{sub})", "a claim is a whole value"},
        {"user_id=\"{sub}", "a claim is a whole value"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct buf err = {0};
        int status;
        if (rule_new(bad[i].rule, &err, &status))
            fail_msg("%s was accepted", bad[i].rule);
        assert_int_equal(status, STATUS_INVALID);
        if (!strstr(buf_text(&err), bad[i].message))
            fail_msg("%s: %s", bad[i].rule, buf_text(&err));
        buf_fini(&err);
    }
}

static int grant_of(struct grant *g, const char *table, const char *claims)
{
    struct policy *p = policy_of(table);
    struct identity *who = claims ? who_is(claims) : NULL;
    int status = grant_init(g, p, who, notes);
    identity_unref(who);
    policy_unref(p);
    return status;
}

static void test_tables_that_are_not_there(void **state)
{
    (void)state;
    struct grant g;
    assert_int_equal(grant_of(&g, "{\"read\":true}", NULL), STATUS_NOT_FOUND);
    /* The policy does not fit the table: nothing is shown rather than too much. */
    assert_int_equal(grant_of(&g, "{\"read\":[\"title\"]}", ANN), STATUS_NOT_FOUND);
    assert_int_equal(grant_of(&g, "{\"read\":true,\"rows\":\"x={sub}\"}", ANN), STATUS_NOT_FOUND);

    struct policy *p = policy_of("{\"write\":true}");
    struct identity *who = who_is(ANN), *other = who_is("{\"role\":\"admin\"}");
    struct identity *nobody = who_is("{\"sub\":\"ann\"}");
    assert_int_equal(grant_init(&g, p, who, notes), STATUS_NOT_FOUND);
    assert_int_equal(grant_init(&g, p, other, notes), STATUS_NOT_FOUND);
    assert_int_equal(grant_init(&g, p, nobody, notes), STATUS_NOT_FOUND);
    assert_true(grant_known(p, who));
    assert_false(grant_known(p, nobody));
    assert_false(grant_known(p, NULL));
    assert_true(grant_known(NULL, NULL));
    assert_false(grant_reads_all(p, who));
    assert_true(grant_reads_all(NULL, NULL));
    assert_true(grant_unlimited(NULL, NULL));
    assert_true(grant_join(NULL, NULL, "x", 1));
    assert_false(grant_join(p, who, "x", 1));
    assert_false(grant_broadcast(p, who, "x", 1));
    assert_int_equal(grant_init(&g, NULL, NULL, notes), 0);
    assert_null(g.columns);
    assert_null(g.rows);
    identity_unref(who);
    identity_unref(other);
    identity_unref(nobody);
    policy_unref(p);
}

static struct filter *filtered(const struct grant *g, const char *text, char *err)
{
    size_t len = strlen(text);
    int status;
    struct filter *f = grant_filter(g, notes, &text, &len, 1, err, 256, &status);
    assert_int_equal(status, f ? 0 : STATUS_INVALID);
    return f;
}

/* A denied column answers as one that does not exist, down to the list of those that do. */
static void test_filters_on_denied_columns(void **state)
{
    (void)state;
    struct grant g;
    char denied[256], missing[256];
    assert_int_equal(
        grant_of(&g, "{\"read\":[\"ID\",\"title\"],\"rows\":\"user_id={sub}\"}", ANN), 0);
    assert_true(grant_column(&g, 0) && grant_column(&g, 3));
    assert_false(grant_column(&g, 1) || grant_column(&g, 4));
    assert_null(filtered(&g, "secret='s'", denied));
    assert_null(filtered(&g, "nosuch='s'", missing));
    assert_string_equal(missing,
        "at character 1: table \"notes\" has no column \"nosuch\"; its columns are id, title");
    assert_string_equal(denied,
        "at character 1: table \"notes\" has no column \"secret\"; its columns are id, title");
    assert_null(filtered(&g, "\"SECRET\" is null", denied));

    struct filter *f = filtered(&g, "title='t'", denied);
    struct value row[5] = {{.type = VALUE_INTEGER, .i = 1},
        {.type = VALUE_TEXT, .p = "ann", .len = 3}, {.type = VALUE_INTEGER, .i = 1},
        {.type = VALUE_TEXT, .p = "t", .len = 1}, {.type = VALUE_TEXT, .p = "s", .len = 1}};
    assert_true(filter_match(f, row, 1));
    row[1].p = "bob";
    assert_false(filter_match(f, row, 1));
    filter_free(f);
    grant_fini(&g);
}

static void test_allocation_failures(void **state)
{
    (void)state;
    struct policy *p = policy_of("{\"read\":[\"id\",\"title\"],\"rows\":[\"user_id={sub}\","
                                 "\"team in ({team},3)\"]}");
    struct identity *who = who_is(ANN);
    const char *text = "title='t'";
    size_t len = strlen(text);
    for (long n = 0, done = 0; !done; n++) {
        char err[256];
        struct grant g;
        struct filter *f = NULL;
        mem_fail_after(n);
        int status = grant_init(&g, p, who, notes);
        if (status == 0) {
            f = grant_filter(&g, notes, &text, &len, 1, err, sizeof(err), &status);
            grant_fini(&g);
        }
        done = !mem_fail_hit();
        mem_fail_after(-1);
        assert_int_equal(status, done ? 0 : STATUS_NOMEM);
        assert_true((f != NULL) == done);
        filter_free(f);
    }
    identity_unref(who);
    policy_unref(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_rule_with_claims),
        cmocka_unit_test(test_a_missing_claim_matches_nothing),
        cmocka_unit_test(test_a_claim_is_never_more_than_a_value),
        cmocka_unit_test(test_rules_that_are_refused),
        cmocka_unit_test(test_tables_that_are_not_there),
        cmocka_unit_test(test_filters_on_denied_columns),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
