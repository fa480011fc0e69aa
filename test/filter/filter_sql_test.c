#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "../change/fixture.h"
#include "base/status.h"
#include "filter/filter_sql.h"
#include <stdio.h>

/* What SQLite makes of the conditions is for filter_sqlite_test. */

static struct filter *parse(const struct table *t, const char *const *texts, int count)
{
    char err[256];
    size_t lens[8];
    int status;
    for (int i = 0; i < count; i++)
        lens[i] = strlen(texts[i]);
    struct filter *f = filter_new(t, texts, lens, count, err, sizeof(err), &status);
    if (!f)
        fail_msg("%s", err);
    return f;
}

/* The conditions with a line for each; and how many values there are for them. */
static void expect(const struct table *t, const char *const *texts, int count, const char *sql,
    int expected_params)
{
    struct buf out = {0};
    const struct value *params;
    int param_count;
    struct filter *f = parse(t, texts, count);
    assert_int_equal(filter_put_sql(f, t, &out, &params, &param_count), 0);
    for (size_t i = 0; i < out.len; i++)
        if (!out.data[i])
            out.data[i] = '\n';
    assert_string_equal(buf_text(&out), sql);
    assert_int_equal(param_count, expected_params);
    if (param_count > 0)
        assert_ptr_equal(params, filter_values(f));
    buf_fini(&out);
    filter_free(f);
}

#define EXPECT(t, sql, params, ...)                                                                \
    expect(t, (const char *const[]){__VA_ARGS__},                                                  \
        sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *), sql, params)

static void conditions(void **state)
{
    (void)state;
    struct table *t = TABLE("t", "id:INTEGER:k", "a\"b:TEXT:n", "r:REAL:", "x:BLOB:");
    t->rowid_alias = 0;
    expect(t, NULL, 0, "", 0);
    EXPECT(t, "\"id\"=?1\n", 1, "id=5");
    EXPECT(t, "\"id\"=?1\n", 1, "rowid=5");
    EXPECT(t, "\"a\"\"b\"!=?1\n\"r\"<=?2\n", 2, "\"a\"\"b\"!=x", "r<=1.5");
    EXPECT(t, "\"x\" IS NULL\n\"id\" IN (?1,?2,?3)\n\"id\" IS NOT NULL\n\"r\">=?4\n", 4,
        "x is null", "id in (3,1,2,1)", "id is not null", "r>=7");
    table_unref(t);
}

static void the_rowid_by_a_free_name(void **state)
{
    (void)state;
    struct table *t = TABLE("t", "rowid:TEXT:", "OID:TEXT:");
    EXPECT(t, "\"_rowid_\"=?1\n\"rowid\"=?2\n", 2, "_rowid_=1", "rowid=1");
    table_unref(t);
}

static void an_application_s_collation(void **state)
{
    (void)state;
    struct table *t = TABLE("t", "c:TEXT:");
    t->columns[0].collation = COLLATION_OTHER;
    EXPECT(t, "\"c\" COLLATE BINARY=?1\n\"c\" COLLATE BINARY IN (?2,?3)\n", 3, "c=a", "c in (a,b)");
    table_unref(t);
}

static void no_memory(void **state)
{
    (void)state;
    struct table *t = TABLE("t", "c:TEXT:");
    struct filter *f = parse(t, (const char *const[]){"c in (a,b,c,d,e,f,g,h,i,j,k)"}, 1);
    for (long n = 0;; n++) {
        struct buf out = {0};
        const struct value *params;
        int count;
        mem_fail_after(n);
        int status = filter_put_sql(f, t, &out, &params, &count);
        bool hit = mem_fail_hit();
        mem_fail_after(-1);
        assert_int_equal(status, hit ? STATUS_NOMEM : STATUS_OK);
        buf_fini(&out);
        if (!hit)
            break;
    }
    filter_free(f);
    table_unref(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conditions),
        cmocka_unit_test(the_rowid_by_a_free_name),
        cmocka_unit_test(an_application_s_collation),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
